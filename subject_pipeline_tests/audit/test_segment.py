import base64
import copy
import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from subject_pipeline.audit.events import MANIFEST_DELETED, MANIFEST_UPDATED, AccessEvent
from subject_pipeline.audit.row_form import row_of
from subject_pipeline.audit.segment import (
    HEADER_FORM,
    MAX_BYTES,
    MAX_ROWS,
    ROW_FORM,
    ChainHead,
    Evidence,
    LogHead,
    Segment,
    evidence_of,
    split_line,
    write_segment,
)
from subject_pipeline.errors import AuditLogError
from subject_pipeline.keys.macs import SEGMENT_DOMAIN, Macs
from subject_pipeline_tests.helpers.audit_samples import (
    CHUNK,
    LOG_ID,
    NEW_KEY,
    NONE,
    OLD_KEY,
    RING,
    ROW,
    SEGMENT,
    START,
    A,
    B,
    canonical,
    event,
    full_event,
    header_hash,
    inner_of,
    joined,
    key_id,
    leaf_of,
    lines_of,
    mac_of,
    numbered,
    registry_event,
    rows_hash,
    rows_of,
    sample_log,
    signed,
    write_log,
)

VECTORS = Path(__file__).parents[1] / "vectors/audit"
GOLDEN = json.loads((VECTORS / "inputs.json").read_bytes())
GOLDEN_KEYS = {name: bytes.fromhex(key) for name, key in GOLDEN["keys"].items()}
GOLDEN_FILES = sorted((VECTORS / GOLDEN["chunk"]).iterdir())

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
decisions = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
accesses = st.builds(
    AccessEvent,
    candidate_id=st.sampled_from(["A", "Ä/\n", "C"]),
    event_id=texts,
    ts=st.sampled_from(["2026-06-30T12:00:00.000000Z", "1999-12-31T23:59:59.999999Z"]),
    actor=texts,
    action=texts,
    result=st.sampled_from(["success", "error", "denied", "not_found"]),
    dataset=st.none() | texts,
    fields=st.none() | st.lists(texts, min_size=1, max_size=3).map(tuple),
    purpose=st.none() | texts,
    trace_id=st.none() | texts,
    payload_sha256=st.none() | st.just("cd" * 32),
    reason=st.none() | texts,
    manifest_sha256=st.none(),
    decision=st.none(),
    gate=st.none() | st.just({"policy_sha256": "ab" * 32, "table_version": 7, "max_age_s": 0}),
)
changes = st.builds(
    lambda made, sha256, decision: made._replace(
        action=MANIFEST_DELETED if sha256 is None else MANIFEST_UPDATED,
        manifest_sha256=sha256,
        decision=decision,
        gate=None,
    ),
    accesses,
    st.none() | st.just("ef" * 32),
    st.dictionaries(texts, decisions, max_size=3).map(lambda decision: {**decision, "kind": "replaced"}),
)
events = accesses | changes
plans = st.lists(
    st.tuples(st.sampled_from([OLD_KEY, NEW_KEY]), st.lists(events, min_size=1, max_size=5)), min_size=1, max_size=4
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)


def by_the_design(plan: Iterable[tuple[bytes, str, Iterable[dict[str, Any]]]], log_id: str, chunk: str) -> list[bytes]:
    """The bytes of a log by the design's words: standard library alone, from an empty log on."""
    log, link, heads = list[bytes](), NONE, dict[str, Any]()
    for number, (key, written_at, parts) in enumerate(plan):
        lines, leaves = list[bytes](), list[bytes]()
        for part in parts:
            seq, prev = heads.get(part["candidate_id"], (0, NONE))
            row = {name: value for name, value in part.items() if value is not None}
            row["nonce"] = base64.urlsafe_b64encode(row.pop("random")).decode().rstrip("=")
            row |= {"schema": "subject_audit.v2", "seq": seq, "prev": prev, "key_id": key_id(key)}
            leaves.append(hashlib.sha256(b"\x00" + canonical(row)).digest())
            heads[part["candidate_id"]] = (seq + 1, leaves[-1].hex())
            mac = mac_of(canonical(row), key, ROW)
            lines.append(b'{"mac":"' + mac.encode() + b'","row":' + canonical(row) + b"}\n")
        header = {
            "schema": "subject_audit_segment.v2",
            "log_id": log_id,
            "chunk": chunk,
            "number": number,
            "prev": link,
            "rows": len(lines),
            "rows_sha256": hashlib.sha256(b"".join(leaves)).hexdigest(),
            "written_at": written_at,
            "key_id": key_id(key),
        }
        link = hashlib.sha256(b"\x00" + canonical(header)).hexdigest()
        mac = mac_of(canonical(header), key, SEGMENT)
        first = b'{"mac":"' + mac.encode() + b'","segment":' + canonical(header) + b"}\n"
        log.append(first + b"".join(lines))
    return log


def _golden_plan() -> list[tuple[bytes, str, list[dict[str, Any]]]]:
    return [
        (
            GOLDEN_KEYS[one["key_id"]],
            one["written_at"],
            [part | {"random": bytes.fromhex(part["random"])} for part in one["events"]],
        )
        for one in GOLDEN["segments"]
    ]


def _golden_event(values: dict[str, Any]) -> AccessEvent:
    fields = values.get("fields")
    given_parts = {name: value for name, value in values.items() if name != "random"}
    return AccessEvent(**given_parts | {"fields": None if fields is None else tuple(fields)})


def _giving(values: Iterable[bytes]) -> Callable[[int], bytes]:
    """What stands for randomness: these values, of 16 bytes each, in their order."""
    left = iter(values)

    def random(length: int) -> bytes:
        assert length == 16
        return next(left)

    return random


def test_the_golden_log_is_written_byte_for_byte() -> None:
    """Fixed keys, ids, times, randomness and events give the stored files; a change of one byte is a decision."""
    head, chains = LogHead(GOLDEN["log_id"], GOLDEN["chunk"]), dict[str, ChainHead]()
    for file, (key, written_at, parts) in zip(GOLDEN_FILES, _golden_plan(), strict=True):
        random = _giving([part["random"] for part in parts])
        made = map(_golden_event, parts)
        written = write_segment(head, chains, made, key_id=key_id(key), key=key, written_at=written_at, random=random)
        assert written.data == file.read_bytes()
        assert file.name == f"{written.head.number:012}.jsonl"
        head, chains = written.head, chains | written.chains


def test_the_golden_log_is_what_the_design_says() -> None:
    """The stored files follow from the design's words with the standard library alone."""
    assert by_the_design(_golden_plan(), GOLDEN["log_id"], GOLDEN["chunk"]) == [
        file.read_bytes() for file in GOLDEN_FILES
    ]


def test_the_golden_log_holds_every_field() -> None:
    """Every field that an event can have stands in the golden log; letters beyond ASCII do, and names sorted by UTF-16.

    Each file is judged to be what it is, too.
    """
    given_fields = {name for _, _, parts in _golden_plan() for part in parts for name in part}

    assert given_fields == {*AccessEvent._fields, "random"}
    assert any(not file.read_bytes().isascii() for file in GOLDEN_FILES)
    assert '{"\U0001f600":1,"\ufb33":2}'.encode() in b"".join(file.read_bytes() for file in GOLDEN_FILES)
    assert all(row_of(inner_of(line)) for file in GOLDEN_FILES for line in lines_of(file.read_bytes())[1:])


@pytest.mark.long
@given(plans)
def test_any_log_has_the_bytes_of_the_design(plan: list[tuple[bytes, list[AccessEvent]]]) -> None:
    """Whatever the events, the bytes are those that the standard library makes by the design's words.

    And each row has the one form that verification takes.
    """
    log = write_log(plan)
    times = [json.loads(lines_of(one.data)[0])["segment"]["written_at"] for one in log]
    random = numbered()
    parts = [
        (key, written_at, [made._asdict() | {"fields": _listed(made.fields), "random": random(16)} for made in group])
        for (key, group), written_at in zip(plan, times, strict=True)
    ]

    assert [one.data for one in log] == by_the_design(parts, LOG_ID, CHUNK)
    assert all(row_of(inner_of(line)) for one in log for line in lines_of(one.data)[1:])


def _listed(fields: tuple[str, ...] | None) -> list[str] | None:
    return None if fields is None else list(fields)


@pytest.mark.long
@given(plans)
def test_parsing_gives_back_what_was_written(plan: list[tuple[bytes, list[AccessEvent]]]) -> None:
    """A segment has no problem after the one before it, and its rows are the events, linked by subject."""
    macs, head, heads = Macs(RING.get, SEGMENT_DOMAIN), START, dict[str, tuple[int, str, str]]()
    for written, (key, group) in zip(write_log(plan), plan, strict=True):
        segment = Segment.parse(written.data)
        assert segment.problem(head, macs) is None
        assert (segment.sha256, len(segment.lines), segment.ended) == (written.head.sha256, len(group), True)
        rows = list(segment.rows())
        macs_there = [json.loads(line)["mac"] for line in segment.lines]
        assert [(row["seq"], sha256, mac) for (sha256, row), mac in zip(rows, macs_there, strict=True)] == written.rows
        assert [sha256 for sha256, _ in rows] == [leaf_of(inner_of(line)) for line in segment.lines]
        for (sha256, row), made in zip(rows, group, strict=True):
            seq, prev, root = heads.get(made.candidate_id, (0, NONE, sha256))
            assert (row.pop("seq"), row.pop("prev"), row.pop("key_id")) == (seq, prev, key_id(key))
            heads[made.candidate_id] = (seq + 1, sha256, root)
            assert row.pop("schema") == "subject_audit.v2"
            assert len(base64.urlsafe_b64decode(row.pop("nonce") + "==")) == 16
            given_parts = {name: value for name, value in made._asdict().items() if value is not None}
            assert row == given_parts | ({"fields": list(made.fields)} if made.fields is not None else {})
        for candidate_id, chain in written.chains.items():
            assert (chain.seq + 1, chain.sha256, chain.root) == heads[candidate_id]
        head = written.head


@pytest.mark.long
@given(plans)
def test_the_same_inputs_give_the_same_bytes(plan: list[tuple[bytes, list[AccessEvent]]]) -> None:
    """Writing keeps no state and leaves the chains that it was given as they were."""
    *before, (key, group) = plan
    log = write_log(before)
    head = log[-1].head if log else START
    chains = {candidate_id: chain for written in log for candidate_id, chain in written.chains.items()}
    kept = copy.deepcopy(chains)

    first, second = (
        write_segment(head, chains, group, key_id=key_id(key), key=key, written_at="2026-01-01", random=numbered())
        for _ in range(2)
    )
    assert first == second
    assert chains == kept
    assert set(first.chains) == {made.candidate_id for made in group}


def test_a_subjects_rows_are_linked_within_a_segment_and_beyond_it() -> None:
    """Several events of one subject in one segment follow each other, and the next segment goes on from the last."""
    first, second = write_log([(OLD_KEY, [event(A, "1"), event(B, "2"), event(A, "3")]), (NEW_KEY, [event(A, "4")])])
    rows = [row for row in rows_of([first.data, second.data]) if row["candidate_id"] == A]

    assert [row["seq"] for row in rows] == [0, 1, 2]
    assert [row["prev"] for row in rows] == [NONE, rows[0]["sha256"], rows[1]["sha256"]]
    assert second.chains[A] == ChainHead(2, rows[2]["sha256"], rows[0]["sha256"])
    assert second.head == LogHead(LOG_ID, CHUNK, 1, header_hash(second.data))


def test_each_row_has_randomness_of_its_own() -> None:
    """Rows that say the same of the same subject have other hashes, so nobody can find one by guessing its content."""
    asked: list[int] = []

    def random(length: int) -> bytes:
        asked.append(length)
        return bytes([len(asked)]) * length

    made = [event(A, "1"), event(A, "1"), event(B, "1")]
    written = write_segment(START, {}, made, key_id=key_id(OLD_KEY), key=OLD_KEY, written_at="now", random=random)
    nonces = [row["nonce"] for row in rows_of([written.data])]

    assert asked == [16, 16, 16]
    assert nonces == ["AQEBAQEBAQEBAQEBAQEBAQ", "AgICAgICAgICAgICAgICAg", "AwMDAwMDAwMDAwMDAwMDAw"]


def test_a_chain_that_the_writer_is_not_told_of_begins_anew() -> None:
    """Only the chains given are continued."""
    head = LogHead(LOG_ID, CHUNK, 6, "ab" * 32)
    chains = {A: ChainHead(41, "cd" * 32, "ef" * 32)}
    made = [event(A, "1"), event(B, "2")]
    written = write_segment(head, chains, made, key_id="k", key=OLD_KEY, written_at="2026-01-01", random=numbered())
    rows = rows_of([written.data])

    assert [(row["seq"], row["prev"]) for row in rows] == [(42, "cd" * 32), (0, NONE)]
    assert written.chains[A].root == "ef" * 32
    assert json.loads(lines_of(written.data)[0])["segment"]["number"] == 7


def test_a_chain_keeps_its_last_evidence() -> None:
    """Other rows after the registry's leave what it said of the manifest standing; a new one of its replaces it."""
    updated = registry_event(A, "x", "34" * 32, payload_sha256="56" * 32)
    deleted = registry_event(A, "y", None)
    plan = [[event(A, "1")], [updated, event(A, "2")], [event(A, "3")], [deleted], [event(A, "4")]]
    found = [written.chains[A].evidence for written in write_log([(OLD_KEY, group) for group in plan])]

    now = Evidence(1, "34" * 32, "present")
    gone = Evidence(4, "", "deleted")
    assert found == [None, now, now, gone, gone]


@pytest.mark.parametrize(
    ("action", "sha256", "kind", "expected"),
    [
        ("read", "aa", None, None),
        ("manifest_exported", "aa", "replaced", None),
        (MANIFEST_UPDATED, "aa", "replaced", Evidence(7, "aa", "present")),
        (MANIFEST_UPDATED, "aa", "erased", Evidence(7, "aa", "present")),
        (MANIFEST_UPDATED, None, "replaced", Evidence(7, "", "present")),
        (MANIFEST_DELETED, "aa", "deleted", Evidence(7, "", "deleted")),
        (MANIFEST_DELETED, None, "readmitted", Evidence(7, "", "deleted")),
        (MANIFEST_DELETED, None, "erased", Evidence(7, "", "erased")),
    ],
)
def test_evidence_is_what_the_registrys_rows_say(
    action: str, sha256: str | None, kind: str | None, expected: Evidence | None
) -> None:
    """Action, hash and the decision's kind make the evidence; any other action makes none."""
    assert evidence_of(7, action, sha256, {"kind": kind} if kind else None) == expected
    assert expected is None or expected.deleted == (action == MANIFEST_DELETED)


MAC = "ab" * 32


@pytest.mark.parametrize("form", [ROW_FORM, HEADER_FORM])
def test_a_line_is_taken_apart_only_in_its_one_form(form: tuple[bytes, bytes]) -> None:
    """MAC and inner bytes come out of the exact form, and nothing out of any other."""
    start, middle = form
    line = start + MAC.encode() + middle + b'{"a":"b"}}'
    assert split_line(line, form) == (MAC, b'{"a":"b"}')
    assert split_line(start + MAC.encode() + middle + b"}", form) == (MAC, b"")
    for other in [
        b"",
        line[:-2],
        line + b"\r",
        line + b" ",
        b" " + line,
        line.replace(b":", b": ", 1),
        line.replace(b"ab", b"", 1),
        line.replace(b"ab", b"abab", 1),
        line.replace(b"ab", "é".encode(), 1),
        line.replace(b"ab", b"\\u", 1),
        line.replace(b"mac", b"MAC"),
        line.replace(middle, b'","line":'),
        start + MAC.encode() + middle,
    ]:
        assert split_line(other, form) is None


@given(st.binary(max_size=200), st.sampled_from([ROW_FORM, HEADER_FORM]))
def test_any_bytes_can_be_taken_apart(data: bytes, form: tuple[bytes, bytes]) -> None:
    """Taking a line apart never fails, and what comes out makes the line again."""
    for line in (data, form[0] + b"0" * 64 + form[1] + data, form[0] + data):
        parts = split_line(line, form)
        assert parts is None or form[0] + parts[0].encode() + form[1] + parts[1] + b"}" == line


_MADE = st.one_of(
    st.binary(max_size=300),
    st.builds(
        lambda header, body: signed("segment", header, OLD_KEY) + b"\n" + body,
        st.fixed_dictionaries(
            {},
            optional={
                name: json_values | st.just(good)
                for name, good in {
                    "chunk": CHUNK,
                    "key_id": key_id(OLD_KEY),
                    "log_id": LOG_ID,
                    "number": 0,
                    "prev": NONE,
                    "rows": 1,
                    "rows_sha256": rows_hash([b""]),
                    "schema": "subject_audit_segment.v2",
                    "written_at": "2026-01-01T00:00:00.000000Z",
                    "more": 1,
                }.items()
            },
        ),
        st.binary(max_size=40),
    ),
    st.builds(
        lambda value, body: b'{"mac":"%b","segment":%b}\n%b' % (MAC.encode(), canonical(value), body),
        json_values,
        st.binary(max_size=40),
    ),
)


def _header_holding(inner: bytes) -> bytes:
    return b'{"mac":"%b","segment":{"number":%b}}\n' % (MAC.encode(), inner)


@given(_MADE)
@example(_header_holding(b"9007199254740993"))
@example(_header_holding(b"[" * 300 + b"]" * 300))
def test_any_bytes_can_be_parsed_as_a_segment(data: bytes) -> None:
    """Neither parsing nor judging a header fails, whatever the bytes; where no header was found there is a problem."""
    segment = Segment.parse(data)
    for macs in (Macs(RING.get, SEGMENT_DOMAIN), None):
        problem = segment.problem(START, macs)
        assert problem is None or (problem and isinstance(problem, str))
        assert segment.header is not None or problem is not None

    assert b"\n".join(segment.lines) + b"\n" * (segment.ended and bool(segment.lines)) == data.partition(b"\n")[2]
    assert segment.leaves == [bytes.fromhex(leaf_of(inner_of(line))) for line in segment.lines]
    assert len(segment.sha256) == 64
    try:
        assert all(isinstance(row, dict) for _, row in segment.rows())
    except AuditLogError:
        assert segment.lines


def _header(**changes: Any) -> bytes:
    data = sample_log()[1]
    header = json.loads(lines_of(data)[0])["segment"]
    header = {name: value for name, value in (header | changes).items() if value is not None}
    return joined([signed("segment", header, OLD_KEY), *lines_of(data)[1:]])


def _problems(data: bytes, *, prev_known: bool = True) -> list[str | None]:
    """What is wrong with a segment after the sample's first, to a holder of the keys and to anybody."""
    before = START._replace(number=0, sha256=header_hash(sample_log()[0]))
    macs = Macs(RING.get, SEGMENT_DOMAIN)
    return [Segment.parse(data).problem(before, one, prev_known=prev_known) for one in (macs, None)]


@pytest.mark.parametrize("name", ["schema", "log_id", "chunk", "number", "prev", "rows", "rows_sha256"])
@pytest.mark.parametrize("value", [None, 99, "99", [], {}])
def test_each_claim_of_a_header_is_held(name: str, value: object) -> None:
    """A header that was MACed with a claim other than the facts, or without it, is not this log's, MAC or not."""
    assert _problems(_header()) == [None, None]
    for problem in _problems(_header(**{name: value})):
        assert problem is not None
        assert "MAC" not in problem


@pytest.mark.parametrize(
    "changes",
    [
        {"number": True},
        {"number": 1.0},
        {"number": "1"},
        {"rows": 2.0},
        {"rows": 2**53},
        {"rows": -2},
        {"schema": "subject_audit_segment.v1"},
        {"schema": "subject_audit.v2"},
        {"written_at": None},
        {"written_at": 1},
        {"written_at": "2026-07-01T00:00:01Z"},
        {"written_at": "2026-07-01T00:00:01.000000+00:00"},
        {"written_at": "2026-07-01T24:00:00.000000Z"},
        {"written_at": "2026-07-01T00:00:01.000000Z\n"},
        {"more": 1},
        {"nonce": "A" * 22},
    ],
    ids=str,
)
def test_a_header_has_exactly_its_fields_each_of_its_type(changes: dict[str, object]) -> None:
    """What equals the right value to Python and is another in JSON, another form of a time, and fields of its own."""
    assert None not in _problems(_header(**changes))


def test_what_makes_a_header_true_to_python_alone_does_not_pass_where_one_row_is_counted() -> None:
    """`true` is 1 to Python, and a header that counts with it is refused."""
    (written,) = write_log([(OLD_KEY, [event(A, "1")])])
    first, row = lines_of(written.data)
    header = json.loads(first)["segment"]
    macs = Macs(RING.get, SEGMENT_DOMAIN)
    found = [
        Segment.parse(joined([signed("segment", header | {"rows": rows}), row])).problem(START, macs)
        for rows in (1, True, 1.0)
    ]
    assert found[0] is None
    assert None not in found[1:]


@pytest.mark.parametrize("key_id_", ["0" * 15, "0" * 17, "F" * 16, "", 1234567890123456, None, ["0" * 16]])
def test_a_headers_key_has_the_form_of_a_key_id_to_anybody(key_id_: object) -> None:
    """Without a ring too, though nobody looks the key up."""
    assert None not in _problems(_header(key_id=key_id_))
    assert _problems(_header(key_id="0" * 16))[1] is None


@pytest.mark.parametrize("prev", [7, "", "0" * 63, "A" * 64, "0" * 64 + "\n", []])
def test_a_link_that_cannot_be_known_still_has_the_form_of_one(prev: object) -> None:
    """After a gap a link is not compared with a segment, but what is no hash is no link."""
    assert None not in _problems(_header(prev=prev), prev_known=False)
    assert _problems(_header(prev="a" * 64), prev_known=False) == [None, None]


def test_a_link_that_cannot_be_known_is_not_held_against_a_segment() -> None:
    """Without the hash before it, a segment is judged on all but its link."""
    segment = Segment.parse(sample_log()[1])
    before = START._replace(number=0, sha256="ee" * 32)
    macs = Macs(RING.get, SEGMENT_DOMAIN)

    assert segment.problem(before, macs, prev_known=False) is None
    problem = segment.problem(before, macs)
    assert problem is not None
    assert "header's prev" in problem


def test_a_header_has_canonical_json_and_no_key_twice() -> None:
    """Other bytes of the same JSON under their own MAC are no header."""
    first, *rows = lines_of(sample_log()[1])
    inner = canonical(json.loads(first)["segment"])
    for other in (
        inner.replace(b":", b": ", 1),
        inner.replace(b'{"chunk"', b'{"chunk":"x","chunk"', 1),
        inner.replace(b'"rows":2', b'"rows":2e0'),
        inner.replace(b'"rows":2', b'"rows":-0'),
        inner.replace(b'"chunk":"c', b'"chunk":"\\u0063'),
        b"{" + b",".join(reversed(inner[1:-1].split(b","))) + b"}",
    ):
        assert other != inner
        line = b'{"mac":"%b","segment":%b}' % (mac_of(other, OLD_KEY, SEGMENT).encode(), other)
        assert _problems(joined([line, *rows])) == ["line 1 is not a segment's header"] * 2


def test_a_segment_has_a_row_and_an_end() -> None:
    """Zero rows, a last line without its LF and a line beyond it are not a segment, whatever the header counts."""
    first, *rows = lines_of(sample_log()[1])
    header = json.loads(first)["segment"]

    def sealed(count: int, lines: list[bytes], end: bytes = b"\n") -> bytes:
        line = signed("segment", header | {"rows": count, "rows_sha256": rows_hash(lines)})
        return b"\n".join([line, *lines]) + end

    assert _problems(sealed(2, rows)) == [None, None]
    for data in (
        sealed(0, []),
        sealed(0, [], b""),
        sealed(1, [], b""),
        sealed(2, rows, b""),
        sealed(1, rows, b""),
        sealed(2, rows, b"\n\n"),
        sealed(2, rows, b"\r\n"),
        sealed(3, [*rows, b""], b""),
    ):
        assert None not in _problems(data)


def test_the_rows_hash_is_that_of_their_leaf_hashes_in_order() -> None:
    """SHA-256 of all of them, 32 bytes each: not of their text, nor of their lines, nor in another order."""
    first, *rows = lines_of(sample_log()[1])
    header = json.loads(first)["segment"]
    leaves = [hashlib.sha256(b"\x00" + inner_of(row)).digest() for row in rows]
    assert header["rows_sha256"] == hashlib.sha256(b"".join(leaves)).hexdigest()
    for other in (
        b"".join(reversed(leaves)),
        b"".join(leaf.hex().encode() for leaf in leaves),
        b"".join(hashlib.sha256(inner_of(row)).digest() for row in rows),
        b"".join(hashlib.sha256(b"\x00" + row).digest() for row in rows),
        joined(rows),
        b"\x00" + b"".join(leaves),
    ):
        assert None not in _problems(_header(rows_sha256=hashlib.sha256(other).hexdigest()))


def test_a_header_does_not_cover_the_macs_of_its_rows() -> None:
    """They stand beside what is hashed, and are each row's own affair; nothing else is read from such a line."""
    first, one, two = lines_of(sample_log()[1])
    assert _problems(joined([first, one, b'{"mac":"%b","row":' % (b"0" * 64) + inner_of(two) + b"}"])) == [None, None]
    for start in (b'{"row":{"candidate_id":"B"},', b'{"mac":"%b","rows":' % (b"0" * 63), b" " * 79):
        beside = start + b'"x":"%b","row":' % (b"0" * (80 - len(start) - 13)) if start.startswith(b'{"row"') else start
        line = beside.ljust(80) + inner_of(two) + b"}"
        assert inner_of(line) == inner_of(two)
        assert _problems(joined([first, one, line])) == [None, None]
        with pytest.raises(AuditLogError, match="not a row"):
            list(Segment.parse(joined([first, one, line])).rows())


def test_a_lost_key_is_named_as_such() -> None:
    """A header under a key that the ring does not have is not said to have a wrong MAC."""
    problem = Segment.parse(sample_log()[0]).problem(START, Macs(dict[str, bytes]().get, SEGMENT_DOMAIN))
    assert problem is not None
    assert key_id(OLD_KEY) in problem


@pytest.mark.parametrize("line", [b"", b"[]", b"1", b'{"mac":"x"}', b'{"mac":"x","row":1}', b'{"row":{}}', b"\xff"])
def test_a_line_that_is_no_row_is_an_error_of_ours(line: bytes) -> None:
    """Reading the rows of a segment with another line in it raises the log's own error."""
    data = joined([*lines_of(sample_log()[0]), line])
    with pytest.raises(AuditLogError, match="not a row"):
        list(Segment.parse(data).rows())


def test_optional_parts_leave_no_trace_when_absent() -> None:
    """What an event does not have is absent from its row, not null."""
    bare, whole, change = rows_of(
        [write_log([(OLD_KEY, [event(A, "1"), full_event(A, "2"), registry_event(A, "3", "ab" * 32)])])[0].data]
    )

    assert set(whole) - set(bare) == {"dataset", "fields", "gate", "payload_sha256", "purpose", "reason", "trace_id"}
    assert set(change) - set(bare) == {"decision", "manifest_sha256"}
    assert None not in bare.values()


def test_the_forms_numbers_are_those_that_other_readers_count_on() -> None:
    """10,000 rows, 8 MiB."""
    assert (MAX_ROWS, MAX_BYTES) == (10_000, 8_388_608)


def test_bytes_without_a_header_have_no_mac() -> None:
    """Nothing is taken for a MAC where line 1 is not a header."""
    parsed = Segment.parse(b"no header\nrow\n")
    assert (parsed.header, parsed.mac, parsed.inner, parsed.lines, parsed.ended) == (None, "", b"", [b"row"], True)
