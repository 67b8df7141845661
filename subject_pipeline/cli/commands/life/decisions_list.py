"""`decisions list`: what was decided about people."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import click

from subject_pipeline.changes.evidence import ManifestEvidence
from subject_pipeline.cli.moments import MOMENT
from subject_pipeline.cli.shell import Shell, command_options
from subject_pipeline.decisions.decision import REGISTRYS_OWN, Kind
from subject_pipeline.lifecycle.lists.decision_feed import (
    FEED_SCHEMA,
    FeedConditions,
    Recorded,
    feed_frame,
    recorded_decisions,
)
from subject_pipeline.lifecycle.lists.files import CSV, JSON_LINES, PARQUET, check_ending, write_frames, write_lines
from subject_pipeline.registry.subjects import SubjectRegistry

_KINDS = (*(kind.value for kind in Kind), *REGISTRYS_OWN)


@click.command("list")
@click.option("--since", type=MOMENT, metavar="TIME", help="Recorded then or later; a day begins at midnight, UTC.")
@click.option("--subject", metavar="ID", help="Of this subject alone.")
@click.option("--kind", type=click.Choice(_KINDS), metavar="K", help=f"One of {', '.join(_KINDS)}.")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help=".jsonl, .csv or .parquet")
@command_options
def list_(shell: Shell, since: str | None, subject: str | None, kind: str | None, out: Path | None) -> None:
    """Print every recorded decision, one JSON object a line; in each chunk in the order of recording."""
    store = shell.keyed_store()
    conditions = FeedConditions(since, subject, kind)
    if out is not None:
        check_ending(out, (JSON_LINES, CSV, PARQUET))
    evidence = ManifestEvidence(store, shell.actor())
    try:
        found = recorded_decisions(store, evidence, conditions)
        if subject is not None:
            chunk = next(found, [])
            if not chunk:
                SubjectRegistry(store).get(subject)  # an error where nobody has this id
            found = iter([chunk])
        if out is not None:
            _write(shell, out, found)
        elif shell.as_json:
            every = list(itertools.chain.from_iterable(found))
            shell.tell({"count": len(every), "decisions": every}, "")
        else:
            for line in map(_line, itertools.chain.from_iterable(found)):
                click.echo(line)
    finally:
        evidence.close()


def _write(shell: Shell, out: Path, found: Iterator[list[Recorded]]) -> None:
    if out.suffix == JSON_LINES:
        count = write_lines(out, map(_line, itertools.chain.from_iterable(found)))
    else:
        count = write_frames(out, map(feed_frame, found), FEED_SCHEMA)
    shell.tell({"out": str(out), "count": count}, f"{count:,} decisions written to {out}")


def _line(decision: Recorded) -> str:
    return json.dumps(decision, ensure_ascii=False, separators=(",", ":"))
