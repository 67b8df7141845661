"""`subjects dossier`: what a person gets who asks what is held about them."""

from pathlib import Path

import click

from subject_pipeline.cli.shell import DONE, SOMETHING_FAILED, Shell, command_options, end, say
from subject_pipeline.lifecycle.dossier.contents import Wanted
from subject_pipeline.lifecycle.dossier.writing import write_dossier


@click.command()
@click.argument("candidate_id", metavar="ID")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), metavar="DIR", help="A folder that is not there."
)
@click.option("--actors", is_flag=True, help="Say who had access; without it, only when, what and what for.")
@click.option("--no-source", is_flag=True, help="Leave out the person's own rows of the datasets.")
@click.option("--no-proof", is_flag=True, help="Leave out the proof, which names who had access in any case.")
@command_options
def dossier(shell: Shell, candidate_id: str, out: Path, actors: bool, no_source: bool, no_proof: bool) -> None:
    """Write what is held about a person to a new folder; it is recorded as an access on their request."""
    made = write_dossier(
        shell.keyed_store(),
        candidate_id,
        out,
        actor=shell.actor(),
        wanted=Wanted(actors, not no_source, not no_proof),
    )
    shell.tell(
        {
            "candidate_id": candidate_id,
            "out": str(out),
            "files": made.files,
            "retired": made.retired,
            "unread": made.unread,
            "proof": not made.unproved,
        },
        f"{out}: {len(made.files)} files; begin with {out / 'index.html'}",
    )
    for name in made.retired:
        say(f"the dataset {name!r} is retired: its source was not read")
    for name in made.unread:
        say(f"the source of the dataset {name!r} could not be read: the page says so; make another dossier later")
    if made.unproved:
        say(f"there is no proof in it: {made.unproved}")
    elif not actors:
        say("proof.json names who made each entry, since entries are signed whole: --no-proof leaves it out")
    end(SOMETHING_FAILED if made.unread else DONE)
