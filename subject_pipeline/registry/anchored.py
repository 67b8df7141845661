"""What the last checkpoint has of some subjects: nothing of that is ever settled again, only what came after."""

from collections.abc import Callable

from subject_pipeline.checkpoints.stored_checkpoints import CheckpointStore
from subject_pipeline.errors import CheckpointError, StoreError
from subject_pipeline.keys.ring_file import KeyRingFile
from subject_pipeline.store.opened import SubjectStore


def anchored_seqs(store: SubjectStore, ring: KeyRingFile, chunk: str) -> Callable[[str], int]:
    """Tells of each subject of a chunk up to which seq the last checkpoint has its chain; -1: it does not have it.

    Raises:
        StoreError: the store failed, or the checkpoint does not hold.
    """
    layout, signing = store.layout(), ring.ring().signing
    if layout is None or signing is None:
        return lambda _: -1
    checkpoints = CheckpointStore(store.objects, layout.log_id, signing.public)
    try:
        checkpoint = checkpoints.latest(whole=False)
        entries = checkpoints.roster(checkpoint, chunk).entries if checkpoint else ()
    except CheckpointError as error:
        raise StoreError(
            f"what is recorded of {chunk} and not applied cannot be settled, since the last checkpoint does not hold: "
            f"{error}; see `subject-pipeline audit verify`"
        ) from error
    seqs = {entry.candidate_id: entry.seq for entry in entries}
    return lambda candidate_id: seqs.get(candidate_id, -1)
