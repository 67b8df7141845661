import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from subject_pipeline.audit.row_form import row_of
from subject_pipeline.audit.segment import LogHead, Segment
from subject_pipeline.formats.canonical_json import canonical_json
from subject_pipeline_tests.docs.hand_made_log import (
    CHUNK,
    KEY,
    LOG_ID,
    NONE,
    OLD_KEY,
    HandMadeLog,
    canonical,
    key_id,
    leaf,
    signed,
    write_ring,
)
from subject_pipeline_tests.helpers.scripts import run_script

SCRIPT = Path(__file__).parents[2] / "docs" / "verify_log.py"
VECTORS = Path(__file__).parents[1] / "vectors/audit"
FIRST, SECOND, THIRD = (f"{number:012}.jsonl" for number in range(3))


def _run(*arguments: object) -> tuple[int, str, str]:
    return run_script(SCRIPT.name, *arguments)


def _run_apart(*arguments: object) -> tuple[int, str, str]:
    command = [sys.executable, "-I", str(SCRIPT), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    out, err = done.stdout.decode("ascii"), done.stderr.decode("ascii")
    assert "Traceback" not in out + err
    return done.returncode, out, err


CHANGE: dict[str, Any] = {
    "action": "manifest_updated",
    "manifest_sha256": "cd" * 32,
    "decision": {"kind": "replaced", "changes": {"\U0001f600": None, "\ufb33": [True, 2**53 - 1]}},
}


def good_log() -> HandMadeLog:
    """Three segments, three subjects, two keys, all optional fields, and text that needs escaping."""
    log = HandMadeLog()
    log.add(log.row("CAND/1", OLD_KEY), log.row('Zoë "\\\x01\x7f\u2028😀', OLD_KEY), key=OLD_KEY)
    log.add(
        log.row("CAND/1", dataset="workers", fields=["name", "phone"], purpose="support", trace_id="t", reason="r"),
        log.row("CAND/1", payload_sha256="ab" * 32, event_id="event-0", ts="2026-07-01T00:00:00.000000Z"),
        log.row("CAND_1", **CHANGE),
    )
    log.add(
        log.row("CAND/1", gate={"policy_sha256": "ab" * 32, "table_version": 1, "max_age_s": 0}),
        log.row("CAND_1", action="manifest_deleted", decision={"kind": "deleted"}, result="denied"),
    )
    return log


@pytest.fixture(name="chunk")
def chunk_(tmp_path: Path) -> Path:
    """The good log as files."""
    return good_log().write(tmp_path)


@pytest.fixture(name="ring")
def ring_(tmp_path: Path) -> Path:
    """The key ring that its keys are in."""
    return write_ring(tmp_path, KEY, OLD_KEY)


@pytest.mark.parametrize("log_id", [(), ("--log-id", LOG_ID)], ids=["any", "given"])
def test_an_intact_log_exits_0_with_what_was_read(chunk: Path, ring: Path, log_id: tuple[str, ...]) -> None:
    """A log made by the words of the design is intact, with or without its id given, and without a ring."""
    read = f"{CHUNK}: 3 segments, 7 rows, 3 subjects: intact"
    assert _run_apart(chunk, ring, *log_id) == (0, f"{read}\n", "")
    assert _run_apart(chunk, *log_id) == (0, f"{read}; MACs were not verified\n", "")


def test_the_projects_own_log_is_intact() -> None:
    """The golden log, with every field there is, anyone who verifies it."""
    (folder,) = [path for path in VECTORS.iterdir() if path.is_dir()]
    read = f"{folder.name}: 4 segments, 9 rows, 3 subjects: intact; MACs were not verified"
    assert _run(folder) == (0, f"{read}\n", "")


def test_the_folder_may_be_named_from_within(chunk: Path, ring: Path) -> None:
    """The chunk is the folder's real name, however the call names it."""
    assert _run(chunk / ".." / CHUNK / ".", ring)[0] == 0


def _edit(name: str, old: bytes, new: bytes, count: int = 1) -> Callable[[Path], object]:
    def edit(chunk: Path) -> None:
        data = (chunk / name).read_bytes()
        assert old in data
        (chunk / name).write_bytes(data.replace(old, new, count))

    return edit


def _lines(name: str, change: Callable[[list[bytes]], list[bytes]]) -> Callable[[Path], object]:
    def edit(chunk: Path) -> None:
        lines = (chunk / name).read_bytes().split(b"\n")[:-1]
        (chunk / name).write_bytes(b"".join(line + b"\n" for line in change(lines)))

    return edit


def _from_another_chunk(chunk: Path) -> None:
    log = HandMadeLog()
    log.add(log.row("CAND/1"), chunk="chunk-0b")
    (chunk / FIRST).write_bytes(log.segments[0])


def _swap(chunk: Path) -> None:
    first, second = (chunk / FIRST).read_bytes(), (chunk / SECOND).read_bytes()
    (chunk / FIRST).write_bytes(second)
    (chunk / SECOND).write_bytes(first)


TAMPERINGS: dict[str, tuple[Callable[[Path], object], list[str]]] = {  # what begins with "key: " only keys can show
    "a result changed": (
        _edit(THIRD, b'"result":"denied"', b'"result":"success"'),
        ["key: subject 'CAND_1', seq 1: bad_mac", "bad_segment: header: rows_sha256"],
    ),
    "a MAC changed": (
        lambda chunk: _edit(SECOND, (chunk / SECOND).read_bytes().split(b"\n")[1][8:72], b"0" * 64)(chunk),
        ["key: subject 'CAND/1', seq 1: bad_mac"],
    ),
    "a row changed": (
        _edit(SECOND, b'"purpose":"support"', b'"purpose":"curious"'),
        ["key: subject 'CAND/1', seq 1: bad_mac", "bad_segment: header: rows_sha256"],
    ),
    "a MAC in capitals": (
        _lines(THIRD, lambda lines: [lines[0], lines[1][:8] + lines[1][8:72].upper() + lines[1][72:], lines[2]]),
        ["subject 'CAND/1', seq 3: malformed"],
    ),
    "a row dropped": (
        _lines(SECOND, lambda lines: [lines[0], *lines[2:]]),
        ["header: rows is 3, not 2", "subject 'CAND/1', seq 2: bad_seq: expected 1"],
    ),
    "the last row dropped": (_lines(THIRD, lambda lines: lines[:-1]), ["header: rows is 2, not 1"]),
    "rows swapped": (
        _lines(SECOND, lambda lines: [lines[0], lines[2], lines[1], lines[3]]),
        ["header: rows_sha256", "seq 2: bad_seq: expected 1", "seq 1: bad_seq: expected 3"],
    ),
    "a row repeated": (
        _lines(THIRD, lambda lines: [*lines, lines[1]]),
        ["header: rows is 2, not 3", "subject 'CAND/1', seq 3: bad_seq: expected 4"],
    ),
    "a row put in that is no JSON": (_lines(THIRD, lambda lines: [*lines, b"no JSON"]), ["None: malformed: not JSON"]),
    "an empty line put in": (_lines(THIRD, lambda lines: [*lines, b""]), ["malformed: not JSON of a row"]),
    "a line of deep JSON put in": (_lines(THIRD, lambda lines: [*lines, b"[" * 100_000]), ["malformed: not JSON"]),
    "a line of bad UTF-8 put in": (_lines(THIRD, lambda lines: [*lines, b'{"row":"\xff"}']), ["malformed: not JSON"]),
    "a row that is a list put in": (_lines(THIRD, lambda lines: [*lines, b'{"row":[]}']), ["malformed: not JSON"]),
    "a line that is a number put in": (_lines(THIRD, lambda lines: [*lines, b"7"]), ["malformed: not JSON"]),
    "a space put into a row": (
        _edit(THIRD, b'"seq":3,', b'"seq": 3,'),
        ["subject 'CAND/1', seq 3: malformed: not canonical JSON"],
    ),
    "a space put before a row": (
        _edit(THIRD, b'"row":', b'"row": '),
        ["subject 'CAND/1', seq 3: malformed: not canonical JSON"],
    ),
    "another name before a row": (
        _lines(THIRD, lambda lines: [lines[0], lines[1].replace(b"mac", b"mab", 1), lines[2]]),
        ["subject 'CAND/1', seq 3: malformed: not the one form of a row's line"],
    ),
    "a space put after a row": (
        _lines(THIRD, lambda lines: [*lines[:-1], lines[-1] + b" "]),
        ["subject 'CAND_1', seq 1: malformed"],
    ),
    "another field beside a row": (
        _lines(THIRD, lambda lines: [*lines[:-1], lines[-1][:-1] + b',"x":1}']),
        ["subject 'CAND_1', seq 1: malformed"],
    ),
    "the same row spelt otherwise": (
        _edit(FIRST, "Zoë".encode(), b"Zo\\u00eb"),
        ["seq 0: malformed", "header: rows_sha256"],
    ),
    "carriage returns": (
        _edit(THIRD, b"\n", b"\r\n", -1),
        ["bad_segment: header: malformed", "malformed: not the one"],
    ),
    "the last newline dropped": (
        lambda chunk: (chunk / THIRD).write_bytes((chunk / THIRD).read_bytes()[:-1]),
        [f"{THIRD}: bad_segment: its last line does not end"],
    ),
    "a newline added": (
        lambda chunk: (chunk / THIRD).write_bytes((chunk / THIRD).read_bytes() + b"\n"),
        ["header: rows is 2, not 3", "malformed: not JSON of a row"],
    ),
    "a header's time changed": (
        _edit(SECOND, b'"written_at":"2026', b'"written_at":"2027'),
        [f"key: {SECOND}: bad_segment: header: bad_mac"],
    ),
    "a header's count changed": (
        _edit(SECOND, b'"rows":3', b'"rows":4'),
        [f"key: {SECOND}: bad_segment: header: bad_mac"],
    ),
    "a header's MAC changed": (
        _lines(FIRST, lambda lines: [lines[0][:8] + b"0" * 64 + lines[0][72:], *lines[1:]]),
        [f"key: {FIRST}: bad_segment: header: bad_mac"],
    ),
    "a header's MAC in capitals": (
        _lines(FIRST, lambda lines: [lines[0][:8] + b"A" * 64 + lines[0][72:], *lines[1:]]),
        [f"{FIRST}: bad_segment: header: malformed: not the one form of a segment's line"],
    ),
    "no header": (_lines(SECOND, lambda lines: lines[1:]), ["bad_segment: header: malformed: not JSON of a segment"]),
    "an emptied segment": (lambda chunk: (chunk / SECOND).write_bytes(b""), ["bad_segment: header: malformed"]),
    "a cut segment": (
        lambda chunk: (chunk / THIRD).write_bytes((chunk / THIRD).read_bytes()[:-30]),
        ["its last line does not end", "header: rows is 2, not 1"],
    ),
    "the first segment gone": (
        lambda chunk: (chunk / FIRST).unlink(),
        ["missing_segment: 000000000000 to 000000000000", "subject 'CAND/1', seq 1: bad_seq: expected 0"],
    ),
    "a segment gone": (
        lambda chunk: (chunk / SECOND).unlink(),
        ["missing_segment: 000000000001 to 000000000001", "subject 'CAND/1', seq 3: bad_seq: expected 1"],
    ),
    "segments swapped": (_swap, ["header: number is 1, not 0", "header: number is 0, not 1", "header: prev is"]),
    "a segment of another chunk": (_from_another_chunk, ["header: chunk is 'chunk-0b', not 'chunk-0a'"]),
    "a segment copied on": (
        lambda chunk: shutil.copy(chunk / THIRD, chunk / "000000000003.jsonl"),
        ["header: number is 2, not 3", "header: prev is", "bad_seq: expected 4"],
    ),
    "a foreign file": (lambda chunk: (chunk / "notes.txt").touch(), ["'notes.txt': foreign_object"]),
    "a staging file": (lambda chunk: (chunk / f"{FIRST}#1").touch(), ["000000000000.jsonl#1': foreign_object"]),
    "a number in other digits": (
        lambda chunk: (chunk / f"{'0' * 11}\u0663.jsonl").touch(),
        ["'00000000000\\u0663.jsonl': foreign_object"],
    ),
    "a folder": (lambda chunk: (chunk / "000000000003.jsonl").mkdir(), ["'000000000003.jsonl': foreign_object"]),
    "everything gone": (
        lambda chunk: [path.unlink() for path in chunk.iterdir()],
        ["missing: there is no segment", "0 segments, 0 rows, 0 subjects: NOT intact"],
    ),
    "the folder under another name": (
        lambda chunk: shutil.copytree(chunk, chunk.parent / "other" / "chunk-0b"),
        ["header: chunk is 'chunk-0a', not 'chunk-0b'"],
    ),
}


@pytest.mark.parametrize("name", TAMPERINGS)
def test_tampering_is_named(chunk: Path, ring: Path, name: str) -> None:
    """Whatever is done to the files of a log, the script says what and where, and exits 1.

    And without a ring too, but for what only MACs show.
    """
    tamper, words = TAMPERINGS[name]
    tamper(chunk)
    moved = chunk.parent / "other" / "chunk-0b"
    status, out, _ = _run(moved if moved.exists() else chunk, ring)
    assert status == 1
    for expected in words:
        assert expected.removeprefix("key: ") in out
    assert out.endswith(": NOT intact\n")

    status, out, _ = _run(moved if moved.exists() else chunk)
    assert "bad_mac" not in out
    for expected in words:
        assert expected.startswith("key: ") or expected in out
    unseen = name in {"a MAC changed", "a header's MAC changed"}
    assert status == (not unseen)
    assert out.endswith(f": {'intact' if unseen else 'NOT intact'}; MACs were not verified\n")


def test_a_changed_header_is_found_without_a_ring_by_what_follows_it(chunk: Path) -> None:
    """The next segment's link, or its own count; of the last one's time and key only a checkpoint tells."""
    _edit(SECOND, b'"written_at":"2026', b'"written_at":"2027')(chunk)
    assert f"{THIRD}: bad_segment: header: prev is" in _run(chunk)[1]
    _edit(SECOND, b'"written_at":"2027', b'"written_at":"2026')(chunk)
    _edit(THIRD, b'"written_at":"2026', b'"written_at":"2027')(chunk)
    assert _run(chunk)[0] == 0


def _log_with(**changes: Any) -> HandMadeLog:
    log = HandMadeLog()
    log.add(log.row("a"))
    log.add(log.row("a", **changes), log.row("a"))
    return log


def _log_with_header(**changes: Any) -> HandMadeLog:
    log = HandMadeLog()
    log.add(log.row("a"))
    log.add(log.row("a"), **changes)
    return log


def _log_with_row(inner: bytes) -> HandMadeLog:
    log = HandMadeLog()
    log.add(signed("row", inner))
    return log


def _with_a_spaced_header() -> HandMadeLog:
    log = HandMadeLog()
    log.add(log.row("a"))
    first, _, rows = log.segments[0].partition(b"\n")
    log.segments[0] = signed("segment", json.dumps(json.loads(first)["segment"]).encode()) + b"\n" + rows
    return log


def _without_rows() -> HandMadeLog:
    log = HandMadeLog()
    log.add(log.row("a"))
    log.add()
    return log


def _with_a_row_beyond() -> HandMadeLog:
    """A header that counts the lines that end, and hashes those, and a sound row after them that does not end."""
    log = HandMadeLog()
    log.add(log.row("a"))
    log.segments[0] += log.row("a")
    return log


ROW = json.loads(HandMadeLog().row("a"))["row"]
BY_THE_OWNER_OF_THE_KEY: dict[str, tuple[HandMadeLog, str]] = {
    "another row schema": (_log_with(schema="subject_audit.v1"), "seq 1: malformed: 'schema' is 'subject_audit.v1'"),
    "no actor": (_log_with(actor=None), "seq 1: malformed: 'actor' is None"),
    "no nonce": (_log_with(nonce=None), "seq 1: malformed: 'nonce' is None"),
    "no seq": (_log_with(seq=None), "seq None: malformed: 'seq' is None"),
    "a field of its own": (_log_with(note="x"), "seq 1: malformed: 'note' is 'x'"),
    "an empty text": (_log_with(purpose=""), "seq 1: malformed: 'purpose' is ''"),
    "another result": (_log_with(result="fine"), "seq 1: malformed: 'result' is 'fine'"),
    "a hash in capitals": (_log_with(payload_sha256="AB" * 32), "seq 1: malformed: 'payload_sha256' is"),
    "another action of the registry": (_log_with(**CHANGE | {"action": "manifest_x"}), "malformed: 'action' is"),
    "a change without its hash": (
        _log_with(**CHANGE | {"manifest_sha256": None}),
        "malformed: 'manifest_sha256' is None",
    ),
    "a change without its decision": (_log_with(**CHANGE | {"decision": None}), "malformed: 'decision' is None"),
    "a decision of somebody else": (_log_with(decision={"kind": "x"}), "seq 1: malformed: 'decision' is"),
    "a decision with a float": (
        _log_with(**CHANGE | {"decision": {"kind": "x", "a": [1.0]}}),
        "seq 1: malformed: not canonical JSON",
    ),
    "a decision with no number": (
        _log_with(**CHANGE | {"decision": {"kind": "x", "a": float("nan")}}),
        "seq 1: malformed: not canonical JSON",
    ),
    "a decision with an integer too large": (
        _log_with(**CHANGE | {"decision": {"kind": "x", "a": {"b": 2**53}}}),
        "seq 1: malformed: not canonical JSON",
    ),
    "a seq that is true": (_log_with(seq=True), "seq True: malformed: 'seq' is True"),
    "a seq that is a float": (_log_with(seq=1.0), "seq 1.0: malformed: not canonical JSON"),
    "a seq too far": (_log_with(seq=2), "seq 2: bad_seq: expected 1"),
    "a seq below": (_log_with(seq=-1), "seq -1: bad_seq: expected 1"),
    "a link elsewhere": (_log_with(prev="ab" * 32), "seq 1: bad_prev"),
    "a link to nothing": (_log_with(prev=NONE), "seq 1: bad_prev"),
    "the same event again": (_log_with(event_id="event-0"), "seq 1: duplicate_event"),
    "an id that is a list": (_log_with(candidate_id=["a"]), "malformed: 'candidate_id' is ['a']"),
    "an unknown key": (_log_with(key=bytes(32)), f"seq 1: unknown_key: the key ring has no '{key_id(bytes(32))}'"),
    "a key id that is a list": (_log_with(key_id=[]), "malformed: 'key_id' is []"),
    "no key id": (_log_with(key_id=None), "malformed: 'key_id' is None"),
    "a key id of another key": (_log_with(key_id=key_id(OLD_KEY)), "seq 1: bad_mac"),
    "a row that is not canonical": (
        _log_with_row(json.dumps(ROW).encode()),
        "seq 0: malformed: not canonical JSON",
    ),
    "a row with a key twice": (
        _log_with_row(canonical(ROW).replace(b'"seq":0', b'"seq":1,"seq":0')),
        "seq 0: malformed: not canonical JSON",
    ),
    "a row with a lone surrogate": (
        _log_with_row(canonical(ROW).replace(b'"agent-7"', b'"\\ud800"')),
        "seq 0: malformed: not canonical JSON",
    ),
    "a segment's MAC on a row": (
        _log_with_header(),
        "bad_mac",
    ),
    "another header schema": (_log_with_header(schema="v2"), "header: malformed: 'schema' is 'v2'"),
    "a header's field of its own": (_log_with_header(note=1), "header: malformed: 'note' is 1"),
    "a header's time of another form": (
        _log_with_header(written_at="2026-06-30T12:00:00Z"),
        "header: malformed: 'written_at' is '2026-06-30T12:00:00Z'",
    ),
    "a header's number that is true": (_log_with_header(number=True), "header: malformed: 'number' is True"),
    "a header's count that is true": (_log_with_header(rows=True), "header: malformed: 'rows' is True"),
    "another log": (_log_with_header(log_id="f" * 32), f"header: log_id is '{'f' * 32}', not '{LOG_ID}'"),
    "another chunk": (_log_with_header(chunk="chunk-0b"), "header: chunk is 'chunk-0b', not 'chunk-0a'"),
    "another number": (_log_with_header(number=2), "header: number is 2, not 1"),
    "a header's link elsewhere": (_log_with_header(prev=NONE), f"header: prev is '{NONE}', not"),
    "no link": (_log_with_header(prev=None), "header: malformed: 'prev' is None"),
    "a header that is not canonical": (_with_a_spaced_header(), "header: malformed: not canonical JSON"),
    "a segment without rows": (_without_rows(), "header: a segment without rows"),
    "a row beyond the last": (_with_a_row_beyond(), "bad_segment: its last line does not end"),
    "more rows": (_log_with_header(rows=2), "header: rows is 2, not 1"),
    "other rows": (_log_with_header(rows_sha256="ab" * 32), "header: rows_sha256 is"),
    "a header of an unknown key": (_log_with_header(key=bytes(32)), "header: unknown_key"),
}
_misused = BY_THE_OWNER_OF_THE_KEY["a segment's MAC on a row"][0]
_misused.segments[1] = b"\n".join(
    [
        _misused.segments[1].split(b"\n")[0],
        signed("segment", canonical(ROW)).replace(b'"segment":', b'"row":'),
        b"",
    ]
)


@pytest.mark.parametrize("name", BY_THE_OWNER_OF_THE_KEY)
def test_what_a_key_owner_wrote_wrong_is_named_too(tmp_path: Path, ring: Path, name: str) -> None:
    """A right MAC does not excuse a wrong form, link, number or name, and without a ring the same is found."""
    log, words = BY_THE_OWNER_OF_THE_KEY[name]
    chunk = log.write(tmp_path)
    status, out, _ = _run(chunk, ring)
    assert status == 1
    assert words in out
    if not any(word in words for word in ("bad_mac", "unknown_key")):
        status, out, _ = _run(chunk)
        assert status == 1
        assert words in out


def test_a_break_is_told_once(chunk: Path, ring: Path) -> None:
    """The chain is followed on from what stands there: one changed row is one problem of its chain.

    To whom has no keys it shows at the row after it, which links to what was there.
    """
    _edit(SECOND, b'"purpose":"support"', b'"purpose":"curious"')(chunk)
    for arguments, where in (([ring], "seq 1: bad_mac"), ([], "seq 2: bad_prev")):
        *found, last = _run(chunk, *arguments)[1].splitlines()
        header, row = (line.partition(": ")[2] for line in found)
        assert header.startswith("bad_segment: header: rows_sha256 is")
        assert row.startswith(f"subject 'CAND/1', {where}")
        assert last.startswith(f"{CHUNK}: 3 segments, 7 rows, 3 subjects: NOT intact")


def test_a_broken_header_is_told_once(chunk: Path, ring: Path) -> None:
    """What follows it is judged on all but its link to it."""
    _edit(FIRST, b'"rows":2', b'"rows":7')(chunk)
    for arguments in ([ring], []):
        found = _run(chunk, *arguments)[1].splitlines()
        assert len(found) == 2
        assert found[0].startswith(f"{FIRST}: bad_segment: header: ")


def test_a_log_of_another_store_is_noticed_where_the_id_is_given(chunk: Path, ring: Path) -> None:
    """A whole log of another store is intact in itself; its id tells."""
    status, out, _ = _run(chunk, ring, "--log-id", "f" * 32)
    assert status == 1
    assert out.count(f"header: log_id is '{LOG_ID}', not '{'f' * 32}'") == 3


def test_a_key_that_is_not_in_the_ring_is_named(chunk: Path, tmp_path: Path) -> None:
    """Rows and segments of a key that the ring does not have are problems, not passed over."""
    status, out, _ = _run(chunk, write_ring(tmp_path, KEY))
    assert status == 1
    assert out.count(f"unknown_key: the key ring has no '{key_id(OLD_KEY)}'") == 3


def test_a_cut_off_tail_is_not_noticed(chunk: Path, ring: Path) -> None:
    """The documented limit: without a checkpoint a log that lost its last segments looks like a shorter one."""
    (chunk / THIRD).unlink()
    assert _run(chunk, ring)[0] == 0
    assert "cut off the end leave no trace" in SCRIPT.read_text(encoding="utf-8").replace("\n", " ")


@pytest.mark.parametrize(
    "ring",
    [
        b"",
        b"no JSON",
        b"\xff",
        b"[]",
        b"{}",
        b'{"keys":[]}',
        b'{"keys":{"a":1}}',
        b'{"keys":{"a":"zz"}}',
        b"[" * 100_000,
        json.dumps({"keys": {key_id(OLD_KEY): KEY.hex()}}).encode(),
    ],
    ids=lambda data: data[:12],
)
def test_a_ring_that_is_none_exits_2(chunk: Path, tmp_path: Path, ring: bytes) -> None:
    """A damaged key ring is a wrong call, not a verdict on the log."""
    path = tmp_path / "damaged.json"
    path.write_bytes(ring)
    status, out, err = _run(chunk, path)
    assert (status, out) == (2, "")
    assert "ring" in err


def test_a_wrong_call_exits_2(chunk: Path, ring: Path, tmp_path: Path) -> None:
    """Too few or too many arguments, a folder or a ring that is not there: exit 2."""
    nowhere = tmp_path / "none"
    for arguments in ([], [nowhere, ring], [nowhere], [ring], [ring, ring], [chunk, nowhere], [chunk, ring, ring]):
        status, out, _ = _run(*arguments)
        assert (status, out) == (2, "")


def test_an_empty_ring_is_a_ring(chunk: Path, tmp_path: Path) -> None:
    """It knows no key, which is not the same as not asking for any."""
    (tmp_path / "empty.json").write_text('{"keys":{}}', encoding="utf-8")
    status, out, _ = _run(chunk, tmp_path / "empty.json")
    assert status == 1
    assert out.count("unknown_key") == 10
    assert out.endswith(": NOT intact\n")


def test_a_log_that_cannot_be_read_exits_2(
    chunk: Path, ring: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """That is no verdict on it, though what was found before stands above it."""
    real = Path.read_bytes

    def read_bytes(path: Path) -> bytes:
        if path.name == THIRD:
            raise OSError("the disk is gone")
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    monkeypatch.setattr(sys, "argv", ["verify_log.py", str(chunk), str(ring)])
    assert MODULE.main() == 2
    assert capsys.readouterr().out == "unreadable: OSError: 'the disk is gone'\n"


MODULE = ModuleType("verify_log")
exec(compile(SCRIPT.read_text(encoding="utf-8"), SCRIPT, "exec"), MODULE.__dict__)  # noqa: S102 - it is no package

_texts_of = (
    st.characters(exclude_categories=["Cs"]) | st.characters(max_codepoint=0xA0) | st.sampled_from("\u2028\u2029\ufeff")
)
_texts = st.text(_texts_of, max_size=20)
_numbers = st.integers(-(2**53) - 1, 2**53 + 1) | st.floats()
_values = st.recursive(
    st.none() | st.booleans() | _numbers | _texts | st.sampled_from(["ab" * 32, "A" * 22, "success"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=5,
)
_whole = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | _texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=5,
)
OPTIONAL = [
    "dataset",
    "fields",
    "purpose",
    "trace_id",
    "payload_sha256",
    "reason",
    "decision",
    "manifest_sha256",
    "gate",
]
HEADER: dict[str, Any] = {
    "schema": "subject_audit_segment.v2",
    "log_id": LOG_ID,
    "chunk": CHUNK,
    "number": 0,
    "prev": NONE,
    "rows": 1,
    "rows_sha256": hashlib.sha256(leaf(canonical(ROW))).hexdigest(),
    "written_at": "2026-06-30T12:00:00.000000Z",
    "key_id": key_id(KEY),
}
_ROWS = [
    ROW,
    ROW | CHANGE,
    *(json.loads(line)["row"] for data in good_log().segments for line in data.splitlines()[1:]),
]


def _problem_of(inner: bytes, kind: str = "row") -> str:
    problem: str = MODULE.read_line(signed(kind, inner), kind, {key_id(KEY): KEY, key_id(OLD_KEY): KEY})[2]
    return problem


@given(st.text(_texts_of, min_size=1), st.dictionaries(_texts, _whole, max_size=4))
def test_the_standard_library_writes_a_row_as_the_project_does(actor: str, decision: dict[str, Any]) -> None:
    """For what rows hold, any control character included, `json` and the project give the same bytes."""
    row = ROW | CHANGE | {"actor": actor, "decision": {**decision, "kind": "x"}}
    inner = canonical_json(row)
    assert row_of(inner) is not None
    line = signed("row", inner)
    assert MODULE.read_line(line, "row", {key_id(KEY): KEY}) == (row, hashlib.sha256(b"\0" + inner).digest(), "")


@given(
    st.sampled_from(_ROWS),
    st.dictionaries(st.sampled_from([*OPTIONAL, *ROW, "more"]), _values, max_size=2),
    st.sets(st.sampled_from([*OPTIONAL, *ROW]), max_size=1),
    st.booleans(),
)
@example(ROW | CHANGE, {"decision": {"kind": "x", "\ufb33": 1, "\U0001f600": 2}}, set(), False)  # noqa: FBT003 - by place
@example(ROW | CHANGE, {"decision": {"kind": "x", "a": json.loads("[" * 99 + "]" * 99)}}, set(), True)  # noqa: FBT003
@example(ROW | CHANGE, {"decision": {"kind": "x", "a": json.loads("[" * 100 + "]" * 100)}}, set(), True)  # noqa: FBT003
def test_the_script_takes_for_a_row_what_the_project_does(
    good: dict[str, Any], changes: dict[str, Any], gone: set[str], canonically: bool
) -> None:
    """Whatever values its fields have, and however it is written: two programs, one form."""
    row = {name: value for name, value in (good | changes).items() if name not in gone}
    inner = canonical(row) if canonically else json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode()
    assert (row_of(inner) is None) == _problem_of(inner).startswith("malformed")


@given(
    st.dictionaries(st.sampled_from([*HEADER, "more"]), _values, max_size=2),
    st.sets(st.sampled_from([*HEADER]), max_size=1),
    st.booleans(),
)
def test_the_script_takes_for_a_header_what_the_project_does(
    changes: dict[str, Any], gone: set[str], canonically: bool
) -> None:
    """As for rows; beyond the form, both hold a header to its place and its rows."""
    header = {name: value for name, value in (HEADER | changes).items() if name not in gone}
    inner = canonical(header) if canonically else json.dumps(header, separators=(",", ":")).encode()
    data = signed("segment", inner) + b"\n" + signed("row", canonical(ROW)) + b"\n"
    facts = {name: HEADER[name] for name in HEADER if name not in {"written_at", "key_id"}}
    value, _, problem = MODULE.read_line(data.partition(b"\n")[0], "segment", None)
    found = [problem] if problem else MODULE.header_problems(value, facts)
    assert bool(found) == (Segment.parse(data).problem(LogHead(LOG_ID, CHUNK), None) is not None)


GOOD = good_log()


@given(st.integers(0, 2), st.data())
def test_any_changed_byte_is_noticed(
    tmp_path_factory: pytest.TempPathFactory, number: int, data: st.DataObject
) -> None:
    """One byte changed, dropped or put in anywhere in a log is a problem; without a ring other digits of a MAC are not.

    Nor is what the last header says of its time and its key, to which nothing links.
    """
    segment = GOOD.segments[number]
    at = data.draw(st.integers(0, len(segment)))
    tampered = segment[:at] + data.draw(st.binary(max_size=1)) + segment[at + data.draw(st.integers(0, 1)) :]
    chunk = GOOD.write(tmp_path_factory.mktemp("log"))
    (chunk / f"{number:012}.jsonl").write_bytes(tampered)
    keys = {key_id(key): key for key in (KEY, OLD_KEY)}
    assert bool(list(MODULE.problems(chunk, keys, None, MODULE.Counter()))) == (tampered != segment)

    unseen = [r'\{"mac":"([0-9a-f]{64})"'] + [r'"written_at":"([^"]*)"', r'\{"chunk".*"key_id":"([0-9a-f]{16})"'] * (
        number == 2
    )
    other = tampered
    for pattern in unseen:
        places = [found.span(1) for found in re.finditer(pattern.encode(), segment)]
        if len(tampered) == len(segment):
            for start, end in places:
                other = other[:start] + segment[start:end] + other[end:]
    found = list(MODULE.problems(chunk, None, None, MODULE.Counter()))
    assert bool(found) or other == segment
    assert not found or tampered != segment
