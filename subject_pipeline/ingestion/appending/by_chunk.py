"""Appending a batch, chunk by chunk, in this process."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import polars as pl

from subject_pipeline.audit.events import AccessEvent
from subject_pipeline.audit.log import AuditLog
from subject_pipeline.ingestion.ingest_report import Placed, Tally
from subject_pipeline.manifests.table import ManifestTable
from subject_pipeline.objects.overlapping import at_once
from subject_pipeline.store.chunks import ChunkLayout
from subject_pipeline.store.ids import storage_key

INDEX_AFTER_BYTES = 64 << 10
"""Where an ingestion ends, the index is written of each chunk with so much beyond it."""

ByChunk = dict[str, list[Placed]]


class Done(NamedTuple):
    """What became of one chunk's part of a batch: as `Tally`, with the places of those that conflict."""

    chunk: str
    new: Counter[str]
    conflicting: list[int]
    unregistered: int


class InThisProcess:
    """Appends each batch before it takes the next."""

    batch = 100_000
    """Events that are taken at once."""

    def __init__(self, log: AuditLog, concurrency: int) -> None:
        self._log = log
        self._at_once = at_once(log.store.objects, concurrency)

    def append(self, batch: Sequence[Placed]) -> Iterator[Tally]:
        """Append a batch.

        Raises:
            AuditLogError: a log is damaged; nothing is appended to it.
            StoreError: the store failed. What was counted is in the log.
        """
        parts = by_chunk(self._log.layout.chunks, batch)
        events = {chunk: [placed.event for placed in waiting] for chunk, waiting in parts.items()}
        yield from tallies(parts, append(self._log, events, self._at_once))

    def rest(self) -> Iterator[Tally]:
        """What was given and not told yet: nothing."""
        return iter(())

    def close(self) -> None:
        """Write what of the index is due."""
        self._log.close(index_after_bytes=INDEX_AFTER_BYTES)


def by_chunk(layout: ChunkLayout, batch: Iterable[Placed]) -> ByChunk:
    """The events of a batch by the chunk that they fall into, each chunk's in order."""
    homes: dict[str, str] = {}
    found: ByChunk = {}
    for placed in batch:
        candidate_id = placed.event.candidate_id
        home = homes.get(candidate_id)
        if home is None:
            home = homes[candidate_id] = layout.chunk_of(storage_key(candidate_id))
        found.setdefault(home, []).append(placed)
    return found


def append(log: AuditLog, events: Mapping[str, Sequence[AccessEvent]], concurrency: int) -> Iterator[Done]:
    """Append each chunk's events; if some fail, all others come first."""
    unregistered = _unregistered(log, events)

    def one(chunk: str) -> Done:
        new: Counter[str] = Counter()
        conflicting = []
        for at, (event, appended) in enumerate(zip(events[chunk], log.append_to(chunk, events[chunk]), strict=True)):
            if appended.new:
                new[event.result] += 1
            elif appended.outcome == "conflicting":
                conflicting.append(at)
        return Done(chunk, new, conflicting, sum(event.candidate_id in unregistered for event in events[chunk]))

    yield from _each(one, sorted(events), concurrency)


def tallies(parts: ByChunk, done: Iterable[Done]) -> Iterator[Tally]:
    """The same of the events as they were placed."""
    for one in done:
        placed = parts[one.chunk]
        yield Tally(len(placed), one.new, [placed[at] for at in one.conflicting], one.unregistered)


def _each(one: Callable[[str], Done], chunks: Sequence[str], concurrency: int) -> Iterator[Done]:
    """What became of each chunk; if some fail, all others come first."""
    if concurrency == 1:
        yield from map(one, chunks)
        return
    with ThreadPoolExecutor(max(1, min(concurrency, len(chunks)))) as pool:
        futures = [pool.submit(one, chunk) for chunk in chunks]
        for future in sorted(futures, key=lambda future: future.exception() is not None):
            yield future.result()


def _unregistered(log: AuditLog, events: Mapping[str, Sequence[AccessEvent]]) -> set[str]:
    """Which of these subjects have no manifest."""
    subjects = {event.candidate_id for chunk in events.values() for event in chunk}
    wanted = pl.DataFrame({"candidate_id": list(subjects)})
    nobody = pl.DataFrame(schema={"candidate_id": pl.String})
    known = ManifestTable(log.store).read(lambda snapshot: snapshot.rows(sorted(events), ["candidate_id"]), nobody)
    return set(wanted.join(known, on="candidate_id", how="anti")["candidate_id"])
