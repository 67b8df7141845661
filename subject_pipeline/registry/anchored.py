"""What the last checkpoint has of some subjects: nothing of that is ever settled again, only what came after."""

from collections.abc import Callable

from subject_pipeline.checkpoints.stored_checkpoints import CheckpointStore
from subject_pipeline.errors import AuditLogError, CheckpointError
from subject_pipeline.keys.ring_file import KeyRingFile
from subject_pipeline.registry.replaying import NOTHING_ANCHORED, Anchored
from subject_pipeline.store.opened import SubjectStore


def anchored_states(store: SubjectStore, ring: KeyRingFile, chunk: str) -> Callable[[str], Anchored]:
    """Tells of each subject of a chunk what the last checkpoint has of it.

    Raises:
        AuditLogError: the checkpoint does not hold.
        StoreError: the store failed.
    """
    layout, signing = store.layout(), ring.ring().signing
    if layout is None or signing is None:
        return lambda _: NOTHING_ANCHORED
    checkpoints = CheckpointStore(store.objects, layout.log_id, signing.public)
    try:
        checkpoint = checkpoints.latest(whole=False)
        entries = checkpoints.roster(checkpoint, chunk).entries if checkpoint else ()
    except CheckpointError as error:
        raise AuditLogError(
            f"what is recorded of {chunk} and not applied cannot be settled, since the last checkpoint does not hold: "
            f"{error}; see `subject-pipeline audit verify`"
        ) from error
    states = {entry.candidate_id: Anchored(entry.seq, entry.manifest_sha256) for entry in entries}
    return lambda candidate_id: states.get(candidate_id, NOTHING_ANCHORED)
