"""Tables written row group by row group, so that memory does not grow with the file."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from subject_pipeline.errors import SourceError
from subject_pipeline.formats.shown_text import cell
from subject_pipeline.objects.durability import whole_file

Write = Callable[[pl.DataFrame], None]


@contextmanager
def table_file(path: Path, schema: pl.Schema) -> Iterator[Write]:
    """Writes frames of one schema to a `.csv`, `.parquet` or `.jsonl` file, which is there once it is whole.

    A CSV's cells hold nothing that a spreadsheet would take for a formula; a list is joined by blanks.

    Raises:
        SourceError: another suffix, or the file cannot be written.
    """
    if path.suffix not in _WRITERS:
        raise SourceError(f"cannot write {path}: its name must end in {', '.join(_WRITERS)}")
    with whole_file(path) as unfinished, _WRITERS[path.suffix](unfinished, schema) as write:
        yield write


@contextmanager
def _parquet(path: Path, schema: pl.Schema) -> Iterator[Write]:
    with pq.ParquetWriter(path, pl.DataFrame(schema=schema).to_arrow().schema, compression="zstd") as out:
        yield lambda rows: out.write_table(rows.to_arrow())


@contextmanager
def _csv(path: Path, schema: pl.Schema) -> Iterator[Write]:
    with path.open("wb") as out:
        out.write(csv(pl.DataFrame(schema=schema)))
        yield lambda rows: _put(out, csv(rows, header=False))


@contextmanager
def _jsonl(path: Path, _: pl.Schema) -> Iterator[Write]:
    with path.open("wb") as out:

        def write(rows: pl.DataFrame) -> None:
            text = io.BytesIO()
            rows.write_ndjson(text)
            out.write(text.getvalue())

        yield write


def _put(out: io.BufferedWriter, data: bytes) -> None:
    out.write(data)


def csv(rows: pl.DataFrame, *, header: bool = True) -> bytes:
    """CSV (RFC 4180) in UTF-8 that a spreadsheet can open without running anything in it."""
    ready = rows.with_columns(pl.col(pl.List(pl.String)).list.join(" ")).with_columns(
        pl.col(pl.String).map_elements(cell, return_dtype=pl.String)
    )
    return ready.write_csv(include_header=header, quote_style="non_numeric", line_terminator="\r\n").encode()


_WRITERS = {".csv": _csv, ".parquet": _parquet, ".jsonl": _jsonl}
