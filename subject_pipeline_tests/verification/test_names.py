"""Names of objects: only the key that would be written is taken for the object, whatever else Unicode calls a digit."""

import hashlib
import re
from pathlib import Path

import pytest

import subject_pipeline
from subject_pipeline.audit.stored_segments import AuditSegments
from subject_pipeline.checkpoints import merkle
from subject_pipeline.checkpoints.checkpoint import NO_HASH, CheckpointNote, origin
from subject_pipeline.checkpoints.signed_notes import sign_note
from subject_pipeline.checkpoints.stored_checkpoints import CheckpointStore, Roster, note_key
from subject_pipeline.errors import CheckpointError, ManifestError
from subject_pipeline.keys.ring import KeyRing
from subject_pipeline.manifests.manifest import SubjectManifest
from subject_pipeline.objects.protocol import ObjectStore

LOG_ID = "a" * 32
CHUNK = "chunk-0"
FULL_WIDTH = str.maketrans("0123456789", "".join(chr(0xFF10 + digit) for digit in range(10)))
ARABIC = str.maketrans("0123456789", "".join(chr(0x0660 + digit) for digit in range(10)))
RING = KeyRing.new(b"k" * 32, b"s" * 32)


def _write_checkpoints(objects: ObjectStore, count: int) -> CheckpointStore:
    assert RING.signing is not None
    assert RING.signing.private is not None
    store = CheckpointStore(objects, LOG_ID, RING.signing.public)
    previous = NO_HASH
    for number in range(count):
        leaf = store.write_roster(number, CHUNK, Roster())
        root = merkle.root([leaf.leaf()]).hex()
        note = CheckpointNote(LOG_ID, number, root, "2026-01-02T03:04:05.000000Z", previous)
        signed = sign_note(note.text(), origin(LOG_ID), RING.signing.private)
        assert store.write(note, signed, [leaf])
        previous = hashlib.sha256(signed.encode()).hexdigest()
    return store


@pytest.mark.parametrize("digits", [FULL_WIDTH, ARABIC], ids=["full-width", "arabic"])
@pytest.mark.parametrize("whole", [False, True])
def test_a_twin_of_a_segment_is_foreign_and_takes_no_place(
    objects: ObjectStore, digits: dict[int, int], whole: bool
) -> None:
    """A key whose number is written in other digits is not the segment, which keeps its place in the listing."""
    segments = AuditSegments(objects)
    key = AuditSegments.key(CHUNK, 0)
    twin = f"audit/{CHUNK}/{Path(key).name.translate(digits)}"
    segments.create(CHUNK, 0, b"real")
    objects.create(twin, b"the twin, of another size")
    found = segments.list([CHUNK], whole=whole)
    assert {number: item.key for number, item in found.segments[CHUNK].items()} == {0: key}
    assert [item.key for item in found.foreign] == [twin]
    assert list(segments.tail(CHUNK, -1)) == [(0, b"real")]


def test_a_twin_does_not_lengthen_a_log(objects: ObjectStore) -> None:
    """A later number in other digits is no later segment, so that appending goes on."""
    segments = AuditSegments(objects)
    segments.create(CHUNK, 0, b"real")
    objects.create(f"audit/{CHUNK}/{'000000000007'.translate(FULL_WIDTH)}.jsonl", b"twin")
    assert list(segments.tail(CHUNK, -1)) == [(0, b"real")]


@pytest.mark.parametrize(
    "key",
    [
        "checkpoints/²/x",
        f"checkpoints/{'1'.translate(ARABIC)}/x",
        "checkpoints/0/x",
        "checkpoints/x",
        "checkpoints/000000000000/x/y",
        "checkpoints/000000000000/kept by hand.jsonl",
        f"checkpoints/{'0' * 13}/leaves-0123456789abcdef.jsonl",
        f"checkpoints/{note_key(1).split('/')[1].translate(FULL_WIDTH)}/note",
        f"checkpoints/{note_key(9).split('/')[1].translate(FULL_WIDTH)}/note",
        f"checkpoints/{note_key(0).split('/')[1].translate(FULL_WIDTH)}/leaves-0123456789abcdef.jsonl",
    ],
)
def test_a_stray_object_below_checkpoints_is_neither_read_nor_deleted(objects: ObjectStore, key: str) -> None:
    """It stands for nothing and stands in nobody's way; what was not written here is not removed here."""
    objects.create(key, b"stray")
    store = _write_checkpoints(objects, 4)
    latest = store.latest(whole=True)
    assert latest is not None
    assert latest.note.number == 3
    store.forget_old_rosters(3)
    assert objects.get(key) == b"stray"


def test_old_rosters_and_leaves_go_and_notes_stay(objects: ObjectStore) -> None:
    """All but the last two checkpoints keep their note alone, and so does what a beaten writer left of them."""
    store = _write_checkpoints(objects, 4)
    store.write_roster(1, CHUNK, Roster(segment=7, segment_mac="b" * 64))
    store.forget_old_rosters(3)
    left = [item.key.removeprefix("checkpoints/").split("/") for item in objects.list("checkpoints/")]
    assert {number: sum(one == number for one, _ in left) for number, _ in left} == {
        "000000000000": 1,
        "000000000001": 1,
        "000000000002": 3,
        "000000000003": 3,
    }
    assert [number for number, name in left if name == "note"] == [f"{number:012}" for number in range(4)]


def test_a_forged_note_far_ahead_is_a_gap_and_costs_no_memory(objects: ObjectStore) -> None:
    """A note of an absurd number is told as the gap that it makes, at once."""
    store = _write_checkpoints(objects, 2)
    objects.create(note_key(999_999_999_999), b"forged")
    with pytest.raises(CheckpointError, match="the note of checkpoint 2 is gone, later ones are there"):
        store.latest(whole=False)


def test_rosters_of_chunks_with_long_names_go_too(objects: ObjectStore) -> None:
    """A store of many chunks has names of five digits."""
    store = _write_checkpoints(objects, 4)
    store.write_roster(0, "chunk-0fffa", Roster())
    store.forget_old_rosters(3)
    assert [item.key for item in objects.list("checkpoints/000000000000/")] == [note_key(0)]


def test_no_stored_name_is_parsed_with_unicode_digits() -> None:
    r"""`\d`, `isdigit` and their kin take any script's digits, so where they stand ASCII is asked for beside them."""
    package = Path(subject_pipeline.__file__).parent
    careless = [
        f"{path.relative_to(package)}: {line.strip()}"
        for path in sorted(package.rglob("*.py"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(r"\\d|\.isdigit\(|\.isdecimal\(|\.isnumeric\(", line)
        and not re.search(r"re\.ASCII|isascii\(", line)
    ]
    assert careless == []


def test_other_digits_in_a_manifests_schema_are_refused() -> None:
    """The version of a manifest's schema is written in ASCII."""
    time = "2026-01-02T03:04:05.000000Z"
    value = {"candidate_id": "P", "created_at": time, "updated_at": time, "retention": {"general_pii_until": time}}
    SubjectManifest.parse({**value, "schema": "subject_manifest.v1"})
    with pytest.raises(ManifestError):
        SubjectManifest.parse({**value, "schema": f"subject_manifest.v{'1'.translate(FULL_WIDTH)}"})
