"""Frames as one file of CSV, parquet or JSON lines, which appears whole or not at all."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from subject_pipeline.errors import ConfigurationError
from subject_pipeline.objects.durability import whole_file

CSV, PARQUET, JSON_LINES = ".csv", ".parquet", ".jsonl"

_LOOKS_LIKE_A_FORMULA = r"^[\s\x1c-\x1f]*[=+\-@\x{ff1d}\x{ff0b}\x{ff0d}\x{ff20}]|^[\t\r\n]"
"""What `cell` puts an apostrophe before."""


def check_ending(path: Path, endings: Sequence[str]) -> None:
    """Refuse a file whose name does not say what to write.

    Raises:
        ConfigurationError: the endings that there are.
    """
    if path.suffix not in endings:
        raise ConfigurationError(f"cannot write {path}: its name must end in {', '.join(endings)}")


def write_frames(path: Path, frames: Iterable[pl.DataFrame], schema: pl.Schema) -> int:
    """Write frames to a file by its ending; returns the number of rows.

    In CSV a text that a spreadsheet would take for a formula gets an apostrophe before it (`cell`), and lists become
    their items with spaces between.

    Args:
        path: named `.csv`, `.parquet` or `.jsonl`.
        frames: of `schema`.
        schema: what a file without rows has too.

    Raises:
        SourceError: the file cannot be written.
    """
    with whole_file(path) as unfinished:
        if path.suffix == PARQUET:
            return _write_parquet(unfinished, frames, schema)
        return _write_text(unfinished, frames, schema, csv=path.suffix == CSV)


def write_lines(path: Path, lines: Iterable[str]) -> int:
    """Write lines to a file, each with its end; returns their number.

    Raises:
        SourceError: the file cannot be written.
    """
    count = 0
    with whole_file(path) as unfinished, unfinished.open("w", encoding="utf-8", newline="\n") as file:
        for line in lines:
            file.write(line + "\n")
            count += 1
    return count


def _write_parquet(path: Path, frames: Iterable[pl.DataFrame], schema: pl.Schema) -> int:
    count = 0
    columns = pl.DataFrame(schema=schema).to_arrow().schema
    with pq.ParquetWriter(path, columns, compression="zstd") as writer:
        for rows in frames:
            writer.write_table(rows.to_arrow().cast(columns))
            count += rows.height
    return count


def _write_text(path: Path, frames: Iterable[pl.DataFrame], schema: pl.Schema, *, csv: bool) -> int:
    count = 0
    with path.open("wb") as file:
        if csv:
            pl.DataFrame(schema=dict.fromkeys(schema, pl.String)).write_csv(file)
        for rows in frames:
            if csv:
                safe_cells(rows).write_csv(file, include_header=False)
            else:
                rows.write_ndjson(file)
            count += rows.height
    return count


def safe_cells(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows as cells of CSV."""
    flat = rows.with_columns(
        pl.col(name).list.join(" ") for name, dtype in rows.schema.items() if isinstance(dtype, pl.List)
    )
    return flat.with_columns(_cell(name) for name, dtype in flat.schema.items() if dtype == pl.String)


def _cell(name: str) -> pl.Expr:
    text = pl.col(name)
    return pl.when(text.str.contains(_LOOKS_LIKE_A_FORMULA)).then("'" + text).otherwise(text).alias(name)
