"""What the store itself says of its last checkpoint, to be compared with what was recorded elsewhere."""

from subject_pipeline.checkpoints.checkpoint import CheckpointNote
from subject_pipeline.checkpoints.stored_checkpoints import CheckpointStore
from subject_pipeline.errors import ConfigurationError
from subject_pipeline.keys.ring_file import KeyRingFile
from subject_pipeline.store.opened import SubjectStore


def stored_checkpoint(store: SubjectStore, ring: KeyRingFile) -> CheckpointNote | None:
    """The note of the newest stored checkpoint, its signature checked; None where the store has none.

    Costs a LIST and a few GETs, however many subjects there are.

    Raises:
        KeyRingError: there is no usable key ring.
        ConfigurationError: the ring has no public key to check signatures with.
        CheckpointError: the checkpoint does not hold.
        StoreError: the store failed.
    """
    layout = store.layout()
    if layout is None:
        return None
    signing = ring.ring().signing
    if signing is None:
        raise ConfigurationError("the key ring has no public key to check a checkpoint's signature with")
    latest = CheckpointStore(store.objects, layout.log_id, signing.public).latest(whole=False)
    return latest.note if latest else None
