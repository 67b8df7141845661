"""Rows of a parquet file that anybody may have written, read by a separate process: see `parquet_worker`."""

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import IO, BinaryIO

import orjson

from subject_pipeline.errors import SourceError
from subject_pipeline.ingestion.line_files import FileLine
from subject_pipeline.ingestion.parquet_worker import END, FAILED, FRAME, PIECE, READ, REQUEST, ROWS

_INHERITED = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR")
_LONGEST = 256 << 20


def parquet_lines(name: str, file: BinaryIO, content: str) -> Iterator[FileLine]:
    """The rows of a parquet file, in order, numbered from 1.

    Args:
        name: the file's.
        file: open for reading, and seekable.
        content: what its rows are: a name of `parquet_worker.CONTENTS`.

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
        [sys.executable, "-m", "subject_pipeline.ingestion.parquet_worker", content, str(size)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
    ) as worker:
        assert worker.stdin is not None  # noqa: S101 - said above
        assert worker.stdout is not None  # noqa: S101 - said above
        try:
            for number, line in enumerate(_answered(name, file, worker.stdin, worker.stdout), start=1):
                row = orjson.loads(line)
                if isinstance(row, list):
                    reason, rest = row
                    yield FileLine(number, orjson.dumps(rest) if rest else b"", None, reason)
                else:
                    yield FileLine(number, line, row)
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
            raise SourceError(f"cannot read {name}: {body.decode(errors='replace')}")
        else:
            return


def _died(name: str) -> str:
    return f"cannot read {name}: its content ended the process that read it, by lack of memory or worse"
