from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

import pytest

from subject_pipeline.checkpoints import merkle
from subject_pipeline.checkpoints.checkpoint import NO_HASH, CheckpointNote, ChunkLeaf, RosterEntry, origin
from subject_pipeline.checkpoints.signed_notes import sign_note
from subject_pipeline.checkpoints.stored_checkpoints import Checkpoint, CheckpointStore, Roster, files_hash, note_key
from subject_pipeline.errors import CheckpointError, StoreError
from subject_pipeline.keys.ring import KeyRing
from subject_pipeline.objects.protocol import ObjectStore

LOG = "1" * 32
OTHER_LOG = "2" * 32
TIME = "2026-06-30T12:00:00.000000Z"
CHUNKS = ("chunk-0", "chunk-1")
SIGNING = KeyRing.new(b"k" * 32, b"s" * 32).signing
STRANGER = KeyRing.new(b"k" * 32, b"t" * 32).signing
SEGMENTS: list[list[str | int]] = [
    ["audit/chunk-0/000000000000.jsonl", 7, "a"],
    ["audit/chunk-0/000000000001.jsonl", 8, "b"],
]
TABLE_FILES: list[list[str | int]] = [["subjects/chunk=chunk-0/part.parquet", 9, "c"]]


def entry(candidate_id: str, seq: int = 3) -> RosterEntry:
    """A subject with a chain and a manifest."""
    return RosterEntry(candidate_id, f"key-{candidate_id}", seq, "a" * 64, "b" * 64)


def roster(chunk: str, seq: int = 3) -> Roster:
    """Two subjects of a chunk, two segments and a file."""
    return Roster([entry(f"A-{chunk}", seq), entry(f"B-{chunk}", seq)], SEGMENTS, TABLE_FILES, 1, "c" * 64)


def signed(note: CheckpointNote, *, by: Any = SIGNING, name: str = LOG) -> str:
    """A note under the signature of this log's key, or of another's."""
    assert by is not None
    assert by.private is not None
    return sign_note(note.text(), origin(name), by.private)


@dataclass(frozen=True, slots=True)
class Forger:
    """Whoever has the bucket, and what they make of its checkpoints."""

    objects: ObjectStore
    checkpoints: CheckpointStore

    def write(self, count: int) -> list[Checkpoint]:
        """Honest checkpoints, one after the other; each subject has one row more in each."""
        made: list[Checkpoint] = []
        for number in range(count):
            leaves = [self.checkpoints.write_roster(number, chunk, roster(chunk, number)) for chunk in CHUNKS]
            root = merkle.root([leaf.leaf() for leaf in leaves]).hex()
            note = CheckpointNote(LOG, number, root, TIME, made[-1].sha256 if made else NO_HASH)
            assert self.checkpoints.write(note, signed(note), leaves)
            made.append(Checkpoint(note, signed(note), {leaf.chunk: leaf for leaf in leaves}))
        return made

    def put(self, number: int, note: str) -> None:
        """Put a note in the place of one."""
        self.objects.replace(note_key(number), note.encode())

    def key(self, number: int, start: str) -> str:
        """The key of the leaves of a checkpoint, or of a chunk's roster."""
        (key,) = [item.key for item in self.objects.list(f"checkpoints/{number:012d}/") if f"/{start}-" in item.key]
        return key

    def data(self, key: str) -> bytes:
        """What stands there."""
        data = self.objects.get(key)
        assert data is not None
        return data


@pytest.fixture
def forger(objects: ObjectStore) -> Forger:
    """A store without a checkpoint."""
    assert SIGNING is not None
    return Forger(objects, CheckpointStore(objects, LOG, SIGNING.public))


def test_what_was_written_is_read(forger: Forger) -> None:
    """The newest checkpoint is the last that was written, with its leaves in order and its rosters."""
    assert forger.checkpoints.latest(whole=True) is None
    written = forger.write(3)
    for whole in (False, True):
        assert forger.checkpoints.latest(whole=whole) == written[-1]
    latest = written[-1]
    assert list(latest.leaves) == list(CHUNKS)
    for chunk in CHUNKS:
        assert forger.checkpoints.roster(latest, chunk) == roster(chunk, 2)
        assert forger.checkpoints.roster(latest, chunk).leaf(chunk) == latest.leaves[chunk]


def test_a_leaf_binds_all_that_a_roster_says(forger: Forger) -> None:
    """Another entry, segment, file, number, MAC or chunk is another leaf."""
    made = roster("chunk-0")
    others = [
        replace(made, entries=made.entries[:1], leaves=[]),
        replace(made, segments=SEGMENTS[:1]),
        replace(made, table_files=[]),
        replace(made, segment=2),
        replace(made, segment_mac="d" * 64),
    ]
    leaves = {made.leaf("chunk-0"), made.leaf("chunk-1"), *(one.leaf("chunk-0") for one in others)}
    assert len(leaves) == 7
    assert made.leaf("chunk-0").segments_sha256 == files_hash(SEGMENTS)
    assert made.leaf("chunk-0").table_files_sha256 == files_hash(TABLE_FILES)


@pytest.mark.parametrize("whole", [False, True])
def test_leaves_make_the_root(forger: Forger, whole: bool) -> None:
    """Sound leaves that are not those that were signed are refused: a chunk rolled back, dropped, or out of order."""
    old, new = forger.write(2)
    key = forger.key(1, "leaves")
    rolled_back = [old.leaves["chunk-0"], new.leaves["chunk-1"]]
    for leaves in (rolled_back, list(new.leaves.values())[:1], list(new.leaves.values())[::-1], []):
        forger.objects.replace(key, b"".join(leaf.leaf() + b"\n" for leaf in leaves))
        with pytest.raises(CheckpointError, match="the leaves of checkpoint 1 do not make its root"):
            forger.checkpoints.latest(whole=whole)
    forger.objects.delete(key)
    with pytest.raises(CheckpointError, match="the leaves of checkpoint 1 are gone"):
        forger.checkpoints.latest(whole=whole)


def _another_entry(lines: list[bytes]) -> list[bytes]:
    return [lines[0], entry("A-chunk-0", 9).leaf(), lines[2]]


def _no_entry(lines: list[bytes]) -> list[bytes]:
    return lines[:2]


def _other_order(lines: list[bytes]) -> list[bytes]:
    return [lines[0], lines[2], lines[1]]


def _one_segment_less(lines: list[bytes]) -> list[bytes]:
    return [lines[0].replace(b',["audit/chunk-0/000000000001.jsonl",8,"b"]', b""), *lines[1:]]


def _another_file(lines: list[bytes]) -> list[bytes]:
    return [lines[0].replace(b'9,"c"', b'9,"d"'), *lines[1:]]


FORGED_ROSTERS = [_another_entry, _no_entry, _other_order, _one_segment_less, _another_file]


@pytest.mark.parametrize("forged", FORGED_ROSTERS, ids=lambda one: one.__name__.strip("_"))
def test_a_roster_is_what_its_leaf_says(forger: Forger, forged: Callable[[list[bytes]], list[bytes]]) -> None:
    """A roster in which all lines are sound, but which is not the one that was signed, is refused."""
    (checkpoint,) = forger.write(1)
    key = forger.key(0, "chunk-0")
    lines = forger.data(key).splitlines()
    assert forged(lines) != lines
    forger.objects.replace(key, b"".join(line + b"\n" for line in forged(lines)))
    with pytest.raises(CheckpointError, match=r"the roster '.*chunk-0-.*' is not what its leaf says"):
        forger.checkpoints.roster(checkpoint, "chunk-0")
    assert forger.checkpoints.roster(checkpoint, "chunk-1") == roster("chunk-1", 0)


@pytest.mark.parametrize("data", [b"", b"{}\n", b"[]\n", b"no JSON\n", b'{"segments":[]}\n', b'{"segments":1}\n'])
def test_a_damaged_roster_is_told(forger: Forger, data: bytes) -> None:
    """Bytes that hold no roster, and none at all, are the domain's error."""
    (checkpoint,) = forger.write(1)
    key = forger.key(0, "chunk-0")
    forger.objects.replace(key, data)
    with pytest.raises(CheckpointError, match=r"the roster '.*' is damaged"):
        forger.checkpoints.roster(checkpoint, "chunk-0")
    forger.objects.delete(key)
    with pytest.raises(CheckpointError, match=r"the roster '.*' is gone"):
        forger.checkpoints.roster(checkpoint, "chunk-0")


def test_a_note_links_to_the_one_before(forger: Forger) -> None:
    """A note of another history is found: at the end always, further back where the whole of it is looked at."""
    written = forger.write(4)
    elsewhere = signed(replace(written[3].note, previous="d" * 64))
    forger.put(3, elsewhere)
    for whole in (False, True):
        with pytest.raises(CheckpointError, match="the note of checkpoint 3 does not link to the one before it"):
            forger.checkpoints.latest(whole=whole)
    forger.put(3, written[3].signed)
    forger.put(1, signed(replace(written[1].note, time="2026-07-01T12:00:00.000000Z")))
    assert forger.checkpoints.latest(whole=False) == written[3]
    with pytest.raises(CheckpointError, match="the note of checkpoint 2 does not link to the one before it"):
        forger.checkpoints.latest(whole=True)
    forger.put(1, written[1].signed)
    assert forger.checkpoints.latest(whole=True) == written[3]


@pytest.mark.parametrize("whole", [False, True])
def test_a_note_is_of_this_log(forger: Forger, whole: bool) -> None:
    """The same key and the same key's name do not make another log's note one of this log."""
    _, last = forger.write(2)
    other = replace(last.note, log_id=OTHER_LOG)
    forger.put(1, signed(other))
    with pytest.raises(CheckpointError, match="the note of checkpoint 1 is of another log"):
        forger.checkpoints.latest(whole=whole)
    forger.put(1, signed(other, name=OTHER_LOG))
    with pytest.raises(CheckpointError, match=r"the note of checkpoint 1 does not hold: .*not signed by the key"):
        forger.checkpoints.latest(whole=whole)


@pytest.mark.parametrize("whole", [False, True])
def test_a_note_has_its_own_number(forger: Forger, whole: bool) -> None:
    """A sound note in the place of another is refused, were it the newest of all."""
    _, last = forger.write(2)
    forger.put(1, signed(replace(last.note, number=2)))
    with pytest.raises(CheckpointError, match="the note of checkpoint 1 says that it is number 2"):
        forger.checkpoints.latest(whole=whole)


def test_what_is_not_signed_by_the_logs_key_does_not_hold(forger: Forger) -> None:
    """Another's signature, no signature and bytes that are no text."""
    _, last = forger.write(2)
    for note in (signed(last.note, by=STRANGER).encode(), last.note.text().encode(), b"\xff\xfe", b""):
        forger.objects.replace(note_key(1), note)
        with pytest.raises(CheckpointError, match="the note of checkpoint 1 does not hold: "):
            forger.checkpoints.latest(whole=False)


@pytest.mark.parametrize("gone", [0, 1])
def test_no_note_may_be_missing_before_a_later_one(forger: Forger, gone: int) -> None:
    """There is no falling back to an earlier checkpoint."""
    forger.write(3)
    forger.objects.delete(note_key(gone))
    for whole in (False, True):
        with pytest.raises(CheckpointError, match=f"the note of checkpoint {gone} is gone, later ones are there"):
            forger.checkpoints.latest(whole=whole)


def test_a_note_kept_elsewhere_is_the_stored_one_or_named(forger: Forger) -> None:
    """Byte for byte: another of the same number, one of later, and one of another log are named."""
    first, last = forger.write(2)
    holds = forger.checkpoints.holds
    assert holds(first.signed) is None
    assert holds(last.signed) is None
    another = signed(replace(last.note, root="e" * 64))
    assert holds(another) == "the note of checkpoint 1, known from elsewhere, is not the one that is stored"
    later = signed(replace(last.note, number=2))
    assert holds(later) == "the note of checkpoint 2, known from elsewhere, is not the one that is stored"
    for strange in (signed(last.note, by=STRANGER), signed(last.note, name=OTHER_LOG), "no note"):
        assert str(holds(strange)).startswith("a note known from elsewhere is none of this store's log: ")


def test_a_beaten_checkpoint_says_so(forger: Forger) -> None:
    """Of two with one number the first stands, and the other learns it."""
    (first,) = forger.write(1)
    leaves = list(first.leaves.values())
    assert forger.checkpoints.write(first.note, first.signed, leaves), "the same again is there"
    other = replace(first.note, time="2026-07-01T12:00:00.000000Z")
    assert not forger.checkpoints.write(other, signed(other), leaves)
    for whole in (False, True):
        assert forger.checkpoints.latest(whole=whole) == first


def test_a_note_that_goes_while_it_is_read_is_told(forger: Forger) -> None:
    """Listed and gone a moment later: an error of ours, as for any other note that is gone."""
    written = forger.write(2)

    class Going:
        def __getattr__(self, name: str) -> Any:
            return getattr(forger.objects, name)

        def get(self, key: str) -> bytes | None:
            return None if key == note_key(1) else forger.objects.get(key)

    assert SIGNING is not None
    checkpoints = CheckpointStore(cast("ObjectStore", Going()), LOG, SIGNING.public)
    for whole in (False, True):
        with pytest.raises(CheckpointError, match="the note of checkpoint 1 is gone"):
            checkpoints.latest(whole=whole)
    assert forger.checkpoints.latest(whole=True) == written[-1]


def test_objects_keep_their_names(forger: Forger) -> None:
    """The names of version 1: under another, a store that is there already would lose its checkpoints."""
    forger.write(1)
    assert [item.key for item in forger.objects.list("checkpoints/")] == [
        "checkpoints/000000000000/chunk-0-0c1f9256af8f9314.jsonl",
        "checkpoints/000000000000/chunk-1-bb428c0e940573b6.jsonl",
        "checkpoints/000000000000/leaves-f20f6f9de26b145b.jsonl",
        "checkpoints/000000000000/note",
    ]


def test_no_roster_is_believed_to_stand_where_something_else_does(forger: Forger) -> None:
    """A roster's or the leaves' place that holds other bytes is an error, and no note follows."""
    made = roster("chunk-0")
    leaf = forger.checkpoints.write_roster(0, "chunk-0", made)
    key = forger.key(0, "chunk-0")
    forger.objects.replace(key, b"other")
    with pytest.raises(StoreError, match=f"another object is in the place of '{key}'"):
        forger.checkpoints.write_roster(0, "chunk-0", made)
    note = CheckpointNote(LOG, 0, merkle.root([leaf.leaf()]).hex(), TIME, NO_HASH)
    forger.objects.replace(f"checkpoints/{0:012d}/leaves-{note.root[:16]}.jsonl", b"other")
    with pytest.raises(StoreError, match="another object is in the place of 'checkpoints/"):
        forger.checkpoints.write(note, signed(note), [leaf])
    assert forger.objects.get(note_key(0)) is None


def test_old_rosters_go_and_notes_stay(forger: Forger) -> None:
    """All notes are kept, and what belongs to the last two checkpoints; what is not ours is left alone."""
    forger.write(4)
    beaten = "checkpoints/000000000001/chunk-0-0000000000000000.jsonl"
    for stranger in (beaten, "checkpoints/x/note", "checkpoints/README"):
        forger.objects.create(stranger, b"x")
    everything = {item.key for item in forger.objects.list("checkpoints/")}
    forger.checkpoints.forget_old_rosters(3)
    left = {item.key for item in forger.objects.list("checkpoints/")}
    old = {key for key in everything if key.startswith(("checkpoints/000000000000/", "checkpoints/000000000001/"))}
    assert everything - left == {key for key in old if not key.endswith("/note")}
    assert beaten not in left
    assert forger.checkpoints.latest(whole=True) is not None


def test_an_empty_chunk_has_a_leaf(forger: Forger) -> None:
    """No subject, no segment, no file."""
    leaf = forger.checkpoints.write_roster(0, "chunk-0", Roster())
    nothing = files_hash([])
    assert leaf == ChunkLeaf("chunk-0", merkle.root([]).hex(), -1, NO_HASH, nothing, nothing)
    checkpoint = Checkpoint(CheckpointNote(LOG, 0, "a" * 64, TIME, NO_HASH), "", {"chunk-0": leaf})
    assert forger.checkpoints.roster(checkpoint, "chunk-0") == Roster([], [], [])
