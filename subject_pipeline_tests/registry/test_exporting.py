import json
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from subject_pipeline.errors import ConfigurationError, SourceError
from subject_pipeline.manifests.frames import TABLE_SCHEMA
from subject_pipeline.manifests.snapshot import Snapshot
from subject_pipeline.manifests.table import ManifestTable
from subject_pipeline.registry import exporting
from subject_pipeline.registry.backfill import backfill
from subject_pipeline.registry.exporting import export
from subject_pipeline.registry.subjects import SubjectRegistry
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline_tests.conftest import Declared, ManyGroups

_IDS = [f"P{number}" for number in range(40)] + ["ß/1", 'quote"\n\\', "\x01"]


@pytest.fixture
def filled(store: SubjectStore, declared: Declared) -> SubjectStore:
    """A store with subjects."""
    backfill(store, declared(_IDS))
    return store


def _sorted_ids(store: SubjectStore) -> list[str]:
    snapshot = ManifestTable(store).snapshot()
    assert snapshot is not None
    return snapshot.rows().sort("chunk", "storage_key")["candidate_id"].to_list()


@pytest.mark.long
def test_json_lines_are_the_manifests_sorted(filled: SubjectStore, tmp_path: Path) -> None:
    """Each line is one manifest as `get` gives it, sorted by chunk and storage key, with one LF after each."""
    out = tmp_path / "out.jsonl"

    assert export(filled, out) == len(_IDS)

    text = out.read_bytes().decode()
    lines = text.removesuffix("\n").split("\n")
    assert text.endswith("}\n")
    assert [json.loads(line)["candidate_id"] for line in lines] == _sorted_ids(filled)
    registry = SubjectRegistry(filled)
    assert lines == [registry.get(candidate).to_json() for candidate in _sorted_ids(filled)]


def test_parquet_has_the_tables_columns_sorted(filled: SubjectStore, tmp_path: Path) -> None:
    """The parquet file has the table's schema and rows, sorted by chunk and storage key."""
    out = tmp_path / "out.parquet"

    assert export(filled, out) == len(_IDS)

    rows = pl.read_parquet(out)
    assert rows.schema == TABLE_SCHEMA
    snapshot = ManifestTable(filled).snapshot()
    assert snapshot is not None
    assert rows.equals(snapshot.rows().sort("chunk", "storage_key"))


@pytest.mark.parametrize("name", ["out.jsonl", "out.ndjson", "out.parquet"])
def test_an_unused_store_exports_nothing(store: SubjectStore, tmp_path: Path, name: str) -> None:
    """Without subjects the file is whole and empty; the store is not created."""
    out = tmp_path / name

    assert export(store, out) == 0

    if out.suffix == ".parquet":
        assert pl.read_parquet(out).schema == TABLE_SCHEMA
        assert pl.read_parquet(out).height == 0
    else:
        assert out.read_bytes() == b""
    assert not (tmp_path / "store").exists()


@pytest.mark.long
@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_many_groups_are_one_sorted_file(
    filled: SubjectStore, tmp_path: Path, many_groups: ManyGroups, suffix: str
) -> None:
    """A store that is read group by group is exported the same, byte for byte or row for row."""
    whole, grouped = tmp_path / f"whole.{suffix}", tmp_path / f"grouped.{suffix}"
    export(filled, whole)
    many_groups(5)

    assert export(filled, grouped) == len(_IDS)
    if suffix == "parquet":
        assert pl.read_parquet(grouped).equals(pl.read_parquet(whole))
    else:
        assert grouped.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("name", ["out.csv", "out", "out.json", "out.jsonl.gz"])
def test_a_name_that_says_no_format_is_refused(filled: SubjectStore, tmp_path: Path, name: str) -> None:
    """The file's name says how to write; any other is refused and nothing is written."""
    with pytest.raises(ConfigurationError, match=r"\.jsonl or \.parquet"):
        export(filled, tmp_path / name)
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_a_file_that_cannot_be_written_whole_stays_as_it_was(
    filled: SubjectStore, tmp_path: Path, many_groups: ManyGroups, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    """Where exporting fails half way the earlier file is untouched, and no part of the new one is left."""
    many_groups(5)
    out = tmp_path / "exports" / f"out.{suffix}"
    out.parent.mkdir()
    out.write_bytes(b"earlier")
    rows = Snapshot.rows
    calls = iter(range(100))

    def failing(snapshot: Snapshot, *args: object) -> pl.DataFrame:
        if next(calls) == 3:
            raise KeyboardInterrupt
        return rows(snapshot, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Snapshot, "rows", failing)
    with pytest.raises(KeyboardInterrupt):
        export(filled, out)

    assert out.read_bytes() == b"earlier"
    assert list(out.parent.iterdir()) == [out]


def test_an_earlier_file_is_replaced(filled: SubjectStore, tmp_path: Path) -> None:
    """A second export takes the place of the first."""
    out = tmp_path / "out.jsonl"
    out.write_text("earlier")

    export(filled, out)

    assert out.read_text().count("\n") == len(_IDS)


def test_a_folder_that_is_not_there_is_named(filled: SubjectStore, tmp_path: Path) -> None:
    """A file that cannot be written is named with the reason."""
    with pytest.raises(SourceError, match=r"missing/out\.jsonl: No such file"):
        export(filled, tmp_path / "missing" / "out.jsonl")
    with pytest.raises(SourceError, match=r"missing/out\.parquet"):
        export(filled, tmp_path / "missing" / "out.parquet")


@pytest.mark.long
def test_a_vacuum_under_the_reader_means_to_read_again(
    filled: SubjectStore, tmp_path: Path, many_groups: ManyGroups, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files removed while an export reads them make it start again, with one whole version in the end."""
    many_groups(5)
    write_lines = exporting._write_lines
    raced = False

    def racing(path: Path, frames: Iterator[pl.DataFrame]) -> int:
        nonlocal raced
        if not raced:
            raced = True
            SubjectRegistry(filled).delete("P7")
            SubjectRegistry(filled).delete("P8")
            snapshot = ManifestTable(filled).snapshot()
            assert snapshot is not None
            snapshot.vacuum()
        return write_lines(path, frames)

    monkeypatch.setattr(exporting, "_write_lines", racing)
    out = tmp_path / "out.jsonl"

    assert export(filled, out) == len(_IDS) - 2
    assert [json.loads(line)["candidate_id"] for line in out.read_text().splitlines()] == _sorted_ids(filled)
