"""`findings`: lists of what checks found, where people must be named."""

import json

import click

from subject_pipeline.cli.shell import Shell, command_options
from subject_pipeline.lifecycle.stored_findings import read_findings


@click.group()
def findings() -> None:
    """Print lists of what checks found: they name people, so they are in the store and nowhere else."""


@findings.command()
@click.argument("path", metavar="PATH")
@command_options
def show(shell: Shell, path: str) -> None:
    """Print one list of findings, `findings/<time>-<digits>.jsonl` of the store."""
    found = read_findings(shell.existing_store().objects, path)
    lines = (json.dumps(one, ensure_ascii=False) for one in found)
    shell.tell({"path": path, "count": len(found), "findings": found}, "\n".join(lines) or "nothing was found")
