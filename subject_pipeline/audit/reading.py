"""Reading the audit log: some subjects' rows, as they are stored."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import orjson

from subject_pipeline.audit.index.records import subject_digest
from subject_pipeline.audit.index.stored import AuditIndex, IndexLostError
from subject_pipeline.audit.row_form import row_of
from subject_pipeline.audit.segment import Segment
from subject_pipeline.audit.stored_segments import AuditSegments
from subject_pipeline.errors import AuditLogError, KeyRingError, StoreError
from subject_pipeline.store.ids import storage_key
from subject_pipeline.store.opened import SubjectStore


def show(store: SubjectStore, candidate_id: str) -> list[dict[str, Any]]:
    """A subject's rows in the log's order, each as stored: `{"mac": ..., "row": {...}}`. Nothing is verified.

    With a key ring only the segments that the audit index names, and those after it, are read; without one, all of
    the chunk's. A subject that is not in the log has none.

    Raises:
        AuditLogError: a segment is gone.
        StoreError: the store failed.
    """
    return [row for data in subject_segments(store, candidate_id) for row in _rows_of(data, candidate_id)]


def subject_segments(store: SubjectStore, candidate_id: str) -> Iterator[bytes]:
    """The segments that may hold a subject's rows, in the log's order; otherwise as `show`."""
    layout = store.layout()
    if layout is None:
        return
    chunk = layout.chunks.chunk_of(storage_key(candidate_id))
    segments = AuditSegments(store.objects)
    after, numbers = _indexed(store, layout.log_id, chunk, [candidate_id])
    for number, data in segments.read(chunk, numbers):
        if isinstance(data, StoreError):
            raise data
        if data is None:
            raise AuditLogError(f"the segment {AuditSegments.key(chunk, number)} is gone")
        yield data
    for _, data in segments.tail(chunk, after):
        yield data


def segments_up_to(store: SubjectStore, log_id: str, chunk: str, last: int, subjects: Collection[str]) -> list[int]:
    """The numbers of the segments that may hold rows of some subjects, up to one, in order."""
    after, numbers = _indexed(store, log_id, chunk, subjects)
    return [*(number for number in numbers if number <= last), *range(after + 1, last + 1)]


def rows_of(
    segments: AuditSegments, chunk: str, numbers: Iterable[int], subjects: Collection[str]
) -> Iterator[dict[str, Any]]:
    """The rows of some subjects in some segments of a chunk, in the log's order; what cannot be read is left out."""
    for _, data in segments.read(chunk, numbers):
        if not isinstance(data, bytes):
            continue
        for inner in Segment.parse(data).inners:
            row = row_of(inner)
            if row is not None and row["candidate_id"] in subjects:
                yield row


def _indexed(store: SubjectStore, log_id: str, chunk: str, candidate_ids: Iterable[str]) -> tuple[int, Sequence[int]]:
    """The segment that the audit index reaches to, and those up to it that hold rows of these subjects."""
    try:
        index = AuditIndex(store.objects, store.ring.key)
        state = index.newest(log_id, chunk)
        if state is not None:
            return state.head.number, index.segments_of(state, [subject_digest(one) for one in candidate_ids])
    except (KeyRingError, IndexLostError):
        pass
    return -1, ()


def _rows_of(data: bytes, candidate_id: str) -> Iterator[dict[str, Any]]:
    """The lines of a segment that are rows of a subject; lines that cannot be read are verification's business."""
    name = orjson.dumps(candidate_id)
    for line in Segment.parse(data).lines:
        if name not in line:
            continue
        try:
            parsed = orjson.loads(line)
            if parsed["row"]["candidate_id"] == candidate_id:
                yield parsed
        except (orjson.JSONDecodeError, KeyError, TypeError):
            continue
