"""Files of access events, JSON lines or parquet, local or in a store, read as a stream of lines with their places."""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from subject_pipeline.errors import EventError, SourceError
from subject_pipeline.formats.strict_json import load_json
from subject_pipeline.ingestion.line_files import FileLine, LineFile, check_ending, json_lines
from subject_pipeline.ingestion.parquet_files import parquet_lines
from subject_pipeline.ingestion.parquet_worker import EVENTS

_PARQUET = (".parquet", ".pq")
ENDINGS = (".jsonl", ".ndjson", *_PARQUET)
"""How the names of event files end."""


def is_event_file(name: str) -> bool:
    """Whether a file's name says that it holds events; one that begins with `.` or `_` is unfinished work.

    A name that is not UTF-8 does not.
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    path = Path(name)
    return path.suffix in ENDINGS and not path.name.startswith((".", "_"))


def local_file(path: Path) -> LineFile:
    """A file of events on a local disk.

    Raises:
        SourceError: there is no such file, or its name does not say what is in it.
    """
    return LineFile.local(path, ENDINGS)


def read_events(name: str, file: BinaryIO) -> Iterator[FileLine]:
    """The lines of a file, in order; one that holds no JSON is returned with its problem and does not stop the others.

    Args:
        name: the file's, whose ending says its format.
        file: open for reading; a parquet file must be seekable.

    Raises:
        SourceError: the file cannot be read, or is not parquet.
    """
    check_ending(name, ENDINGS)
    try:
        yield from _rows(name, file) if Path(name).suffix in _PARQUET else json_lines(file)
    except OSError as error:
        raise SourceError(f"cannot read {name}: {error.strerror or error}") from error


def _rows(name: str, file: BinaryIO) -> Iterator[FileLine]:
    for line in parquet_lines(name, file, EVENTS):
        payload = None if line.problem else line.value.get("payload")
        if payload is not None:
            try:
                line.value["payload"] = load_json(payload.encode())
            except EventError as error:
                line.value, line.problem = None, f"payload: {error}"
        yield line
