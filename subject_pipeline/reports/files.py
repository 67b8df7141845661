"""A report's files: the page, and every number in long form."""

import io
from dataclasses import astuple

import polars as pl

from subject_pipeline.formats.shown_text import cell
from subject_pipeline.reports.long_form import long_form
from subject_pipeline.reports.numbers import ComplianceNumbers
from subject_pipeline.reports.page import page

PAGE = "report.html"

_NUMBERS = pl.Schema(
    {"section": pl.String(), "name": pl.String(), "part": pl.String(), "value": pl.Float64(), "text": pl.String()}
)


def report_files(numbers: ComplianceNumbers) -> dict[str, bytes]:
    """Every file of a report by name; the same bytes for the same numbers."""
    long = pl.DataFrame([astuple(one) for one in long_form(numbers)], schema=_NUMBERS, orient="row")
    out = io.BytesIO()
    long.write_parquet(out, compression="zstd")
    return {"numbers.parquet": out.getvalue(), "numbers.csv": csv(long), PAGE: page(numbers).encode()}


def csv(rows: pl.DataFrame) -> bytes:
    """`_NUMBERS` as CSV (RFC 4180) in UTF-8 that a spreadsheet can open without running anything in it.

    Texts are quoted, and whatever would be taken for a formula has an apostrophe before it. Whole numbers have no
    decimals.
    """
    whole = pl.col("value").cast(pl.Int64, strict=False)
    ready = rows.with_columns(
        pl.col(pl.String).map_elements(cell, return_dtype=pl.String),
        value=pl.when(pl.col("value") == whole).then(whole.cast(pl.String)).otherwise(pl.col("value").cast(pl.String)),
    )
    return ready.write_csv(quote_style="non_numeric", line_terminator="\r\n").encode()
