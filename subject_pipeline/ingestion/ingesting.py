"""Ingestion: files of access events become rows of the audit log, each event once however often its file is read."""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from sys import getsizeof

from subject_pipeline.audit.events import AccessEvent, parse_event
from subject_pipeline.audit.log import AuditLog
from subject_pipeline.candidates.staging import DEFAULT_CONCURRENCY
from subject_pipeline.errors import EventError, SourceError
from subject_pipeline.garbage import uncollected
from subject_pipeline.ingestion.appending.by_chunk import InThisProcess
from subject_pipeline.ingestion.appending.by_processes import ByProcesses
from subject_pipeline.ingestion.event_files import read_events
from subject_pipeline.ingestion.ingest_report import IngestReport, Placed, Rejection, Tally, bury
from subject_pipeline.ingestion.line_files import FileLine, LineFile
from subject_pipeline.ingestion.usual_events import UsualEvents
from subject_pipeline.objects.protocol import ObjectStore

MAX_NAMED = 10_000
_BATCH_BYTES = 80 << 20
"""Bytes that the events of a batch may take in memory; of usual ones, 100,000 take less."""
_CONFLICTING = "conflicting: the log has an event of this subject, id and month with other content, which is kept"

Appending = InThisProcess | ByProcesses

Progress = Callable[[int], None]
"""Called with events done."""


@uncollected()
def ingest(
    log: AuditLog,
    files: Sequence[LineFile],
    *,
    report: IngestReport | None = None,
    progress: Progress | None = None,
    concurrency: int = DEFAULT_CONCURRENCY,
    processes: int = 1,
) -> IngestReport:
    """Append the events of files; what the log holds already, and what is not an event, is counted and skipped.

    A file that cannot be read, for whatever reason, does not stop the others: it is reported at the end.

    Args:
        log: where they go.
        files: read in order, as streams.
        report: filled while ingesting, so that one which ends early can be reported too.
        progress: called after each batch.
        concurrency: segments in flight at once, on a store that is not local.
        processes: how many append; where more than one does, this one only reads.

    Raises:
        KeyRingError: there is no usable key ring.
        OutcomeUnknownError: it could not be learnt whether rows are there; ingesting again tells.
        SourceError: files cannot be read, or not to their ends; all others were ingested.
        AuditLogError: a log is damaged; nothing is appended to it.
        StoreError: the store failed. What is counted is in the log; ingesting again continues.
    """
    log.store.ring.ring()
    report = report if report is not None else IngestReport()
    started = time.perf_counter()
    unread: list[SourceError] = []
    appending = InThisProcess(log, concurrency) if processes == 1 else ByProcesses(log, concurrency, processes)
    try:
        for file in files:
            try:
                _ingest_file(log.store.objects, appending, file, report, progress)
            except SourceError as error:
                unread.append(error)
            else:
                report.files += 1
    finally:
        report.elapsed_s += time.perf_counter() - started
        appending.close()
    raise_unread(unread, len(files))
    return report


def raise_unread(unread: Sequence[SourceError], files: int) -> None:
    """End an ingestion in which some of so many files could not be read, if there are any.

    Raises:
        SourceError: the one, or how many there were and the first.
    """
    if len(unread) > 1:
        raise SourceError(
            f"{len(unread):,} of {files:,} files were not ingested, all others are. First: {unread[0]}"
        ) from unread[0]
    if unread:
        raise unread[0]


def _ingest_file(
    objects: ObjectStore, appending: Appending, file: LineFile, report: IngestReport, progress: Progress | None
) -> None:
    rejections: list[Rejection] = []

    def add(tallies: Iterator[Tally]) -> None:
        for tally in tallies:
            report.add(tally)
            for placed in tally.conflicting:
                _note(rejections, Rejection(file.name, placed.line, _CONFLICTING, placed.sha256.hex()))

    try:
        with closing(file.lines(read_events)) as lines:
            for batch in _batches(lines, file.name, rejections, report, appending.batch):
                if batch:
                    add(appending.append(batch))
                batch.clear()  # the next one is read while this loop still holds the list
                if progress is not None:
                    progress(report.events)
    finally:
        try:
            add(appending.rest())
        finally:
            if rejections:
                rejections.sort(key=lambda one: one.line)
                report.rejections += rejections[: MAX_NAMED - len(report.rejections)]
                report.dead_letters.append(bury(objects, file.name, rejections))


def _note(rejections: list[Rejection], rejection: Rejection) -> None:
    if len(rejections) < MAX_NAMED:
        rejections.append(rejection)


def _batches(
    lines: Iterable[FileLine], name: str, rejections: list[Rejection], report: IngestReport, most: int
) -> Iterator[list[Placed]]:
    """Lines as events, at most so many at a time; those that are not events are noted on the way."""
    batch: list[Placed] = []
    size = 0
    usual = UsualEvents()
    for line in lines:
        sha256 = hashlib.sha256(line.raw)
        event = line.problem or usual.event(line.value) or _parsed(line)
        if isinstance(event, str):
            report.rejected += 1
            _note(rejections, Rejection(name, line.number, event, sha256.hexdigest()))
            continue
        batch.append(Placed(event, line.number, sha256.digest()))
        size += sum(map(getsizeof, event)) + (sum(map(getsizeof, event.fields)) if event.fields else 0)
        if len(batch) >= most or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    yield batch


def _parsed(line: FileLine) -> AccessEvent | str:
    """The event of a line, or why it holds none."""
    try:
        return parse_event(line.value)
    except EventError as error:
        return str(error)
    except (RecursionError, MemoryError, ValueError, ArithmeticError, LookupError, TypeError) as error:
        return f"cannot be examined ({type(error).__name__})"  # its message may quote the event
