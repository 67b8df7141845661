"""A report's files: the page, every number in long form, and the subjects that it names."""

import io
from collections.abc import Sequence
from dataclasses import astuple

import polars as pl

from subject_pipeline.formats.shown_text import cell
from subject_pipeline.formats.times import COLUMN_FORMAT
from subject_pipeline.reports.long_form import long_form
from subject_pipeline.reports.numbers import ComplianceNumbers, HeldSubject
from subject_pipeline.reports.page import page

PAGE = "report.html"

_NUMBERS = pl.Schema(
    {"section": pl.String(), "name": pl.String(), "part": pl.String(), "value": pl.Float64(), "text": pl.String()}
)
_HELD = pl.Schema(
    {
        "candidate_id": pl.String(),
        "data": pl.String(),
        "since": pl.Datetime("us", "UTC"),
        "days": pl.Int64(),
        "why": pl.String(),
    }
)
_ID = pl.Schema({"candidate_id": pl.String()})


def report_files(numbers: ComplianceNumbers) -> dict[str, bytes]:
    """Every file of a report by name; the same bytes for the same numbers."""
    long = pl.DataFrame([astuple(one) for one in long_form(numbers)], schema=_NUMBERS, orient="row")
    out = io.BytesIO()
    long.write_parquet(out, compression="zstd")
    subjects = numbers.subjects
    return {
        "numbers.parquet": out.getvalue(),
        "numbers.csv": csv(long),
        "retention_overdue.csv": csv(held_frame(subjects.overdue_named)),
        "consent_pending.csv": csv(held_frame(subjects.pending_named)),
        "unregistered.csv": csv(pl.DataFrame({"candidate_id": numbers.accesses.unregistered_named}, schema=_ID)),
        PAGE: page(numbers).encode(),
    }


def held_frame(held: Sequence[HeldSubject]) -> pl.DataFrame:
    """Named subjects, one a row."""
    return pl.DataFrame([astuple(one) for one in held], schema=_HELD, orient="row")


def csv(rows: pl.DataFrame) -> bytes:
    """CSV (RFC 4180) in UTF-8 that a spreadsheet can open without running anything in it.

    Texts are quoted, and whatever would be taken for a formula has an apostrophe before it. Whole numbers have no
    decimals, times end in `Z`.
    """
    ready = rows.with_columns(
        pl.col(pl.String).map_elements(cell, return_dtype=pl.String),
        pl.col(pl.Datetime).dt.to_string(COLUMN_FORMAT),
    )
    if "value" in rows.columns:
        whole = pl.col("value").cast(pl.Int64, strict=False)
        text = pl.when(pl.col("value") == whole).then(whole.cast(pl.String)).otherwise(pl.col("value").cast(pl.String))
        ready = ready.with_columns(value=text)
    return ready.write_csv(quote_style="non_numeric", line_terminator="\r\n").encode()
