"""What is wrong with a source is known before it is staged."""

from pathlib import Path

import polars as pl

from subject_pipeline.candidates.source_quality import examine_source
from subject_pipeline.candidates.staging import current, stage_dataset
from subject_pipeline.store.datasets import DatasetDeclaration
from subject_pipeline.store.opened import SubjectStore


def declared(folder: Path, **files: pl.Series) -> DatasetDeclaration:
    """A source of these files."""
    folder.mkdir(exist_ok=True)
    for name, keys in files.items():
        pl.DataFrame({"id": keys}).write_parquet(folder / f"{name}.parquet")
    return DatasetDeclaration(name="people", source=str(folder), key_column="id")


def test_null_and_repeated_keys_are_counted_over_all_files(tmp_path: Path) -> None:
    """A key is the same text in files of different types; nulls repeat nobody."""
    source = declared(
        tmp_path / "s", a=pl.Series(["1", "2", None, None]), b=pl.Series([2, 3, 3]), c=pl.Series(["4"], dtype=pl.String)
    )
    found = examine_source(source, None, limit=None)
    assert (found.rows, found.read, found.null, found.repeated) == (8, 8, 2, 2)
    assert found.key_type == "int64, large_string"
    assert (found.staged_rows, found.dropped, found.type_changed) == (None, 0.0, False)


def test_only_the_rows_of_the_run_are_looked_at(tmp_path: Path) -> None:
    """The number of rows is the whole source's all the same."""
    source = declared(tmp_path / "s", a=pl.Series(["1", "1"]), b=pl.Series(["2", None, "2"]))
    found = examine_source(source, None, limit=3)
    assert (found.rows, found.read, found.null, found.repeated) == (5, 3, 0, 1)


def test_it_is_compared_with_what_was_staged_last(tmp_path: Path) -> None:
    """Rows that are gone, as a share, and another type."""
    store = SubjectStore.at(str(tmp_path / "store"), wanted_chunks=4)
    stage_dataset(store, declared(tmp_path / "s", a=pl.Series([f"k{number}" for number in range(8)])), limit=None)
    source = declared(tmp_path / "s", a=pl.Series(range(6)))
    found = examine_source(source, current(store, "people"), limit=None)
    assert (found.staged_rows, found.dropped, found.staged_type, found.type_changed) == (8, 0.25, "large_string", True)
    more = declared(tmp_path / "s", a=pl.Series([f"k{number}" for number in range(9)]))
    found = examine_source(more, current(store, "people"), limit=None)
    assert (found.dropped, found.type_changed) == (0.0, False)
