"""Rows of a parquet file of events, read by a separate process: see `parquet_worker`."""

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import IO, BinaryIO

from subject_pipeline.errors import SourceError
from subject_pipeline.ingestion.parquet_worker import END, FAILED, FRAME, PIECE, READ, REQUEST, ROWS

_INHERITED = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR")
_LONGEST = 256 << 20


def parquet_lines(name: str, file: BinaryIO) -> Iterator[bytes]:
    """The rows of a parquet file as the worker writes them, in order.

    Args:
        name: the file's.
        file: open for reading, and seekable.

    Raises:
        SourceError: it is not parquet, or cannot be read, or not within the worker's memory.
        OSError: the file cannot be read.
    """
    size = file.seek(0, io.SEEK_END)
    # It needs no secret, so it gets none; the allocators return what they can, since all of it counts.
    environment = {key: os.environ[key] for key in _INHERITED if key in os.environ} | {
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "ARROW_DEFAULT_MEMORY_POOL": "system",
        "MALLOC_ARENA_MAX": "1",
        "MALLOC_MMAP_THRESHOLD_": str(PIECE),
    }
    with subprocess.Popen(  # noqa: S603 - ourselves
        [sys.executable, "-m", "subject_pipeline.ingestion.parquet_worker", str(size)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
    ) as worker:
        assert worker.stdin is not None  # noqa: S101 - said above
        assert worker.stdout is not None  # noqa: S101 - said above
        try:
            yield from _answered(name, file, worker.stdin, worker.stdout)
        except BrokenPipeError:
            raise SourceError(_died(name)) from None
        finally:
            worker.kill()


def _answered(name: str, file: BinaryIO, answers: IO[bytes], frames: IO[bytes]) -> Iterator[bytes]:
    while True:
        head = frames.read(FRAME.size)
        if len(head) < FRAME.size:
            raise SourceError(_died(name))
        kind, length = FRAME.unpack(head)
        body = frames.read(min(length, _LONGEST))
        if len(body) < length or kind not in {READ, ROWS, FAILED, END}:
            raise SourceError(_died(name))
        if kind == READ:
            offset, size = REQUEST.unpack(body)
            file.seek(offset)
            data = file.read(min(size, PIECE))
            answers.write(len(data).to_bytes(8) + data)
            answers.flush()
        elif kind == ROWS:
            if body:
                yield from body.split(b"\n")
        elif kind == FAILED:
            raise SourceError(f"cannot read events from {name}: {body.decode(errors='replace')}")
        else:
            return


def _died(name: str) -> str:
    return f"cannot read events from {name}: its content ended the process that read it, by lack of memory or worse"
