import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from hypothesis import assume, given
from hypothesis import strategies as st

from subject_pipeline.checkpoints.checkpoint import NO_HASH, CheckpointNote, ChunkLeaf, RosterEntry, origin
from subject_pipeline.checkpoints.merkle import root
from subject_pipeline.checkpoints.signed_notes import open_note, parse_verifier_line, sign_note
from subject_pipeline.errors import CheckpointError

VECTORS = Path(__file__).parent.parent / "vectors"
GOLDEN = json.loads((VECTORS / "checkpoint_v1.json").read_text(encoding="utf-8"))

HASH = "ab" * 32
ENTRY = RosterEntry("CAND/1", "CAND_1", 2, HASH, HASH)
CHUNK = ChunkLeaf("chunk-0a", HASH, 7, HASH, HASH, HASH)
NOTE = CheckpointNote("0" * 32, 3, HASH, "2026-06-30T12:00:00.000001Z", HASH)

hashes = st.binary(min_size=32, max_size=32).map(bytes.hex).filter(lambda text: text != NO_HASH)
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
numbers = st.integers(0, 2**53 - 1)
entries = st.builds(RosterEntry, texts, texts, numbers, hashes, hashes | st.just("")) | st.builds(
    RosterEntry, texts, texts, st.just(-1), st.just(NO_HASH), hashes | st.just("")
)
chunk_names = st.integers(0, 2**20).map(lambda index: f"chunk-{index:05x}")
chunks = st.builds(ChunkLeaf, chunk_names, hashes, numbers, hashes, hashes, hashes) | st.builds(
    ChunkLeaf, chunk_names, hashes, st.just(-1), st.just(NO_HASH), hashes, hashes
)
times = st.datetimes().map(lambda time: time.isoformat(timespec="microseconds") + "Z")
log_ids = st.binary(min_size=16, max_size=16).map(bytes.hex)
notes = st.builds(CheckpointNote, log_ids, st.integers(1, 10**12 - 1), hashes, times, hashes) | st.builds(
    CheckpointNote, log_ids, st.just(0), hashes, times, st.just(NO_HASH)
)


def test_golden_leaves_keep_their_bytes() -> None:
    """Published entries and chunks have the leaves that were published for them, and are read from them."""
    roster = [RosterEntry(**values) for values in GOLDEN["roster"]]
    leaves = [ChunkLeaf(**values) for values in GOLDEN["chunks"]]
    assert [entry.leaf().decode() for entry in roster] == GOLDEN["roster_leaves"]
    assert [leaf.leaf().decode() for leaf in leaves] == GOLDEN["chunk_leaves"]
    assert [RosterEntry.parse(text.encode()) for text in GOLDEN["roster_leaves"]] == roster
    assert [ChunkLeaf.parse(text.encode()) for text in GOLDEN["chunk_leaves"]] == leaves


def test_golden_roots_and_note_keep_their_bytes() -> None:
    """The published roster makes the published root, note and signature."""
    note = CheckpointNote(**GOLDEN["note"])
    assert root([text.encode() for text in GOLDEN["roster_leaves"]]).hex() == GOLDEN["chunks"][0]["roster_root"]
    assert root([]).hex() == GOLDEN["chunks"][1]["roster_root"]
    assert root([text.encode() for text in GOLDEN["chunk_leaves"]]).hex() == note.root
    assert note.text() == GOLDEN["text"]
    assert sign_note(note.text(), origin(note.log_id), bytes.fromhex(GOLDEN["seed"])) == GOLDEN["signed_note"]
    opened = open_note(GOLDEN["signed_note"], *parse_verifier_line(GOLDEN["verifier"]))
    assert CheckpointNote.parse(opened) == note


@given(entries | chunks)
def test_a_leaf_is_canonical_and_read_back(value: RosterEntry | ChunkLeaf) -> None:
    """A leaf is RFC 8785 of exactly the fields, and parsing it gives the value."""
    leaf = value.leaf()
    assert leaf == rfc8785.dumps(dataclasses.asdict(value))
    assert type(value).parse(leaf) == value


@given(notes)
def test_a_note_is_read_back(note: CheckpointNote) -> None:
    """Parsing a note's text gives the note."""
    assert note.text().count("\n") == 5
    assert CheckpointNote.parse(note.text()) == note


@given(st.sampled_from([ENTRY, CHUNK]), st.data())
def test_a_changed_leaf_is_refused_or_another_value(value: RosterEntry | ChunkLeaf, data: st.DataObject) -> None:
    """No two byte strings parse to the same value, and nothing but our error comes of damage."""
    leaf = value.leaf()
    at = data.draw(st.integers(0, len(leaf)))
    tampered = leaf[:at] + data.draw(st.binary(max_size=2)) + leaf[at + data.draw(st.integers(0, 2)) :]
    assume(tampered != leaf)
    try:
        read = type(value).parse(tampered)
    except CheckpointError:
        return
    assert read != value
    assert read.leaf() == tampered


@given(st.binary(max_size=60))
def test_arbitrary_bytes_are_refused(line: bytes) -> None:
    """Bytes that are no leaf are our error, whatever they are."""
    for kind in (RosterEntry, ChunkLeaf):
        with pytest.raises(CheckpointError):
            kind.parse(line)


def canonical(value: RosterEntry | ChunkLeaf, **changes: Any) -> bytes:
    """Canonical JSON of a value's fields with some of them changed; None: left out."""
    fields = {**dataclasses.asdict(value), **changes}
    return json.dumps(
        {name: field for name, field in fields.items() if field is not None}, sort_keys=True, separators=(",", ":")
    ).encode()


def named(error: CheckpointError) -> set[str]:
    """The field that an error names, if it is one field's."""
    return set(re.findall(r"its (\w+) is not what one can hold", str(error)))


@pytest.mark.parametrize(
    "changes",
    [
        {"candidate_id": None},
        {"candidate_id": ""},
        {"candidate_id": 1},
        {"storage_key": ""},
        {"storage_key": ["a"]},
        {"seq": -2},
        {"seq": "2"},
        {"seq": True},
        {"seq": 2.5},
        {"seq": 2**60},
        {"seq": 10**40},
        {"seq": -1},
        {"mac": NO_HASH},
        {"mac": HASH.upper()},
        {"mac": HASH[1:]},
        {"mac": HASH + "\n"},
        {"mac": ""},
        {"mac": 0},
        {"manifest_sha256": "00"},
        {"manifest_sha256": False},
        {"extra": 1},
    ],
)
def test_a_roster_entry_that_cannot_be_is_refused(changes: dict[str, Any]) -> None:
    """Canonical JSON alone does not make an entry: every field must be what one can hold."""
    assert RosterEntry.parse(canonical(ENTRY)) == ENTRY
    with pytest.raises(CheckpointError, match="not a roster's entry") as raised:
        RosterEntry.parse(canonical(ENTRY, **changes))
    assert named(raised.value) <= changes.keys() | {"mac"}


@pytest.mark.parametrize(
    "changes",
    [
        {"chunk": ""},
        {"chunk": "../chunk-0"},
        {"chunk": "chunk-0A"},
        {"chunk": "chunk-0\n"},
        {"chunk": 0},
        {"roster_root": ""},
        {"roster_root": None},
        {"segment": -1},
        {"segment": -2},
        {"segment": False},
        {"segment_mac": NO_HASH},
        {"segments_sha256": ""},
        {"table_files_sha256": "g" * 64},
        {"extra": 1},
    ],
)
def test_a_chunk_leaf_that_cannot_be_is_refused(changes: dict[str, Any]) -> None:
    """Canonical JSON alone does not make a chunk's leaf either."""
    assert ChunkLeaf.parse(canonical(CHUNK)) == CHUNK
    with pytest.raises(CheckpointError, match="not a chunk's leaf") as raised:
        ChunkLeaf.parse(canonical(CHUNK, **changes))
    assert named(raised.value) <= changes.keys() | {"segment_mac"}


@pytest.mark.parametrize(
    "leaf",
    [
        canonical(ENTRY) + b"\n",
        b" " + canonical(ENTRY),
        canonical(ENTRY).replace(b",", b", ", 1),
        canonical(ENTRY).replace(b"/", b"\\/"),
        canonical(ENTRY).replace(b"CAND/", b"\\u0043AND/"),
        canonical(ENTRY).replace(b'"seq":2', b'"seq":2.0'),
        canonical(ENTRY).replace(b'"seq":2', b'"seq":1,"seq":2'),
        canonical(ENTRY).replace(b"CAND/", b"\\ud800"),
        canonical(ENTRY).replace(b"CAND/", b"\xff"),
        json.dumps(dataclasses.asdict(ENTRY), separators=(",", ":")).encode(),
        b"[" + canonical(ENTRY) + b"]",
        b"[" * 100_000,
        b"null",
        b"",
    ],
)
def test_a_leaf_in_another_form_is_refused(leaf: bytes) -> None:
    """The same entry in other JSON is not a leaf: it would have another hash."""
    with pytest.raises(CheckpointError):
        RosterEntry.parse(leaf)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("subject-pipeline/", "other/"),
        ("0" * 32, "0" * 31),
        ("\n3\n", "\n03\n"),
        ("\n3\n", "\n-3\n"),
        ("\n3\n", "\n\u0663\n"),
        ("\n3\n", "\n1000000000000\n"),
        ("\n3\n", "\n0\n"),
        ("\n3\n", "\n3\n\n"),
        ("\n3\n", "\n"),
        (HASH, HASH.upper()),
        (f"{HASH}\n2026", f"{HASH[1:]}\n2026"),
        (f"Z\n{HASH}", f"Z\n{NO_HASH}"),
        ("000001Z", "000001+00:00"),
        ("000001Z", "00001Z"),
        ("2026-06-30", "2026-06-31"),
        ("T12", "T25"),
        (f"{HASH}\n", f"{HASH}\nmore\n"),
        (f"Z\n{HASH}\n", f"Z\n{HASH}"),
        ("\n", "\r\n"),
    ],
)
def test_a_note_in_another_form_is_refused(old: str, new: str) -> None:
    """A note has five lines of one spelling, and only number 0 has no previous note."""
    tampered = NOTE.text().replace(old, new)
    assert tampered != NOTE.text()
    with pytest.raises(CheckpointError, match="not a checkpoint's note"):
        CheckpointNote.parse(tampered)


def test_the_origin_names_the_log() -> None:
    """The first line of a note is its log's origin."""
    assert NOTE.text().startswith(origin(NOTE.log_id) + "\n")
    assert origin("a") == "subject-pipeline/a"
