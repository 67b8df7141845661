"""Progress on standard error: a bar on a terminal, elsewhere a line from time to time."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from subject_pipeline.cli.shell import log_line
from subject_pipeline.registry.backfill import Watcher

_LINE_EVERY_S = 10.0


@contextmanager
def backfill_progress() -> Iterator[Watcher]:
    """Shows a backfill's two stages while it runs."""
    # Its own descriptor: the usual one is held back while a source is read.
    with os.fdopen(os.dup(2), "w", encoding="utf-8", errors="replace") as stream:
        if not stream.isatty():
            yield Watcher(staging=_Lines("rows read", stream), registering=_Lines("rows registered", stream))
            return
        columns = (TextColumn("{task.description:<11}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(file=stream), transient=True) as progress:
            reading = progress.add_task("reading", total=None)
            registering = progress.add_task("registering", total=None)
            yield Watcher(
                staging=lambda done, total: progress.update(reading, completed=done, total=total),
                registering=lambda done, total: progress.update(registering, completed=done, total=total),
            )


@contextmanager
def bar(doing: str, unit: str) -> Iterator[Callable[[int, int | None], None]]:
    """Shows work of one stage while it runs: called with how much is done, and of how much, if that is known."""
    with os.fdopen(os.dup(2), "w", encoding="utf-8", errors="replace") as stream:
        if not stream.isatty():
            yield _Lines(f"{unit} {doing}", stream)
            return
        columns = (TextColumn("{task.description:<11}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(file=stream), transient=True) as progress:
            task = progress.add_task(doing, total=None)
            yield lambda done, total: progress.update(task, completed=done, total=total)


class _Lines:
    def __init__(self, what: str, stream: TextIO) -> None:
        self._what = what
        self._stream = stream
        self._next = time.monotonic() + _LINE_EVERY_S

    def __call__(self, done: int, total: int | None) -> None:
        if time.monotonic() >= self._next:
            of = "" if total is None else f" of {total:,}"
            self._stream.write(log_line(f"{done:,}{of} {self._what}") + "\n")
            self._stream.flush()
            self._next = time.monotonic() + _LINE_EVERY_S
