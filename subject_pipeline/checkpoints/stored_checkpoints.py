"""Checkpoints in the store, `checkpoints/<number, 12 digits>/`: a signed note, the chunks' leaves and their rosters.

Everything is create-only, and all but the note is named by its content, so that the objects of a writer that was
killed or lost a race are in nobody's way. The note is written last: once it is there, so is the checkpoint.

Any other object below `checkpoints/` means nothing: it is not read, and never deleted here.

Writing and reading stand in one file, longer than others: what is written here is believed only as far as reading
proves it.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import orjson

from subject_pipeline.checkpoints import merkle
from subject_pipeline.checkpoints.checkpoint import NO_HASH, CheckpointNote, ChunkLeaf, RosterEntry, origin
from subject_pipeline.checkpoints.signed_notes import open_note
from subject_pipeline.errors import CheckpointError, StoreError
from subject_pipeline.formats.canonical_json import canonical_row
from subject_pipeline.objects.protocol import ObjectStore
from subject_pipeline.store.layout import CHECKPOINTS

_NOTE = re.compile(rf"{CHECKPOINTS}([0-9]{{12}})/note")
_DERIVED = re.compile(rf"{CHECKPOINTS}([0-9]{{12}})/(?:leaves|chunk-[0-9a-f]+)-[0-9a-f]{{16}}\.jsonl")
_ROSTERS_KEPT = 2

Files = Sequence[Sequence[str | int]]
"""Objects as a list of [key, size in bytes, tag], sorted by key."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint whose signature and leaves were checked.

    Attributes:
        note: what is signed.
        signed: the whole signed note.
        leaves: by chunk, in the layout's order.
    """

    note: CheckpointNote
    signed: str
    leaves: Mapping[str, ChunkLeaf]

    @property
    def sha256(self) -> str:
        """Of the signed note's bytes; the next note names it."""
        return hashlib.sha256(self.signed.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Roster:
    """One chunk of a checkpoint.

    Attributes:
        entries: sorted by (storage_key, candidate_id).
        segments: the log's segments, as the LIST showed them.
        table_files: the table's files of this chunk, likewise.
        segment: the last segment's number; -1 where there is none.
        segment_mac: its header's MAC.
    """

    entries: Sequence[RosterEntry] = ()
    segments: Files = ()
    table_files: Files = ()
    segment: int = -1
    segment_mac: str = NO_HASH
    leaves: list[bytes] = field(default_factory=list, compare=False)

    def leaf(self, chunk: str) -> ChunkLeaf:
        """The chunk's leaf of this roster."""
        return ChunkLeaf(
            chunk,
            merkle.root(self.entry_leaves()).hex(),
            self.segment,
            self.segment_mac,
            files_hash(self.segments),
            files_hash(self.table_files),
        )

    def entry_leaves(self) -> list[bytes]:
        """The leaves of the entries, in their order, made once."""
        if not self.leaves:
            self.leaves.extend(entry.leaf() for entry in self.entries)
        return self.leaves


def files_hash(files: Files) -> str:
    """SHA-256 of a list of objects, 64 hex digits."""
    return hashlib.sha256(_files_json(files)).hexdigest()


def _files_json(files: Files) -> bytes:
    return orjson.dumps([list(item) for item in files])


class CheckpointStore:
    """The checkpoints of one store."""

    def __init__(self, objects: ObjectStore, log_id: str, public: bytes) -> None:
        self._objects = objects
        self._log_id = log_id
        self._public = public

    def latest(self, *, whole: bool) -> Checkpoint | None:
        """The newest checkpoint; None where there is none.

        Args:
            whole: check the signatures and links of all notes, not only of the last two.

        Raises:
            CheckpointError: a note is gone or unsound, or the leaves do not fit it. An older one is not used instead.
            StoreError: the store failed.
        """
        numbers = self._numbers()
        if not numbers:
            return None
        if numbers != list(range(len(numbers))):
            gone = next(place for place, number in enumerate(numbers) if place != number)
            raise CheckpointError(f"the note of checkpoint {gone} is gone, later ones are there")
        previous = NO_HASH
        first = 0 if whole else max(0, numbers[-1] - 1)
        signed, note = "", None
        for number in range(first, numbers[-1] + 1):
            signed, note = self._signed(number)
            if number > first or number == 0:
                _hold(note.previous == previous, f"the note of checkpoint {number} does not link to the one before it")
            previous = hashlib.sha256(signed.encode()).hexdigest()
        if note is None:
            raise CheckpointError("the newest checkpoint has no note")
        return Checkpoint(note, signed, self._leaves(note))

    def holds(self, signed: str) -> str | None:
        """Why a note known from elsewhere is not among the stored ones; None where it is.

        Raises:
            StoreError: the store failed.
        """
        try:
            note = CheckpointNote.parse(open_note(signed, origin(self._log_id), self._public))
        except CheckpointError as error:
            return f"a note known from elsewhere is none of this store's log: {error}"
        if self._objects.get(note_key(note.number)) == signed.encode():
            return None
        return f"the note of checkpoint {note.number}, known from elsewhere, is not the one that is stored"

    def roster(self, checkpoint: Checkpoint, chunk: str) -> Roster:
        """One chunk of a checkpoint, checked against its leaf.

        Raises:
            CheckpointError: it is gone, or not what the leaf says.
            StoreError: the store failed.
        """
        leaf = checkpoint.leaves[chunk]
        key = _roster_key(checkpoint.note.number, leaf)
        data = self._objects.get(key)
        if data is None:
            raise CheckpointError(f"the roster {key!r} is gone")
        first, *lines = data.split(b"\n")
        try:
            lists = orjson.loads(first)
            segments, table_files = lists["segments"], lists["table_files"]
            entries = [RosterEntry.parse(line) for line in lines[:-1]]
            found = Roster(entries, segments, table_files, leaf.segment, leaf.segment_mac, lines[:-1])
            _hold(found.leaf(chunk) == leaf, f"the roster {key!r} is not what its leaf says")
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise CheckpointError(f"the roster {key!r} is damaged") from error
        return found

    def write_roster(self, number: int, chunk: str, roster: Roster) -> ChunkLeaf:
        """Store one chunk of the next checkpoint; returns its leaf.

        Raises:
            StoreError: the store failed.
        """
        leaf = roster.leaf(chunk)
        lists = b'{"segments":%b,"table_files":%b}' % (_files_json(roster.segments), _files_json(roster.table_files))
        data = b"".join(line + b"\n" for line in (lists, *roster.entry_leaves()))
        self._create(_roster_key(number, leaf), data)
        return leaf

    def write(self, note: CheckpointNote, signed: str, leaves: Sequence[ChunkLeaf]) -> bool:
        """Store the leaves, then the note: True if this is now the checkpoint of its number, False if another is.

        Raises:
            OutcomeUnknownError: it is not known whether the note is there.
            StoreError: the store failed, and the checkpoint is not there.
        """
        self._create(_leaves_key(note), b"".join(leaf.leaf() + b"\n" for leaf in leaves))
        return self._objects.create(note_key(note.number), signed.encode())

    def forget_old_rosters(self, newest: int) -> None:
        """Delete the rosters and leaves of all but the last two checkpoints, and what losers of a race left.

        Raises:
            StoreError: the store failed; nothing is lost by that.
        """
        for item in list(self._objects.list(CHECKPOINTS)):
            derived = _DERIVED.fullmatch(item.key)
            if derived and int(derived[1]) <= newest - _ROSTERS_KEPT:
                self._objects.delete(item.key)

    def _numbers(self) -> list[int]:
        """The numbers of all notes, sorted; twelve ASCII digits make one key, so that none has a twin."""
        found = (_NOTE.fullmatch(item.key) for item in self._objects.list(CHECKPOINTS))
        return sorted(int(match[1]) for match in found if match)

    def _signed(self, number: int) -> tuple[str, CheckpointNote]:
        data = self._objects.get(note_key(number))
        if data is None:
            raise CheckpointError(f"the note of checkpoint {number} is gone")
        try:
            signed = data.decode()
            note = CheckpointNote.parse(open_note(signed, origin(self._log_id), self._public))
        except (UnicodeDecodeError, CheckpointError) as error:
            raise CheckpointError(f"the note of checkpoint {number} does not hold: {error}") from error
        _hold(note.log_id == self._log_id, f"the note of checkpoint {number} is of another log")
        _hold(note.number == number, f"the note of checkpoint {number} says that it is number {note.number}")
        return signed, note

    def _leaves(self, note: CheckpointNote) -> dict[str, ChunkLeaf]:
        data = self._objects.get(_leaves_key(note))
        if data is None:
            raise CheckpointError(f"the leaves of checkpoint {note.number} are gone")
        lines = data.split(b"\n")[:-1]
        _hold(merkle.root(lines).hex() == note.root, f"the leaves of checkpoint {note.number} do not make its root")
        return {leaf.chunk: leaf for leaf in map(ChunkLeaf.parse, lines)}

    def _create(self, key: str, data: bytes) -> None:
        if not self._objects.create(key, data):
            raise StoreError(f"another object is in the place of {key!r}")


def _hold(holds: bool, otherwise: str) -> None:  # noqa: FBT001 - the claim itself
    if not holds:
        raise CheckpointError(otherwise)


def note_key(number: int) -> str:
    """The key of a checkpoint's signed note."""
    return f"{CHECKPOINTS}{number:012d}/note"


def _leaves_key(note: CheckpointNote) -> str:
    return f"{CHECKPOINTS}{note.number:012d}/leaves-{note.root[:16]}.jsonl"


def _roster_key(number: int, leaf: ChunkLeaf) -> str:
    digest = hashlib.sha256(canonical_row({"leaf": leaf.leaf().decode()})).hexdigest()
    return f"{CHECKPOINTS}{number:012d}/{leaf.chunk}-{digest[:16]}.jsonl"
