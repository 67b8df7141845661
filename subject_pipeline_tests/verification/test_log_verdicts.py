import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from subject_pipeline.audit.events import MANIFEST_UPDATED, AccessEvent
from subject_pipeline.audit.segment import Evidence, LogHead
from subject_pipeline.verification.log_verdicts import BrokenChain, EvidenceRow
from subject_pipeline_tests.helpers.audit_samples import (
    CHUNK,
    LAYOUT,
    LOG_ID,
    NEW_KEY,
    NOBODY,
    NONE,
    OLD_KEY,
    OTHER_CHUNK,
    RING,
    ROW,
    SEGMENT,
    START,
    STRANGE_KEY,
    STRANGER,
    A,
    B,
    C,
    D,
    Segments,
    canonical,
    chains_found,
    event,
    full_event,
    header_hash,
    heads_of,
    inner_of,
    joined,
    judge,
    key_id,
    line_of,
    lines_of,
    logs_found,
    mac_of,
    rechain,
    registry_event,
    reseal,
    rows_of,
    sample_log,
    signed,
    write_log,
)

Change = Callable[[list[bytes]], Segments]
LOG = sample_log()  # A0 B0 A1 | C0 A2 | B1 A3 C1 | A4 D0 B2
ANCHORS = heads_of(LOG)


# --- changes: each makes another log of the sample; a line is (segment, line), line 0 the header ---


def line(segment: int, at: int, change: Callable[[bytes], bytes]) -> Change:
    """One line made another."""

    def make(log: list[bytes]) -> Segments:
        lines = lines_of(log[segment])
        lines[at] = change(lines[at])
        return [*log[:segment], joined(lines), *log[segment + 1 :]]

    return make


def lines(segment: int, change: Callable[[list[bytes]], list[bytes]]) -> Change:
    """One segment's lines made others."""
    return lambda log: [*log[:segment], joined(change(lines_of(log[segment]))), *log[segment + 1 :]]


def data(segment: int, change: Callable[[bytes], bytes]) -> Change:
    """One segment's bytes made others."""
    return lambda log: [*log[:segment], change(log[segment]), *log[segment + 1 :]]


def with_key(change: Change, *, links: bool = False) -> Change:
    """What a holder of the keys makes of it: sound headers again, and with `links` sound rows too."""

    def make(log: list[bytes]) -> Segments:
        changed = [one for one in change(log) if isinstance(one, bytes)]
        return [*(rechain if links else reseal)(changed)]

    return make


def inner(change: Callable[[dict[str, Any]], Mapping[str, Any]], key: bytes | None = None) -> Callable[[bytes], bytes]:
    """What a line holds made something else, under the old MAC or that of a key (b"": of the key that it names)."""

    def make(old: bytes) -> bytes:
        parsed = json.loads(old)
        kind = "row" if "row" in parsed else "segment"
        new = change(parsed[kind])
        return line_of(kind, new, parsed["mac"]) if key is None else signed(kind, new, key or None)

    return make


def put(name: str, value: object, key: bytes | None = None) -> Callable[[bytes], bytes]:
    """One field given another value."""
    return inner(lambda old: {**old, name: value}, key)


def cut(name: str, key: bytes | None = None) -> Callable[[bytes], bytes]:
    """One field taken away."""
    return inner(lambda old: {one: value for one, value in old.items() if one != name}, key)


def mac(change: Callable[[str], str]) -> Callable[[bytes], bytes]:
    """Another MAC put before the same bytes."""
    return lambda old: old.replace(_mac_of(old).encode(), change(_mac_of(old)).encode(), 1)


def _mac_of(old: bytes) -> str:
    return str(json.loads(old)["mac"])


def signed_as(key: bytes, domain: str | None) -> Callable[[bytes], bytes]:
    """The same bytes under a MAC of some key and domain."""

    def make(old: bytes) -> bytes:
        ((kind, value),) = [(kind, value) for kind, value in json.loads(old).items() if kind != "mac"]
        return line_of(kind, value, mac_of(canonical(value), key, domain or ""))

    return make


def swap(one: tuple[int, int], other: tuple[int, int]) -> Change:
    """Two lines in each other's place."""

    def make(log: list[bytes]) -> Segments:
        parts = [lines_of(segment) for segment in log]
        parts[one[0]][one[1]], parts[other[0]][other[1]] = parts[other[0]][other[1]], parts[one[0]][one[1]]
        return [joined(part) for part in parts]

    return make


def _flip_digit(old: str) -> str:
    return ("1" if old[0] == "0" else "0") + old[1:]


def _escaped(old: bytes) -> bytes:
    return old.replace(b'"action":"r', b'"action":"\\u0072', 1)


def _twice(old: bytes) -> bytes:
    return old.replace(b'"row":{', b'"row":{"action":"read",', 1)


def _reversed(old: bytes) -> bytes:
    parsed = json.loads(old)
    items = dict(reversed(parsed["row"].items()))
    return b'{"mac":"%b","row":%b}' % (
        parsed["mac"].encode(),
        json.dumps(items, ensure_ascii=False, separators=(",", ":")).encode(),
    )


def _row_first(old: bytes) -> bytes:
    parsed = json.loads(old)
    return b'{"row":%b,"mac":"%b"}' % (canonical(parsed["row"]), parsed["mac"].encode())


def _without(candidate_id: str) -> Callable[[list[bytes]], list[bytes]]:
    return lambda old: [one for one in old if json.loads(one).get("row", {}).get("candidate_id") != candidate_id]


def _without_chain(candidate_id: str) -> Change:
    return lambda log: [joined(_without(candidate_id)(lines_of(segment))) for segment in log]


_ANOTHER_LOG = sample_log(START._replace(log_id="f" * 32))
_ANOTHER_CHUNK = [
    written.data
    for written in write_log(
        [(OLD_KEY, [event(STRANGER, "s0")]), (OLD_KEY, [event(STRANGER, "s1")])], LogHead(LOG_ID, OTHER_CHUNK)
    )
]
_ANOTHER_HISTORY = sample_log(event_of=lambda *given_parts: event(*given_parts, actor="eve"))

BAD = {A: ("bad_mac", 2)}
MALFORMED = {A: ("malformed", 2)}
GAP = {A: ("bad_seq", 2)}
IN_1 = [(1, "bad_segment")]
A2 = (1, 2)

REQUIRED = ("action", "actor", "event_id", "nonce", "prev", "result", "schema", "seq", "ts")

# Each: what is done; broken chains; problems of the log. Without a key, a change of a row's bytes breaks its log too.
TAMPERING: dict[str, tuple[Change, dict[str, tuple[str, int]], list[tuple[int, str]]]] = {
    # A row's values, under its old MAC.
    "action changed": (line(*A2, put("action", "export")), BAD, IN_1),
    "actor changed": (line(*A2, put("actor", "eve")), BAD, IN_1),
    "event_id changed": (line(*A2, put("event_id", "a9")), BAD, IN_1),
    "prev changed": (line(*A2, put("prev", "ab" * 32)), BAD, IN_1),
    "result changed": (line(*A2, put("result", "denied")), BAD, IN_1),
    "seq changed": (line(*A2, put("seq", 7)), BAD, IN_1),
    "ts changed": (line(*A2, put("ts", "2020-01-01T00:00:00.000000Z")), BAD, IN_1),
    "dataset changed": (line(*A2, put("dataset", "other")), BAD, IN_1),
    "fields changed": (line(*A2, put("fields", ["name"])), BAD, IN_1),
    "payload_sha256 changed": (line(*A2, put("payload_sha256", "cd" * 32)), BAD, IN_1),
    "purpose changed": (line(*A2, put("purpose", "marketing")), BAD, IN_1),
    "trace_id changed": (line(*A2, put("trace_id", "00")), BAD, IN_1),
    "key_id of another key of the ring": (line(*A2, put("key_id", key_id(NEW_KEY))), BAD, IN_1),
    "key_id of no key": (line(*A2, put("key_id", "0" * 16)), {A: ("unknown_key", 2)}, IN_1),
    "nonce changed": (line(*A2, put("nonce", "A" * 22)), BAD, IN_1),
    "reason changed": (line(*A2, put("reason", "none")), BAD, IN_1),
    "schema changed": (line(*A2, put("schema", "subject_audit.v1")), MALFORMED, IN_1),
    "a result that there is not": (line(*A2, put("result", "fine")), MALFORMED, IN_1),
    "candidate_id of another chain": (line(*A2, put("candidate_id", B)), {B: ("bad_mac", 1), **GAP}, IN_1),
    "candidate_id of nobody": (line(*A2, put("candidate_id", NOBODY)), {NOBODY: ("bad_mac", 0), **GAP}, IN_1),
    "candidate_id of another chunk": (
        line(*A2, put("candidate_id", STRANGER)),
        {STRANGER: ("bad_mac", 0), **GAP},
        IN_1,
    ),
    "a field added": (line(*A2, put("note", "x")), MALFORMED, IN_1),
    "an optional field added": (line(2, 2, put("dataset", "x")), {A: ("bad_mac", 3)}, [(2, "bad_segment")]),
    "an optional field removed": (line(*A2, cut("purpose")), BAD, IN_1),
    "candidate_id removed": (line(*A2, cut("candidate_id")), GAP, IN_1),
    "candidate_id a number": (line(*A2, put("candidate_id", 2)), GAP, IN_1),
    "key_id removed": (line(*A2, cut("key_id")), MALFORMED, IN_1),
    "key_id a number": (line(*A2, put("key_id", 2)), MALFORMED, IN_1),
    **{f"{name} removed": (line(*A2, cut(name)), MALFORMED, IN_1) for name in REQUIRED},
    **{f"{name} null": (line(*A2, put(name, None)), MALFORMED, IN_1) for name in REQUIRED},
    # A row's MAC, which no header and no link covers.
    "MAC: a digit changed": (line(*A2, mac(_flip_digit)), BAD, []),
    "MAC: zeros": (line(*A2, mac(lambda _: NONE)), BAD, []),
    "MAC of the row before": (line(*A2, mac(lambda _: rows_of(LOG)[2]["mac"])), BAD, []),
    "MAC of another subject's row": (line(*A2, mac(lambda _: rows_of(LOG)[3]["mac"])), BAD, []),
    "MAC of the header": (line(*A2, mac(lambda _: _mac_of(lines_of(LOG[1])[0]))), BAD, []),
    "MAC: a digit short": (line(*A2, mac(lambda old: old[1:])), MALFORMED, IN_1),
    "MAC: a digit long": (line(*A2, mac(lambda old: old + "0")), MALFORMED, IN_1),
    "MAC: empty": (line(*A2, mac(lambda _: "")), MALFORMED, IN_1),
    "MAC: punctuation": (line(*A2, mac(lambda old: "-" + old[1:])), MALFORMED, []),
    "MAC by a key that is not in the ring": (line(*A2, signed_as(STRANGE_KEY, ROW)), BAD, []),
    "MAC by another key of the ring": (line(*A2, signed_as(NEW_KEY, ROW)), BAD, []),
    "MAC under the segments' domain": (line(*A2, signed_as(OLD_KEY, SEGMENT)), BAD, []),
    "MAC under no domain": (line(*A2, signed_as(OLD_KEY, None)), BAD, []),
    "key and MAC of a stranger": (
        line(*A2, put("key_id", key_id(STRANGE_KEY), STRANGE_KEY)),
        {A: ("unknown_key", 2)},
        IN_1,
    ),
    # A row's form.
    "keys in another order": (line(*A2, _reversed), MALFORMED, IN_1),
    "a space within the row": (line(*A2, lambda old: old.replace(b'","actor', b'", "actor', 1)), MALFORMED, IN_1),
    "a space before the row": (line(*A2, lambda old: old.replace(b'"row":', b'"row": ', 1)), MALFORMED, IN_1),
    "a space at the end": (line(*A2, lambda old: old + b" "), MALFORMED, IN_1),
    "a space at the start": (line(*A2, lambda old: b" " + old), MALFORMED, IN_1),
    "CRLF": (line(*A2, lambda old: old + b"\r"), MALFORMED, IN_1),
    "a letter escaped": (line(*A2, _escaped), MALFORMED, IN_1),
    "a key twice": (line(*A2, _twice), MALFORMED, IN_1),
    "row before mac": (line(*A2, _row_first), MALFORMED, IN_1),
    "more before mac and row": (line(*A2, lambda old: b'{"more":1,' + old[1:]), MALFORMED, IN_1),
    "a row as a header": (line(*A2, lambda old: old.replace(b'"row":', b'"segment":')), GAP, IN_1),
    "a line that is no UTF-8": (line(*A2, lambda old: old.replace(b"payroll", b"pay\xffoll")), GAP, IN_1),
    "a line cut in half": (line(*A2, lambda old: old[: len(old) // 2]), GAP, IN_1),
    "a line emptied": (line(*A2, lambda _: b""), GAP, IN_1),
    # Rows in other places.
    "a row deleted": (lines(1, lambda old: old[:2]), GAP, IN_1),
    "a chain's first row deleted": (
        lines(0, lambda old: [old[0], *old[2:]]),
        {A: ("bad_seq", 0)},
        [(0, "bad_segment")],
    ),
    "a row repeated": (lines(1, lambda old: [*old, old[2]]), {A: ("bad_seq", 3)}, IN_1),
    "a row repeated in a later segment": (
        lines(3, lambda old: [*old, lines_of(LOG[0])[1]]),
        {A: ("bad_seq", 5)},
        [(3, "bad_segment")],
    ),
    "a row moved to the end": (
        lambda log: [*lines(1, lambda old: old[:2])(log)[:3], log[3] + lines_of(log[1])[2] + b"\n"],
        GAP,
        [(1, "bad_segment"), (3, "bad_segment")],
    ),
    "a chain's rows swapped in a segment": (swap((0, 1), (0, 3)), {A: ("bad_seq", 0)}, [(0, "bad_segment")]),
    "a chain's rows swapped over segments": (swap(A2, (2, 2)), GAP, [(1, "bad_segment"), (2, "bad_segment")]),
    "rows of two chains swapped": (swap((1, 1), (1, 2)), {}, IN_1),
    "a row of the same place in another history": (
        line(*A2, lambda _: lines_of(_ANOTHER_HISTORY[1])[2]),
        {A: ("bad_prev", 2)},
        IN_1,
    ),
    "a row of another chunk": (
        lines(1, lambda old: [*old, lines_of(_ANOTHER_CHUNK[0])[1]]),
        {STRANGER: ("wrong_chunk", 0)},
        IN_1,
    ),
    "a last row deleted": (lines(3, lambda old: [old[0], *old[2:]]), {}, [(3, "bad_segment")]),
    "a chain of one row deleted": (lines(3, _without(D)), {}, [(3, "bad_segment")]),
    # A header.
    "header: chunk": (line(1, 0, put("chunk", OTHER_CHUNK)), {}, IN_1),
    "header: key_id": (line(1, 0, put("key_id", key_id(NEW_KEY))), {}, IN_1),
    "header: key_id of no key": (line(1, 0, put("key_id", "0" * 16)), {}, IN_1),
    "header: log_id": (line(1, 0, put("log_id", "f" * 32)), {}, IN_1),
    "header: number": (line(1, 0, put("number", 2)), {}, IN_1),
    "header: prev": (line(1, 0, put("prev", NONE)), {}, IN_1),
    "header: rows": (line(1, 0, put("rows", 3)), {}, IN_1),
    "header: rows_sha256": (line(1, 0, put("rows_sha256", NONE)), {}, IN_1),
    "header: schema": (line(1, 0, put("schema", "v2")), {}, IN_1),
    "header: written_at": (line(1, 0, put("written_at", "2020-01-01T00:00:00.000000Z")), {}, IN_1),
    "header: a field removed": (line(1, 0, cut("written_at")), {}, IN_1),
    "header: a field added": (line(1, 0, put("note", 1)), {}, IN_1),
    "header: MAC changed": (line(1, 0, mac(_flip_digit)), {}, IN_1),
    "header: MAC in capitals": (line(1, 0, mac(str.upper)), {}, IN_1),
    "header: MAC under the rows' domain": (line(1, 0, signed_as(OLD_KEY, ROW)), {}, IN_1),
    "header: MAC by a stranger": (line(1, 0, signed_as(STRANGE_KEY, SEGMENT)), {}, IN_1),
    "header: a space": (line(1, 0, lambda old: old.replace(b":", b": ", 1)), {}, IN_1),
    "header: CRLF": (line(1, 0, lambda old: old + b"\r"), {}, IN_1),
    "header: no JSON": (line(1, 0, lambda _: b"\xff"), {}, IN_1),
    "header: of another segment": (line(1, 0, lambda _: lines_of(LOG[2])[0]), {}, IN_1),
    "header: of another log": (line(1, 0, lambda _: lines_of(_ANOTHER_LOG[1])[0]), {}, IN_1),
    "header: twice": (lines(1, lambda old: [old[0], *old]), {}, IN_1),
    "header: gone": (lines(1, lambda old: old[1:]), {C: ("bad_seq", 0)}, IN_1),
    # A segment.
    "a blank line": (lines(1, lambda old: [*old, b""]), {}, IN_1),
    "a blank line at the start": (data(1, lambda old: b"\n" + old), {}, IN_1),
    "a byte order mark": (data(1, lambda old: b"\xef\xbb\xbf" + old), {}, IN_1),
    "no LF at the end": (data(1, lambda old: old[:-1]), {}, IN_1),
    "CRLF everywhere": (
        data(1, lambda old: old.replace(b"\n", b"\r\n")),
        {A: ("malformed", 2), C: ("malformed", 0)},
        IN_1,
    ),
    "a segment cut": (data(1, lambda old: old[: len(old) * 2 // 3]), {A: ("bad_seq", 2)}, IN_1),
    "a segment emptied": (data(1, lambda _: b""), {A: ("bad_seq", 2), C: ("bad_seq", 0)}, IN_1),
    "a segment's rows deleted": (lines(1, lambda old: old[:1]), {A: ("bad_seq", 2), C: ("bad_seq", 0)}, IN_1),
    "the segment of another chunk": (
        data(1, lambda _: _ANOTHER_CHUNK[1]),
        {A: ("bad_seq", 2), C: ("bad_seq", 0), STRANGER: ("wrong_chunk", 0)},
        IN_1,
    ),
    "the segment of another log": (data(1, lambda _: _ANOTHER_LOG[1]), {}, IN_1),
    "the segment of another number": (
        data(1, lambda _: LOG[2]),
        {A: ("bad_seq", 2), B: ("bad_seq", 2), C: ("bad_seq", 0)},
        IN_1,
    ),
    "two segments swapped": (
        lambda log: [log[0], log[2], log[1], log[3]],
        {A: ("bad_seq", 2), C: ("bad_seq", 0)},
        [(1, "bad_segment"), (2, "bad_segment")],
    ),
    "a segment repeated at the end": (
        lambda log: [*log, log[3]],
        {A: ("bad_seq", 5), B: ("bad_seq", 3), D: ("bad_seq", 1)},
        [(4, "bad_segment")],
    ),
    "a segment gone": (
        lambda log: [log[0], None, *log[2:]],
        {A: ("bad_seq", 2), C: ("bad_seq", 0)},
        [(1, "missing_segment")],
    ),
    "two segments gone": (
        lambda log: [log[0], None, None, log[3]],
        {A: ("bad_seq", 2), B: ("bad_seq", 1)},
        [(1, "missing_segment"), (2, "missing_segment")],
    ),
    "the first segment gone": (
        lambda log: [None, *log[1:]],
        {A: ("bad_seq", 0), B: ("bad_seq", 0)},
        [(0, "missing_segment")],
    ),
    "a segment gone, those after it moved up": (
        lambda log: [log[0], *log[2:]],
        {A: ("bad_seq", 2), C: ("bad_seq", 0)},
        [(1, "bad_segment"), (2, "bad_segment")],
    ),
    # By a holder of the keys, who makes sound headers and MACs: what is left is what a chain says of itself.
    "key: a header not linked": (line(1, 0, put("prev", NONE, b"")), {}, IN_1),
    "key: a header of another time": (
        line(1, 0, put("written_at", "2020-01-01T00:00:00.000000Z", b"")),
        {},
        [(2, "bad_segment")],
    ),
    "key: an event twice": (
        with_key(lines(1, lambda old: [*old, put("actor", "eve")(old[2])]), links=True),
        {A: ("duplicate_event", 3)},
        [],
    ),
    "key: a row that skips one": (with_key(line(*A2, put("seq", 3, b""))), GAP, []),
    "key: a row that begins again": (with_key(line(*A2, put("seq", 0, b""))), GAP, []),
    "key: a row before the first": (with_key(line(*A2, put("seq", -1, b""))), GAP, []),
    "key: a row not linked": (with_key(line(*A2, put("prev", NONE, b""))), {A: ("bad_prev", 2)}, []),
    "key: a row replaced": (with_key(line(*A2, put("actor", "eve", b""))), {A: ("bad_prev", 3)}, []),
    "key: a row deleted": (with_key(lines(1, lambda old: old[:2])), GAP, []),
    **{f"key: {name} removed": (with_key(line(*A2, cut(name, b""))), MALFORMED, []) for name in REQUIRED},
    **{f"key: {name} null": (with_key(line(*A2, put(name, None, b""))), MALFORMED, []) for name in REQUIRED},
    "key: a result that there is not": (with_key(line(*A2, put("result", "fine", b""))), MALFORMED, []),
    "key: another schema": (with_key(line(*A2, put("schema", "subject_audit.v1", b""))), MALFORMED, []),
    "key: another field": (with_key(line(*A2, put("note", "x", b""))), MALFORMED, []),
    "key: a seq as text": (with_key(line(*A2, put("seq", "2", b""))), MALFORMED, []),
    "key: a seq as a float": (with_key(line(*A2, put("seq", 2.0, b""))), MALFORMED, []),
    "key: a seq as a truth": (with_key(line(0, 3, put("seq", value=True, key=b""))), {A: ("malformed", 1)}, []),
    "key: a seq far beyond": (with_key(line(*A2, put("seq", 2**53 - 1, b""))), GAP, []),
    "key: a seq beyond all": (with_key(line(*A2, put("seq", 2**53, b""))), MALFORMED, []),
    "key: a row of another chunk": (
        with_key(lines(1, lambda old: [*old, lines_of(_ANOTHER_CHUNK[0])[1]])),
        {STRANGER: ("wrong_chunk", 0)},
        [],
    ),
}

# By a holder of the keys, or at the log's end: nothing is left to see but what a checkpoint anchored.
ANCHORED: dict[str, tuple[Change, dict[str, tuple[str, int]]]] = {
    "the last segment gone": (
        lambda log: [*log[:3]],
        {A: ("truncated", 4), B: ("truncated", 2), D: ("missing", 0)},
    ),
    "all gone": (lambda _: [], dict.fromkeys((A, B, C, D), ("missing", 0))),
    "key: the tail cut": (with_key(lines(3, lambda old: [old[0], *old[2:]])), {A: ("truncated", 4)}),
    "key: a row deleted and linked up": (with_key(lines(1, lambda old: old[:2]), links=True), {A: ("truncated", 4)}),
    "key: a row deleted, another added": (
        with_key(
            lambda log: lines(3, lambda old: [*old, signed("row", _row(event(A, "a9")))])(
                [one for one in lines(1, lambda old: old[:2])(log) if isinstance(one, bytes)]
            ),
            links=True,
        ),
        {A: ("rewritten", 4)},
    ),
    "key: a value changed and linked up": (with_key(line(*A2, put("actor", "eve")), links=True), {A: ("rewritten", 4)}),
    "key: a last row changed": (with_key(line(3, 1, put("actor", "eve", b""))), {A: ("rewritten", 4)}),
    "key: a chain deleted": (with_key(_without_chain(C)), {C: ("missing", 0)}),
    "key: all but a chain's first row deleted": (with_key(lines(2, _without(C))), {C: ("truncated", 1)}),
    "key: another history": (
        lambda _: [*_ANOTHER_HISTORY],
        {A: ("rewritten", 4), B: ("rewritten", 2), C: ("rewritten", 1), D: ("rewritten", 0)},
    ),
}


def _row(made: AccessEvent) -> dict[str, Any]:
    parts = {name: value for name, value in made._asdict().items() if value is not None}
    return parts | {
        "schema": "subject_audit.v2",
        "seq": 0,
        "prev": NONE,
        "key_id": key_id(NEW_KEY),
        "nonce": "A" * 22,
    }


def test_a_log_that_nobody_touched_is_intact() -> None:
    """Nothing is found in the sample, with a checkpoint of its end and without."""
    for chains in ({}, ANCHORED_AT_FIRST, ANCHORS):
        verdict = judge(LOG, chains)
        assert (verdict.broken, verdict.logs, verdict.unreadable) == ({}, [], set())
        assert verdict.chains == ANCHORS
        assert (verdict.rows, verdict.results["success"]) == (11, 11)
        assert verdict.head == LogHead(LOG_ID, CHUNK, 3, header_hash(LOG[3]))


ANCHORED_AT_FIRST = heads_of(LOG[:1])


@pytest.mark.parametrize(("change", "chains", "logs"), TAMPERING.values(), ids=TAMPERING)
def test_tampering_is_named_with_kind_subject_and_seq(
    change: Change, chains: dict[str, tuple[str, int]], logs: list[tuple[int, str]]
) -> None:
    """Each change gives exactly these verdicts; every other chain keeps its own, and what is sound before is told."""
    verdict = judge(change(LOG))

    assert chains_found(verdict) == chains
    assert logs_found(verdict) == logs
    assert not verdict.unreadable
    _hold_the_rest(verdict.chains, chains)


def _hold_the_rest(found: Mapping[str, tuple[int, str]], chains: Mapping[str, tuple[str, int]]) -> None:
    hashes = {(row["candidate_id"], row["seq"]): row["sha256"] for row in rows_of(LOG)}
    for candidate_id, (seq, head) in found.items():
        if candidate_id in chains:
            assert seq == chains[candidate_id][1] - 1
        if seq >= 0 and candidate_id not in chains:
            assert head == hashes[candidate_id, seq]


@pytest.mark.parametrize(("change", "chains", "logs"), TAMPERING.values(), ids=TAMPERING)
def test_a_checkpoint_lets_no_row_go_unseen(
    change: Change, chains: dict[str, tuple[str, int]], logs: list[tuple[int, str]]
) -> None:
    """With every chain's head anchored, the same is found, and each chain that lacks its head is broken besides."""
    verdict = judge(change(LOG), ANCHORS)
    found = chains_found(verdict)

    assert {one: found.get(one) for one in chains} == chains
    assert logs_found(verdict) == logs
    for candidate_id, head in ANCHORS.items():
        assert candidate_id in found or verdict.chains[candidate_id] == head


@pytest.mark.parametrize(("change", "chains"), ANCHORED.values(), ids=ANCHORED)
def test_what_only_a_checkpoint_can_show(change: Change, chains: dict[str, tuple[str, int]]) -> None:
    """Sound bytes that are other or fewer than those anchored are found with the checkpoint, and not without."""
    changed = change(LOG)
    verdict = judge(changed, ANCHORS)

    assert chains_found(verdict) == chains
    assert not verdict.logs
    alone = judge(changed)
    assert (alone.broken, alone.logs) == ({}, [])


def test_rows_after_the_anchored_one_may_come_and_go() -> None:
    """What no checkpoint holds can be cut off unseen: that is the documented limit, and the anchored part stands."""
    anchors = heads_of(LOG[:2])
    for length in (2, 3, 4):
        verdict = judge(LOG[:length], anchors)
        assert (verdict.broken, verdict.logs) == ({}, [])


def test_an_anchor_within_a_chain_is_held_where_it_stands() -> None:
    """A chain made again is found at the row that was anchored, though it goes on after it."""
    changed = with_key(line(0, 1, put("actor", "eve")), links=True)(LOG)
    assert chains_found(judge(changed, heads_of(LOG[:2]))) == {A: ("rewritten", 2)}


@pytest.mark.parametrize("change", [str.upper, lambda old: "g" + old[1:]])
def test_a_mac_that_is_not_lowercase_hex_is_another_form(change: Callable[[str], str]) -> None:
    """Any other form of a line than the one that the format has is malformed."""
    assert chains_found(judge(line(*A2, mac(change))(LOG))) == MALFORMED


def test_a_line_with_more_than_mac_and_row_is_charged_to_its_subject() -> None:
    """A line that as JSON has a row with a subject, in another form than the format's, is that subject's malformed."""
    assert chains_found(judge(line(*A2, lambda old: old[:-1] + b',"more":1}')(LOG))) == MALFORMED


@pytest.mark.parametrize("text", [b"", b"{}", b"hello", b'{"mac":"00","row":{}}', b"\xff"])
def test_a_line_that_is_no_row_is_found_under_a_sound_header(text: bytes) -> None:
    """What no writer writes, and every reader of rows refuses, is not called intact."""
    verdict = judge(with_key(lines(1, lambda old: [*old, text]))(LOG))
    assert verdict.broken or verdict.logs


def test_a_clock_that_goes_back_breaks_nothing() -> None:
    """Neither headers nor events need follow each other in time, nor be near it."""
    plan = [
        (OLD_KEY, [event(A, "1", ts="2030-01-01T00:00:00.000000Z")]),
        (OLD_KEY, [event(A, "2", ts="1970-01-01T00:00:00.000000Z"), event(A, "3", ts="9999-12-31T23:59:59.999999Z")]),
    ]
    log = [written.data for written in write_log(plan)]
    back = [line(0, 0, put("written_at", "2031-01-01T00:00:00.000000Z", b""))(log)[0], log[1]]
    verdict = judge(reseal([one for one in back if isinstance(one, bytes)]))

    assert (verdict.broken, verdict.logs) == ({}, [])
    assert verdict.chains[A][0] == 2


def test_an_event_of_another_month_is_another_event() -> None:
    """The same id counts once a subject and month: in another month, or of another subject, it is no duplicate."""
    plan = [
        (OLD_KEY, [event(A, "1"), event(B, "1"), event(A, "1", ts="2026-07-01T00:00:00.000000Z")]),
        (NEW_KEY, [event(A, "1", ts="2026-06-01T00:00:00.000000Z")]),
    ]
    assert chains_found(judge([written.data for written in write_log(plan)])) == {A: ("duplicate_event", 2)}


def test_two_writers_with_a_key_each_make_one_chain() -> None:
    """Keys may take turns within a log and within a chain."""
    plan = [((OLD_KEY, NEW_KEY)[at % 2], [event(A, f"{at}")]) for at in range(6)]
    verdict = judge([written.data for written in write_log(plan)])

    assert (verdict.broken, verdict.logs) == ({}, [])
    assert verdict.chains[A][0] == 5


def test_a_ring_that_lost_a_key_says_so() -> None:
    """Rows and headers under the lost key are unknown, not forged, and those under the other stand."""
    verdict = judge(LOG, keys={key_id(NEW_KEY): NEW_KEY})
    assert chains_found(verdict) == dict.fromkeys((A, B, C), ("unknown_key", 0))
    assert logs_found(verdict) == [(0, "bad_segment"), (1, "bad_segment")]
    assert all("key ring does not have" in broken.detail for broken in verdict.logs)
    assert verdict.chains == {D: ANCHORS[D]}

    verdict = judge(LOG, keys={key_id(OLD_KEY): OLD_KEY})
    assert chains_found(verdict) == {
        A: ("unknown_key", 3),
        B: ("unknown_key", 1),
        C: ("unknown_key", 1),
        D: ("unknown_key", 0),
    }


def test_a_key_of_the_same_id_that_is_another_is_a_bad_mac() -> None:
    """A wrong key under a known id makes every one of its MACs wrong."""
    verdict = judge(LOG[:1], keys={key_id(OLD_KEY): STRANGE_KEY})
    assert chains_found(verdict) == {A: ("bad_mac", 0), B: ("bad_mac", 0)}


@pytest.mark.parametrize("at", range(4))
def test_where_the_store_failed_anchored_chains_are_unreadable_and_not_broken(at: int) -> None:
    """Every anchored chain is unreadable, none is broken, and the log tells where the store failed."""
    verdict = judge([*LOG[:at], "the store is down", *LOG[at + 1 :]], ANCHORS)

    assert not verdict.broken
    assert verdict.unreadable | verdict.unreadable_unnamed == ANCHORS.keys()
    assert logs_found(verdict) == [(at, "unreadable")]


@pytest.mark.parametrize("at", range(4))
def test_where_the_store_failed_no_chain_is_forgotten(at: int) -> None:
    """Without a checkpoint too, every chain with a row that could be read is unreadable, and none is broken."""
    verdict = judge([*LOG[:at], "the store is down", *LOG[at + 1 :]])

    assert not verdict.broken
    assert verdict.unreadable == heads_of([*LOG[:at], *LOG[at + 1 :]]).keys()


@pytest.mark.parametrize(
    ("change", "chains"),
    [
        (line(2, 2, put("actor", "eve")), {A: ("bad_mac", 2)}),
        (line(2, 2, lambda old: old + b" "), {A: ("malformed", 2)}),
        (line(2, 2, put("key_id", "0" * 16)), {A: ("unknown_key", 2)}),
        (line(0, 3, put("actor", "eve")), {A: ("bad_mac", 1)}),
        (line(0, 3, lambda old: old[:9]), {}),
        (lines(3, lambda old: [*old, lines_of(_ANOTHER_CHUNK[0])[1]]), {STRANGER: ("wrong_chunk", 0)}),
        (lines(2, lambda old: [*old, lines_of(LOG[0])[2]]), {B: ("bad_seq", 2)}),
        (line(2, 1, put("prev", "ab" * 32, NEW_KEY)), {B: ("bad_prev", 1)}),
        (line(2, 1, put("seq", 0, NEW_KEY)), {B: ("bad_seq", 1)}),
    ],
)
def test_a_definite_problem_beside_an_unreadable_segment_stays_one(
    change: Change, chains: dict[str, tuple[str, int]]
) -> None:
    """What no segment that could not be read can excuse is broken, the others are unreadable, none is both."""
    changed = change(LOG)
    verdict = judge([changed[0], "the store is down", *changed[2:]], ANCHORS)

    assert chains_found(verdict) == chains
    assert verdict.unreadable == {A, B, C, D} - chains.keys()


def test_a_problem_found_before_the_store_failed_stands() -> None:
    """A gap that a segment gone has left is not excused by a failure after it."""
    verdict = judge([LOG[0], None, LOG[2], "the store is down"], ANCHORS)
    assert chains_found(verdict) == {A: ("bad_seq", 2), C: ("bad_seq", 0)}
    assert (verdict.unreadable, verdict.unreadable_unnamed) == ({B}, {D})


@pytest.mark.parametrize(("last", "chains", "logs"), [
    (1, {A: ("retired_key", 3), B: ("retired_key", 1), C: ("retired_key", 1), D: ("retired_key", 0)}, [2, 3]),
    (2, {A: ("retired_key", 4), B: ("retired_key", 2), D: ("retired_key", 0)}, [3]),
    (3, {}, []),
])  # fmt: skip
def test_a_retired_key_makes_no_rows_beyond_its_last_segment(
    last: int, chains: dict[str, tuple[str, int]], logs: list[int]
) -> None:
    """Rows and headers under it up to there are sound; after it each chain breaks at the first, and so does the log."""
    for resumed in (False, True):
        first = judge(LOG[:2])
        at: dict[str, Any] = {"start": first.head, "chains": heads_of(LOG[:2]), "resumed": True} if resumed else {}
        verdict = judge(LOG[2:] if resumed else LOG, **at, retired={key_id(NEW_KEY): last})
        assert chains_found(verdict) == chains
        assert logs_found(verdict) == [(number, "bad_segment") for number in logs]
        assert all(broken.detail.startswith("its row has a key") for broken in verdict.broken.values())
        assert all(broken.detail.startswith("its header has a key") for broken in verdict.logs)
    assert not judge(LOG, retired={key_id(STRANGE_KEY): -1}).broken


def test_evidence_is_gathered_by_subject_in_order() -> None:
    """The registry's rows alone are told, each with its seq; other actions say nothing of a manifest."""
    changed = registry_event(A, "x", "ab" * 32)
    deleted = registry_event(A, "y", None)
    plan = [
        (OLD_KEY, [event(A, "1"), changed, event(B, "2")]),
        (NEW_KEY, [deleted, event(B, "3", action="manifest")]),
    ]
    verdict = judge([written.data for written in write_log(plan)])

    assert verdict.evidence == {
        A: [
            EvidenceRow(Evidence(1, "ab" * 32, "present"), changed.decision or {}, "2026-07-01T00:00:00.000000Z"),
            EvidenceRow(Evidence(2, "", "deleted"), deleted.decision or {}, "2026-07-01T00:00:01.000000Z"),
        ]
    }


@pytest.mark.parametrize("value", [5, None, True, ["ab"], {}, "", "ab", "AB" * 32])
def test_a_row_of_the_registrys_whose_hash_is_none_is_malformed(value: object) -> None:
    """A key holder can write it; it breaks its chain there, and is never taken for evidence."""
    announced = registry_event(A, "x", "ab" * 32)
    log = [one.data for one in write_log([(OLD_KEY, [event(A, "1"), announced, event(B, "2")])])]
    change = line(0, 2, put("manifest_sha256", value, OLD_KEY))
    verdict = judge(reseal([one for one in change(log) if isinstance(one, bytes)]))

    assert chains_found(verdict) == {A: ("malformed", 1)}
    assert not verdict.evidence
    assert verdict.chains.keys() == {A, B}


def test_sound_rows_are_counted_by_result() -> None:
    """Each result has its count, rows of a chain from its first problem on have none."""
    results = ["success", "error", "denied", "not_found", "denied"]
    log = [
        one.data for one in write_log([(OLD_KEY, [event(A, f"{at}", result=one) for at, one in enumerate(results)])])
    ]

    assert judge(log).results == {"success": 1, "error": 1, "denied": 2, "not_found": 1}
    changed = judge(line(0, 4, put("result", "success"))(log))
    assert changed.results == {"success": 1, "error": 1, "denied": 1, "not_found": 0}
    assert changed.rows == 5


# --- any log, any change ---


@st.composite
def logs(draw: st.DrawFn) -> list[bytes]:
    """Three or four segments of some subjects under either key."""
    plan, count = [], 0
    for _ in range(draw(st.integers(3, 4))):
        group = []
        for who in draw(st.lists(st.sampled_from([A, B, C, D]), min_size=1, max_size=4)):
            count += 1
            group.append((full_event if count % 5 == 0 else event)(who, f"e{count}"))
        plan.append((draw(st.sampled_from([OLD_KEY, NEW_KEY])), group))
    return [written.data for written in write_log(plan)]


@st.composite
def tampered(draw: st.DrawFn, log: list[bytes]) -> list[bytes | None]:
    """A log after one change that needs no key."""
    parts = [lines_of(segment) for segment in log]
    places = st.sampled_from([(at, one) for at, part in enumerate(parts) for one in range(len(part))])
    (at, one), (to, other) = draw(places), draw(places)
    last = st.integers(0, len(log) - 1)
    match draw(
        st.sampled_from(["flip", "drop", "swap", "repeat", "move", "cut", "cut all", "gone", "left out", "again"])
    ):
        case "flip":
            bit = draw(st.integers(0, len(log[at]) * 8 - 1))
            flipped = bytearray(log[at])
            flipped[bit // 8] ^= 1 << (bit % 8)
            return [*log[:at], bytes(flipped), *log[at + 1 :]]
        case "drop":
            del parts[at][one]
        case "swap":
            parts[at][one], parts[to][other] = parts[to][other], parts[at][one]
        case "repeat":
            parts[to].insert(other, parts[at][one])
        case "move":
            parts[to].insert(other, parts[at].pop(one))
        case "cut":
            parts[at][one] = parts[at][one][: draw(st.integers(0, len(parts[at][one]) - 1))]
        case "cut all":
            return [*log[:at], log[at][: draw(st.integers(0, len(log[at]) - 1))], *log[at + 1 :]]
        case "gone":
            at = draw(st.integers(0, len(log) - 2))
            return [*log[:at], None, *log[at + 1 :]]
        case "left out":
            return [*log[:at], *log[at + 1 :]]
        case _:
            at, to = draw(last), draw(st.integers(0, len(log)))
            return [*log[:to], log[at], *log[to:]]
    return [joined(part) for part in parts]


def _body_lines(log: Iterable[bytes | None]) -> list[bytes]:
    found = [one for segment in log if segment for one in segment.partition(b"\n")[2].split(b"\n")]
    return [one for one in found if one]


def _subject_of(text: bytes) -> str | None:
    try:
        found = json.loads(text)["row"]["candidate_id"]
    except (ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, str) else None


def _chains_of(log: Iterable[bytes | None], known: set[bytes]) -> dict[str, list[bytes]]:
    found: dict[str, list[bytes]] = {one: [] for one in (A, B, C, D)}
    for text in _body_lines(log):
        subject = _subject_of(text) if text in known else None
        if subject is not None:
            found[subject].append(text)
    return found


def _covered(segment: bytes | None) -> tuple[bytes, list[bytes], bool] | None:
    """What a header says of its segment, and itself: all but the rows' MACs and what stands around the rows."""
    if segment is None:
        return None
    first, _, body = segment.partition(b"\n")
    return first, [inner_of(one) for one in body.removesuffix(b"\n").split(b"\n")], body.endswith(b"\n")


@given(logs())
def test_no_log_is_accused_falsely(log: list[bytes]) -> None:
    """Whatever a writer wrote is intact, from its beginning and against a checkpoint of any length of it."""
    for length in range(len(log) + 1):
        verdict = judge(log, heads_of(log[:length]))
        assert (verdict.broken, verdict.logs, verdict.unreadable) == ({}, [], set())
        assert verdict.chains == heads_of(log)


@given(st.data())
def test_any_change_is_detected_and_no_other_chain_accused(data: st.DataObject) -> None:
    """A bit flipped, a line or segment dropped, swapped, repeated, moved or cut: all is told, and nothing else.

    Held to a reckoning of its own: segments that differ in their place in what their headers cover break the log, and
    those that differ at all may; chains that lack rows, or have them in another order, are broken, and so may be those
    that a line no writer wrote names.
    """
    log = data.draw(logs())
    changed = data.draw(tampered(log))
    assume(changed != log)
    verdict = judge(changed, heads_of(log))

    differing = [at for at, now in enumerate(changed) if at >= len(log) or now != log[at]]
    expected = [
        (at, "missing_segment" if changed[at] is None else "bad_segment")
        for at in differing
        if at >= len(log) or _covered(changed[at]) != _covered(log[at])
    ]
    found = logs_found(verdict)
    assert [one for one in found if one in expected] == expected
    assert {at for at, _ in found} <= set(differing)
    known = set(_body_lines(log))
    before, after = _chains_of(log, known), _chains_of(changed, known)
    touched = {one for one, rows in before.items() if after[one] != rows}
    framed = {_subject_of(text) for text in _body_lines(changed) if text not in known}
    broken = verdict.broken.keys() | {one.id_sha256 for one in verdict.broken_unnamed}
    assert touched <= broken <= touched | framed
    assert touched or expected
    hashes = {(row["candidate_id"], row["seq"]): row["sha256"] for row in rows_of(log)}
    for candidate_id, (seq, head) in verdict.chains.items():
        assert seq == -1 or hashes[candidate_id, seq] == head
    for candidate_id in heads_of(log).keys() - broken:
        assert verdict.chains[candidate_id] == heads_of(log)[candidate_id]


@given(st.data())
def test_judging_on_from_a_checkpoint_equals_judging_from_the_beginning(data: st.DataObject) -> None:
    """Chains taken from a roster lead to the same verdicts as their rows do, sound or tampered with after it."""
    log = data.draw(logs())
    split = data.draw(st.integers(0, len(log)))
    tail = data.draw(st.just(log[split:]) | tampered(log).map(lambda changed: changed[split:]))
    first = judge(log[:split])
    whole = judge([*log[:split], *tail])
    rest = judge(tail, heads_of(log[:split]), start=first.head, resumed=True)

    assert rest.broken == whole.broken
    assert rest.logs == whole.logs
    assert rest.head == whole.head
    assert first.chains | rest.chains == whole.chains
    assert first.rows + rest.rows == whole.rows
    assert {one: first.results[one] + rest.results[one] for one in first.results} == whole.results


def test_an_event_from_before_the_checkpoint_is_a_duplicate_to_a_full_verification_alone() -> None:
    """Judging on from a checkpoint does not know the events before it: the documented limit of an incremental one."""
    log = [one.data for one in write_log([(OLD_KEY, [event(A, "1")]), (OLD_KEY, [event(A, "1")])])]
    first = judge(log[:1])
    assert chains_found(judge(log)) == {A: ("duplicate_event", 1)}

    rest = judge(log[1:], heads_of(log[:1]), start=first.head, resumed=True)
    assert not chains_found(rest)


_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _texts,
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(_texts, inside, max_size=3),
    max_leaves=5,
)
_GOOD_ROW: dict[str, Any] = {
    "action": MANIFEST_UPDATED,
    "actor": "ada",
    "candidate_id": A,
    "event_id": "e",
    "key_id": key_id(OLD_KEY),
    "nonce": "A" * 22,
    "prev": NONE,
    "result": "success",
    "schema": "subject_audit.v2",
    "seq": 0,
    "ts": "2026-06-30T12:00:00.000000Z",
    "payload_sha256": "ab" * 32,
    "manifest_sha256": "ab" * 32,
    "decision": {"kind": "replaced"},
    "gate": {"policy_sha256": "ab" * 32, "table_version": 1, "max_age_s": 2},
}
_GOOD_HEADER: dict[str, Any] = json.loads(lines_of(LOG[0])[0])["segment"]


def _parts(kind: str, good: Mapping[str, Any]) -> st.SearchStrategy[bytes]:
    """Lines under sound MACs, with values of any kind in any of the fields."""
    optional = {name: st.just(value) | _values for name, value in good.items()}
    mostly = st.dictionaries(st.sampled_from([*good, "more"]), _values, max_size=2).map(
        lambda change: {**good, **change}
    )
    return (st.fixed_dictionaries({}, optional=optional) | mostly).map(lambda value: signed(kind, value, OLD_KEY))


_row_lines = st.one_of(
    _parts("row", _GOOD_ROW),
    st.binary(max_size=80),
    _values.map(canonical),
    _values.map(lambda value: b'{"mac":"%b","row":%b}' % (NONE.encode(), canonical(value))),
)
_header_lines = st.one_of(st.just(lines_of(LOG[0])[0]), st.binary(max_size=80), _parts("segment", _GOOD_HEADER))
_segments = st.one_of(
    st.binary(max_size=200),
    st.builds(lambda first, others: joined([first, *others]), _header_lines, st.lists(_row_lines, max_size=4)),
    st.just("the store is down"),
    st.none(),
)


def _deep(kind: str, value: bytes) -> list[bytes | str | None]:
    good = _GOOD_ROW if kind == "row" else _GOOD_HEADER
    text = b'{"mac":"%b","%b":%b,"zzz":%b}}' % (NONE.encode(), kind.encode(), canonical(good)[:-1], value)
    return [joined([b"", text] if kind == "row" else [text])]


@given(st.lists(_segments, max_size=4), st.booleans(), st.sampled_from([RING, None]))
@example(_deep("row", b"[" * 255 + b"]" * 255), False, RING)  # noqa: FBT003 - Hypothesis passes by place
@example(_deep("segment", b"[" * 255 + b"]" * 255), False, RING)  # noqa: FBT003 - as above
@example(_deep("segment", b"9007199254740992"), False, None)  # noqa: FBT003 - as above
def test_any_bytes_get_a_verdict(log: Segments, anchored: bool, keys: Mapping[str, bytes] | None) -> None:
    """Judging never fails, whatever was stored: random bytes, any JSON, any value in a field under a sound MAC."""
    verdict = judge(log, ANCHORS if anchored else {}, keys=keys)

    assert verdict.head.number == len(log) - 1
    assert all(LAYOUT.chunk_of(str(broken.storage_key)) for broken in verdict.broken.values())
    assert not verdict.unreadable & verdict.broken.keys()
    assert all(type(problem.segment) is int for problem in verdict.logs)


def test_a_chain_is_named_by_id_where_that_is_known() -> None:
    """Else by the name that the checkpoint's roster has."""
    unnamed = BrokenChain(None, None, "missing", 0, "", "ab" * 32)
    assert (unnamed.subject, BrokenChain("W", "W", "missing", 0, "").subject) == ("ab" * 32, "W")
