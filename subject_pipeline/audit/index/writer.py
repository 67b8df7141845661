"""The writer of the audit index: in the background, once enough was appended since the last."""

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from subject_pipeline.audit.chunk_state import ChunkState
from subject_pipeline.audit.group_commit import Lane
from subject_pipeline.audit.index.records import SegmentDelta
from subject_pipeline.audit.index.stored import AuditIndex, IndexState
from subject_pipeline.errors import SubjectPipelineError
from subject_pipeline.keys.ring_file import KeyRingFile
from subject_pipeline.objects.overlapping import at_once
from subject_pipeline.objects.protocol import ObjectStore

INDEX_AFTER_SEGMENTS = 64
INDEX_AFTER_BYTES = 8 << 20
_INDEXES_AT_ONCE = 16
_LOG = logging.getLogger(__name__)


class IndexWriter:
    """Writes the index of any chunk of one log; an index that cannot be written costs time, and no row."""

    def __init__(self, objects: ObjectStore, index: AuditIndex, ring: KeyRingFile) -> None:
        self._objects = objects
        self._index = index
        self._ring = ring
        self._lock = threading.Lock()
        self._background: ThreadPoolExecutor | None = None

    def finish(self, lanes: Sequence[Lane], after_bytes: int) -> None:
        """Write what is due of these lanes, and wait until it is written.

        Args:
            lanes: whose chunks.
            after_bytes: also index chunks with so much beyond their index.
        """
        for lane in lanes:
            if lane.indexing is not None:
                lane.indexing.result()
        for lane in lanes:
            with lane.condition:
                self.write_if_due(lane, after_bytes)
        with self._lock:
            background, self._background = self._background, None
        if background is not None:
            background.shutdown(wait=True)

    def write_if_due(self, lane: Lane, after_bytes: int = INDEX_AFTER_BYTES) -> None:
        """Start writing the index in the background where much was appended since; the lane's lock is held."""
        state = lane.state
        if state is None or not state.pending or (lane.indexing is not None and not lane.indexing.done()):
            return
        size = sum(delta.size for delta in state.pending)
        if len(state.pending) < INDEX_AFTER_SEGMENTS and size < after_bytes:
            return
        with self._lock:
            if self._background is None:
                self._background = ThreadPoolExecutor(at_once(self._objects, _INDEXES_AT_ONCE), "audit-index")
            lane.indexing = self._background.submit(self._write, lane, state, list(state.pending))

    def _write(self, lane: Lane, state: ChunkState, deltas: list[SegmentDelta]) -> None:
        ring = self._ring.ring()
        try:
            base = self._index_of_another(state, deltas) if state.trusts_index else None
            if base is None:
                base = self._index.write(state.base, deltas, key_id=ring.active, key=ring.active_key)
        except SubjectPipelineError as error:
            _LOG.warning("the audit index of %s was not written: %s", state.head.chunk, error)
            with lane.condition:
                if lane.state is state and not lane.busy:
                    lane.state = None  # its index may be gone: the next append reads again
            return
        with lane.condition:
            while lane.busy:
                lane.condition.wait()
            if lane.state is state:
                state.indexed(base)

    def _index_of_another(self, state: ChunkState, deltas: list[SegmentDelta]) -> IndexState | None:
        """The index that another process wrote meanwhile, if it covers at least half of what waits here."""
        newest = self._index.newest(state.base.head.log_id, state.base.head.chunk)
        covered = {delta.number: delta.sha256 for delta in deltas[len(deltas) // 2 :]}
        return newest if newest and covered.get(newest.head.number) == newest.head.sha256 else None
