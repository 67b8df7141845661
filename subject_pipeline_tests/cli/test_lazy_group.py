from collections.abc import Iterator

import click
import pytest

from subject_pipeline.cli.lazy_group import LazyGroup
from subject_pipeline.cli.main import cli


def _lazy_groups(group: LazyGroup, path: str = "") -> Iterator[tuple[str, LazyGroup]]:
    yield path, group
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, LazyGroup):
            yield from _lazy_groups(command, f"{path} {name}".strip())


@pytest.mark.parametrize(("path", "group"), list(_lazy_groups(cli)))
def test_the_list_of_commands_says_what_each_says_of_itself(path: str, group: LazyGroup) -> None:
    """The summaries in the list are written twice, so that the list needs no import."""
    assert path in {"", "audit", "decisions", "keys", "subjects"}
    context = click.Context(group)
    said = {name: group._lazy[name].summary for name in group.list_commands(context)}
    loaded = {name: group.get_command(context, name) for name in said}
    assert said == {name: command and command.get_short_help_str(limit=1_000) for name, command in loaded.items()}


def test_a_command_that_is_none_is_no_command() -> None:
    """Neither at the top nor in a group."""
    assert cli.get_command(click.Context(cli), "nothing") is None
