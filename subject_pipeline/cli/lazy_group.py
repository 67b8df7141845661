"""Command groups whose commands are imported when they are called: listing them, or running another, loads none."""

import builtins
from collections.abc import Sequence
from importlib import import_module
from keyword import iskeyword
from typing import Any, NamedTuple

import click


class Lazy(NamedTuple):
    """A command: its name, the module that has it under that name, and its summary for the list of commands."""

    name: str
    module: str
    summary: str


class LazyGroup(click.Group):
    """A group of lazy commands; a test compares each summary with its command's own."""

    def __init__(self, *args: Any, lazy: Sequence[Lazy], **options: Any) -> None:  # noqa: ANN401 - click's own
        super().__init__(*args, **options)
        self._lazy = {command.name: command for command in lazy}

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's own
        """The names, sorted."""
        return sorted(self._lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's own
        """A command, imported now."""
        if (found := self._lazy.get(cmd_name)) is None:
            return None
        attribute = f"{found.name}_" if iskeyword(found.name) or hasattr(builtins, found.name) else found.name
        command: click.Command = getattr(import_module(found.module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The names and summaries; nothing is imported."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, self._lazy[name].summary) for name in self.list_commands(ctx)])
