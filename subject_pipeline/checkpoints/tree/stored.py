"""The one tree of a log's checkpoints as the store has it: one LIST gives its leaf hashes, its notes prove them."""

import re
from collections.abc import Mapping, Sequence

from subject_pipeline.checkpoints import statement
from subject_pipeline.checkpoints.signed_notes import MAX_NOTE_BYTES
from subject_pipeline.checkpoints.statement import Statement
from subject_pipeline.checkpoints.tree import merkle
from subject_pipeline.checkpoints.tree.head import TreeHead
from subject_pipeline.checkpoints.trusted_keys import TrustedKeys
from subject_pipeline.errors import CheckpointError
from subject_pipeline.formats.leaves import leaf_hash
from subject_pipeline.objects.overlapping import at_once, overlapped
from subject_pipeline.objects.protocol import ObjectStore
from subject_pipeline.store.chunks import MAX_CHUNK_COUNT
from subject_pipeline.store.layout import CHECKPOINTS, checkpoint_key, note_key

NOTE = re.compile(rf"{CHECKPOINTS}([0-9]{{12}})/note")
STATEMENT = re.compile(rf"{CHECKPOINTS}([0-9]{{12}})/([0-9a-f]{{64}})/checkpoint\.json")
"""Twelve ASCII digits make one key, so that no number has a twin."""

_AHEAD = 8


class CheckpointTree:
    """One reading of a tree; what was read of it is kept, so that every step judges the same bytes.

    Attributes:
        hashes: one leaf hash a checkpoint; nothing is believed of them until `head` has held for the last.
    """

    def __init__(self, objects: ObjectStore, log_id: str, chunks: int | None, hashes: Sequence[bytes]) -> None:
        self._objects = objects
        self._log_id = log_id
        self._chunks = chunks
        self._notes: dict[int, str] = {}
        self._statements: dict[int, Statement] = {}
        self._roots: list[bytes] = []
        self.hashes = hashes

    @classmethod
    def listed(cls, objects: ObjectStore, log_id: str, chunks: int | None) -> "CheckpointTree":
        """The tree of as many checkpoints as have a note.

        A LIST in pages may show what was written last and not what was written just before it, so what it lacks is
        gone only if another LIST, begun after it, lacks it too.

        Args:
            objects: the store's.
            log_id: the log that it must be of.
            chunks: how many each checkpoint must state; None: any number, the same in all.

        Raises:
            CheckpointError: a number before the last has no note, or none of its leaf hashes has its note's root.
            StoreError: the store failed.
        """
        try:
            return cls._listed_once(objects, log_id, chunks)
        except CheckpointError:
            return cls._listed_once(objects, log_id, chunks)

    @classmethod
    def _listed_once(cls, objects: ObjectStore, log_id: str, chunks: int | None) -> "CheckpointTree":
        notes, candidates = [], dict[int, list[bytes]]()
        for item in objects.list(CHECKPOINTS):
            if match := NOTE.fullmatch(item.key):
                notes.append(int(match[1]))
            elif match := STATEMENT.fullmatch(item.key):
                candidates.setdefault(int(match[1]), []).append(bytes.fromhex(match[2]))
        gone = next((place for place, number in enumerate(sorted(notes)) if place != number), None)
        if gone is not None:
            raise CheckpointError(f"the note of checkpoint {gone} is gone, later ones are there")
        tree = cls(objects, log_id, chunks, ())
        tree.hashes = tree._chosen(len(notes), candidates)
        return tree

    def _chosen(self, size: int, candidates: Mapping[int, Sequence[bytes]]) -> list[bytes]:
        """One leaf hash a number: the only one there is, else the one that makes the root of that number's note."""
        tree, hashes = merkle.GrowingTree(), list[bytes]()
        for number in range(size):
            found = candidates.get(number, ())
            if len(found) > 1:
                root = TreeHead.parse(self.note(number).partition("\n\n")[0] + "\n").root
                found = [one for one in found if tree.root_with(one).hex() == root]
            if not found:
                raise CheckpointError(f"the checkpoint.json of checkpoint {number} is gone")
            self._roots.append(tree.root_with(found[0]))
            tree.append(found[0])
            hashes.append(found[0])
        return hashes

    def head(self, number: int, trusted: TrustedKeys) -> tuple[TreeHead, bool]:
        """What the note of a checkpoint signs, and whether a key that is trusted has signed it.

        1. its `checkpoint.json` has the leaf hash of its place, and follows from the one before it.
        2. a signer that the one before names has signed the note, and no known key badly.
        3. the note is of this log, this number, and this tree.

        Raises:
            CheckpointError: something of this does not hold.
            StoreError: the store failed.
        """
        stated = before = self.statement(number)
        if number:
            before = self.statement(number - 1)
            stated.hold_after(before)
        try:
            head, known = trusted.opened(self.note(number), before.signers, stated.signers)
        except CheckpointError as error:
            raise CheckpointError(f"the note of checkpoint {number} does not hold: {error}") from error
        for wrong, holds in (
            ("is of another log", head.log_id == self._log_id),
            (f"says that it is number {head.number}", head.number == number),
            ("has another root than the stored checkpoints make", head.root == self._roots[number].hex()),
        ):
            if not holds:
                raise CheckpointError(f"the note of checkpoint {number} {wrong}")
        return head, known

    def believed(self, trusted: TrustedKeys, *, whole: bool) -> TreeHead:
        """The head of the newest checkpoint, if it holds, and a key that is trusted has signed this tree.

        Args:
            trusted: the reader's keys.
            whole: check every note and every `checkpoint.json`, not only the newest and the one before it.

        Raises:
            CheckpointError: one of them does not hold, or no key that is trusted has signed any.
            StoreError: the store failed.
        """
        head, known = self.head(len(self.hashes) - 1, trusted)
        if whole or not known:
            self.read_ahead()
            signed = [self.head(number, trusted)[1] for number in range(len(self.hashes))]  # each must hold
            if not any(signed):
                raise CheckpointError("no checkpoint is signed by a key that is trusted here")
        return head

    def read_ahead(self) -> None:
        """Read every note and every `checkpoint.json`, several at once on a store that is not local.

        Raises:
            CheckpointError: one of them is gone or not what its place says.
            StoreError: the store failed.
        """

        def one(number: int) -> None:
            self.note(number)
            self.statement(number)

        for _ in overlapped(one, range(len(self.hashes)), at_once(self._objects, _AHEAD)):
            pass

    def note(self, number: int) -> str:
        """A signed note, as it is there.

        Raises:
            CheckpointError: it is gone, or no text.
            StoreError: the store failed, or the object is larger than any note.
        """
        if number not in self._notes:
            data = self._objects.get(note_key(number), limit=MAX_NOTE_BYTES)
            if data is None:
                raise CheckpointError(f"the note of checkpoint {number} is gone")
            try:
                self._notes[number] = data.decode()
            except UnicodeDecodeError as error:
                raise CheckpointError(f"the note of checkpoint {number} does not hold: it is no text") from error
        return self._notes[number]

    def statement(self, number: int) -> Statement:
        """What a checkpoint states: the text with the leaf hash of its place.

        Raises:
            CheckpointError: it is gone, has another leaf hash, or is of another place, log or layout.
            StoreError: the store failed, or the object is larger than any such text.
        """
        if number not in self._statements:
            wanted = self.hashes[number]
            most = self._chunks or MAX_CHUNK_COUNT
            data = self._objects.get(checkpoint_key(number, wanted.hex()), limit=statement.max_bytes(most))
            if data is None:
                raise CheckpointError(f"the checkpoint.json of checkpoint {number} is gone")
            if leaf_hash(data) != wanted:
                raise CheckpointError(f"the checkpoint.json of checkpoint {number} is not what it is named after")
            stated = Statement.parse(data)
            chunks = self._chunks or stated.chunks
            if (stated.number, stated.log_id, stated.chunks) != (number, self._log_id, chunks):
                raise CheckpointError(f"the checkpoint.json of checkpoint {number} is of another place, log or layout")
            self._statements[number] = stated
        return self._statements[number]
