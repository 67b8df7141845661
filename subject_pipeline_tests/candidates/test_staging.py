import datetime as dt
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from subject_pipeline.candidates.staged_parts import read_group, read_record
from subject_pipeline.candidates.staging import clean_up, current, retire, stage_dataset
from subject_pipeline.errors import ConfigurationError, DatasetError, SourceError, StagingError, StoreError
from subject_pipeline.objects.local import LocalObjects
from subject_pipeline.store.datasets import DatasetDeclaration
from subject_pipeline.store.layout import LAYOUT_KEY
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline_tests.conftest import KEY_COLUMN, Declared, ManyGroups, Parquet
from subject_pipeline_tests.helpers.audit_stores import HookedLocal, failing, folder_of, with_objects


def _staged_keys(store: SubjectStore) -> set[str]:
    return {item.key for item in store.objects.list("staging/")}


def test_the_record_says_what_was_read_and_how(store: SubjectStore, declared: Declared) -> None:
    """What was staged, under which options and from which version of the source, stands in the record."""
    people = declared(["1", "2", "2", "3"], candidate_id_prefix="W-", safe_views=("v",))
    before = dt.datetime.now(dt.UTC)

    staged = stage_dataset(store, people, limit=3)

    assert (staged.dataset, staged.source, staged.key_column) == ("people", people.source, KEY_COLUMN)
    assert (staged.candidate_id_prefix, staged.safe_views, staged.limit) == ("W-", ("v",), 3)
    assert (staged.rows_scanned, staged.source_rows, staged.chunk_count) == (3, 4, 64)
    assert staged.sample == ("W-1", "W-2", "W-2")
    assert before <= staged.staged_at <= dt.datetime.now(dt.UTC)
    assert read_record(store.objects, "people") == staged.model_copy(update={"sample": ()})
    rows = pl.concat([read_group(store.objects, group) for group in staged.groups])
    assert rows.sort("row")["candidate_id"].to_list() == ["W-1", "W-2", "W-2"]
    assert rows.sort("row")["row"].to_list() == [0, 1, 2]


def test_staging_registers_the_declaration(store: SubjectStore, declared: Declared) -> None:
    """A dataset is in the catalog from its first staging on, as it was declared last."""
    people = declared(["1"])
    stage_dataset(store, people, limit=None)
    assert store.catalog.datasets() == [people]

    changed = people.model_copy(update={"safe_views": ("v",)})
    stage_dataset(store, changed, limit=None)
    assert store.catalog.dataset("people") == changed


def test_every_chunk_lies_in_one_group(store: SubjectStore, declared: Declared, many_groups: ManyGroups) -> None:
    """Groups hold whole chunks: every candidate is in the parts of its chunk's group and nowhere else."""
    many_groups(10)
    staged = stage_dataset(store, declared(range(75)), limit=None)

    assert len(staged.groups) == 8
    assert [(group.first, group.last) for group in staged.groups] == [(at * 8, at * 8 + 7) for at in range(8)]
    for group in staged.groups:
        rows = read_group(store.objects, group)
        assert rows["chunk_index"].is_between(group.first, group.last).all()
        assert rows.height == group.rows
    assert sum(group.rows for group in staged.groups) == 75


def test_a_new_staging_supersedes_the_one_before(store: SubjectStore, declared: Declared) -> None:
    """Parts of the staging before are deleted, those of the new one stay."""
    first = stage_dataset(store, declared(range(20)), limit=None)
    second = stage_dataset(store, declared(range(30)), limit=None)

    assert second.version != first.version
    assert _staged_keys(store) == {*second.parts, "staging/people/staged.json"}
    assert current(store, "people") == second.model_copy(update={"sample": ()})


def test_staging_the_same_again_keeps_one_copy(store: SubjectStore, declared: Declared) -> None:
    """The same source staged twice is the same version, held once."""
    people = declared(range(20))
    first = stage_dataset(store, people, limit=None)
    second = stage_dataset(store, people, limit=None)

    assert first.version == second.version
    assert _staged_keys(store) == {*second.parts, "staging/people/staged.json"}


@pytest.mark.parametrize("change", [{"key_column": "note"}, {"candidate_id_prefix": "P"}])
def test_another_reading_of_a_source_is_another_version(
    store: SubjectStore, declared: Declared, change: dict[str, str]
) -> None:
    """Key column and prefix are part of the version."""
    people = declared(["1"])
    versions = {stage_dataset(store, item, limit=None).version for item in (people, people.model_copy(update=change))}

    assert len(versions) == 2


def test_what_another_run_is_staging_stays(store: SubjectStore, declared: Declared, tmp_path: Path) -> None:
    """Parts that no record names are left alone while they are fresh, and go a day later."""
    in_flight = "staging/people/0123456789abcdef/chunk-00..chunk-3f.0000.aaaaaaaaaaaa.parquet"
    private = "staging/people/backfill-0123/chunk-00..chunk-3f.0000.bbbbbbbbbbbb.parquet"
    other = "staging/others/0123/chunk-00..chunk-3f.0000.cccccccccccc.parquet"
    for key in (in_flight, private, other):
        store.objects.replace(key, b"half a part")

    staged = stage_dataset(store, declared(range(20)), limit=None)
    assert _staged_keys(store) == {*staged.parts, "staging/people/staged.json", in_flight, private, other}

    yesterday = dt.datetime.now(dt.UTC).timestamp() - 25 * 3600
    for key in (in_flight, other, *staged.parts, "staging/people/staged.json"):
        os.utime(tmp_path / "store" / key, (yesterday, yesterday))
    assert clean_up(store, "people") == 1
    assert _staged_keys(store) == {*staged.parts, "staging/people/staged.json", private, other}


def test_a_source_that_fails_leaves_the_staging_before(
    store: SubjectStore, declared: Declared, parquet: Parquet
) -> None:
    """Where the source cannot be read, what was staged before still counts, and nothing is left of the attempt."""
    people = declared(["1", "2"])
    staged = stage_dataset(store, people, limit=None)
    keys = _staged_keys(store)
    parquet(["1", None])

    with pytest.raises(SourceError, match="null key"):
        stage_dataset(store, people, limit=None)

    assert _staged_keys(store) == keys
    assert current(store, "people") == staged.model_copy(update={"sample": ()})


def test_a_store_that_fails_leaves_nothing_of_the_attempt(
    store: SubjectStore, declared: Declared, many_groups: ManyGroups, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where one part cannot be written, the parts that were are deleted, and there is no record."""
    many_groups(10)
    people = declared(range(100))
    store.register(people)
    write = LocalObjects.replace

    def full(objects: LocalObjects, key: str, data: bytes) -> None:
        if "chunk-20.." in key:
            raise StoreError("the disk is full")
        write(objects, key, data)

    monkeypatch.setattr(LocalObjects, "replace", full)
    with pytest.raises(StoreError, match="disk is full"):
        stage_dataset(store, people, limit=None)

    assert _staged_keys(store) == set()
    assert current(store, "people") is None


def test_a_damaged_record_is_named(store: SubjectStore) -> None:
    """A record that is not JSON, and one that is missing, say what to do; neither stops a new staging."""
    with pytest.raises(StagingError, match="nothing is staged for dataset 'people'"):
        read_record(store.objects, "people")

    store.objects.replace("staging/people/staged.json", b"{")
    with pytest.raises(StagingError, match="damaged"):
        read_record(store.objects, "people")
    assert current(store, "people") is None


def test_a_source_of_several_files_is_read_in_the_order_of_their_names(
    store: SubjectStore, parquet: Parquet, tmp_path: Path
) -> None:
    """Rows are numbered over the whole source, its files sorted by name."""
    parquet(["c", "d"], "folder/b.parquet")
    parquet(["a", "b"], "folder/a.parquet")
    people = DatasetDeclaration(name="people", source=str(tmp_path / "folder"), key_column=KEY_COLUMN)

    staged = stage_dataset(store, people, limit=None)

    rows = pl.concat([read_group(store.objects, group) for group in staged.groups]).sort("row")
    assert rows.select("row", "key_value").rows() == [(0, "a"), (1, "b"), (2, "c"), (3, "d")]


def test_a_retirement_that_was_cut_off_is_finished_by_the_next(store: SubjectStore, declared: Declared) -> None:
    """What is staged goes first: as long as anything is left, the dataset is still known to the catalog."""
    stage_dataset(store, declared(["1"]), limit=None)
    objects = HookedLocal(folder_of(store))
    objects.around = failing("delete", "catalog/", StoreError("the store says no"))
    with pytest.raises(StoreError, match="says no"):
        retire(with_objects(store, objects), "people")
    assert _staged_keys(store) == set()

    assert retire(store, "people") == 0
    assert store.catalog.datasets() == []
    with pytest.raises(DatasetError, match="'people' is not registered"):
        retire(store, "people")


def test_of_two_first_stagings_the_one_that_loses_registers_nothing(store: SubjectStore, declared: Declared) -> None:
    """Where another lays the store out with other chunks while a source is read, the staging replaces nothing."""
    objects = HookedLocal(folder_of(store))
    people = declared(["1"])

    def around(done: str, key: str, run: Callable[[], Any]) -> Any:
        if done == "create" and key == LAYOUT_KEY:
            replace(store, wanted_chunks=7).layout_or_create()
        return run()

    objects.around = around
    with pytest.raises(ConfigurationError, match="7"):
        stage_dataset(replace(with_objects(store, objects), wanted_chunks=16), people, limit=None)
    assert store.catalog.datasets() == []
    assert current(store, "people") is None
