"""Processes of our own: started afresh, since an open store outlives no fork, and gone when who started them is."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from typing import ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Work = TypeVar("Work")
Result = TypeVar("Result")


class OwnProcess(ProcessPoolExecutor):
    """A pool of one process; see `spawned`."""

    def submit(
        self, fn: Callable[Arguments, Result], /, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Future[Result]:
        """As any pool; Ctrl-C waits while the process is started, and so does not reach it before `_begin`."""
        held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return super().submit(fn, *args, **kwargs)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, held)


def spawned(begin: Callable[Arguments, object], *args: Arguments.args, **kwargs: Arguments.kwargs) -> OwnProcess:
    """A process that calls `begin` first, by its name in its module, once it is given work.

    Ctrl-C is left to the process that started it: what it was given is done. It ends when that process does, however it
    does. Never a pool of several: one that loses a process while it starts another waits for that forever (3.11.7).
    """
    return OwnProcess(1, get_context("spawn"), _begin, (begin, args, kwargs))


class PinnedProcesses:
    """Processes with chunks of their own: what one has learnt of a chunk is known where its next work goes.

    Args:
        chunks: all there are, in order.
        processes: how many.
        begin: called first by each, as by `spawned`.
    """

    def __init__(
        self,
        chunks: Sequence[str],
        processes: int,
        begin: Callable[Arguments, object],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> None:
        self._pools = [spawned(begin, *args, **kwargs) for _ in range(processes)]
        # Neighbours go to one process: what two of them commit to the table at once is then of chunks apart.
        self._pool_of = {chunk: self._pools[at * processes // len(chunks)] for at, chunk in enumerate(chunks)}

    def parts(self, work: Mapping[str, Work]) -> Iterator[tuple[OwnProcess, dict[str, Work]]]:
        """Each process that has some of this work, which is given by chunk, and its part."""
        for pool in self._pools:
            own = {chunk: theirs for chunk, theirs in work.items() if self._pool_of[chunk] is pool}
            if own:
                yield pool, own

    def close(self, finish: Callable[[], None]) -> None:
        """Have each process call `finish` once it has done what it was given, and end."""
        for pool in self._pools:
            with contextlib.suppress(BrokenProcessPool):
                pool.submit(finish)
        for pool in self._pools:
            pool.shutdown()


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def worth(size: int, each: int) -> int:
    """How many processes work of a size is worth: one if it is small, at most one a core.

    Args:
        size: the work's, in bytes.
        each: what takes about twice as long as a process needs to start.
    """
    return max(1, min(cores(), size // each))


def _begin(begin: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, object]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    begin(*args, **kwargs)


def _end_with_the_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)
