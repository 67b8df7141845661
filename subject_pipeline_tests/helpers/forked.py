"""Processes that start at once: each is forked of one that has imported what tests need and has done nothing else.

What a process of the product costs is mostly its imports. One that is forked so shares nothing with the test's: no
thread, no lock, no open store, and none of its patches.
"""

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import Any, Self

from subject_pipeline.ingestion import parquet_worker

_IMPORTED = [
    "pyarrow.parquet",
    "subject_pipeline.candidates.staging",
    "subject_pipeline.ingestion.appending.by_processes",
    "subject_pipeline.ingestion.parquet_worker",
    "subject_pipeline.verification.by_processes",
    "subject_pipeline_tests.helpers.backfill_process",
    "subject_pipeline_tests.helpers.overtaking_process",
    "subject_pipeline_tests.helpers.store_story",
    "subject_pipeline_tests.lifecycle.erasure.processes",
]


def forked() -> ForkServerContext:
    """What makes such processes."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED)
    return context


@contextmanager
def running(work: Callable[..., None], *arguments: Any) -> Iterator[tuple[ForkServerProcess, Connection]]:
    """A process that works, called with its end of a pipe and the arguments; killed in the end if it is still there."""
    ours, theirs = forked().Pipe()
    process = forked().Process(target=_working, args=(dict(os.environ), work, theirs, *arguments))
    process.start()
    theirs.close()  # so that anyone who waits for an answer learns that the process died
    try:
        yield process, ours
    finally:
        process.kill()
        process.join()
        ours.close()


def _working(environment: dict[str, str], work: Callable[..., None], *arguments: Any) -> None:
    os.environ.clear()  # it is that of the first test which made such a process
    os.environ.update(environment)
    work(*arguments)


class ForkedReader:
    """What `subprocess.Popen` of the program that reads a parquet file is, but that it starts at once."""

    def __init__(self, command: Sequence[str], **_: Any) -> None:
        context = forked()
        frames, write_frames = context.Pipe(duplex=False)
        read_answers, answers = context.Pipe(duplex=False)
        self._process = context.Process(target=_read_parquet, args=(read_answers, write_frames, command[-2:]))
        self._process.start()
        read_answers.close()
        write_frames.close()
        self.stdin, self.stdout = (
            os.fdopen(os.dup(end.fileno()), mode) for end, mode in ((answers, "wb"), (frames, "rb"))
        )
        answers.close()
        frames.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stdin.close()
        self.stdout.close()
        self._process.join()

    def kill(self) -> None:
        """As of any process."""
        self._process.kill()


def _read_parquet(answers: Connection, frames: Connection, arguments: Sequence[str]) -> None:
    sys.argv[1:] = arguments
    sys.stdin, sys.stdout = os.fdopen(answers.fileno(), closefd=False), os.fdopen(frames.fileno(), "w", closefd=False)
    parquet_worker.main()
