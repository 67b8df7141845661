import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subject_pipeline.formats.canonical_json import canonical_row
from subject_pipeline_tests.docs.hand_made_log import (
    CHUNK,
    KEY,
    LOG_ID,
    NONE,
    OLD_KEY,
    HandMadeLog,
    canonical,
    key_id,
    signed,
    write_ring,
)

SCRIPT = Path(__file__).parents[2] / "docs" / "verify_log.py"
FIRST, SECOND, THIRD = (f"{number:012}.jsonl" for number in range(3))


def _run(*arguments: object) -> tuple[int, str, str]:
    command = [sys.executable, "-I", str(SCRIPT), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    out, err = done.stdout.decode("ascii"), done.stderr.decode("ascii")
    assert "Traceback" not in out + err
    return done.returncode, out, err


def good_log() -> HandMadeLog:
    """Three segments, three subjects, two keys, all optional fields, and text that needs escaping."""
    log = HandMadeLog()
    log.add(log.row("CAND/1", OLD_KEY), log.row('Zoë "\\\x01\x7f\u2028😀', OLD_KEY), key=OLD_KEY)
    log.add(
        log.row("CAND/1", dataset="workers", fields=["name", "phone"], purpose="support", trace_id="t"),
        log.row("CAND/1", payload_sha256="ab" * 32, event_id="event-0", ts="2026-07-01T00:00:00.000000Z"),
        log.row("CAND_1"),
    )
    log.add(log.row("CAND/1"), log.row("CAND_1", result="denied"))
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
    """A log made by the words of the design is intact, with or without its id given."""
    assert _run(chunk, ring, *log_id) == (0, f"{CHUNK}: 3 segments, 7 rows, 3 subjects: intact\n", "")


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


TAMPERINGS: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "a result changed": (
        _edit(THIRD, b'"result":"denied"', b'"result":"success"'),
        ["subject 'CAND_1', seq 1: bad_mac", "bad_segment: header: rows_sha256"],
    ),
    "a MAC changed": (
        lambda chunk: _edit(SECOND, (chunk / SECOND).read_bytes().split(b"\n")[1][8:72], b"0" * 64)(chunk),
        ["subject 'CAND/1', seq 1: bad_mac", "subject 'CAND/1', seq 2: bad_prev"],
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
        ["subject 'CAND/1', seq 3: malformed: not the one form"],
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
        ["header: rows is 2, not 1", "header: rows_sha256"],
    ),
    "a newline added": (
        lambda chunk: (chunk / THIRD).write_bytes((chunk / THIRD).read_bytes() + b"\n"),
        ["header: rows is 2, not 3", "malformed: not JSON of a row"],
    ),
    "a header changed": (_edit(SECOND, b'"rows":3', b'"rows":4'), [f"{SECOND}: bad_segment: header: bad_mac"]),
    "a header's MAC changed": (
        _lines(FIRST, lambda lines: [lines[0][:8] + b"0" * 64 + lines[0][72:], *lines[1:]]),
        [f"{FIRST}: bad_segment: header: bad_mac", f"{SECOND}: bad_segment: header: prev is"],
    ),
    "no header": (_lines(SECOND, lambda lines: lines[1:]), ["bad_segment: header: malformed: not JSON of a segment"]),
    "an emptied segment": (lambda chunk: (chunk / SECOND).write_bytes(b""), ["bad_segment: header: malformed"]),
    "a cut segment": (
        lambda chunk: (chunk / THIRD).write_bytes((chunk / THIRD).read_bytes()[:-30]),
        ["header: rows is 2, not 1", "malformed: not JSON of a row"],
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
    """Whatever is done to the files of a log, the script says what and where, and exits 1."""
    tamper, words = TAMPERINGS[name]
    tamper(chunk)
    moved = chunk.parent / "other" / "chunk-0b"
    status, out, _ = _run(moved if moved.exists() else chunk, ring)
    assert status == 1
    for expected in words:
        assert expected in out
    assert out.endswith(": NOT intact\n")


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
    log.add(signed("row", inner)[0])
    return log


ROW = json.loads(HandMadeLog().row("a"))["row"]
BY_THE_OWNER_OF_THE_KEY: dict[str, tuple[HandMadeLog, str]] = {
    "another row schema": (_log_with(schema="subject_audit.v2"), "seq 1: malformed: not a row of subject_audit.v1"),
    "no actor": (_log_with(actor=None), "seq 1: malformed: not a row of subject_audit.v1"),
    "no seq": (_log_with(seq=None), "seq None: bad_seq: expected 1"),
    "a seq that is true": (_log_with(seq=True), "bad_seq: expected 1"),
    "a seq too far": (_log_with(seq=2), "seq 2: bad_seq: expected 1"),
    "a seq below": (_log_with(seq=-1), "seq -1: bad_seq: expected 1"),
    "a link elsewhere": (_log_with(prev="ab" * 32), "seq 1: bad_prev"),
    "a link to nothing": (_log_with(prev=NONE), "seq 1: bad_prev"),
    "the same event again": (_log_with(event_id="event-0"), "seq 1: duplicate_event"),
    "an id that is a list": (_log_with(candidate_id=["a"]), "malformed: not a row"),
    "an unknown key": (_log_with(key=bytes(32)), f"seq 1: unknown_key: the key ring has no '{key_id(bytes(32))}'"),
    "a key id that is a list": (_log_with(key_id=[]), "unknown_key"),
    "no key id": (_log_with(key_id=None), "malformed: not JSON of a row"),
    "a key id of another key": (_log_with(key_id=key_id(OLD_KEY)), "seq 1: bad_mac"),
    "a row that is not canonical": (
        _log_with_row(json.dumps(ROW).encode()),
        "seq 0: malformed: not the one form of a row's line, with canonical JSON",
    ),
    "a row with a key twice": (
        _log_with_row(canonical(ROW).replace(b'"seq":0', b'"seq":1,"seq":0')),
        "seq 0: malformed: not the one form",
    ),
    "a row with a lone surrogate": (
        _log_with_row(canonical(ROW).replace(b'"agent-7"', b'"\\ud800"')),
        "malformed: not JSON of a row",
    ),
    "a segment's MAC on a row": (
        _log_with_header(),
        "bad_mac",
    ),
    "another header schema": (_log_with_header(schema="v2"), "header: schema is 'v2', not 'subject_audit_segment.v1'"),
    "another log": (_log_with_header(log_id="f" * 32), f"header: log_id is '{'f' * 32}', not '{LOG_ID}'"),
    "another chunk": (_log_with_header(chunk="chunk-0b"), "header: chunk is 'chunk-0b', not 'chunk-0a'"),
    "another number": (_log_with_header(number=2), "header: number is 2, not 1"),
    "a header's link elsewhere": (_log_with_header(prev=NONE), f"header: prev is '{NONE}', not"),
    "no link": (_log_with_header(prev=None), "header: prev is None, not"),
    "more rows": (_log_with_header(rows=2), "header: rows is 2, not 1"),
    "other rows": (_log_with_header(rows_sha256="ab" * 32), "header: rows_sha256 is"),
    "a header of an unknown key": (_log_with_header(key=bytes(32)), "header: unknown_key"),
}
_misused = BY_THE_OWNER_OF_THE_KEY["a segment's MAC on a row"][0]
_misused.segments[1] = b"\n".join(
    [
        _misused.segments[1].split(b"\n")[0],
        signed("segment", canonical(ROW))[0].replace(b'"segment":', b'"row":'),
        b"",
    ]
)


@pytest.mark.parametrize("name", BY_THE_OWNER_OF_THE_KEY)
def test_what_a_key_owner_wrote_wrong_is_named_too(tmp_path: Path, ring: Path, name: str) -> None:
    """A right MAC does not excuse a wrong form, link, number or name."""
    log, words = BY_THE_OWNER_OF_THE_KEY[name]
    status, out, _ = _run(log.write(tmp_path), ring)
    assert status == 1
    assert words in out


def test_a_break_is_told_once(chunk: Path, ring: Path) -> None:
    """The chain is followed on from what stands there: one changed row is one problem of its chain."""
    _edit(SECOND, b'"purpose":"support"', b'"purpose":"curious"')(chunk)
    out = _run(chunk, ring)[1].splitlines()
    assert [line.partition(": ")[2][:23] for line in out[:-1]] == ["bad_segment: header: ro", "subject 'CAND/1', seq 1"]
    assert out[-1] == f"{CHUNK}: 3 segments, 7 rows, 3 subjects: NOT intact"


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
    """Too few arguments, a folder or a ring that is not there: exit 2."""
    for arguments in ([], [chunk], [tmp_path / "none", ring], [ring, ring], [chunk, tmp_path / "none"]):
        status, out, _ = _run(*arguments)
        assert (status, out) == (2, "")


MODULE = ModuleType("verify_log")
exec(compile(SCRIPT.read_text(encoding="utf-8"), SCRIPT, "exec"), MODULE.__dict__)  # noqa: S102 - it is no package

_texts = st.text(
    st.characters(exclude_categories=["Cs"])
    | st.characters(max_codepoint=0xA0)
    | st.sampled_from("\u2028\u2029\ufeff"),
    max_size=20,
)
_keys = st.text(st.characters(max_codepoint=0x7F), max_size=6)
rows = st.dictionaries(_keys, _texts | st.integers(-(2**53) + 1, 2**53 - 1) | st.lists(_texts, max_size=3), max_size=6)


@given(rows)
def test_the_standard_library_writes_a_row_as_the_project_does(row: dict[str, Any]) -> None:
    """For what rows hold, any control character included, `json` and the project give the same bytes."""
    row["key_id"] = key_id(KEY)
    inner = canonical_row(row)
    line, mac = signed("row", inner)
    assert MODULE.read_line(line, "row", {key_id(KEY): KEY}) == (row, mac, "")


GOOD = good_log()


@given(st.integers(0, 2), st.data())
def test_any_changed_byte_is_noticed(
    tmp_path_factory: pytest.TempPathFactory, number: int, data: st.DataObject
) -> None:
    """One byte changed, dropped or put in anywhere in a log is a problem."""
    segment = GOOD.segments[number]
    at = data.draw(st.integers(0, len(segment)))
    tampered = segment[:at] + data.draw(st.binary(max_size=1)) + segment[at + data.draw(st.integers(0, 1)) :]
    chunk = GOOD.write(tmp_path_factory.mktemp("log"))
    (chunk / f"{number:012}.jsonl").write_bytes(tampered)
    found = list(MODULE.problems(chunk, {key_id(key): key for key in (KEY, OLD_KEY)}, None, MODULE.Counter()))
    assert bool(found) == (tampered != segment)
