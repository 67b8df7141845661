import os
from pathlib import Path

import pytest

from subject_pipeline.candidates.staging import stage_dataset
from subject_pipeline.errors import ConfigurationError
from subject_pipeline.registry.backfill import backfill, count_subjects
from subject_pipeline.registry.maintenance import Compaction, compact
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline_tests.conftest import Declared, listing


@pytest.mark.long
def test_compacting_leaves_one_file_a_chunk(tmp_path: Path, declared: Declared) -> None:
    """Small files become one per chunk, every subject is still there, and the report says so."""
    store = SubjectStore.at(str(tmp_path / "store"), wanted_chunks=2)
    for number in range(4):
        backfill(store, declared(range(number * 20, number * 20 + 20), f"d{number}"))
    table = tmp_path / "store/subjects"

    def files() -> list[Path]:
        return list(table.glob("chunk=*/*.parquet"))

    before = [path.stat().st_size for path in files()]
    assert len(before) == 8

    done = compact(store)

    assert (done.files_before, done.files_after) == (8, 2)
    assert done.bytes_before == sum(before)
    assert done.bytes_after == sum(path.stat().st_size for path in files())
    assert len(files()) == 2
    assert count_subjects(store) == 80
    assert backfill(store, declared(range(80), "all")).counts.skipped == 80


def test_compacting_a_second_time_finds_nothing_to_do(store: SubjectStore, declared: Declared) -> None:
    """A compacted store keeps its files."""
    backfill(store, declared(range(20)))
    once = compact(store)

    again = compact(store)

    assert (again.files_before, again.files_after) == (once.files_after, once.files_after)


def test_compacting_an_unused_store_creates_nothing(store: SubjectStore, tmp_path: Path) -> None:
    """Where nothing was ever written there is nothing to compact, and nothing comes to be."""
    assert compact(store) == Compaction(0, 0, 0, 0, 0)
    assert listing(tmp_path) == {}


def test_compacting_removes_what_killed_runs_staged(store: SubjectStore, declared: Declared, tmp_path: Path) -> None:
    """Staged leftovers older than a day go; what is staged now, and what may be in flight, stays."""
    staged = stage_dataset(store, declared(["A"]), limit=None)
    old = "staging/people/backfill-0/chunk-00..chunk-3f.0000.aaaaaaaaaaaa.parquet"
    gone = "staging/forgotten/backfill-0/chunk-00..chunk-3f.0000.aaaaaaaaaaaa.parquet"
    fresh = "staging/people/backfill-1/chunk-00..chunk-3f.0000.aaaaaaaaaaaa.parquet"
    for key in (old, gone, fresh):
        store.objects.replace(key, b"")
    for key in (old, gone):
        os.utime(tmp_path / "store" / key, (0, 0))

    assert compact(store).staged_removed == 2
    assert {item.key for item in store.objects.list("staging/")} == {
        *staged.parts,
        "staging/people/staged.json",
        fresh,
    }


def test_compacting_with_a_contradicting_chunk_count_is_refused(
    store: SubjectStore, declared: Declared, tmp_path: Path
) -> None:
    """Maintenance asks the layout first, as everything does."""
    backfill(store, declared(["A"]))

    with pytest.raises(ConfigurationError):
        compact(SubjectStore.at(str(tmp_path / "store"), wanted_chunks=2))


def test_what_a_killed_writer_left_staged_goes_once_it_is_a_day_old(store: SubjectStore) -> None:
    """Compaction removes old leftovers of local writes, and leaves those that may be a live writer's."""
    store.layout_or_create()
    folder = Path(str(store.location.local_path)) / ".staging"
    old, young = folder / "old", folder / "young"
    for leftover in (old, young):
        leftover.write_bytes(b"W-1")
    os.utime(old, (1, 1))
    compact(store)
    assert (old.exists(), young.exists()) == (False, True)
