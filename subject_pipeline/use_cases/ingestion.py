"""Ingestion: files of access events become rows of the audit log, each event once however often its file is read."""

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import BinaryIO

import polars as pl

from subject_pipeline.domain.access_events import AccessEvent, parse_event
from subject_pipeline.domain.candidates import storage_key
from subject_pipeline.errors import EventError, SourceError
from subject_pipeline.storage.event_files import EventLine, check_event_file, local_events, read_events
from subject_pipeline.storage.local_objects import LocalObjects
from subject_pipeline.use_cases.audit_log import AuditLog
from subject_pipeline.use_cases.candidates import DEFAULT_CONCURRENCY

DEAD_LETTERS = "dead_letters/"
MAX_NAMED = 10_000
_BATCH = 100_000
_INDEX_AFTER_BYTES = 64 << 10

Progress = Callable[[int], None]
"""Called with events done."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A line that is no event: where it stands, why, and the SHA-256 of its bytes; its content is kept nowhere."""

    file: str
    line: int
    reason: str
    line_sha256: str


@dataclass(frozen=True, slots=True)
class EventFile:
    """A file of events: the name that reports give it, and how to open it."""

    name: str
    open: Callable[[], AbstractContextManager[BinaryIO]]

    @classmethod
    def local(cls, path: Path) -> "EventFile":
        """A file on a local disk.

        Raises:
            SourceError: there is no such file, or its name does not say what is in it.
        """
        check_event_file(str(path))
        if not path.is_file():
            raise SourceError(f"cannot read events from {path}: there is no such file")
        return cls(str(path), lambda: local_events(path))


@dataclass(frozen=True, slots=True)
class _Tally:
    """What became of one chunk's part of a batch: events, new rows by result, events about unregistered subjects."""

    events: int
    new: Counter[str]
    unregistered: int


@dataclass(slots=True)
class IngestReport:
    """What an ingestion did; `events = appended + already_present + rejected`.

    Attributes:
        unregistered: events, of those that are not rejected, about a subject that has no manifest.
        rejections: the first 10,000 of the rejected lines; all are counted.
        dead_letters: the reports that were written of rejected lines, as keys of the store.
    """

    files: int = 0
    appended: int = 0
    already_present: int = 0
    unregistered: int = 0
    rejected: int = 0
    rejections: list[Rejection] = field(default_factory=list)
    dead_letters: list[str] = field(default_factory=list)
    results: dict[str, int] = field(default_factory=dict)
    elapsed_s: float = 0.0

    @property
    def events(self) -> int:
        """Lines that were looked at, blank ones left out."""
        return self.appended + self.already_present + self.rejected

    def add(self, tally: _Tally) -> None:
        """Count a part of a batch in; not for two threads at once."""
        appended = tally.new.total()
        self.appended += appended
        self.already_present += tally.events - appended
        self.unregistered += tally.unregistered
        self.results.update({result: self.results.get(result, 0) + count for result, count in tally.new.items()})


def ingest(
    log: AuditLog,
    files: Sequence[EventFile],
    *,
    report: IngestReport | None = None,
    progress: Progress | None = None,
    concurrency: int = DEFAULT_CONCURRENCY,
) -> IngestReport:
    """Append the events of files; what the log holds already, and what is no event, is counted and stops nothing.

    Args:
        log: where they go.
        files: read in order, as streams.
        report: filled while ingesting, so that one which ends early can be told too.
        progress: told after each batch.
        concurrency: segments in flight at once, on a store that is not local.

    Raises:
        KeyRingError: there is no usable key ring.
        SourceError: a file cannot be read.
        AuditLogError: a log is damaged; nothing is appended to it.
        StoreError: the store failed. What is counted is in the log; ingesting again goes on.
    """
    log.ring.ring()
    report = report if report is not None else IngestReport()
    started = time.perf_counter()
    try:
        for file in files:
            _ingest_file(log, file, report, progress, concurrency)
            report.files += 1
    finally:
        report.elapsed_s = time.perf_counter() - started
        log.close(index_after_bytes=_INDEX_AFTER_BYTES)
    return report


def _ingest_file(
    log: AuditLog, file: EventFile, report: IngestReport, progress: Progress | None, concurrency: int
) -> None:
    rejections: list[Rejection] = []
    try:
        with file.open() as stream:
            for events in _batches(read_events(file.name, stream), file.name, rejections, report):
                if events:
                    _append(log, events, report, concurrency)
                if progress is not None:
                    progress(report.events)
    finally:
        if rejections:
            report.dead_letters.append(_bury(log, file.name, rejections))


def _batches(
    lines: Iterable[EventLine], name: str, rejections: list[Rejection], report: IngestReport
) -> Iterator[list[AccessEvent]]:
    """Lines as events, a batch at a time; those that are none are noted on the way."""
    events: list[AccessEvent] = []
    for line in lines:
        reason = line.problem
        if not reason:
            try:
                events.append(parse_event(line.value))
            except EventError as error:
                reason = str(error)
        if reason:
            rejection = Rejection(name, line.number, reason, hashlib.sha256(line.raw).hexdigest())
            report.rejected += 1
            for kept in (rejections, report.rejections):
                if len(kept) < MAX_NAMED:
                    kept.append(rejection)
        if len(events) >= _BATCH:
            yield events
            events = []
    yield events


def _append(log: AuditLog, events: Sequence[AccessEvent], report: IngestReport, concurrency: int) -> None:
    chunk_of = log.layout.chunks.chunk_of
    homes: dict[str, str] = {}
    by_chunk: dict[str, list[AccessEvent]] = {}
    for event in events:
        home = homes.get(event.candidate_id)
        if home is None:
            home = homes[event.candidate_id] = chunk_of(storage_key(event.candidate_id))
        by_chunk.setdefault(home, []).append(event)
    unregistered = _unregistered(log, homes)

    def one(chunk: str) -> _Tally:
        waiting = by_chunk[chunk]
        done = log.append_to(chunk, waiting)
        new = Counter(event.result for event, appended in zip(waiting, done, strict=True) if appended.new)
        return _Tally(len(waiting), new, sum(event.candidate_id in unregistered for event in waiting))

    for tally in _each(one, sorted(by_chunk), 1 if isinstance(log.store.objects, LocalObjects) else concurrency):
        report.add(tally)


def _each(one: Callable[[str], _Tally], chunks: Sequence[str], concurrency: int) -> Iterator[_Tally]:
    """What became of each chunk; where some fail, of all others first."""
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
    known = log.store.table.read(
        lambda snapshot: snapshot.rows(chunks, ["candidate_id"]), pl.DataFrame(schema={"candidate_id": pl.String})
    )
    return set(wanted.join(known, on="candidate_id", how="anti")["candidate_id"])


def _bury(log: AuditLog, name: str, rejections: Sequence[Rejection]) -> str:
    """Write the report of a file's rejected lines, once however often the file is read; returns its key."""
    report = {
        "schema": "subject_dead_letters.v1",
        "file": name,
        "rejections": [
            {key: value for key, value in asdict(rejection).items() if key != "file"} for rejection in rejections
        ],
    }
    data = json.dumps(report, ensure_ascii=False, indent=1).encode() + b"\n"
    key = f"{DEAD_LETTERS}{hashlib.sha256(data).hexdigest()[:32]}.json"
    log.store.objects.create(key, data)
    return key
