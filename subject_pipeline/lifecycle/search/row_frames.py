"""Segments of the audit log as frames: many rows at once, as they are stored."""

import io
from collections.abc import Iterator, Sequence

import polars as pl


def segment_rows(segment: bytes, schema: pl.Schema) -> tuple[pl.DataFrame, int]:
    """A stored segment's rows in their order, and how many of its lines are no row; never fails.

    Args:
        segment: its bytes.
        schema: the fields of a row that are wanted; null where a row does not have one.
    """
    lines = segment.partition(b"\n")[2].removesuffix(b"\n").split(b"\n")
    if lines == [b""]:
        return pl.DataFrame(schema=schema), 0
    rows = pl.concat([pl.DataFrame(schema=schema), *_parsed(lines, pl.Schema({"row": pl.Struct(schema)}))])
    return rows, len(lines) - rows.height


def _parsed(lines: Sequence[bytes], schema: pl.Schema) -> Iterator[pl.DataFrame]:
    """The lines that are JSON; one that is not fails all read with it, so halves are tried."""
    try:
        rows = pl.read_ndjson(io.BytesIO(b"\n".join(lines)), schema=schema)
        if rows.height == len(lines):
            yield rows.unnest("row")
            return
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        pass
    if len(lines) > 1:
        yield from _parsed(lines[: len(lines) // 2], schema)
        yield from _parsed(lines[len(lines) // 2 :], schema)
