"""Checkpoints by hand in an object store: honest ones, and what anyone who can write the bucket makes of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from subject_pipeline.anchoring.writing import CheckpointWriter
from subject_pipeline.checkpoints.leaves import ChunkLeaf, files_hash, state_root
from subject_pipeline.checkpoints.rosters import Roster, RosterEntry, id_sha256
from subject_pipeline.checkpoints.signed_notes import sign_note, verifier_line
from subject_pipeline.checkpoints.statement import Statement
from subject_pipeline.checkpoints.stored_checkpoints import Checkpoint, CheckpointStore
from subject_pipeline.checkpoints.tree import merkle
from subject_pipeline.checkpoints.tree.head import TreeHead, origin
from subject_pipeline.checkpoints.trusted_keys import TrustedKeys
from subject_pipeline.formats.leaves import leaf_hash
from subject_pipeline.keys.ring import SigningKey
from subject_pipeline.objects.protocol import ObjectStore
from subject_pipeline.store.chunks import ChunkLayout
from subject_pipeline.store.layout import note_key

LOG, OTHER_LOG = "1" * 32, "2" * 32
LAYOUT = ChunkLayout(2)
SEED, OTHER_SEED, THIRD_SEED = (bytes([at]) * 32 for at in (1, 2, 3))
SEGMENTS: list[list[str | int]] = [["audit/chunk-0/000000000000.jsonl", 7, "a"]]
FILES: list[list[str | int]] = [["subjects/chunk=chunk-0/part.parquet", 9, "c"]]


def line_of(seed: bytes, log_id: str = LOG) -> str:
    """The verifier line of a private key."""
    return verifier_line(origin(log_id), SigningKey.of_seed(seed).public)


def entry(seq: int = 3, mark: str = "A") -> RosterEntry:
    """A subject with a chain and a manifest."""
    return RosterEntry(mark * 21 + "A", seq, "a" * 64, "b" * 64, "present")


def roster(chunk: str, seq: int = 3) -> Roster:
    """Two subjects of a chunk."""
    return Roster.of({id_sha256(LOG, f"{name}-{chunk}"): entry(seq) for name in "AB"})


def leaf(chunk: str, seq: int = 3) -> ChunkLeaf:
    """Their leaf."""
    made = roster(chunk, seq)
    return ChunkLeaf(chunk, len(made.entries), made.root, 1, "c" * 64, files_hash(SEGMENTS), files_hash(FILES))


@dataclass(slots=True)
class Forger:
    """Anyone who has the bucket, and here the keys too.

    Attributes:
        statements: of the checkpoints written so far.
    """

    objects: ObjectStore
    statements: list[Statement] = field(default_factory=list)

    def store(self, *seeds: bytes, in_force: bool = False) -> CheckpointStore:
        """The checkpoints as a reader sees them who trusts these keys."""
        lines = tuple(map(line_of, seeds or (SEED,)))
        trusted = TrustedKeys(lines, frozenset(lines[:1]) if in_force else frozenset())
        return CheckpointStore(self.objects, LOG, LAYOUT, trusted)

    def stated(self, number: int, seed: bytes = SEED, **changes: object) -> Statement:
        """What an honest checkpoint would state."""
        leaves = [leaf(chunk, number) for chunk in LAYOUT.names]
        time = f"2026-06-30T12:00:{number:02}.000000Z"
        made = Statement(LOG, number, time, LAYOUT.count, state_root(leaves), [line_of(seed)])
        return replace(made, **changes)  # type: ignore[arg-type]  # of the statement's fields

    def hashes(self, *more: Statement) -> list[bytes]:
        """The tree's leaf hashes so far, and with some more."""
        return [leaf_hash(one.text()) for one in (*self.statements, *more)]

    def head(self, *more: Statement) -> TreeHead:
        """The tree's head so far, or with some more."""
        hashes = self.hashes(*more)
        return TreeHead(LOG, len(hashes), merkle.root_of_hashes(hashes).hex())

    def note(self, stated: Statement, *seeds: bytes) -> str:
        """The note over what is there and one more."""
        return sign_note(self.head(stated).text(), origin(LOG), *(seeds or (SEED,)))

    def add(self, stated: Statement | None = None, *seeds: bytes) -> str:
        """Write one more checkpoint, with its rosters and leaves; returns its note."""
        number = len(self.statements)
        stated = stated or self.stated(number)
        writer = CheckpointWriter(self.objects)
        leaves = [leaf(chunk, number) for chunk in LAYOUT.names]
        for one in leaves:
            writer.roster(one, roster(one.chunk, number))
        writer.leaves(state_root(leaves), leaves)
        note = self.note(stated, *seeds)
        assert writer.checkpoint(stated, note)
        self.statements.append(stated)
        return note

    def write(self, count: int) -> list[str]:
        """Honest checkpoints, one after the other; each subject has one row more in each."""
        return [self.add() for _ in range(count)]

    def latest(self, *, whole: bool = True) -> Checkpoint:
        """The newest checkpoint as a reader of the current key sees it."""
        found = self.store().latest(whole=whole)
        assert found is not None
        return found

    def put(self, number: int, note: str) -> None:
        """Put a note in the place of one."""
        self.objects.replace(note_key(number), note.encode())

    def change(self, below: str, change: Callable[[bytes], bytes | None]) -> str:
        """Change the one object below a prefix, or delete it; returns its key."""
        (key,) = [item.key for item in self.objects.list(below)]
        data = self.objects.get(key)
        assert data is not None
        changed = change(data)
        if changed is None:
            self.objects.delete(key)
        else:
            self.objects.replace(key, changed)
        return key

    def keys(self) -> Sequence[str]:
        """Everything below `checkpoints/`."""
        return [item.key for item in self.objects.list("checkpoints/")]
