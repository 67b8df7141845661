import hashlib
import itertools
import json
import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from subject_pipeline.checkpoints.leaves import ChunkLeaf, files_hash, leaves_text, parse_leaves, state_root
from subject_pipeline.checkpoints.rosters import (
    BLIND_BYTES,
    GONE,
    MAX_LINE_BYTES,
    STATES,
    Roster,
    RosterEntry,
    id_sha256,
    parse_roster_leaf,
    roster_leaf,
)
from subject_pipeline.checkpoints.signed_notes import opened_by, parse_verifier_line, sign_note, verifier_line
from subject_pipeline.checkpoints.statement import Statement, is_chunk_of, max_bytes
from subject_pipeline.checkpoints.tree.head import TreeHead, origin
from subject_pipeline.checkpoints.tree.merkle import GrowingTree, root
from subject_pipeline.errors import CheckpointError
from subject_pipeline.formats.leaves import NO_HASH, leaf_hash
from subject_pipeline.store.chunks import MAX_CHUNK_COUNT

VECTORS = Path(__file__).parent.parent / "vectors"
GOLDEN = json.loads((VECTORS / "checkpoint_v2.json").read_text(encoding="utf-8"))
ENTRY, LEAF, CHECKPOINT = (
    GOLDEN["subjects"][0]["text"].encode(),
    GOLDEN["leaf_texts"][0].encode(),
    GOLDEN["checkpoints"][1].encode(),
)
HASH = "ab" * 32

Parse = Callable[[bytes], object]


def test_the_golden_subjects_have_their_entries_and_leaves() -> None:
    """Entries, leaves, the roster's bytes and its root are those that were made without this code."""
    entries = {}
    for subject in GOLDEN["subjects"]:
        entry = RosterEntry(**subject["entry"])
        assert entry.text().decode() == subject["text"]
        assert RosterEntry.parse(entry.text()) == entry
        assert id_sha256(GOLDEN["log_id"], subject["candidate_id"]) == subject["id_sha256"]
        assert roster_leaf(subject["id_sha256"], entry.text()).decode() == subject["leaf"]
        assert parse_roster_leaf(subject["leaf"].encode())[0] == subject["id_sha256"]
        entries[subject["id_sha256"]] = entry
    roster = Roster.of(dict(reversed(entries.items())))
    assert roster.text.decode() == GOLDEN["roster"]
    assert roster.root == GOLDEN["roster_root"]
    parsed = Roster.parse(roster.text, subjects=5, root=GOLDEN["roster_root"])
    assert (parsed, parsed.leaves) == (roster, roster.leaves)


def test_the_golden_leaves_make_the_golden_state() -> None:
    """Chunk leaves, hashes of listings and the state root, there and back."""
    leaves = [ChunkLeaf(**leaf) for leaf in GOLDEN["leaves"]]
    assert [leaf.text().decode() for leaf in leaves] == GOLDEN["leaf_texts"]
    assert leaves[1:] == [ChunkLeaf.empty("chunk-1"), ChunkLeaf.empty("chunk-2")]
    assert leaves[0].objects_sha256 == files_hash(GOLDEN["segments"])
    assert leaves[0].table_files_sha256 == files_hash(GOLDEN["table_files"])
    assert state_root(leaves) == GOLDEN["state_root"]
    names = ("chunk-0", "chunk-1", "chunk-2")
    assert list(parse_leaves(leaves_text(leaves), names=names, root=GOLDEN["state_root"]).values()) == leaves


def test_the_golden_checkpoints_make_the_golden_notes() -> None:
    """Three checkpoints, a change of signers and a retired key: texts, tree, notes and signatures."""
    hashes, tree = [], GrowingTree()
    for number, text in enumerate(GOLDEN["checkpoints"]):
        made = Statement.parse(text.encode())
        assert made.text().decode() == text
        assert made.number == number
        hashes.append(leaf_hash(text.encode()))
        assert GOLDEN["keys"][number] == f"checkpoints/{number:012d}/{hashes[-1].hex()}/checkpoint.json"
        head = TreeHead(GOLDEN["log_id"], number + 1, tree.root_with(hashes[-1]).hex())
        tree.append(hashes[-1])
        assert bytes.fromhex(head.root) == root([one.encode() for one in GOLDEN["checkpoints"][: number + 1]])
        seeds = [bytes.fromhex(GOLDEN["seeds"][at]) for at in GOLDEN["signed_by"][number]]
        note = sign_note(head.text(), origin(GOLDEN["log_id"]), *seeds)
        assert note == GOLDEN["notes"][number]
        keys = [parse_verifier_line(line) for line in GOLDEN["verifier_lines"]]
        text_of_note, signed = opened_by(note, keys)
        assert TreeHead.parse(text_of_note) == head
        assert signed == {keys[at] for at in GOLDEN["signed_by"][number]}


def _values(text: bytes, **changes: Any) -> bytes:
    return json.dumps(json.loads(text) | changes, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


FORMS: dict[str, tuple[Parse, bytes]] = {
    "entry": (RosterEntry.parse, ENTRY),
    "roster leaf": (parse_roster_leaf, GOLDEN["subjects"][0]["leaf"].encode()),
    "leaf": (ChunkLeaf.parse, LEAF),
    "checkpoint": (Statement.parse, CHECKPOINT),
}


@pytest.mark.parametrize(("parse", "text"), FORMS.values(), ids=FORMS)
def test_a_text_has_one_form(parse: Parse, text: bytes) -> None:
    """Spaces, another order, a key twice, too many or too few, bytes before and after, and what is no JSON."""
    parse(text)
    members = json.loads(text)
    name, value = next(iter(members.items()))
    again = json.dumps({name: value}, separators=(",", ":"))[1:-1]
    fewer = {key: member for key, member in members.items() if key != name}
    for other in (
        text.replace(b":", b": ", 1),
        json.dumps(dict(reversed(members.items())), separators=(",", ":")).encode(),
        b"{" + again.encode() + b"," + text[1:],
        _values(text, extra=1),
        json.dumps(fewer, sort_keys=True, separators=(",", ":")).encode(),
        text + b"\n",
        b" " + text,
        text[:-1],
        b"[]",
        b"null",
        b"",
        b"\xff",
        b"[" * 100_000,
    ):
        assert other != text
        with pytest.raises(CheckpointError):
            parse(other)


@pytest.mark.parametrize(("parse", "text"), FORMS.values(), ids=FORMS)
@given(data=st.data())
def test_whatever_parses_is_what_would_be_written(parse: Parse, text: bytes, data: st.DataObject) -> None:
    """A changed byte is refused, or makes another text of the same one form."""
    at = data.draw(st.integers(0, len(text) - 1))
    other = text[:at] + bytes([data.draw(st.integers(0, 255))]) + text[at + 1 :]
    try:
        found = parse(other)
    except CheckpointError:
        return
    if hasattr(found, "text"):
        assert found.text() == other


@pytest.mark.parametrize(
    "changes",
    [
        {"seq": -2},
        {"seq": -1},
        {"seq": 2.0},
        {"seq": True},
        {"seq": "2"},
        {"seq": 2**53},
        {"row_sha256": "0" * 64},
        {"row_sha256": HASH.upper()},
        {"row_sha256": "ab"},
        {"row_sha256": None},
        {"manifest_sha256": HASH.upper()},
        {"manifest_sha256": None},
        {"state": "lost"},
        {"state": None},
        {"state": ["present"]},
        {"state": "deleted", "manifest_sha256": HASH},
        {"state": "present", "manifest_sha256": ""},
        {"seq": -1, "row_sha256": "0" * 64, "state": "absent", "manifest_sha256": ""},
        {"seq": -1, "row_sha256": "0" * 64, "state": "deleted", "manifest_sha256": ""},
        {"blind": "A" * 21},
        {"blind": "A" * 21 + "B"},
        {"blind": "A" * 21 + "="},
        {"blind": "+" + "A" * 21},
        {"blind": "A" * 22 + "\n"},
        {"blind": 1},
    ],
)
def test_an_entry_that_no_subject_has_is_refused(changes: dict[str, Any]) -> None:
    """Every value has its form, and values fit together; on each line of a roster too, whatever was signed over it."""
    sound = RosterEntry("A" * 21 + "w", 2, HASH, HASH, "present").text()
    RosterEntry.parse(sound)
    wrong = _values(sound, **changes)
    with pytest.raises(CheckpointError, match="not a roster's entry"):
        RosterEntry.parse(wrong)
    for at in range(3):
        _roster_of([sound] * at + [wrong] + [sound] * (2 - at), sound=False)
    _roster_of([sound] * 3)


def _roster_of(entries: list[bytes], ids: Sequence[str] = ("0" * 64, "3" * 64, HASH), *, sound: bool = True) -> None:
    """Parses a roster of entries with these texts, under the root that they make."""
    data = b"".join(
        b'{"entry":%b,"id_sha256":"%b"}\n' % (entry, one.encode()) for entry, one in zip(entries, ids, strict=True)
    )
    top = root([roster_leaf(one, entry) for entry, one in zip(entries, ids, strict=True)]).hex()
    if sound:
        assert Roster.parse(data, subjects=len(entries), root=top).text == data
    else:
        with pytest.raises(CheckpointError, match="not a roster"):
            Roster.parse(data, subjects=len(entries), root=top)


@pytest.mark.parametrize("wrong", ["", "0" * 63, "0" * 65, "A" * 64, "g" * 64, "1" * 63 + "\u0661", "1" * 63 + "\n"])
def test_the_names_in_a_roster_are_hashes(wrong: str) -> None:
    """64 lower-case hex digits of ASCII, whatever was signed over others."""
    entry = RosterEntry("A" * 22, 2, HASH, HASH, "present").text()
    _roster_of([entry] * 3)
    for ids in ([wrong, "8" * 64, HASH], ["0" * 64, wrong, HASH], ["0" * 64, "3" * 64, wrong]):
        _roster_of([entry] * 3, ids, sound=False)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"seq": 2**53}, "seq"),
        ({"seq": -1}, "row_sha256"),
        ({"row_sha256": "0" * 64}, "row_sha256"),
        ({"seq": -1, "row_sha256": "0" * 64, "state": "absent", "manifest_sha256": ""}, "state"),
        ({"seq": -1, "row_sha256": "0" * 64, "manifest_sha256": ""}, "manifest_sha256"),
        ({"seq": 0, "state": "deleted"}, "manifest_sha256"),
        ({"manifest_sha256": ""}, "manifest_sha256"),
        ({"blind": "A" * 21 + "B"}, "blind"),
        ({"state": "lost", "manifest_sha256": ""}, "state"),
    ],
)
def test_the_value_of_an_entry_that_does_not_fit_is_named(changes: dict[str, Any], field: str) -> None:
    """The first that cannot be, given those before it."""
    sound = RosterEntry("A" * 21 + "w", 2, HASH, HASH, "present").text()
    with pytest.raises(CheckpointError, match=f"not a roster's entry: its {field} is not what one can hold"):
        RosterEntry.parse(_values(sound, **changes))


@pytest.mark.parametrize("field", ["entry_sha256", "id_sha256"])
def test_a_rosters_leaf_holds_two_hashes(field: str) -> None:
    """In canonical JSON all the same, and the one that is none is named."""
    sound = roster_leaf(HASH, b"{}")
    assert parse_roster_leaf(sound) == (HASH, hashlib.sha256(b"{}").hexdigest())
    with pytest.raises(CheckpointError, match=f"not a roster's leaf: its {field} is not"):
        parse_roster_leaf(_values(sound, **{field: HASH.upper()}))


def test_a_roster_says_where_a_chain_ended() -> None:
    """Nowhere for somebody without a row, and for anybody whom it does not know."""
    rowless, recorded = "1" * 64, "2" * 64
    roster = Roster.of({
        rowless: RosterEntry("A" * 22, -1, NO_HASH, HASH, "present"),
        recorded: RosterEntry("A" * 22, 7, HASH, HASH, "present"),
    })  # fmt: skip
    assert [roster.chain(one) for one in (rowless, recorded, "3" * 64)] == [None, (7, HASH), None]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"chunk": "chunk-G"}, "chunk"),
        ({"segment": "0"}, "segment"),
        ({"segment_sha256": "0" * 64}, "segment_sha256"),
        ({"objects_sha256": "AB" * 32}, "objects_sha256"),
        ({"subjects": 0}, "subjects"),
    ],
)
def test_the_value_of_a_leaf_that_does_not_fit_is_named(changes: dict[str, Any], field: str) -> None:
    """So that somebody who looks into a damaged store knows where to look."""
    with pytest.raises(CheckpointError, match=f"not a chunk's leaf: its {field} is not"):
        ChunkLeaf.parse(_values(LEAF, **changes))


def test_leaves_under_another_root_are_refused() -> None:
    """As they are, and with anything behind the last line."""
    names, leaves = ("chunk-0", "chunk-1", "chunk-2"), [ChunkLeaf(**one) for one in GOLDEN["leaves"]]
    data, right = leaves_text(leaves), state_root(leaves)
    assert tuple(parse_leaves(data, names=names, root=right)) == names
    for changed, under in ((data, HASH), (data + b"x", right), (data[:-1], right)):
        with pytest.raises(CheckpointError, match="other leaves than those of the state root"):
            parse_leaves(changed, names=names, root=under)


@pytest.mark.parametrize(
    "changes",
    [
        {"chunk": "chunk-G"},
        {"chunk": "chunk-000000"},
        {"chunk": 0},
        {"subjects": 0},
        {"subjects": -1},
        {"subjects": 5.0},
        {"subjects": True},
        {"subjects": 2**53},
        {"roster_root": GOLDEN["leaves"][1]["roster_root"]},
        {"segment": -1},
        {"segment_sha256": "0" * 64},
        {"segment": -2, "segment_sha256": "0" * 64},
        {"objects_sha256": "AB" * 32},
        {"table_files_sha256": ""},
    ],
)
def test_a_leaf_that_no_chunk_has_is_refused(changes: dict[str, Any]) -> None:
    """Among them subjects without a root of theirs, and a log's end that is half there."""
    with pytest.raises(CheckpointError, match="not a chunk's leaf"):
        ChunkLeaf.parse(_values(LEAF, **changes))


OLD_LINE, NEW_LINE = GOLDEN["verifier_lines"]


@pytest.mark.parametrize(
    "changes",
    [
        {"schema": "subject_checkpoint.v1"},
        {"log_id": "f" * 32},  # which the signers are not of
        {"log_id": "0123456789ABCDEF" * 2},
        {"number": -1},
        {"number": 1.0},
        {"number": True},
        {"number": 0},  # which cannot carry checkpoint 0
        {"number": 10**12},
        {"time": "2026-06-30T12:00:00Z"},
        {"time": "2026-06-31T12:00:00.000000Z"},
        {"time": "\u0662026-06-30T12:00:00.000000Z"},
        {"time": 1},
        {"chunks": 0},
        {"chunks": 2},  # which has no chunk-2
        {"chunks": 1 << 21},
        {"chunks": 3.0},
        {"chunks": 17},  # whose chunks have two digits
        {"state_root": "x"},
        {"signers": []},
        {"signers": [OLD_LINE, OLD_LINE]},
        {"signers": [OLD_LINE + " "]},
        {"signers": [OLD_LINE[:-4]]},
        {"signers": [1]},
        {"signers": [[]]},
        {"signers": OLD_LINE},
        {"signers": {}},
        {"carried": {"chunk-0": 1}},
        {"carried": {"chunk-0": -2}},
        {"carried": {"chunk-0": "0"}},
        {"carried": {"chunk-0": 0.0}},
        {"carried": {"chunk-0": False}},
        {"carried": {"chunk-3": 0}},
        {"carried": {"chunk-00": 0}},
        {"carried": {"chunk-\u0660": 0}},
        {"carried": []},
        {"retired_keys": {"00ff00ff00ff00ff": 2}},
        {"retired_keys": {"00ff00ff00ff00ff": -1}},
        {"retired_keys": {"00FF00ff00ff00ff": 1}},
        {"retired_keys": {"00ff": 1}},
        {"retired_keys": []},
    ],
)
def test_a_checkpoint_that_none_can_state_is_refused(changes: dict[str, Any]) -> None:
    """Every field has its form, and names only what can be there; the error says which does not hold."""
    ((field, value),) = changes.items()
    if changes in ({"number": 0}, {"chunks": 2}, {"chunks": 17}):
        field = "carried"  # in which the golden checkpoint has chunk-2 of checkpoint 0
    elif changes == {"log_id": "f" * 32}:
        field = "signers"  # which are of the golden log
    named = f"not a checkpoint: its {field} is not" if value not in ([OLD_LINE + " "], [OLD_LINE[:-4]]) else "verifier"
    with pytest.raises(CheckpointError, match=named):
        Statement.parse(_values(CHECKPOINT, **changes))


def test_a_checkpoint_may_hold_as_much_as_it_can() -> None:
    """The last number, one chunk or as many as there can be, all of them carried, and sixteen signers, no more."""
    log_id = "0123456789abcdef" * 2
    lines = [verifier_line(origin(log_id), bytes([number]) * 32) for number in range(17)]
    one = Statement(log_id, 10**12 - 1, "2026-06-30T12:00:00.000000Z", 1, HASH, lines[:16])
    names = [f"chunk-{number:04x}" for number in range(1 << 14)]
    every = replace(one, chunks=len(names), carried=dict.fromkeys(names, 10**12 - 2))
    for sound in (one, every, replace(one, chunks=MAX_CHUNK_COUNT)):
        assert Statement.parse(sound.text()) == sound
        assert len(sound.text()) <= max_bytes(sound.chunks)
    assert len(every.text()) * 2 > max_bytes(every.chunks), "a bound that bounds"
    with pytest.raises(CheckpointError, match="its signers is not"):
        Statement.parse(replace(one, signers=lines).text())
    with pytest.raises(CheckpointError, match="not a checkpoint: cannot form canonical JSON"):
        replace(one, number=2**53).text()


@pytest.mark.parametrize(
    ("name", "chunks", "is_one"),
    [
        ("chunk-10", 17, True),
        ("chunk-11", 17, False),
        ("chunk-f", 16, True),
        ("chunk-f", 15, False),
        ("chunk-0", 1, True),
    ],
)
def test_a_chunks_number_is_hexadecimal(name: str, chunks: int, is_one: bool) -> None:
    """In as many digits as the last one's."""
    assert is_chunk_of(name, chunks) is is_one


def test_a_checkpoint_follows_from_the_one_before() -> None:
    """The next number of the same log and chunks, later, with every retired key still retired."""
    zero, one, two = (Statement.parse(text.encode()) for text in GOLDEN["checkpoints"])
    one.hold_after(zero)
    two.hold_after(one)
    three = replace(two, number=3, time="2026-06-30T12:00:00.000003Z")
    three.hold_after(two)
    for wrong, name in (
        (replace(three, number=4), "number"),
        (replace(three, time=two.time), "time"),
        (replace(three, chunks=4), "chunks"),
        (replace(three, log_id="f" * 32), "log_id"),
        (replace(three, retired_keys={}), "retired_keys"),
        (replace(three, retired_keys={"00ff00ff00ff00ff": 3}), "retired_keys"),
        (replace(three, retired_keys={"00ff00ff00ff00ff": 2, "11ff00ff00ff00ff": 1}), "retired_keys"),
    ):
        with pytest.raises(CheckpointError, match=f"does not follow from the one before it: its {name}$"):
            wrong.hold_after(two)


LINES = GOLDEN["roster"].encode().splitlines(keepends=True)


@pytest.mark.parametrize(
    ("data", "subjects"),
    [
        (b"".join(LINES[:-1]), 5),
        (b"".join(LINES[:-1]), 4),
        (b"".join([*LINES, LINES[-1]]), 6),
        (b"".join([*LINES, LINES[-1]]), 5),
        (b"".join(reversed(LINES)), 5),
        (b"".join([LINES[1], LINES[0], *LINES[2:]]), 5),
        (b"".join(LINES)[:-1], 5),
        (b"".join(LINES) + b"\n", 6),
        (b"".join(LINES) + b"x", 5),
        (b"".join(LINES).replace(b'"seq":2', b'"seq":3'), 5),
        (b"".join(LINES).replace(b'{"entry":', b'{"entry": ', 1), 5),
        (b"".join(LINES).replace(b'"id_sha256"', b'"extra":1,"id_sha256"', 1), 5),
        (b"", 0),
        (b"\n", 1),
        (b"\n".join(LINES), 5),
        (b"".join(LINES).replace(b"\n", b"\r\n"), 5),
        (b"".join(LINES).replace(b"\n", b"", 1), 5),
        (b"".join(LINES).replace(b'"seq":2', b'"seq":' + b"2" * 5_000), 5),
        (b"".join(LINES).replace(b'"state":"', b'"state":"\xff'), 5),
        (b"".join(LINES).replace(b'"state":"', b'"state":"\\ud800'), 5),
        (b"".join(LINES).replace(b'"entry":', b'"entry":' + b"[" * 100_000, 1), 5),
        (b"".join(LINES).replace(b'"entry":{', b'"entry":{"a":' + b"[" * 100_000, 1), 5),
    ],
)
def test_another_roster_is_refused(data: bytes, subjects: int) -> None:
    """One left out, doubled, moved or changed, and bytes around it."""
    with pytest.raises(CheckpointError, match=r"not a|another roster"):
        Roster.parse(data, subjects=subjects, root=GOLDEN["roster_root"])


def test_a_roster_signed_unsorted_or_doubled_is_refused_whatever_its_root() -> None:
    """What makes absence provable is looked at in every roster that is read, were it the signer's own."""
    for lines in (LINES[::-1], [*LINES, LINES[-1]]):
        leaves = [roster_leaf(line[-67:-3].decode(), line[9 : line.rindex(b',"id_sha256"')]) for line in lines]
        with pytest.raises(CheckpointError, match="not sorted by id_sha256, or one is there twice"):
            Roster.parse(b"".join(lines), subjects=len(lines), root=root(leaves).hex())


def test_a_roster_of_another_number_says_so() -> None:
    """Its leaf states how many subjects it has, beside its root; each line is one, under a name that is a hash."""
    with pytest.raises(CheckpointError, match="not a roster of 6 subjects, one a line"):
        Roster.parse(b"".join(LINES), subjects=6, root=GOLDEN["roster_root"])
    with pytest.raises(CheckpointError, match="not a roster's line: its id_sha256 is not"):
        Roster.parse(b"".join(LINES).replace(b'"id_sha256":"', b'"id_sha256":"0'), subjects=5, root=HASH)


def test_nobody_comes_back_unannounced_from_deletion_or_erasure() -> None:
    """These states alone; a blind has the length that makes it fit its form."""
    assert set(STATES) - GONE == {"absent", "present"}
    assert RosterEntry.parse(RosterEntry(secrets.token_urlsafe(BLIND_BYTES), 0, HASH, HASH, "present").text())


def test_an_empty_roster_is_nothing() -> None:
    """No bytes, under the hash of nothing."""
    empty = ChunkLeaf.empty("chunk-0")
    assert Roster.parse(b"", subjects=0, root=empty.roster_root) == Roster()
    assert Roster().text == b""


def test_no_line_is_longer_than_its_bound() -> None:
    """The largest values that an entry can have."""
    entry = RosterEntry("A" * 22, 2**53 - 1, HASH, HASH, "present")
    assert len(Roster.of({HASH: entry}).text) <= MAX_LINE_BYTES


@pytest.mark.parametrize("order", [[1, 0, 2], [0, 1], [0, 1, 2, 2]])
def test_leaves_are_those_of_the_chunks_in_order(order: list[int]) -> None:
    """Leaves of other chunks, or in another order, are refused even under their own root."""
    leaves = [ChunkLeaf(**GOLDEN["leaves"][at]) for at in order]
    with pytest.raises(CheckpointError, match="not those of the store's chunks"):
        parse_leaves(leaves_text(leaves), names=("chunk-0", "chunk-1", "chunk-2"), root=state_root(leaves))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{0}\n3\n{1}",
        "{0}\n3\n{1}\n\n",
        "{0}\n3\n{1}\nextension\n",
        "{0}\n03\n{1}\n",
        "{0}\n0\n{1}\n",
        "{0}\n-1\n{1}\n",
        "{0}\n\u0663\n{1}\n",
        "{0}\n1000000000001\n{1}\n",
        "{0}\n3\n{2}\n",
        "{0}\n3\n{3}\n",
        "x{0}\n3\n{1}\n",
        "{0}f\n3\n{1}\n",
        "{0}\r\n3\n{1}\n",
    ],
)
def test_what_is_no_tree_head_is_refused(text: str) -> None:
    """Extension lines, sizes that are none, and roots of other lengths or spellings."""
    sound = TreeHead(GOLDEN["log_id"], 3, "00" * 32)
    assert TreeHead.parse(sound.text()) == sound
    given_text = text.format(origin(GOLDEN["log_id"]), "A" * 43 + "=", "A" * 44, "A" * 42 + "B=")
    with pytest.raises(CheckpointError, match="not a checkpoint's note"):
        TreeHead.parse(given_text)


@given(st.lists(st.binary(max_size=4), min_size=1, max_size=70))
def test_a_growing_tree_has_the_roots_of_the_whole_one(leaves: list[bytes]) -> None:
    """After each leaf the root is that of all leaves so far."""
    tree = GrowingTree()
    for at, leaf in enumerate(leaves):
        assert tree.root_with(leaf_hash(leaf)) == root(leaves[: at + 1])
        tree.append(leaf_hash(leaf))


def test_sixteen_signatures_are_read_and_a_giant_is_not() -> None:
    """Fifteen of unknown kinds, each five thousand bytes long, do no harm; a megabyte is not looked at."""
    note = GOLDEN["notes"][0]
    key = parse_verifier_line(OLD_LINE)
    unknown = "".join(f"\u2014 witness{at} {'A' * 6668}\n" for at in range(15))
    assert opened_by(note + unknown, [key])[1] == {key}
    with pytest.raises(CheckpointError, match="more than 1,048,576 characters"):
        opened_by(note + unknown * 12, [key])


def test_a_bad_signature_of_any_known_key_refuses_the_note() -> None:
    """Though another known key's is right."""
    keys = [parse_verifier_line(line) for line in GOLDEN["verifier_lines"]]
    both, (first, second) = GOLDEN["notes"][1], GOLDEN["notes"][1].splitlines()[-2:]
    other = sign_note("else\n", origin(GOLDEN["log_id"]), bytes.fromhex(GOLDEN["seeds"][0])).splitlines()[-1]
    assert second in both
    with pytest.raises(CheckpointError, match="is not its text's"):
        opened_by(both.replace(second, other), keys)
    assert opened_by(both.replace(second, other), keys[1:])[1] == {keys[1]}, "of a key that is not known"
    with pytest.raises(CheckpointError, match=r"not signed by the key .*none is given"):
        opened_by(both, [])
    assert first


@pytest.mark.parametrize("state", [*STATES, "other"])
@pytest.mark.parametrize("seq", [-2, -1, 0, 7, 2**53 - 1, 2**53, 2**63])
def test_an_entry_is_in_a_state_that_somebody_can_be_in(seq: int, state: str) -> None:
    """A last row has a number and a hash or neither; anyone who is present, and nobody else, has a manifest."""
    for row, manifest in itertools.product(["0" * 64, HASH], ["", HASH]):
        values: dict[str, Any] = {
            "blind": "A" * 22,
            "manifest_sha256": manifest,
            "row_sha256": row,
            "seq": seq,
            "state": state,
        }
        text = rfc8785.dumps(values) if seq < 2**53 else json.dumps(values, separators=(",", ":")).encode()
        entry = RosterEntry("A" * 22, seq, row, manifest, state)
        ends = (seq == -1 and row == "0" * 64) or (0 <= seq < 2**53 and row == HASH)
        present = state == "present" and manifest == HASH
        gone = state in set(STATES) - {"present"} and seq >= 0 and manifest == ""

        assert entry.text() == text
        if ends and (present or gone):
            assert RosterEntry.parse(text) == entry
        else:
            with pytest.raises(CheckpointError):
                RosterEntry.parse(text)
