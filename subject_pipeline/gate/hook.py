"""What everything before a tool's answer shares: an opened log, and work that is done in time or not at all."""

import asyncio
import contextvars
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Self, TypeVar

from subject_pipeline.audit.events import checked_actor
from subject_pipeline.audit.log import AuditLog
from subject_pipeline.checkpoints.signed_layout import open_audit_log
from subject_pipeline.errors import ConfigurationError, OutcomeUnknownError, StoreError, SubjectPipelineError
from subject_pipeline.gate.daemon_threads import DaemonThreads
from subject_pipeline.keys.ring_file import KeyRingFile
from subject_pipeline.settings import Settings, system_user
from subject_pipeline.store.opened import SubjectStore

if TYPE_CHECKING:
    from concurrent.futures import Future

Result = TypeVar("Result")

_THREADS = 32
_LOG = logging.getLogger(__name__)


def told_reason(error: Exception | None) -> str:
    """Why something failed, as the caller may learn it: others' errors may quote the answer, ours never do."""
    return str(error) if isinstance(error, SubjectPipelineError) else type(error).__name__


def opened_log(store_url: str | None, key_ring: str | Path | None, actor: str | None) -> tuple[AuditLog, str]:
    """The log of a store and who acts, with what is not given from the environment.

    Ring and store are checked now, so that a program that could not record anything does not start.

    Raises:
        KeyRingError: there is no usable key ring; the message says how to make one.
        ConfigurationError: a setting that cannot be used, or contradicts the store's layout.
        StoreError: the store failed.
    """
    settings = Settings.read(os.environ)
    named = key_ring or settings.key_ring
    ring = KeyRingFile(Path(named).expanduser() if named else None)
    ring.ring()
    store = SubjectStore.at(store_url or settings.store_url, wanted_chunks=settings.chunks, ring=ring)
    store.layout()
    return open_audit_log(store), actor or settings.actor or system_user()


class _Done(Generic[Result]):
    """What work gave, or raised: apart from what waiting for it raises."""

    def __init__(self, value: Result | None = None, error: Exception | None = None) -> None:
        self._value = value
        self._error = error

    @classmethod
    def by(cls, work: Callable[[], Result]) -> "_Done[Result]":
        try:
            return cls(work())
        except Exception as error:  # noqa: BLE001 - raised where the result is waited for
            return cls(error=error)

    def get(self) -> Result:
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]


class Hook:
    """Work on one log with a deadline, in threads that keep no process from ending. Safe to share between threads.

    Args:
        log: where the rows go.
        actor: who calls the tools, if a call names nobody else.
        timeout: seconds after which work that is not done counts as failed.

    Raises:
        ConfigurationError: a timeout that is none.
        EventError: an actor that no row can name.
    """

    def __init__(self, log: AuditLog, *, actor: str, timeout: float) -> None:
        if not isinstance(timeout, int | float) or not 0 < timeout <= threading.TIMEOUT_MAX:
            raise ConfigurationError(f"timeout must be a number of seconds above 0, such as 10, not {timeout!r}")
        self._log = log
        self._actor = checked_actor(actor)
        self._timeout = timeout
        # A thread that waits for a store cannot stop waiting; and the event loop's own threads would run out.
        self._threads = DaemonThreads(_THREADS, "audited-tools")
        weakref.finalize(self, self._threads.close, 0).atexit = False
        self._pid = os.getpid()

    def close(self) -> None:
        """Wait for what is under way, at most `timeout` seconds; what a call returned from is on disk without it.

        Then the hook is closed: everything that comes later is withheld. What a store that hangs has not answered by
        then is logged as an error and abandoned.
        """
        if os.getpid() != self._pid:
            return  # the process that forked closes it; its threads are not in this one
        ends = time.monotonic() + self._timeout
        if left := self._threads.close(self._timeout):
            _LOG.error("closed, but the store has not answered %d calls yet; their rows may still arrive", left)
            return
        closer = DaemonThreads(1, "audited-tools-close")
        closing = closer.submit(self._log.close)
        if closer.close(max(0.0, ends - time.monotonic())) or closing.cancelled():  # it ran out of time, or never began
            _LOG.error("closed, but the store has not taken the audit log's index yet; a later append writes it")
        else:
            closing.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.close)

    def _in_time(self, work: Callable[[], Result]) -> Result:
        """What work gives or raises, in a thread, in the caller's context.

        Raises:
            StoreError: it was not begun in time, or never will be; OutcomeUnknownError: it was not done in time.
        """
        under_way = self._begin(work)
        try:
            done = under_way.result(self._timeout)
        except TimeoutError as error:  # of the waiting: what the work raises is in what it gives
            raise self._late(under_way) from error
        finally:
            under_way.cancel()  # what no thread has begun is not to be done when nobody waits for it
        return done.get()

    async def _in_time_async(self, work: Callable[[], Result]) -> Result:
        """As `_in_time`, without blocking the event loop."""
        under_way = self._begin(work)
        try:
            async with asyncio.timeout(self._timeout):
                done = await asyncio.wrap_future(under_way)
        except TimeoutError as error:
            raise self._late(under_way) from error
        return done.get()

    def _begin(self, work: Callable[[], Result]) -> "Future[_Done[Result]]":
        if os.getpid() != self._pid:
            raise StoreError("the hook was opened in another process; open it again after a fork, or use spawn")
        context = contextvars.copy_context()
        try:
            return self._threads.submit(lambda: context.run(_Done.by, work))
        except RuntimeError as error:
            raise StoreError(f"no thread takes it: {error}") from error

    def _late(self, under_way: "Future[_Done[Result]]") -> StoreError:
        if under_way.cancel():
            return StoreError(
                f"the {_THREADS} calls that are recorded at once left no room for it within {self._timeout:g} s;"
                " nothing was appended; is the store reachable?"
            )
        return OutcomeUnknownError(f"not on record within {self._timeout:g} s; its rows may still arrive")
