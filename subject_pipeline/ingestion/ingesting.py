"""Ingestion: files of access events become rows of the audit log, each event once however often its file is read."""

import gc
import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from sys import getsizeof

import polars as pl

from subject_pipeline.audit.events import AccessEvent, parse_event
from subject_pipeline.audit.log import AuditLog
from subject_pipeline.candidates.staging import DEFAULT_CONCURRENCY
from subject_pipeline.errors import EventError, SourceError
from subject_pipeline.ingestion.event_files import read_events
from subject_pipeline.ingestion.ingest_report import IngestReport, Placed, Rejection, Tally, bury
from subject_pipeline.ingestion.line_files import FileLine, LineFile
from subject_pipeline.ingestion.usual_events import UsualEvents
from subject_pipeline.manifests.table import ManifestTable
from subject_pipeline.objects.overlapping import at_once
from subject_pipeline.store.ids import storage_key

MAX_NAMED = 10_000
_BATCH = 100_000
_BATCH_BYTES = 80 << 20
"""Bytes that the events of a batch may take in memory; of usual ones, 100,000 take less."""
_INDEX_AFTER_BYTES = 64 << 10
_CONFLICTING = "conflicting: the log has an event of this subject, id and month with other content, which is kept"

Progress = Callable[[int], None]
"""Called with events done."""


def ingest(
    log: AuditLog,
    files: Sequence[LineFile],
    *,
    report: IngestReport | None = None,
    progress: Progress | None = None,
    concurrency: int = DEFAULT_CONCURRENCY,
) -> IngestReport:
    """Append the events of files; what the log holds already, and what is not an event, is counted and skipped.

    A file that cannot be read, for whatever reason, does not stop the others: it is reported at the end.

    Args:
        log: where they go.
        files: read in order, as streams.
        report: filled while ingesting, so that one which ends early can be reported too.
        progress: called after each batch.
        concurrency: segments in flight at once, on a store that is not local.

    Raises:
        KeyRingError: there is no usable key ring.
        SourceError: files cannot be read, or not to their ends; all others were ingested.
        AuditLogError: a log is damaged; nothing is appended to it.
        StoreError: the store failed. What is counted is in the log; ingesting again continues.
    """
    log.ring.ring()
    report = report if report is not None else IngestReport()
    started = time.perf_counter()
    unread: list[SourceError] = []
    collecting = gc.isenabled()
    gc.disable()  # nothing here is in a cycle, and a hundred thousand events are looked through again and again
    try:
        for file in files:
            try:
                _ingest_file(log, file, report, progress, concurrency)
            except SourceError as error:
                unread.append(error)
            else:
                report.files += 1
    finally:
        if collecting:
            gc.enable()
        report.elapsed_s += time.perf_counter() - started
        log.close(index_after_bytes=_INDEX_AFTER_BYTES)
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
    log: AuditLog, file: LineFile, report: IngestReport, progress: Progress | None, concurrency: int
) -> None:
    rejections: list[Rejection] = []
    try:
        with closing(file.lines(read_events)) as lines:
            for batch in _batches(lines, file.name, rejections, report):
                if batch:
                    for placed in _append(log, batch, report, concurrency):
                        _note(rejections, Rejection(file.name, placed.line, _CONFLICTING, placed.sha256.hex()))
                batch.clear()  # the next one is read while this loop still holds the list
                if progress is not None:
                    progress(report.events)
    finally:
        if rejections:
            rejections.sort(key=lambda one: one.line)
            report.rejections += rejections[: MAX_NAMED - len(report.rejections)]
            report.dead_letters.append(bury(log.store.objects, file.name, rejections))


def _note(rejections: list[Rejection], rejection: Rejection) -> None:
    if len(rejections) < MAX_NAMED:
        rejections.append(rejection)


def _batches(
    lines: Iterable[FileLine], name: str, rejections: list[Rejection], report: IngestReport
) -> Iterator[list[Placed]]:
    """Lines as events, a batch at a time; those that are not events are noted on the way."""
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
        if len(batch) >= _BATCH or size >= _BATCH_BYTES:
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


def _append(log: AuditLog, batch: Sequence[Placed], report: IngestReport, concurrency: int) -> Iterator[Placed]:
    """Append a batch, chunk by chunk; returns the events that conflict with what is there."""
    chunk_of = log.layout.chunks.chunk_of
    homes: dict[str, str] = {}
    by_chunk: dict[str, list[Placed]] = {}
    for placed in batch:
        candidate_id = placed.event.candidate_id
        home = homes.get(candidate_id)
        if home is None:
            home = homes[candidate_id] = chunk_of(storage_key(candidate_id))
        by_chunk.setdefault(home, []).append(placed)
    unregistered = _unregistered(log, homes)

    def one(chunk: str) -> Tally:
        waiting = by_chunk[chunk]
        done = log.append_to(chunk, [placed.event for placed in waiting])
        new: Counter[str] = Counter()
        conflicting = []
        for placed, appended in zip(waiting, done, strict=True):
            if appended.new:
                new[placed.event.result] += 1
            elif appended.outcome == "conflicting":
                conflicting.append(placed)
        about_unregistered = sum(placed.event.candidate_id in unregistered for placed in waiting)
        return Tally(len(waiting), new, conflicting, about_unregistered)

    for tally in _each(one, sorted(by_chunk), at_once(log.store.objects, concurrency)):
        report.add(tally)
        yield from tally.conflicting


def _each(one: Callable[[str], Tally], chunks: Sequence[str], concurrency: int) -> Iterator[Tally]:
    """What became of each chunk; if some fail, all others come first."""
    if concurrency == 1:
        yield from map(one, chunks)
        return
    with ThreadPoolExecutor(max(1, min(concurrency, len(chunks)))) as pool:
        futures = [pool.submit(one, chunk) for chunk in chunks]
        for future in sorted(futures, key=lambda future: future.exception() is not None):
            yield future.result()


def _unregistered(log: AuditLog, homes: dict[str, str]) -> set[str]:
    """Which of these subjects have no manifest."""
    wanted = pl.DataFrame({"candidate_id": list(homes)})
    chunks = sorted(set(homes.values()))
    known = ManifestTable(log.store).read(
        lambda snapshot: snapshot.rows(chunks, ["candidate_id"]), pl.DataFrame(schema={"candidate_id": pl.String})
    )
    return set(wanted.join(known, on="candidate_id", how="anti")["candidate_id"])
