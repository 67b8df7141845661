"""The numbers of a compliance report, collected from table, log and checkpoint at one time.

1. the last checkpoint, and what a verification finds that reads what changed since: the report says no more than that.
2. the logs are listed, then the table's version is pinned: people who were registered before the rows listed is in it.
3. group by group of chunks, the table's columns, then the chunks' segments, several of them under way at once.
"""

import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import groupby
from typing import NamedTuple
from urllib.parse import urlsplit

import polars as pl

from subject_pipeline.audit.events import EVIDENCE_PREFIX
from subject_pipeline.audit.reading import rows_of
from subject_pipeline.audit.row_form import row_of
from subject_pipeline.audit.segment import Segment
from subject_pipeline.audit.stored_segments import AuditSegments
from subject_pipeline.candidates.staged import plan_groups
from subject_pipeline.checkpoints.stored_checkpoints import Checkpoint
from subject_pipeline.errors import StoreError
from subject_pipeline.lifecycle.search.row_frames import segment_rows
from subject_pipeline.manifests.frames import TABLE_SCHEMA
from subject_pipeline.manifests.snapshot import Snapshot
from subject_pipeline.manifests.table import ManifestTable
from subject_pipeline.objects.overlapping import overlapped
from subject_pipeline.objects.protocol import ObjectStore
from subject_pipeline.reports.counting import (
    MANIFEST_COLUMNS,
    ROW_SCHEMA,
    AccessCounts,
    SegmentCounts,
    SubjectCounts,
)
from subject_pipeline.reports.numbers import (
    AccessNumbers,
    CheckpointState,
    ComplianceNumbers,
    SubjectNumbers,
    VerificationHistory,
    VerificationState,
)
from subject_pipeline.store.chunks import ChunkLayout
from subject_pipeline.store.layout import ERASURES
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline.verification.questionable import begins, questionable
from subject_pipeline.verification.whole_store import Progress, Verification, verify

CONCURRENCY = 8
"""Segments read at once; each holds about 8 MiB of text at most, and only its counts are kept."""

_NO_ROWS = pl.DataFrame(schema={name: TABLE_SCHEMA[name] for name in MANIFEST_COLUMNS})
_Segment = tuple[str, int]


class _Counted(NamedTuple):
    """A segment's rows, counted; `counts` is a text where it could not be read, and says why.

    `restricted` is everyone who has a row in it that may make later accesses questionable.
    """

    chunk: str
    number: int
    counts: SegmentCounts | str
    restricted: frozenset[str] = frozenset()


def _utc_now() -> dt.datetime:
    """The time, UTC."""
    return dt.datetime.now(dt.UTC)


def collect_numbers(
    store: SubjectStore,
    *,
    pending_days: float,
    known_notes: Sequence[str] = (),
    history: VerificationHistory | None = None,
    concurrency: int = CONCURRENCY,
    progress: Progress | None = None,
    clock: Callable[[], dt.datetime] = _utc_now,
) -> ComplianceNumbers:
    """One report's numbers; what is damaged is counted, never an error.

    Args:
        store: whose numbers.
        pending_days: consent undecided for longer than this is too long.
        known_notes: signed notes of checkpoints that were kept elsewhere: each must be among the stored ones.
        history: what is known of earlier verifications.
        concurrency: segments read at once.
        progress: called after each chunk.
        clock: gives the report's time, asked once.

    Raises:
        KeyRingError: there is no usable key ring.
        ConfigurationError: another chunk count is wanted than the store has.
        StoreError: the store failed.
    """
    now = clock().astimezone(dt.UTC)
    verification = verify(store, incremental=True, known_notes=known_notes)
    layout = store.layout()
    chunks = layout.chunks if layout else None
    segments = _listed(AuditSegments(store.objects), chunks) if chunks else []

    def count(snapshot: Snapshot | None) -> tuple[int | None, SubjectNumbers, AccessNumbers]:
        subjects, accesses = SubjectCounts(now, pending_days), AccessCounts(now)
        if chunks is not None:
            counted = overlapped(partial(_count_segment, store), segments, max(1, concurrency))
            _count(store, chunks, snapshot, counted, (subjects, accesses), progress)
        return snapshot.version if snapshot else None, subjects.numbers(), accesses.numbers()

    # A vacuum under the reader means to begin again, so that all of it is of one version.
    version, subjects, accesses = ManifestTable(store).read(count, None) or count(None)
    return ComplianceNumbers(
        now,
        address(store.location.url),
        chunks.count if chunks else 0,
        version,
        subjects,
        accesses,
        verification_state(verification),
        checkpoint_state(verification.checkpoint, now),
        history,
        _certificates(store.objects),
    )


def _listed(segments: AuditSegments, chunks: ChunkLayout) -> list[_Segment]:
    """Every segment up to the last that the LIST showed: it may lack some, beside a writer, so gaps are asked for."""
    listing = segments.list(chunks.names, whole=True).segments
    return [(chunk, number) for chunk in chunks.names for number in range(max(listing[chunk], default=-1) + 1)]


def _count(
    store: SubjectStore,
    chunks: ChunkLayout,
    snapshot: Snapshot | None,
    counted: Iterator[_Counted],
    into: tuple[SubjectCounts, AccessCounts],
    progress: Progress | None,
) -> None:
    subjects, accesses = into
    by_chunk = groupby(counted, key=lambda one: one.chunk)
    upcoming = next(by_chunk, None)
    done = 0
    for group in plan_groups(snapshot.count() if snapshot else 0, chunks.count):
        names = chunks.names[group.first : group.last + 1]
        rows = snapshot.rows(names, MANIFEST_COLUMNS) if snapshot else _NO_ROWS
        subjects.add(rows)
        registered = {str(chunk): part["candidate_id"] for (chunk,), part in rows.group_by("chunk")}
        for name in names:
            if upcoming is not None and upcoming[0] == name:
                segments = list(upcoming[1])
                _add(accesses, [one.counts for one in segments], registered.get(name, _NO_ROWS["candidate_id"]))
                accesses.question(_questionable(store, segments))
                upcoming = next(by_chunk, None)
            done += 1
            if progress is not None:
                progress(done, chunks.count)


def _add(accesses: AccessCounts, segments: Sequence[SegmentCounts | str], registered: pl.Series) -> None:
    for why in (one for one in segments if isinstance(one, str)):
        accesses.lose(why)
    accesses.add([one for one in segments if isinstance(one, SegmentCounts)], registered)


def _questionable(store: SubjectStore, segments: Sequence[_Counted]) -> int:
    """How many accesses of one chunk should not have been: the rows of everyone who may have such are read again."""
    restricted = frozenset[str]().union(*(one.restricted for one in segments))
    if not restricted:
        return 0
    theirs = pl.col("candidate_id").is_in(list(restricted))
    numbers = [
        one.number
        for one in segments
        if isinstance(one.counts, SegmentCounts) and not one.counts.subjects.filter(theirs).is_empty()
    ]
    rows = rows_of(AuditSegments(store.objects), segments[0].chunk, numbers, restricted)
    return sum(1 for _ in questionable(rows))


def _count_segment(store: SubjectStore, segment: _Segment) -> _Counted:
    try:
        data = AuditSegments(store.objects).get(*segment)
    except StoreError as error:
        return _Counted(*segment, str(error))
    if data is None:
        return _Counted(*segment, f"the object {AuditSegments.key(*segment)!r} is gone")
    return _Counted(*segment, count_rows(data), frozenset(_restricted(data)))


def _restricted(segment: bytes) -> Iterator[str]:
    """Everyone who has a row of the registry in a segment that may make later accesses questionable."""
    if _REGISTRYS not in segment:
        return
    for inner in Segment.parse(segment).inners:
        row = row_of(inner) if _REGISTRYS in inner else None
        if row is not None and begins(row.get("decision", {})):
            yield row["candidate_id"]


_REGISTRYS = f'"action":"{EVIDENCE_PREFIX}'.encode()


def count_rows(segment: bytes) -> SegmentCounts:
    """A stored segment's rows, counted; never fails: what is no row is counted as unreadable."""
    rows, unreadable = segment_rows(segment, ROW_SCHEMA)
    return SegmentCounts.of(rows, unreadable)


def address(url: str) -> str:
    """A store's URL without whatever stands before an `@` in its host."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def verification_state(report: Verification) -> VerificationState:
    """What a verification found, as the report says it."""
    kinds = Counter(one.kind for one in report.broken_logs)
    kinds.update(one.kind for one in report.broken_chains)
    kinds.update(one.kind for one in report.broken_manifests)
    return VerificationState(
        report.chains,
        report.rows,
        report.broken,
        report.unreadable,
        max(kinds.total(), report.unreadable),
        dict(sorted(kinds.items())),
    )


def _certificates(objects: ObjectStore) -> int:
    """How many certificates of erasures the store has, one a line."""
    return sum((objects.get(item.key) or b"").count(b"\n") for item in objects.list(ERASURES))


def checkpoint_state(checkpoint: Checkpoint | None, now: dt.datetime) -> CheckpointState | None:
    """The checkpoint that it was compared with, as the report says it."""
    if checkpoint is None:
        return None
    age = (now - dt.datetime.fromisoformat(checkpoint.time)) / dt.timedelta(days=1)
    return CheckpointState(checkpoint.number, checkpoint.root, checkpoint.note_sha256, checkpoint.time, age)
