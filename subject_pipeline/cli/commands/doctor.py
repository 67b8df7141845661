"""`doctor`: what is wrong with a store as this machine reaches it, and how to fix it."""

from dataclasses import asdict

import click

from subject_pipeline.cli.shell import DONE, SOMETHING_FAILED, WRONG_CALL, Shell, command_options, end
from subject_pipeline.doctor import Finding, diagnose
from subject_pipeline.project.reading import automation_of

_MARKS = {"ok": "ok", "warning": "look", "problem": "WRONG", "skipped": "-"}


@click.command()
@click.option("--read-only", is_flag=True, help="Write no probes: for credentials that only verify or read.")
@command_options
def doctor(shell: Shell, read_only: bool) -> None:
    """Examine store access, conditional writes, clock, layout, key ring, checkpoint, table, inbox and sources.

    Each source's files are opened, and the type of its key column is checked; no row is read.

    Exit status 1 if anything is wrong, 2 if the store cannot be reached at all; what should only be looked at leaves
    it at 0.
    """
    findings = diagnose(shell.open_store(), read_only=read_only, automation=automation_of(shell.project()))
    wrong = sum(one.level == "problem" for one in findings)
    look = sum(one.level == "warning" for one in findings)
    words = "\n".join(_line(one) for one in findings)
    shell.tell(
        {"sound": not wrong, "problems": wrong, "warnings": look, "findings": [asdict(one) for one in findings]},
        f"{words}\n{wrong} wrong, {look} to look at",
    )
    if findings[0].level == "problem":
        end(WRONG_CALL)
    end(SOMETHING_FAILED if wrong else DONE)


def _line(found: Finding) -> str:
    mend = f"\n{'':>8}to do: {found.mend}" if found.mend else ""
    return f"{_MARKS[found.level]:>5}   {found.name}: {found.detail}{mend}"
