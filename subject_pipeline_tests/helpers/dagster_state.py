"""What Dagster keeps from one test of a process to the next, and what it would read again for each."""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from dagster._core.storage.defs_state.base import set_defs_state_storage
from dagster.components.core import load_defs, snapshot
from dagster_shared.serdes.objects.package_entry import json_for_all_components

_snapshot_of = functools.cache(snapshot.get_package_entry_snap)
_real_scripts_of = ScriptDirectory.from_config
_json: dict[tuple[int, ...], Any] = {}
_scripts: dict[tuple[str | None, str | None], ScriptDirectory] = {}


def _json_of(components: Sequence[Any]) -> Any:
    which = tuple(map(id, components))  # `_snapshot_of` keeps every one, so none has the address of another
    if which not in _json:
        _json[which] = json_for_all_components(components)
    return _json[which]


def _scripts_of(config: Config) -> ScriptDirectory:
    place = (config.config_file_name, config.get_main_option("script_location"))
    if place not in _scripts:
        _scripts[place] = _real_scripts_of(config)
    return _scripts[place]


@pytest.fixture(autouse=True, scope="session")
def what_stays_the_same_is_read_once() -> Iterator[None]:
    """Dagster describes every type of component at each loading, and reads every migration for each new instance.

    Neither changes while tests run; both together were most of what a test of definitions took.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(snapshot, "get_package_entry_snap", _snapshot_of)
        patch.setattr(load_defs, "json_for_all_components", _json_of)
        patch.setattr(ScriptDirectory, "from_config", _scripts_of)
        yield


@pytest.fixture(autouse=True)
def no_instance_of_an_earlier_test() -> Iterator[None]:
    """Definitions load whatever instance an earlier test of this process left behind.

    Dagster keeps the current one in a context variable, which points to a closed one where two ended out of turn.
    """
    with set_defs_state_storage(None):
        yield
