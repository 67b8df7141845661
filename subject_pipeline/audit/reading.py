"""Reading the audit log: one subject's rows, as they are stored."""

from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from subject_pipeline.audit.index import subject_digest
from subject_pipeline.audit.segment import Segment
from subject_pipeline.audit.stored_index import AuditIndex, IndexLostError
from subject_pipeline.audit.stored_segments import AuditSegments
from subject_pipeline.errors import AuditLogError, KeyRingError, StoreError
from subject_pipeline.keys.ring_file import KeyRingFile
from subject_pipeline.store.ids import storage_key
from subject_pipeline.store.opened import SubjectStore


def show(store: SubjectStore, ring: KeyRingFile, candidate_id: str) -> list[dict[str, Any]]:
    """A subject's rows in the log's order, each as stored: `{"mac": ..., "row": {...}}`. Nothing is verified.

    With a key ring only the segments that the audit index names, and those after it, are read; without one, all of
    the chunk's. A subject that is not in the log has none.

    Raises:
        AuditLogError: a segment is gone.
        StoreError: the store failed.
    """
    layout = store.layout()
    if layout is None:
        return []
    chunk = layout.chunks.chunk_of(storage_key(candidate_id))
    segments = AuditSegments(store.objects)
    after, numbers = _indexed(store, ring, layout.log_id, chunk, candidate_id)
    rows: list[dict[str, Any]] = []
    for number, data in segments.read(chunk, numbers):
        if isinstance(data, StoreError):
            raise data
        if data is None:
            raise AuditLogError(f"the segment {AuditSegments.key(chunk, number)} is gone")
        rows += _rows_of(data, candidate_id)
    for _, data in segments.tail(chunk, after):
        rows += _rows_of(data, candidate_id)
    return rows


def _indexed(
    store: SubjectStore, ring: KeyRingFile, log_id: str, chunk: str, candidate_id: str
) -> tuple[int, Sequence[int]]:
    """The segment that the audit index reaches to, and those up to it that hold the subject's rows."""
    try:
        index = AuditIndex(store.objects, ring.key)
        state = index.newest(log_id, chunk)
        if state is not None:
            return state.head.number, index.segments_of(state, [subject_digest(candidate_id)])
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
