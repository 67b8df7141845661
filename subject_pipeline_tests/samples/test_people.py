from pathlib import Path

import polars as pl
import pytest

from subject_pipeline.errors import SourceError
from subject_pipeline.samples.people import sample_workers


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    """A seed stands for one file, byte for byte; another seed gives other people."""
    sizes = [sample_workers(5_000, tmp_path / name, seed=seed) for name, seed in (("a", 7), ("b", 7), ("c", 8))]

    first, second, other = ((tmp_path / name).read_bytes() for name in "abc")
    assert first == second
    assert first != other
    assert sizes == [len(first), len(second), len(other)]


def test_ids_are_unique_and_in_no_order(tmp_path: Path) -> None:
    """`worker_id` is int64, unique, never null and sorted neither way; the columns are those that the docs name."""
    path = tmp_path / "people.parquet"
    sample_workers(20_000, path)

    people = pl.read_parquet(path)
    ids = people["worker_id"]
    assert people.schema == {
        "worker_id": pl.Int64,
        "name": pl.String,
        "trade": pl.String,
        "region": pl.String,
        "hired_on": pl.Date,
        "hourly_rate": pl.Float64,
        "active": pl.Boolean,
    }
    assert people.height == ids.n_unique() == 20_000
    assert all(count == 0 for count in people.null_count().row(0))
    assert not ids.is_sorted()
    assert not ids.is_sorted(descending=True)
    assert ids.min() == 100_001


def test_a_smaller_sample_is_people_of_the_larger(tmp_path: Path) -> None:
    """The same person looks the same however many there are."""
    sample_workers(10, tmp_path / "small")
    sample_workers(100, tmp_path / "large")

    small, large = pl.read_parquet(tmp_path / "small"), pl.read_parquet(tmp_path / "large")
    assert small.join(large, on=large.columns, how="semi").height == 10


@pytest.mark.parametrize("rows", [0, 1])
def test_hardly_anybody(tmp_path: Path, rows: int) -> None:
    """No row and one row are samples too."""
    sample_workers(rows, tmp_path / "people.parquet")

    assert pl.read_parquet(tmp_path / "people.parquet").height == rows


def test_the_file_appears_whole(tmp_path: Path) -> None:
    """Folders are made as needed, and nothing but the file is left in them."""
    path = tmp_path / "deep/er/people.parquet"
    sample_workers(10, path)

    assert list(path.parent.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A file in the way of a folder ends in words that name the file wanted."""
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(SourceError, match=r"cannot write .*file/people\.parquet"):
        sample_workers(10, tmp_path / "file/people.parquet")
