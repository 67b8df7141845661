"""What the last checkpoint has of some subjects: nothing of that is ever settled again, only what came after."""

import threading
from collections.abc import Callable

from subject_pipeline.changes.replaying import NOTHING_ANCHORED, Anchored
from subject_pipeline.checkpoints.anchored import AnchoredSubjects
from subject_pipeline.checkpoints.rosters import Roster
from subject_pipeline.checkpoints.stored_checkpoints import Checkpoint, CheckpointStore
from subject_pipeline.checkpoints.trusted_keys import TrustedKeys
from subject_pipeline.errors import AuditLogError, CheckpointError
from subject_pipeline.store.opened import SubjectStore


class LastCheckpoint:
    """The last checkpoint when it is first asked for; its rosters stay for a day. Safe to share between threads."""

    def __init__(self, store: SubjectStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._read: tuple[Checkpoint | None] | None = None

    def states(self, chunk: str) -> Callable[[str], Anchored]:
        """Tells of each subject of a chunk what the checkpoint has of it.

        Raises:
            AuditLogError: the checkpoint does not hold.
            StoreError: the store failed.
        """
        layout = self._store.layout()
        if layout is None or self._store.ring.ring().signing is None:
            return lambda _: NOTHING_ANCHORED
        trusted = TrustedKeys.of_ring(self._store.ring.ring(), layout.log_id)
        checkpoints = CheckpointStore(self._store.objects, layout.log_id, layout.chunks, trusted)
        try:
            checkpoint = self._latest(checkpoints)
            roster = checkpoints.roster(checkpoint.leaves[chunk]) if checkpoint else Roster()
        except CheckpointError as error:
            raise AuditLogError(
                f"nobody in {chunk} can be changed, since the last checkpoint, which says what they were, does not "
                f"hold: {error}; see `subject-pipeline audit verify`"
            ) from error
        subjects = AnchoredSubjects(layout.log_id, roster)

        def anchored(candidate_id: str) -> Anchored:
            entry = subjects.entry(candidate_id)
            return Anchored(entry.seq, entry.manifest_sha256) if entry is not None else NOTHING_ANCHORED

        return anchored

    def _latest(self, checkpoints: CheckpointStore) -> Checkpoint | None:
        with self._lock:
            (checkpoint,) = self._read = self._read or (checkpoints.latest(whole=False),)
        return checkpoint
