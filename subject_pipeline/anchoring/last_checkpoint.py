"""What the store itself says of its last checkpoint, to be compared with what was recorded elsewhere."""

from collections.abc import Sequence

from subject_pipeline.checkpoints.stored_checkpoints import Checkpoint
from subject_pipeline.errors import CheckpointError, ConfigurationError
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline.verification.views import AuditedStore


def stored_checkpoint(store: SubjectStore, known_notes: Sequence[str] = ()) -> Checkpoint | None:
    """The newest stored checkpoint, its signature checked; None where the store has none.

    Costs a LIST and a few GETs, however many subjects there are.

    Args:
        store: where it is.
        known_notes: signed notes of checkpoints that were kept elsewhere: each must be among the stored ones.

    Raises:
        KeyRingError: there is no usable key ring.
        ConfigurationError: the ring has no public key to check signatures with.
        CheckpointError: the checkpoint does not hold, or contradicts what is known from elsewhere.
        StoreError: the store failed.
    """
    audited = AuditedStore(store)
    if store.ring.ring().signing is None:
        raise ConfigurationError("the key ring has no public key to check a checkpoint's signature with")
    audited.hold_layout()
    if audited.layout is None:
        return None
    mark = audited.mark()
    latest = audited.checkpoints.latest(whole=False)
    wrong = audited.contradictions(latest, known_notes, mark)
    if wrong:
        raise CheckpointError("; ".join(wrong))
    return latest
