"""Files of access events, JSON lines or parquet, local or in a store, read as a stream of lines with their places."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from subject_pipeline.errors import EventError, SourceError
from subject_pipeline.formats.strict_json import load_json
from subject_pipeline.ingestion.parquet_events import parquet_lines

MAX_LINE = 4 << 20
"""Bytes of a line; a longer one is rejected and never wholly in memory."""

_LINES = {".jsonl", ".ndjson"}
_PARQUET = {".parquet", ".pq"}
_REMEMBERED = 80


@dataclass(slots=True)
class EventLine:
    """One line of a file of events.

    Attributes:
        number: from 1; of a parquet file the row's.
        raw: what the line is hashed over; of a parquet row its known columns as JSON, without cells that cannot be
            taken, and nothing where a cell is too long.
        value: what it holds; None if `problem` says why not.
        problem: why it cannot be an event; empty if no reason is known.
    """

    number: int
    raw: bytes
    value: Any
    problem: str = ""


def is_event_file(name: str) -> bool:
    """Whether a file's name says that it holds events; one that begins with `.` or `_` is unfinished work.

    A name that is not UTF-8 does not.
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    path = Path(name)
    return path.suffix in _LINES | _PARQUET and not path.name.startswith((".", "_"))


def check_event_file(name: str) -> None:
    """Refuse a file whose name does not say what is in it.

    Raises:
        SourceError: it ends in none of .jsonl, .ndjson, .parquet and .pq.
    """
    if Path(name).suffix not in _LINES | _PARQUET:
        raise SourceError(f"cannot read events from {name}: name it .jsonl, .ndjson, .parquet or .pq")


def read_events(name: str, file: BinaryIO) -> Iterator[EventLine]:
    """The lines of a file, in order; one that holds no JSON is returned with its problem and does not stop the others.

    Args:
        name: the file's, whose ending says its format.
        file: open for reading; a parquet file must be seekable.

    Raises:
        SourceError: the file cannot be read, or is not parquet.
    """
    check_event_file(name)
    try:
        yield from _rows(name, file) if Path(name).suffix in _PARQUET else _lines(file)
    except OSError as error:
        raise SourceError(f"cannot read events from {name}: {error.strerror or error}") from error


@contextlib.contextmanager
def local_events(path: Path) -> Iterator[BinaryIO]:
    """A local file of events, open for reading.

    Raises:
        SourceError: there is no such file, or it cannot be opened.
    """
    check_event_file(str(path))
    try:
        if path.is_dir():
            raise SourceError(f"cannot read events from {path}: it is a folder")
        with path.open("rb") as file:
            yield file
    except FileNotFoundError as error:
        raise SourceError(f"cannot read events from {path}: there is no such file") from error
    except PermissionError as error:
        raise SourceError(f"cannot read events from {path}: {error.strerror}") from error


def _lines(file: BinaryIO) -> Iterator[EventLine]:
    number = 0
    while line := file.readline(MAX_LINE):
        number += 1
        if len(line) == MAX_LINE and not line.endswith(b"\n"):
            while (rest := file.readline(MAX_LINE)) and not rest.endswith(b"\n"):
                pass
            yield EventLine(number, line[:_REMEMBERED], None, f"longer than {MAX_LINE:,} bytes")
            continue
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        line = line.strip()
        if not line:
            continue
        try:
            value = load_json(line)
        except EventError as error:
            yield EventLine(number, line, None, str(error))
        else:
            yield EventLine(number, line, value)


def _rows(name: str, file: BinaryIO) -> Iterator[EventLine]:
    for number, line in enumerate(parquet_lines(name, file), start=1):
        row = orjson.loads(line)
        if isinstance(row, list):
            reason, rest = row
            yield EventLine(number, orjson.dumps(rest) if rest else b"", None, reason)
            continue
        payload = row.get("payload")
        problem = ""
        if payload is not None:
            try:
                row["payload"] = load_json(payload.encode())
            except EventError as error:
                problem = f"payload: {error}"
        yield EventLine(number, line, None if problem else row, problem)
