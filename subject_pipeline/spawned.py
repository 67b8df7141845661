"""Processes of our own: started afresh, since an open store outlives no fork, and gone when who started them is."""

import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from typing import ParamSpec

Arguments = ParamSpec("Arguments")


def spawned(
    processes: int, begin: Callable[Arguments, None], *args: Arguments.args, **kwargs: Arguments.kwargs
) -> ProcessPoolExecutor:
    """A pool of processes, each of which calls `begin` first, by its name in its module.

    Ctrl-C is left to the process that started them: what they were given is done. They end when that process does,
    however it does.
    """
    return ProcessPoolExecutor(processes, get_context("spawn"), _begin, (begin, args, kwargs))


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _begin(begin: Callable[..., None], args: tuple[object, ...], kwargs: dict[str, object]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    begin(*args, **kwargs)


def _end_with_the_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)
