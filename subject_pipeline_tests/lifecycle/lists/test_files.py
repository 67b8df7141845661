from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from subject_pipeline.errors import ConfigurationError, SourceError
from subject_pipeline.formats.shown_text import cell, from_cell
from subject_pipeline.lifecycle.lists.files import check_ending, safe_cells, write_frames, write_lines

_BEFORE, _FORMULA = ["", " ", "\t", "\x1c", "\u3000", "'"], "=+-@\uff1d\uff20x"
_TEXTS = st.text() | st.tuples(st.sampled_from(_BEFORE), st.sampled_from(_FORMULA)).map("".join)


@given(_TEXTS)
def test_a_cell_is_the_same_by_column(text: str) -> None:
    """What `cell` says of one text, the column says; and where it put an apostrophe, `from_cell` takes it off."""
    written = cell(text)
    assert safe_cells(pl.DataFrame({"text": [text]}))["text"].to_list() == [written]
    if written != text:
        assert from_cell(written) == text


def test_lists_are_joined_and_nothing_is_an_empty_cell(tmp_path: Path) -> None:
    """A CSV cell holds one text."""
    rows = pl.DataFrame({"names": [["a", "b"], []], "other": [None, "-1"]}, schema_overrides={"other": pl.String})
    path = tmp_path / "out.csv"

    assert write_frames(path, [rows], rows.schema) == 2
    assert path.read_text() == 'names,other\na b,\n"",\'-1\n'


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".jsonl"])
def test_a_file_that_cannot_be_finished_does_not_appear(tmp_path: Path, ending: str) -> None:
    """An error half way leaves what was there before."""
    path = tmp_path / f"out{ending}"
    path.write_text("before")
    rows = pl.DataFrame({"a": ["x"]})

    def failing() -> object:
        yield rows
        raise SourceError("gone")

    with pytest.raises(SourceError):
        write_frames(path, failing(), rows.schema)  # type: ignore[arg-type]
    assert [path.read_text(), *tmp_path.iterdir()] == ["before", path]


def test_no_rows_are_a_file_with_columns(tmp_path: Path) -> None:
    """A reader finds the columns in an empty list too."""
    schema = pl.Schema({"a": pl.String, "b": pl.Boolean})
    assert write_frames(tmp_path / "none.csv", [], schema) == 0
    assert (tmp_path / "none.csv").read_text() == "a,b\n"
    assert write_frames(tmp_path / "none.parquet", [], schema) == 0
    assert pl.read_parquet(tmp_path / "none.parquet").schema == schema


def test_lines(tmp_path: Path) -> None:
    """Each with its end."""
    assert write_lines(tmp_path / "lines.jsonl", ["{}", '"ß"']) == 2
    assert (tmp_path / "lines.jsonl").read_bytes() == '{}\n"ß"\n'.encode()


def test_the_ending_says_the_format(tmp_path: Path) -> None:
    """Another one is refused with those that there are."""
    check_ending(tmp_path / "a.csv", (".csv", ".parquet"))
    with pytest.raises(ConfigurationError, match=r"must end in \.csv, \.parquet"):
        check_ending(tmp_path / "a.xlsx", (".csv", ".parquet"))
