"""Searching the audit log, segment by segment: memory does not grow with the log."""

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from subject_pipeline.audit.reading import subject_segments
from subject_pipeline.audit.stored_segments import AuditSegments
from subject_pipeline.errors import StoreError
from subject_pipeline.lifecycle.search.query import ROWS, Query, sound
from subject_pipeline.lifecycle.search.row_frames import segment_rows
from subject_pipeline.store.opened import SubjectStore


@dataclass(frozen=True, slots=True)
class Found:
    """What one segment has.

    Attributes:
        rows: `ROWS`: those that match, as they are stored.
        unreadable: its lines that are no row.
        lost: why it could not be read; empty where it could.
    """

    rows: pl.DataFrame
    unreadable: int = 0
    lost: str = ""


def search(store: SubjectStore, query: Query) -> Iterator[Found]:
    """What each segment has, chunk by chunk, in the logs' order. Nothing is verified.

    Of one subject only their own chunk is read, and with a key ring only the segments that the audit index names.

    Raises:
        AuditLogError: a segment of the one subject asked for is gone.
        StoreError: the store failed.
    """
    if query.subject is not None:
        for data in subject_segments(store, query.subject):
            yield _found(data, query)
        return
    layout = store.layout()
    segments = AuditSegments(store.objects)
    for chunk in layout.chunks.names if layout is not None else ():
        listed = segments.list([chunk], whole=False).segments[chunk]
        for number, there in segments.read(chunk, range(max(listed, default=-1) + 1)):
            if isinstance(there, bytes):
                yield _found(there, query)
            else:
                why = str(there) if isinstance(there, StoreError) else "it is gone"
                yield Found(_NOTHING, lost=f"{AuditSegments.key(chunk, number)}: {why}")


_NOTHING = pl.DataFrame(schema=ROWS)


def _found(data: bytes, query: Query) -> Found:
    rows, unreadable = segment_rows(data, ROWS)
    whole = sound(rows)
    return Found(query.matching(whole), unreadable + rows.height - whole.height)
