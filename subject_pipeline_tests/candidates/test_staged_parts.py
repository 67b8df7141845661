import datetime as dt
from typing import TYPE_CHECKING

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from obstore.store import MemoryStore

from subject_pipeline.candidates import staged_parts
from subject_pipeline.candidates.candidates import CANDIDATE_SCHEMA, candidates
from subject_pipeline.candidates.staged import ChunkGroup, StagedCandidates
from subject_pipeline.candidates.staged_parts import PartWriter
from subject_pipeline.errors import StagingError, StoreError
from subject_pipeline.objects.protocol import ObjectInfo, ObjectStore
from subject_pipeline.objects.remote import RemoteObjects
from subject_pipeline.store.chunks import ChunkLayout
from subject_pipeline.store.ids import storage_key

if TYPE_CHECKING:
    from collections.abc import Callable

LAYOUT = ChunkLayout(16)
GROUPS = (ChunkGroup(first=0, last=4), ChunkGroup(first=5, last=9), ChunkGroup(first=10, last=15))
FOLDER = "staging/workers/v1/"


def _candidates(values: list[str], start: int = 0) -> pl.DataFrame:
    source = pl.DataFrame(
        {"row": range(start, start + len(values)), "key": values}, schema={"row": pl.UInt64, "key": pl.String}
    )
    return candidates(source, "P/", LAYOUT)


def _stage(objects: ObjectStore, *batches: pl.DataFrame, folder: str = FOLDER) -> tuple[ChunkGroup, ...]:
    writer = PartWriter(objects, folder, GROUPS, LAYOUT, concurrency=2)
    for batch in batches:
        writer.write(batch)
    return writer.close()


def _record(groups: tuple[ChunkGroup, ...] = (), dataset: str = "workers") -> StagedCandidates:
    return StagedCandidates(
        dataset=dataset,
        source="/data/workers.parquet",
        key_column="worker_id",
        candidate_id_prefix="P/",
        safe_views=("public",),
        version="v1",
        limit=None,
        chunk_count=16,
        rows_scanned=3,
        source_rows=3,
        staged_at=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
        groups=groups,
    )


def _staged_keys(objects: ObjectStore) -> list[str]:
    return [item.key for item in objects.list("staging/")]


PEOPLE = _candidates([str(number) for number in range(200)])


def test_what_was_staged_is_read_back(objects: ObjectStore) -> None:
    """Every candidate lies in the parts of the group of its chunk, in source order, and the rows are counted."""
    groups = _stage(objects, PEOPLE.head(50), PEOPLE.slice(50))
    assert [(group.first, group.last) for group in groups] == [(0, 4), (5, 9), (10, 15)]
    for group in groups:
        rows = staged_parts.read_group(objects, group)
        assert rows.schema == CANDIDATE_SCHEMA
        assert rows.equals(PEOPLE.filter(pl.col("chunk_index").is_between(group.first, group.last)))
        assert group.rows == rows.height > 0
    assert sum(group.rows for group in groups) == PEOPLE.height
    assert _staged_keys(objects) == sorted(part for group in groups for part in group.parts)


def test_some_chunks_of_a_group_can_be_read(objects: ObjectStore) -> None:
    """A run of some partitions gets the candidates of their chunks alone."""
    group = _stage(objects, PEOPLE)[1]
    rows = staged_parts.read_group(objects, group, [5, 7])
    assert rows.equals(PEOPLE.filter(pl.col("chunk_index").is_in([5, 7])))
    assert staged_parts.read_group(objects, group, []).is_empty()


def test_many_rows_are_staged_in_more_than_one_part(objects: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bounded number of rows is held in memory: past it, parts are written and the next ones begun."""
    monkeypatch.setattr(staged_parts, "_BUFFERED_ROWS", 60)
    groups = _stage(objects, *(PEOPLE.slice(start, 20) for start in range(0, 200, 20)))
    assert all(len(group.parts) > 1 for group in groups)
    read = pl.concat([staged_parts.read_group(objects, group) for group in groups])
    assert read.sort("row").equals(PEOPLE)


def test_nothing_staged_is_no_part(objects: ObjectStore) -> None:
    """A source without rows leaves no object, and its groups read as empty."""
    for groups in (_stage(objects), _stage(objects, PEOPLE.clear())):
        assert [staged_parts.read_group(objects, group).schema for group in groups] == [CANDIDATE_SCHEMA] * 3
        assert sum(group.rows for group in groups) == 0
    assert sum(len(group.parts) for group in groups) == 0
    assert _staged_keys(objects) == []


def test_a_single_group_takes_all(objects: ObjectStore) -> None:
    """With one group there is nothing to sort apart."""
    writer = PartWriter(objects, FOLDER, (ChunkGroup(first=0, last=15),), LAYOUT, concurrency=1)
    writer.write(PEOPLE)
    (group,) = writer.close()
    assert staged_parts.read_group(objects, group).equals(PEOPLE)


def test_two_attempts_do_not_share_parts(objects: ObjectStore) -> None:
    """Two runs that stage one version at once write under different names, so neither reads the other's half."""
    first, second = _stage(objects, PEOPLE), _stage(objects, PEOPLE)
    assert not {part for group in first for part in group.parts} & {part for group in second for part in group.parts}


def test_discarding_removes_what_was_written(objects: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A staging that fails takes its parts with it and leaves those of others."""
    monkeypatch.setattr(staged_parts, "_BUFFERED_ROWS", 60)
    others = {part for group in _stage(objects, PEOPLE) for part in group.parts}
    writer = PartWriter(objects, FOLDER, GROUPS, LAYOUT, concurrency=2)
    writer.write(PEOPLE)
    assert len(_staged_keys(objects)) > len(others)
    writer.discard()
    assert set(_staged_keys(objects)) == others


def test_discarding_from_a_broken_store_is_silent(objects: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error that made a staging fail is not hidden by another one while cleaning up."""
    writer = PartWriter(objects, FOLDER, GROUPS, LAYOUT, concurrency=2)
    writer.write(PEOPLE)
    writer.close()

    def fail(_: str) -> None:
        raise StoreError("out of order")

    monkeypatch.setattr(objects, "delete", fail)
    writer.discard()


def test_a_part_that_cannot_be_written_fails_the_staging(objects: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that refuses a part is told as it is."""

    def fail(_: str, __: bytes) -> None:
        raise StoreError("out of order")

    monkeypatch.setattr(objects, "replace", fail)
    with pytest.raises(StoreError, match="out of order"):
        _stage(objects, PEOPLE)


def test_a_part_that_is_gone_says_so(objects: ObjectStore) -> None:
    """A part that a newer staging removed is named, with the cure."""
    group = _stage(objects, PEOPLE)[0]
    objects.delete(group.parts[0])
    with pytest.raises(StagingError, match=rf"{group.parts[0]} is gone.*run again"):
        staged_parts.read_group(objects, group)


@pytest.mark.parametrize("damage", ["empty", "text", "half", "spoilt", "other columns"])
def test_a_damaged_part_is_our_own_error(objects: ObjectStore, damage: str, capfd: pytest.CaptureFixture[str]) -> None:
    """A part that is not what was written is named, with the cure, and nothing is printed."""
    group = _stage(objects, PEOPLE)[0]
    whole = objects.get(group.parts[0])
    assert whole is not None
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    damaged = {
        "empty": b"",
        "text": b"id\n1\n",
        "half": whole[: len(whole) // 2],
        "spoilt": whole[:4] + b"\xff" * (footer - 4) + whole[footer:],
        "other columns": staged_parts._encode(pl.DataFrame({"a": [1]})),
    }
    objects.replace(group.parts[0], damaged[damage])
    with pytest.raises(StagingError, match=rf"{group.parts[0]} is damaged: materialize candidate_chunks again"):
        staged_parts.read_group(objects, group)
    assert capfd.readouterr() == ("", "")


def test_a_record_is_found_again(objects: ObjectStore) -> None:
    """A dataset's record comes back as it was written; a later one replaces it, others are beside it."""
    groups = _stage(objects, PEOPLE)
    staged_parts.write_record(objects, _record())
    staged_parts.write_record(objects, _record(groups))
    staged_parts.write_record(objects, _record(dataset="drivers"))
    assert staged_parts.read_record(objects, "workers") == _record(groups)
    assert staged_parts.read_record(objects, "drivers") == _record(dataset="drivers")
    assert staged_parts.datasets_staged(objects) == ["drivers", "workers"]


def test_a_dataset_that_was_never_staged_says_so(objects: ObjectStore) -> None:
    """Without a record the message says what to do."""
    with pytest.raises(StagingError, match=r"nothing is staged for dataset 'workers'.*candidate_chunks first"):
        staged_parts.read_record(objects, "workers")
    assert staged_parts.datasets_staged(objects) == []


@pytest.mark.parametrize("data", [b"", b"{", b"{}", b"\xff", b"[]"])
def test_a_damaged_record_is_our_own_error(objects: ObjectStore, data: bytes) -> None:
    """A record that cannot be read is named, with the cure."""
    objects.replace("staging/workers/staged.json", data)
    with pytest.raises(StagingError, match=r"record of dataset 'workers' is damaged.*candidate_chunks again"):
        staged_parts.read_record(objects, "workers")


def test_removing_takes_all_below_a_prefix_and_nothing_else(objects: ObjectStore) -> None:
    """A backfill's private folder goes as a whole; the dataset's own staging stays."""
    _stage(objects, PEOPLE)
    kept = _staged_keys(objects)
    private = staged_parts.private_folder_of("workers", "abc")
    _stage(objects, PEOPLE, folder=private)
    assert len(_staged_keys(objects)) > len(kept)
    staged_parts.remove(objects, private)
    assert _staged_keys(objects) == kept


def test_stale_parts_go_and_living_ones_stay(objects: ObjectStore) -> None:
    """What the record names, what another run stages now and other datasets stay; superseded and old parts go."""
    for key in ("workers/v2/kept", "workers/v1/superseded", "workers/v2/being-staged", "drivers/v1/other"):
        objects.replace(f"staging/{key}", b"")
    staged_parts.write_record(objects, _record())
    long_ago = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    kept, superseded = {"staging/workers/v2/kept"}, {"staging/workers/v1/superseded"}
    assert staged_parts.remove_stale(objects, "workers", kept, superseded, before=long_ago) == 1
    assert _staged_keys(objects) == [
        "staging/drivers/v1/other",
        "staging/workers/staged.json",
        "staging/workers/v2/being-staged",
        "staging/workers/v2/kept",
    ]
    soon = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=1)
    assert staged_parts.remove_stale(objects, "workers", kept, set(), before=soon) == 1
    assert _staged_keys(objects) == [
        "staging/drivers/v1/other",
        "staging/workers/staged.json",
        "staging/workers/v2/kept",
    ]


def test_a_part_that_is_both_kept_and_superseded_stays(objects: ObjectStore) -> None:
    """What the current record names is never removed."""
    objects.replace("staging/workers/v1/part", b"")
    part = {"staging/workers/v1/part"}
    soon = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=1)
    assert staged_parts.remove_stale(objects, "workers", part, part, before=soon) == 0


@pytest.mark.parametrize("candidate", ["P/0", "P/117", "P/199"])
def test_a_forgotten_candidate_is_in_no_part(objects: ObjectStore, candidate: str) -> None:
    """An erased id is taken out of every dataset's parts, and out of private ones; all others stay."""
    staged = [
        *_stage(objects, PEOPLE),
        *_stage(objects, PEOPLE, folder="staging/drivers/v9/"),
        *_stage(objects, PEOPLE, folder=staged_parts.private_folder_of("workers", "abc")),
    ]
    assert staged_parts.forget(objects, LAYOUT, [candidate]) == 3
    read = pl.concat([staged_parts.read_group(objects, group) for group in staged])
    assert read.height == 3 * (PEOPLE.height - 1)
    assert candidate not in read["candidate_id"]
    assert staged_parts.forget(objects, LAYOUT, [candidate]) == 0


def test_forgetting_spares_another_id_with_the_same_storage_key(objects: ObjectStore) -> None:
    """`P_1` is not `P/1`: the id itself is compared."""
    staged = _stage(objects, PEOPLE)
    assert staged_parts.forget(objects, LAYOUT, ["P_1"]) == 0
    assert sum(staged_parts.read_group(objects, group).height for group in staged) == PEOPLE.height


def test_forgetting_reads_only_the_parts_of_its_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three groups the parts of one are read, told by their names."""
    objects = RemoteObjects(MemoryStore())
    groups = _stage(objects, PEOPLE)
    read: list[str] = []
    real: Callable[[str], bytes | None] = objects.get

    def get(key: str) -> bytes | None:
        read.append(key)
        return real(key)

    monkeypatch.setattr(objects, "get", get)
    key = storage_key("P/7")
    at = LAYOUT.indices([LAYOUT.chunk_of(key)])[0]
    staged_parts.forget(objects, LAYOUT, ["P/7"])
    assert read == [part for group in groups if group.first <= at <= group.last for part in group.parts]


def test_forgetting_the_only_candidate_leaves_an_empty_part(objects: ObjectStore) -> None:
    """A part that loses its last row can still be read by a run that has its name."""
    groups = _stage(objects, PEOPLE.head(1))
    staged_parts.forget(objects, LAYOUT, [PEOPLE["candidate_id"][0]])
    assert all(staged_parts.read_group(objects, group).schema == CANDIDATE_SCHEMA for group in groups)
    assert sum(staged_parts.read_group(objects, group).height for group in groups) == 0


def test_a_part_that_vanishes_while_forgetting_is_forgotten(
    objects: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that stages again beside an erasure, and removes a part that was listed, does not make the erasure fail."""
    _stage(objects, PEOPLE)
    listed: list[ObjectInfo] = list(objects.list("staging/"))
    staged_parts.remove(objects, FOLDER)
    monkeypatch.setattr(objects, "list", lambda _: iter(listed))
    assert staged_parts.forget(objects, LAYOUT, ["P/7"]) == 0


@settings(max_examples=settings().max_examples * 20 // 100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.text("ab/_é", max_size=4), max_size=8), max_size=5), st.integers(1, 10))
def test_no_candidate_is_lost_or_doubled_by_staging(batches: list[list[str]], buffered: int) -> None:
    """However the rows come and wherever the buffer ends, each is staged once, in the group of its chunk."""
    objects = RemoteObjects(MemoryStore())
    starts = [sum(map(len, batches[:at])) for at in range(len(batches))]
    frames = [_candidates(batch, start) for batch, start in zip(batches, starts, strict=True)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(staged_parts, "_BUFFERED_ROWS", buffered)
        groups = _stage(objects, *frames)
    whole = pl.concat([_candidates([]), *frames])
    read = pl.concat([staged_parts.read_group(objects, group) for group in groups])
    assert read.sort("row").equals(whole)
    assert sum(group.rows for group in groups) == whole.height
    for group in groups:
        assert staged_parts.read_group(objects, group)["chunk_index"].is_between(group.first, group.last).all()
