"""Rebuilding: everything that is derived, from nothing but the table and the log."""

from collections.abc import Callable
from dataclasses import dataclass

from subject_pipeline.checkpoints.signed_layout import open_audit_log
from subject_pipeline.store.opened import SubjectStore


@dataclass(slots=True)
class Rebuilt:
    """What was derived again: chunks with a log, their segments, and index objects that were deleted."""

    chunks: int = 0
    segments: int = 0
    removed: int = 0


def rebuild(store: SubjectStore, progress: Callable[[int, int], None] | None = None) -> Rebuilt:
    """Derive the audit index of every chunk again, reading the whole log; writers may continue meanwhile.

    Args:
        store: whose index.
        ring: the key ring.
        progress: called with chunks done and chunks in all.

    Raises:
        KeyRingError: there is no usable key ring.
        AuditLogError: a log is damaged; its index is left as it is.
        StoreError: the store failed; run it again.
    """
    store.ring.ring()
    done = Rebuilt()
    layout = store.layout()
    if layout is None:
        return done
    log = open_audit_log(store)
    for at, chunk in enumerate(layout.chunks.names, start=1):
        segments, removed = log.rebuild_index(chunk)
        done.chunks += segments > 0
        done.segments += segments
        done.removed += removed
        if progress is not None:
            progress(at, layout.chunks.count)
    return done
