"""Appending by several processes, each with chunks of its own: a batch is appended while the next one is read."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future  # noqa: TC003 - beside the errors that it raises
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from subject_pipeline.audit.events import AccessEvent
from subject_pipeline.audit.log import AuditLog
from subject_pipeline.checkpoints.signed_layout import open_audit_log
from subject_pipeline.errors import OutcomeUnknownError
from subject_pipeline.ingestion.appending.by_chunk import INDEX_AFTER_BYTES, ByChunk, Done, append, by_chunk, tallies
from subject_pipeline.ingestion.ingest_report import Placed, Tally
from subject_pipeline.objects.overlapping import at_once
from subject_pipeline.spawned import PinnedProcesses, worth
from subject_pipeline.store.opened import SubjectStore

_ENDED = (
    "a process that appended was ended, by lack of memory perhaps: what it was given may be in the log; run it again"
)

Answer = tuple[list[Done], Exception | None]
"""What became of a process's part of a batch, and why the rest of it was not appended."""

_log: AuditLog


WORTH_A_PROCESS = 32 << 20
"""Bytes of JSON lines that are appended in about twice the time in which a process starts and loads what it needs."""


class ByProcesses:
    """Appends a batch by processes that open the log themselves; a chunk is always the same one's.

    Args:
        log: whose store is opened again.
        concurrency: segments in flight at once in each process, on a store that is not local.
        processes: how many.
    """

    batch = 50_000
    """Events that are taken at once: one batch is read while another is appended."""

    def __init__(self, log: AuditLog, concurrency: int, processes: int) -> None:
        store = log.store
        self._layout = log.layout.chunks
        self._concurrency = at_once(store.objects, concurrency)
        self._processes = PinnedProcesses(self._layout.names, processes, _begin, store)
        self._waiting: list[tuple[ByChunk, Future[Answer]]] = []

    def append(self, batch: Sequence[Placed]) -> Iterator[Tally]:
        """Give a batch to the processes; what comes is of the one before.

        Raises:
            AuditLogError: a log is damaged; nothing is appended to it.
            OutcomeUnknownError: a process was ended from outside.
            StoreError: the store failed. What was counted is in the log.
        """
        parts = by_chunk(self._layout, batch)
        yield from self.rest()
        for process, own in self._processes.parts(parts):
            events = {chunk: [tuple(placed.event) for placed in waiting] for chunk, waiting in own.items()}
            self._waiting.append((own, process.submit(_append, events, self._concurrency)))

    def rest(self) -> Iterator[Tally]:
        """What became of the last batch; if some of it failed, all else comes first."""
        waiting, self._waiting = self._waiting, []
        failures: list[Exception] = []
        for parts, future in waiting:
            try:
                done, failure = future.result()
            except BrokenProcessPool as error:
                failures.append(OutcomeUnknownError(_ENDED).with_traceback(error.__traceback__))
                continue
            yield from tallies(parts, done)
            if failure is not None:
                failures.append(failure)
        if failures:
            raise failures[0]

    def close(self) -> None:
        """Write what of the index is due, and end the processes."""
        self._processes.close(_close)  # of one that was ended nothing is missed: the index is derived


def processes_for(size: int) -> int:
    """How many processes so many bytes of events are worth: one for small files, at most one a core."""
    return worth(size, WORTH_A_PROCESS)


def _begin(store: SubjectStore) -> None:
    global _log  # noqa: PLW0603 - a process has one log
    _log = open_audit_log(store)


def _append(events: Mapping[str, Sequence[tuple[Any, ...]]], concurrency: int) -> Answer:
    done: list[Done] = []
    try:
        parts = {chunk: [AccessEvent(*one) for one in waiting] for chunk, waiting in events.items()}
        for one in append(_log, parts, concurrency):
            done.append(one)  # noqa: PERF402 - what came before a failure counts
    except Exception as error:  # noqa: BLE001 - raised where it can be told to somebody
        return done, error
    return done, None


def _close() -> None:
    _log.close(index_after_bytes=INDEX_AFTER_BYTES)
