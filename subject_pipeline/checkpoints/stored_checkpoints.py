"""Checkpoints as the store has them: what is believed of them, and no more.

The order of reading, and what each step rests on:

1. one LIST: which numbers have a note, and the leaf hashes that stand in the names of `checkpoint.json`s.
2. the newest note, signed by a signer that the checkpoint before it names; its root is that over one leaf hash of each
   number. Where a number has several, the note of that number decides.
3. `checkpoint.json`, whose bytes have that leaf hash; then the leaves, which make its state root; then, where it is
   wanted, a chunk's roster, which makes the root in the chunk's leaf.

Any other object below `checkpoints/` means nothing: it is not read, and never deleted.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from subject_pipeline.checkpoints.leaves import MAX_LEAF_BYTES, ChunkLeaf, parse_leaves
from subject_pipeline.checkpoints.rosters import MAX_LINE_BYTES, Roster
from subject_pipeline.checkpoints.statement import Statement
from subject_pipeline.checkpoints.tree import merkle
from subject_pipeline.checkpoints.tree.head import TreeHead
from subject_pipeline.checkpoints.tree.stored import CheckpointTree
from subject_pipeline.checkpoints.trusted_keys import TrustedKeys
from subject_pipeline.errors import CheckpointError
from subject_pipeline.objects.protocol import ObjectStore
from subject_pipeline.store.chunks import ChunkLayout
from subject_pipeline.store.layout import leaves_key, roster_key

Retired = Mapping[str, Mapping[str, int]]
"""By chunk: the last segment under which each retired key may appear."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint whose signature, place in the tree and leaves were checked.

    Attributes:
        statement: what it states.
        head: what its note signs.
        note: the whole signed note.
        hashes: the leaf hashes of all checkpoints up to this one, in order.
        leaves: by chunk, in the layout's order.
    """

    statement: Statement
    head: TreeHead
    note: str
    hashes: Sequence[bytes] = field(repr=False)
    leaves: Mapping[str, ChunkLeaf] = field(repr=False)

    @property
    def number(self) -> int:
        """Its number, from 0."""
        return self.statement.number

    @property
    def time(self) -> str:
        """When it was made, RFC 3339."""
        return self.statement.time

    @property
    def root(self) -> str:
        """Of the tree of all checkpoints up to it, 64 hex digits; its note has the same in base64."""
        return self.head.root

    @property
    def note_sha256(self) -> str:
        """Of the signed note's bytes."""
        return hashlib.sha256(self.note.encode()).hexdigest()


class CheckpointStore:
    """The checkpoints of one store, read with keys from elsewhere."""

    def __init__(self, objects: ObjectStore, log_id: str, chunks: ChunkLayout, trusted: TrustedKeys) -> None:
        self._objects = objects
        self._log_id = log_id
        self._chunks = chunks
        self.trusted = trusted

    def latest(self, *, whole: bool) -> Checkpoint | None:
        """The newest checkpoint; None where there is none.

        Args:
            whole: check every note and every `checkpoint.json`, not only the newest and the one before it.

        Raises:
            CheckpointError: anything of it is gone or does not hold. An older one is not used instead.
            StoreError: the store failed.
        """
        tree = CheckpointTree.listed(self._objects, self._log_id, self._chunks.count)
        if not tree.hashes:
            return None
        head = tree.believed(self.trusted, whole=whole)
        stated = tree.statement(head.number)
        self.trusted.hold_in_force(stated)
        return Checkpoint(stated, head, tree.note(head.number), tree.hashes, self.leaves(stated))

    def contradictions(self, checkpoint: Checkpoint | None, known_notes: Iterable[str]) -> list[str]:
        """Why notes that were kept elsewhere are none of this store's; empty where each of them is."""
        found = []
        for note in known_notes:
            try:
                found.append(self.contradiction(checkpoint, self.trusted.head_of(note)))
            except CheckpointError as error:
                found.append(f"a note known from elsewhere is none of this store's log: {error}")
        return [reason for reason in found if reason is not None]

    def contradiction(self, checkpoint: Checkpoint | None, known: TreeHead) -> str | None:
        """Why a head known from elsewhere is none of this store's checkpoints; None where it is.

        Compared are log, size and root, never bytes: signatures may be added to a note.
        """
        told = f"checkpoint {known.number}, known from elsewhere,"
        if known.log_id != self._log_id:
            return f"{told} is of another log"
        have = len(checkpoint.hashes) if checkpoint else 0
        if checkpoint is None or known.size > have:
            return f"{told} is gone: the store has {have:,} checkpoints"
        same = merkle.root_of_hashes(checkpoint.hashes[: known.size]).hex() == known.root
        return None if same else f"{told} is not the one that is stored"

    def roster(self, leaf: ChunkLeaf) -> Roster:
        """The roster that a chunk's leaf names.

        Raises:
            CheckpointError: it is gone, or not what the leaf says.
            StoreError: the store failed, or the object is larger than the roster can be.
        """
        if leaf.subjects == 0:
            return Roster()
        key = roster_key(leaf.chunk, leaf.roster_root)
        data = self._objects.get(key, limit=MAX_LINE_BYTES * leaf.subjects)
        if data is None:
            raise CheckpointError(f"the roster {key!r} is gone")
        try:
            return Roster.parse(data, subjects=leaf.subjects, root=leaf.roster_root)
        except CheckpointError as error:
            raise CheckpointError(f"the roster {key!r} does not hold: {error}") from error

    def leaves(self, stated: Statement) -> dict[str, ChunkLeaf]:
        """The leaves of a checkpoint, by chunk.

        Raises:
            CheckpointError: they are gone, or not those of its state root.
            StoreError: the store failed, or the object is larger than the leaves can be.
        """
        data = self._objects.get(leaves_key(stated.state_root), limit=(MAX_LEAF_BYTES + 1) * self._chunks.count)
        if data is None:
            raise CheckpointError(f"the leaves of checkpoint {stated.number} are gone")
        try:
            return parse_leaves(data, names=self._chunks.names, root=stated.state_root)
        except CheckpointError as error:
            raise CheckpointError(f"the leaves of checkpoint {stated.number} do not hold: {error}") from error

    def earlier(self, checkpoint: Checkpoint, number: int) -> Statement:
        """What an earlier checkpoint states, or this one.

        Raises:
            CheckpointError: it is gone, or not the one in the tree.
            StoreError: the store failed.
        """
        tree = CheckpointTree(self._objects, self._log_id, self._chunks.count, checkpoint.hashes)
        return tree.statement(number)

    def retired(self, checkpoint: Checkpoint) -> Retired:
        """Up to which segment of each chunk each retired key may appear, from the leaves at which it was retired.

        Raises:
            CheckpointError: such a checkpoint, or its leaves, is gone or does not hold.
            StoreError: the store failed.
        """
        found: dict[str, dict[str, int]] = {chunk: {} for chunk in checkpoint.leaves}
        for key_id, number in checkpoint.statement.retired_keys.items():
            leaves = checkpoint.leaves
            if number != checkpoint.number:
                leaves = self.leaves(self.earlier(checkpoint, number))
            for chunk, leaf in leaves.items():
                found[chunk][key_id] = leaf.segment
        return found
