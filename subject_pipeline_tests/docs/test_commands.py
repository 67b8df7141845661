"""docs/commands.md knows every command, and every option that is a command's own."""

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from subject_pipeline.cli.main import cli

PAGE = (Path(__file__).parents[2] / "docs" / "commands.md").read_text(encoding="utf-8")
OF_EVERY_COMMAND = {"--json", "--store", "--storage-root", "--project", "--help"}


def _commands(group: click.Group, *path: str) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from _commands(command, *path, name)
        else:
            yield " ".join((*path, name)), command


@pytest.mark.parametrize(("name", "command"), list(_commands(cli)))
def test_a_commands_own_options_are_told(name: str, command: click.Command) -> None:
    """In its row; those that all decisions share, and a command told beside another, anywhere on the page."""
    rows = re.findall(rf"^\| `{re.escape(name)}[ `].*$", PAGE, re.MULTILINE)
    options = {max(one.opts, key=len) for one in command.params if isinstance(one, click.Option) and not one.hidden}
    shared = not rows or {"--file", "--approved-by"} <= options
    assert name.rpartition(" ")[2] in PAGE
    where = PAGE if shared else "\n".join(rows)
    assert [one for one in sorted(options - OF_EVERY_COMMAND) if f"{one}" not in where] == []
