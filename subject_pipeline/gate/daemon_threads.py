"""Threads for calls that may hang: they limit what runs at once, and do not keep a process from ending."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any, TypeVar

Result = TypeVar("Result")


class DaemonThreads:
    """Runs calls in the order in which they came, at most `most` at once.

    `concurrent.futures` has no such pool: the interpreter waits for its threads at the end, and a call that is
    cancelled stays in its queue until a thread is free, which may be never. Of no use after a fork.

    Args:
        most: how many threads there are at most; they are started when they are needed.
        name: of the threads.
    """

    def __init__(self, most: int, name: str) -> None:
        self._most = most
        self._name = name
        self._changed = threading.Condition()
        self._waiting: OrderedDict[Future[Any], Callable[[], Any]] = OrderedDict()
        self._unfinished: set[Future[Any]] = set()
        self._threads = 0
        self._idle = 0
        self._closed = False

    def submit(self, call: Callable[[], Result]) -> Future[Result]:
        """Begin a call as soon as a thread is free. One that is cancelled before is forgotten at once.

        Raises:
            RuntimeError: closed, or the system has no thread left.
        """
        future: Future[Result] = Future()
        with self._changed:
            if self._closed:
                raise RuntimeError(f"{self._name} is closed")
            if len(self._waiting) >= self._idle and self._threads < self._most:
                threading.Thread(target=self._run, name=self._name, daemon=True).start()
                self._threads += 1
            self._waiting[future] = call
            self._unfinished.add(future)
            self._changed.notify()
        future.add_done_callback(self._forget)
        return future

    def close(self, timeout: float) -> int:
        """Refuse further calls, and wait at most `timeout` seconds for those there are; what waits then is cancelled.

        Returns:
            How many calls still run.
        """
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            unfinished = set(self._unfinished)
        return sum(not future.cancel() for future in wait(unfinished, timeout).not_done)

    def _forget(self, future: Future[Any]) -> None:
        with self._changed:
            self._waiting.pop(future, None)
            self._unfinished.discard(future)

    def _run(self) -> None:
        while (taken := self._next()) is not None:
            future, call = taken
            if future.set_running_or_notify_cancel():
                try:
                    result = call()
                except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
                    future.set_exception(error)
                else:
                    future.set_result(result)
                    del result
            del taken, future, call  # an idle thread keeps nobody's answer in memory

    def _next(self) -> tuple[Future[Any], Callable[[], Any]] | None:
        with self._changed:
            self._idle += 1
            self._changed.wait_for(lambda: self._waiting or self._closed)
            self._idle -= 1
            if self._waiting:
                return self._waiting.popitem(last=False)
            self._threads -= 1
            return None
