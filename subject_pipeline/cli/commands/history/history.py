"""`subjects history`: what happened to one record, in order of time."""

import click

from subject_pipeline.cli.shell import Shell, command_options
from subject_pipeline.formats.shown_text import shown
from subject_pipeline.lifecycle.history.chains import Anchoring
from subject_pipeline.lifecycle.history.events import Event
from subject_pipeline.lifecycle.history.telling import Record
from subject_pipeline.lifecycle.history.words import event_words


@click.command()
@click.argument("candidate_id", metavar="ID")
@click.option(
    "--all", "every", is_flag=True, help="Each access by itself, not those of a day with one action together."
)
@command_options
def history(shell: Shell, candidate_id: str, every: bool) -> None:
    """Tell what happened to a subject's record: registered, each decision, each access, and what is anchored."""
    record = Record.of(shell.existing_store(), candidate_id)
    events, anchored = record.events(folded=not every), record.anchoring
    shell.tell(
        {
            "candidate_id": candidate_id,
            "events": events,
            "checkpoint": {"number": anchored.number, "time": anchored.time, "seq": anchored.seq} if anchored else None,
        },
        "\n".join([*map(_line, events), _anchored(events, anchored)]),
    )


def _line(event: Event) -> str:
    actor = f" By {shown(event['actor'])}." if "actor" in event else ""
    mark = " " if event["anchored"] else "*"
    return f"{event['at'][:19].replace('T', ' ')}{mark} {event_words(event)}{actor}"


def _anchored(events: list[Event], anchored: Anchoring | None) -> str:
    if anchored is None:
        return "No checkpoint covers any of this that could be checked here."
    newer = sum(not event["anchored"] for event in events)
    covers = f"Checkpoint {anchored.number} of {anchored.time} covers"
    return f"{covers} all of this." if not newer else f"{covers} all of this but the {newer:,} marked with *."
