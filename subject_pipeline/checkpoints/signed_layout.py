"""What is signed of a store's layout: nobody signs `catalog/layout.json` itself, and every checkpoint repeats it.

Log id and chunk count never change, so the first checkpoint says them as well as the last, and takes two GETs however
long the log is: the root over one leaf is that leaf's hash, so the note of checkpoint 0 names its `checkpoint.json`.
"""

from subject_pipeline.audit.log import AuditLog
from subject_pipeline.checkpoints.signed_notes import MAX_NOTE_BYTES, opened_by
from subject_pipeline.checkpoints.statement import Statement, max_bytes
from subject_pipeline.checkpoints.tree.head import TreeHead
from subject_pipeline.errors import CheckpointError
from subject_pipeline.formats.leaves import leaf_hash
from subject_pipeline.keys.ring import KeyRing
from subject_pipeline.objects.protocol import ObjectStore
from subject_pipeline.store.chunks import MAX_CHUNK_COUNT
from subject_pipeline.store.layout import LAYOUT_KEY, StoreLayout, checkpoint_key, note_key
from subject_pipeline.store.opened import SubjectStore


def first_statement(objects: ObjectStore, ring: KeyRing) -> Statement | None:
    """What checkpoint 0 states, of whatever log; None where none is there that a key of this ring has signed.

    Raises:
        StoreError: the store failed.
    """
    publics = [one.public for one in (ring.signing, *ring.former) if one is not None]
    note = objects.get(note_key(0), limit=MAX_NOTE_BYTES) if publics else None
    if note is None:
        return None
    try:
        text = note.decode()
        name = text.partition("\n")[0]
        head = TreeHead.parse(opened_by(text, [(name, public) for public in publics])[0])
        stated = objects.get(checkpoint_key(0, head.root), limit=max_bytes(MAX_CHUNK_COUNT)) or b""
        return Statement.parse(stated) if head.size == 1 and leaf_hash(stated).hex() == head.root else None
    except (CheckpointError, UnicodeDecodeError):
        return None


def contradiction(layout: StoreLayout, stated: Statement | None) -> str | None:
    """Why a layout is not the one that is signed; None where it is, or where nothing is signed."""
    if stated is None or (layout.log_id, layout.chunk_count) == (stated.log_id, stated.chunks):
        return None
    return (
        f"{LAYOUT_KEY} says {layout.chunk_count:,} chunks of the log {layout.log_id}, the first checkpoint "
        f"{stated.chunks:,} of the log {stated.log_id}, which is signed: restore {LAYOUT_KEY} from a backup"
    )


def open_audit_log(store: SubjectStore) -> AuditLog:
    """The audit log of a store; its first use refuses a layout that contradicts what this ring's keys have signed.

    So that nobody who can write the layout, and has no key, leads rows into other chunks than their own.
    """

    def check(layout: StoreLayout) -> None:
        wrong = contradiction(layout, first_statement(store.objects, store.ring.ring()))
        if wrong is not None:
            raise CheckpointError(f"nothing is read or written by this layout: {wrong}")

    return AuditLog(store, check_layout=check)
