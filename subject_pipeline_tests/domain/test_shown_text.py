import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subject_pipeline.domain.shown_text import cell, shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("WORKER-1", "WORKER-1"),
        ("\u05e9\u05dc\u05d5\u05dd \N{GRINNING FACE} é", "\u05e9\u05dc\u05d5\u05dd \N{GRINNING FACE} é"),
        ("a\u202eb", "a\\u{202e}b"),
        ("a\x00\n\tb", "a\\u{0}\\u{a}\\u{9}b"),
        ("\ud800", "\\u{d800}"),
        ("x" * 121, "x" * 119 + "…"),
        ("x" * 120, "x" * 120),
    ],
)
def test_text_is_shown_with_what_is_invisible_spelt_out(text: str, expected: str) -> None:
    """Letters of any script stay; controls, overrides and lone surrogates are named; long texts are cut."""
    assert shown(text) == expected


@given(st.text())
def test_what_is_shown_is_printable(text: str) -> None:
    """Whatever comes in, nothing invisible comes out."""
    assert shown(text).isprintable()


@pytest.mark.parametrize(
    "text", ["=cmd()", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "\n=1", "\uff1d1", "\u00a0=1"]
)
def test_a_formula_is_made_text(text: str) -> None:
    """An apostrophe goes before what a spreadsheet would run, white space before it or not."""
    assert cell(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "WORKER-1", "a=b", "'=1", '"=1"', "1-2"])
def test_other_text_stays(text: str) -> None:
    """Nothing is put before what is no formula."""
    assert cell(text) == text


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_no_cell_begins_as_a_formula(text: str) -> None:
    """Read back from CSV, no cell begins with a formula's character."""
    out = io.StringIO()
    csv.writer(out).writerow([cell(text)])
    (row,) = csv.reader(io.StringIO(out.getvalue(), newline=""))
    assert not row[0].lstrip().startswith(tuple("=+-@"))
