"""Writing a checkpoint: rosters, leaves, `checkpoint.json`, and the note last; once it is there, so is the checkpoint.

Everything is create-only, and all but the note is named by its content: what a killed attempt left is in nobody's way,
and who finds the same bytes there goes on. Other bytes under a name that is made of bytes are never signed over.
"""

from collections.abc import Iterable

from subject_pipeline.checkpoints.leaves import ChunkLeaf, leaves_text
from subject_pipeline.checkpoints.rosters import Roster
from subject_pipeline.checkpoints.statement import Statement
from subject_pipeline.errors import StoreError
from subject_pipeline.formats.leaves import leaf_hash
from subject_pipeline.objects.protocol import ObjectStore
from subject_pipeline.store.layout import checkpoint_key, leaves_key, note_key, roster_key


class CheckpointWriter:
    """Writes the objects of one store's checkpoints."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects

    def roster(self, leaf: ChunkLeaf, roster: Roster) -> None:
        """Store the roster that a chunk's leaf names; an empty one is no object.

        Raises:
            StoreError: the store failed, or other bytes are in its place.
        """
        if roster.entries:
            self._create(roster_key(leaf.chunk, leaf.roster_root), roster.text)

    def leaves(self, state_root: str, leaves: Iterable[ChunkLeaf]) -> None:
        """Store the leaves of a state.

        Raises:
            StoreError: the store failed, or other bytes are in their place.
        """
        self._create(leaves_key(state_root), leaves_text(leaves))

    def checkpoint(self, stated: Statement, note: str) -> bool:
        """Store `checkpoint.json`, then its note: True if it is now the checkpoint of its number, False if another is.

        Raises:
            OutcomeUnknownError: it is not known whether the note is there.
            StoreError: the store failed, and the checkpoint is not there.
        """
        text = stated.text()
        self._create(checkpoint_key(stated.number, leaf_hash(text).hex()), text)
        return self._objects.create(note_key(stated.number), note.encode())

    def _create(self, key: str, data: bytes) -> None:
        if not self._objects.create(key, data):
            raise StoreError(
                f"cannot write {key!r}: other bytes are there than those that it is named after; nothing is signed "
                "over them: find out who wrote them, and remove the object"
            )
