"""What the last checkpoint has of some subjects: nothing of that is ever settled again, only what came after."""

from collections.abc import Callable

from subject_pipeline.changes.replaying import NOTHING_ANCHORED, Anchored
from subject_pipeline.checkpoints.anchored import AnchoredSubjects
from subject_pipeline.checkpoints.rosters import Roster
from subject_pipeline.checkpoints.stored_checkpoints import CheckpointStore
from subject_pipeline.checkpoints.trusted_keys import TrustedKeys
from subject_pipeline.errors import AuditLogError, CheckpointError
from subject_pipeline.keys.ring_file import KeyRingFile
from subject_pipeline.store.opened import SubjectStore


def anchored_states(store: SubjectStore, ring: KeyRingFile, chunk: str) -> Callable[[str], Anchored]:
    """Tells of each subject of a chunk what the last checkpoint has of it.

    Raises:
        AuditLogError: the checkpoint does not hold.
        StoreError: the store failed.
    """
    layout = store.layout()
    if layout is None or ring.ring().signing is None:
        return lambda _: NOTHING_ANCHORED
    trusted = TrustedKeys.of_ring(ring.ring(), layout.log_id)
    checkpoints = CheckpointStore(store.objects, layout.log_id, layout.chunks, trusted)
    try:
        checkpoint = checkpoints.latest(whole=False)
        roster = checkpoints.roster(checkpoint.leaves[chunk]) if checkpoint else Roster()
    except CheckpointError as error:
        raise AuditLogError(
            f"nobody in {chunk} can be changed, since the last checkpoint, which says what they were, does not hold: "
            f"{error}; see `subject-pipeline audit verify`"
        ) from error
    subjects = AnchoredSubjects(layout.log_id, roster)

    def anchored(candidate_id: str) -> Anchored:
        entry = subjects.entry(candidate_id)
        return Anchored(entry.seq, entry.manifest_sha256) if entry is not None else NOTHING_ANCHORED

    return anchored
