import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subject_pipeline.formats.shown_text import cell, shown, without_credentials


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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3://bucket/people/*.parquet", "s3://bucket/people/*.parquet"),
        ("s3://bucket/year=2026/a?.parquet", "s3://bucket/year=2026/a?.parquet"),
        ("gs://bucket/mail@home/x", "gs://bucket/mail@home/x"),
        ("no answer from http://127.0.0.1:9/bucket/a@b", "no answer from http://127.0.0.1:9/bucket/a@b"),
        ("/home/me/a@b?c=d", "/home/me/a@b?c=d"),
        ("cannot open 's3://user:pass@bucket/x': no", "cannot open 's3://***@bucket/x': no"),
        ("s3://AKIA:ab/cd+ef@bucket/x", "s3://***@bucket/x"),
        ("s3://user:p@ss/w@rd@bucket/x", "s3://***@bucket/x"),
        ("s3://user:p?w=#d@bucket/x", "s3://***@bucket/x"),
        ("https://token@host/x", "https://***@host/x"),
        ("https://h/c?sv=2024&sig=abc%3D (3 tries)", "https://h/c?*** (3 tries)"),
        ("az://c/people.parquet#sig=abc", "az://c/people.parquet#***"),
        ("from http://u:p@proxy:80/ to https://v:q@h/?a=b", "from http://***@proxy:80/ to https://***@h/?***"),
    ],
)
def test_credentials_of_urls_are_not_shown(text: str, expected: str) -> None:
    """User, password, query and fragment become `***`; wildcards, ports and paths stay as they are."""
    assert without_credentials(text) == expected
    assert without_credentials(expected) == expected
