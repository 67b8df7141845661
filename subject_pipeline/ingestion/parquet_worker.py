"""The process that reads one parquet file of events or decisions: its rows as JSON lines, in limited memory.

A few bytes of parquet can ask for any amount of memory, in more ways than can be foreseen: dictionaries, compression,
false counts. So the system enforces the limit: if many rows at once are too much, fewer are read, and anything else
that happens ends this process and the file, nothing else. (Dictionaries are not read as such: pyarrow would then
keep every text of a row group, even those that are in no dictionary of the file.)

Over stdout come frames (`FRAME`: kind, length of what follows): `READ` asks for bytes of the file, which come over
stdin, `ROWS` are lines, each a row as an object, or `[reason, other cells]`, `FAILED` is why the file cannot be read.

It is one file, longer than others, because it is started as a program and imports as little as it can.
"""

import contextlib
import datetime as dt
import io
import os
import resource
import struct
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from subject_pipeline.errors import CanonicalJsonError
from subject_pipeline.formats.canonical_json import canonical_json
from subject_pipeline.formats.times import format_time

MEMORY = 192 << 20
"""Bytes of address space that reading may take in addition to the interpreter and its libraries."""

FRAME, REQUEST = struct.Struct(">cQ"), struct.Struct(">QQ")
READ, ROWS, FAILED, END = b"R", b"L", b"X", b"E"
PIECE = 1 << 20
"""Bytes of the file that are asked for at once, and about how many of rows a frame has."""

EVENTS, DECISIONS = "events", "decisions"
CONTENTS = {
    EVENTS: (
        "event_id", "candidate_id", "ts", "actor", "action",
        "payload", "result", "dataset", "fields", "purpose", "trace_id",
    ),
    DECISIONS: (
        "decision_id", "candidate_id", "candidate_check", "kind", "ts", "actor", "reason", "evidence", "approved_by",
        "scope", "version", "until", "vertical", "policy", "hold_id",
    ),
}  # fmt: skip
"""The columns that are read. A file of events may have others; one of decisions only those that inform its reader."""

_INFORMS = "about_"
_TIMES = {"ts", "until"}
MAX_ROWS = 100_000_000
MAX_TEXT, MAX_FIELDS = 1_024, 1_000
"""As in `audit.events`; a test compares the two, since its imports would double the time to start."""

_TEXT_BYTES = 4 * MAX_TEXT
_SLICE_BYTES = 4 << 20
_ROWS_AT_ONCE = (8_192, 512, 32, 4, 1)
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_EPOCH = dt.datetime(1970, 1, 1)  # noqa: DTZ001 - UTC by what a parquet time counts from


class UnreadableError(Exception):
    """Why reading the file cannot continue."""


@dataclass(frozen=True, slots=True)
class _Bad:
    """Replaces a cell that cannot be taken, and says why."""

    reason: str


class _Asked(io.RawIOBase):
    """The file, whose bytes the parent has."""

    def __init__(self, size: int, requests: BinaryIO, answers: BinaryIO) -> None:
        self._size, self._at = size, 0
        self._requests, self._answers = requests, answers

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def read(self, size: int = -1) -> bytes:
        left = max(self._size - self._at, 0)
        left = left if size < 0 else min(size, left)
        found = bytearray()
        while left:
            _send(self._requests, READ, REQUEST.pack(self._at, min(left, PIECE)))
            data = self._answers.read(int.from_bytes(self._answers.read(8)))
            if not data:
                raise OSError("the file ends too early")
            found += data
            self._at += len(data)
            left -= len(data)
        return bytes(found)


def main() -> None:
    """Read the file whose content and size are the arguments."""
    frames, answers = sys.stdout.buffer, sys.stdin.buffer
    _limit_memory()
    try:
        lines: list[bytes] = []
        size = 0
        for line in rows(_Asked(int(sys.argv[2]), frames, answers), sys.argv[1]):
            lines.append(line)
            size += len(line)
            if size >= PIECE:
                _send(frames, ROWS, b"\n".join(lines))
                lines, size = [], 0
        _send(frames, ROWS, b"\n".join(lines))
        _send(frames, END, b"")
    except UnreadableError as error:
        _send(frames, FAILED, str(error).encode(errors="replace"))
    except MemoryError:
        _send(frames, FAILED, _too_large().encode())
    except (pa.ArrowException, ValueError, OSError) as error:
        _send(frames, FAILED, f"not parquet: {[*str(error).splitlines(), ''][0][:200]}".encode(errors="replace"))


def _too_large() -> str:
    return f"it takes more than {MEMORY >> 20} MiB of memory; write it with smaller row groups or pages"


def _send(frames: BinaryIO, kind: bytes, body: bytes) -> None:
    frames.write(FRAME.pack(kind, len(body)))
    frames.write(body)
    frames.flush()


def _limit_memory() -> None:
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    with contextlib.suppress(OSError, ValueError):  # a system that cannot has no /proc, or refuses
        taken = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        wanted = taken + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (wanted if hard < 0 else min(wanted, hard), hard))


def rows(file: Any, content: str = EVENTS) -> Iterator[bytes]:  # noqa: ANN401 - whatever pyarrow reads
    """The rows of a file, each as a line of JSON without its end.

    Raises:
        UnreadableError: it has too many rows, or a column twice, or takes too much memory.
    """
    metadata = pq.read_metadata(file)
    if metadata.num_rows > MAX_ROWS:
        raise UnreadableError(f"it has {metadata.num_rows:,} rows; divide it into files of at most {MAX_ROWS:,}")
    parquet = pq.ParquetFile(file, metadata=metadata, pre_buffer=False, buffer_size=PIECE)
    names = parquet.schema_arrow.names
    for name in CONTENTS[content]:
        if names.count(name) > 1:
            raise UnreadableError(f"it has the column {name} twice")
    other = next((name for name in names if name not in CONTENTS[content] and not name.startswith(_INFORMS)), None)
    if other is not None and content == DECISIONS:
        raise UnreadableError(f"a decision has no column {other[:80]!r}")
    known = [name for name in CONTENTS[content] if name in names]
    for group in range(metadata.num_row_groups):
        for batch in _batches(parquet, known, group):
            yield from _lines(batch)


def _batches(parquet: pq.ParquetFile, columns: list[str], group: int) -> Iterator[pa.RecordBatch]:
    """The rows of a row group; where so many at once take too much memory, fewer."""
    done = 0
    for size in _ROWS_AT_ONCE:
        skipped = 0
        try:
            for batch in parquet.iter_batches(size, row_groups=[group], columns=columns, use_threads=False):
                left = batch.slice(min(done - skipped, batch.num_rows))
                skipped += batch.num_rows - left.num_rows
                if left.num_rows:
                    yield left
                    done += left.num_rows
                    skipped = done
        except MemoryError:
            continue
        return
    raise UnreadableError(_too_large())


def _lines(batch: pa.RecordBatch) -> Iterator[bytes]:
    """The lines of a batch. What is too long is found in the columns, before any of it becomes an object."""
    problems: dict[int, str] = {}
    sizes = [0] * batch.num_rows
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        for at, (size, problem) in enumerate(_measured(name, column)):
            sizes[at] += size
            if problem:
                problems.setdefault(at, problem)
    start = 0
    while start < batch.num_rows:
        if start in problems:
            yield orjson.dumps([problems[start], {}])
            start += 1
            continue
        end, size = start + 1, sizes[start]
        while end < batch.num_rows and end not in problems and size + sizes[end] <= _SLICE_BYTES:
            size += sizes[end]
            end += 1
        yield from _converted(batch.slice(start, end - start))
        start = end


def _converted(part: pa.RecordBatch) -> list[bytes]:
    """The lines of a few rows; of rows that take too much memory together, one by one."""
    try:
        cells = [_cells(name, column) for name, column in zip(part.schema.names, part.columns, strict=True)]
        table = zip(*cells, strict=True) if cells else ((),) * part.num_rows
        return [_line(part.schema.names, row) for row in table]
    except MemoryError:
        if part.num_rows == 1:
            return [orjson.dumps(["takes too much memory", {}])]
    half = part.num_rows // 2
    return _converted(part.slice(0, half)) + _converted(part.slice(half))


def _line(names: Sequence[str], row: Sequence[Any]) -> bytes:
    for cell in row:
        if type(cell) is _Bad:
            fine = {name: one for name, one in zip(names, row, strict=True) if type(one) is not _Bad}
            return orjson.dumps([cell.reason, fine])
    return orjson.dumps(dict(zip(names, row, strict=True)))


def _measured(name: str, column: pa.Array) -> Iterator[tuple[int, str]]:
    """About how many bytes each cell of a column takes, and why it is refused if it is too long."""
    kind = column.type
    if _is_text(kind):
        limit, words = (
            (4 << 20, f"{4 << 20:,} bytes") if name == "payload" else (_TEXT_BYTES, f"{MAX_TEXT:,} characters")
        )
        refused = f"{name}: longer than {words}"
        lengths = _lengths(column)
        return ((length or 0, refused if length and length > limit else "") for length in lengths)
    if name == "fields" and _is_list(kind):
        return _measured_list(column)
    return ((0, "") for _ in range(len(column)))


def _measured_list(column: pa.Array) -> Iterator[tuple[int, str]]:
    counts = pc.list_value_length(column).to_pylist()
    if any(count and count > MAX_FIELDS for count in counts):
        # Only what is not too long is examined.
        refused = (0, f"fields: more than {MAX_FIELDS:,} names")
        for at, count in enumerate(counts):
            yield refused if count and count > MAX_FIELDS else next(_measured_list(column.slice(at, 1)))
        return
    inner = pc.list_flatten(column)
    lengths = iter(_lengths(inner) if _is_text(inner.type) else [8] * len(inner))
    for count in counts:
        longest = total = 0
        for _ in range(count or 0):
            length = next(lengths) or 0
            longest, total = max(longest, length), total + length
        yield total, f"fields: longer than {MAX_TEXT:,} characters" if longest > _TEXT_BYTES else ""


def _lengths(column: pa.Array) -> list[int | None]:
    encoded = pa.types.is_dictionary(column.type)
    lengths = pc.binary_length((column.dictionary if encoded else column).cast(pa.large_binary()))
    found: list[int | None] = (pc.take(lengths, column.indices) if encoded else lengths).to_pylist()
    return found


def _cells(name: str, column: pa.Array) -> list[Any]:
    """The cells of a column as JSON has them; a payload of any type as its text."""
    kind = column.type
    if name in _TIMES and pa.types.is_timestamp(kind):
        return _times(name, kind, column)
    if pa.types.is_dictionary(kind):
        return _cells(name, pc.take(column.dictionary, column.indices))
    if _is_unicode(kind):
        return _texts(name, column)
    if name == "payload":
        return [None if not one.is_valid else _payload(one) for one in column]
    if name == "fields" and _is_list(kind):
        return [None if not one.is_valid else _fields(one) for one in column]
    reason = "must be a list of names" if name == "fields" else "must be text"
    return [_Bad(f"{name}: {reason}") if valid else None for valid in column.is_valid().to_pylist()]


def _times(name: str, kind: pa.TimestampType, column: pa.Array) -> list[Any]:
    if kind.tz is None:
        return [_Bad(f"{name}: has no time zone") if valid else None for valid in column.is_valid().to_pylist()]
    per_second = _PER_SECOND[kind.unit]
    return [None if one is None else _time(name, one, per_second) for one in column.cast(pa.int64()).to_pylist()]


def _time(name: str, count: int, per_second: int) -> str | _Bad:
    try:
        moment = _EPOCH + dt.timedelta(microseconds=count * 10**6 // per_second)
    except OverflowError:
        return _Bad(f"{name}: no calendar holds this time in UTC")
    return format_time(moment)


def _texts(name: str, column: pa.Array) -> list[Any]:
    try:
        texts: list[Any] = column.to_pylist()
    except UnicodeDecodeError:
        return [None if one is None else _text(name, one) for one in column.cast(pa.large_binary()).to_pylist()]
    return texts


def _text(name: str, data: bytes) -> str | _Bad:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return _Bad(f"{name}: not UTF-8 text")


def _payload(cell: pa.Scalar) -> str | _Bad:
    try:
        return canonical_json(cell.as_py()).decode()
    except CanonicalJsonError as error:
        return _Bad(f"payload: {error}")
    except (ValueError, ArithmeticError, TypeError, LookupError) as error:
        return _Bad(f"payload: cannot be examined ({type(error).__name__})")


def _fields(cell: pa.Scalar) -> list[Any] | _Bad:
    try:
        names = cell.as_py()
    except UnicodeDecodeError:
        return _Bad("fields: not UTF-8 text")
    return names if all(name is None or isinstance(name, str) for name in names) else _Bad("fields: must be text")


def _is_text(kind: pa.DataType) -> bool:
    """Texts and bytes: everything that has its own length in each cell."""
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    of_bytes = pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)
    return bool(of_bytes or _is_unicode(kind))


def _is_unicode(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


if __name__ == "__main__":
    try:
        main()
    finally:
        os._exit(0 if sys.exc_info()[0] is None else 1)  # what is left of the file is not worth tidying up
