"""Files of decisions: JSON lines, parquet, or what a spreadsheet program makes of a table of them (CSV)."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import orjson

from subject_pipeline.errors import SourceError
from subject_pipeline.ingestion.line_files import MAX_LINE, FileLine, check_ending, json_lines
from subject_pipeline.ingestion.parquet_files import parquet_lines
from subject_pipeline.ingestion.parquet_worker import CONTENTS, DECISIONS

_PARQUET = (".parquet", ".pq")
ENDINGS = (".jsonl", ".ndjson", ".csv", *_PARQUET)
"""How the names of decision files end."""

_DELIMITERS = ";,\t"
_INFORMS = "about_"


def read_decisions(name: str, file: BinaryIO) -> Iterator[FileLine]:
    """The lines of a file, in order; one that cannot be taken is returned with its problem and stops no other.

    Args:
        name: the file's, whose ending says its format.
        file: open for reading; a parquet file must be seekable.

    Raises:
        SourceError: the file cannot be read, or has a column that no decision has, or one twice.
    """
    check_ending(name, ENDINGS)
    suffix = Path(name).suffix
    try:
        if suffix in _PARQUET:
            yield from parquet_lines(name, file, DECISIONS)
        elif suffix == ".csv":
            yield from _table(name, file)
        else:
            yield from json_lines(file)
    except OSError as error:
        raise SourceError(f"cannot read {name}: {error.strerror or error}") from error


def _table(name: str, file: BinaryIO) -> Iterator[FileLine]:
    """The rows of a CSV file, whose first line names the columns; numbered by the line on which each begins."""
    texts = _texts(name, file)
    header, start = next(texts, ""), 2
    if header.lower().startswith("sep="):  # a spreadsheet's own way to name the delimiter
        header, start = next(texts, ""), 3
    delimiter = max(_DELIMITERS, key=header.count)
    columns = [column.strip() for column in next(csv.reader([header], delimiter=delimiter), [])]
    _check_columns(name, columns)
    before = start
    rows = csv.reader(texts, delimiter=delimiter)
    try:
        for cells in rows:
            number, before = before, start + rows.line_num
            if not any(cell.strip() for cell in cells):
                continue
            raw = orjson.dumps(cells)
            if len(cells) > len(columns) and any(cells[len(columns) :]):
                yield FileLine(number, raw, None, f"has {len(cells)} cells, and there are {len(columns)} columns")
            else:
                yield FileLine(number, raw, dict(zip(columns, cells, strict=False)))
    except csv.Error as error:
        raise SourceError(f"cannot read {name}: line {before}: {error}") from error


def _texts(name: str, file: BinaryIO) -> Iterator[str]:
    """Lines of a text file, with their ends; none is longer than what may be in memory."""
    first = True
    while line := file.readline(MAX_LINE):
        if len(line) == MAX_LINE:
            raise SourceError(f"cannot read {name}: a line is longer than {MAX_LINE:,} bytes")
        try:
            yield (line.removeprefix(b"\xef\xbb\xbf") if first else line).decode()
        except UnicodeDecodeError:
            raise SourceError(f"cannot read {name}: it is not UTF-8 text; save it as `CSV UTF-8`") from None
        first = False


def _check_columns(name: str, columns: Sequence[str]) -> None:
    known = CONTENTS[DECISIONS]
    for column in columns:
        if column not in known and not column.startswith(_INFORMS):
            raise SourceError(f"cannot read {name}: a decision has no column {column[:80]!r}")
        if columns.count(column) > 1:
            raise SourceError(f"cannot read {name}: it has the column {column} twice")
    for column in ("decision_id", "candidate_id", "kind"):
        if column not in columns:
            raise SourceError(f"cannot read {name}: it has no column {column}")
