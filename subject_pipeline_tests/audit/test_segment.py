import copy
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from subject_pipeline.audit.events import MANIFEST_DELETED, MANIFEST_UPDATED, AccessEvent
from subject_pipeline.audit.segment import (
    HEADER_FORM,
    MAX_BYTES,
    MAX_ROWS,
    NO_PRIOR,
    PRIOR_LENGTH,
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
    joined,
    key_id,
    lines_of,
    mac_of,
    sample_log,
    signed,
    write_log,
)

VECTORS = Path(__file__).parents[1] / "vectors/audit"
GOLDEN = json.loads((VECTORS / "inputs.json").read_bytes())
GOLDEN_KEYS = {name: bytes.fromhex(key) for name, key in GOLDEN["keys"].items()}
GOLDEN_FILES = sorted((VECTORS / GOLDEN["chunk"]).iterdir())

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
events = st.builds(
    AccessEvent,
    candidate_id=st.sampled_from(["A", "Ä/\n", "C"]),
    event_id=texts,
    ts=st.sampled_from(["2026-06-30T12:00:00.000000Z", "1999-12-31T23:59:59.999999Z"]),
    actor=texts,
    action=texts,
    result=st.sampled_from(["success", "error", "denied", "not_found"]),
    dataset=st.none() | texts,
    fields=st.none() | st.lists(texts, max_size=3).map(tuple),
    purpose=st.none() | texts,
    trace_id=st.none() | texts,
    payload_sha256=st.none() | st.just("cd" * 32),
)
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
        lines = []
        for part in parts:
            seq, prev = heads.get(part["candidate_id"], (0, NONE))
            row = {name: value for name, value in part.items() if value is not None}
            row |= {"schema": "subject_audit.v1", "seq": seq, "prev": prev, "key_id": key_id(key)}
            mac = mac_of(canonical(row), key, ROW)
            heads[part["candidate_id"]] = (seq + 1, mac)
            lines.append(b'{"mac":"' + mac.encode() + b'","row":' + canonical(row) + b"}\n")
        header = {
            "schema": "subject_audit_segment.v1",
            "log_id": log_id,
            "chunk": chunk,
            "number": number,
            "prev": link,
            "rows": len(lines),
            "rows_sha256": hashlib.sha256(b"".join(lines)).hexdigest(),
            "written_at": written_at,
            "key_id": key_id(key),
        }
        link = mac_of(canonical(header), key, SEGMENT)
        first = b'{"mac":"' + link.encode() + b'","segment":' + canonical(header) + b"}\n"
        log.append(first + b"".join(lines))
    return log


def _golden_plan() -> list[tuple[bytes, str, list[dict[str, Any]]]]:
    return [(GOLDEN_KEYS[one["key_id"]], one["written_at"], one["events"]) for one in GOLDEN["segments"]]


def _golden_event(values: dict[str, Any]) -> AccessEvent:
    fields = values.get("fields")
    return AccessEvent(**values | {"fields": None if fields is None else tuple(fields)})


def test_the_golden_log_is_written_byte_for_byte() -> None:
    """Fixed keys, ids, times and events give the stored files; a change of one byte is a decision."""
    head, chains = LogHead(GOLDEN["log_id"], GOLDEN["chunk"]), dict[str, ChainHead]()
    for file, (key, written_at, parts) in zip(GOLDEN_FILES, _golden_plan(), strict=True):
        made = map(_golden_event, parts)
        written = write_segment(head, chains, made, key_id=key_id(key), key=key, written_at=written_at)
        assert written.data == file.read_bytes()
        assert file.name == f"{written.head.number:012}.jsonl"
        head, chains = written.head, chains | written.chains


def test_the_golden_log_is_what_the_design_says() -> None:
    """The stored files follow from the design's words with hmac, hashlib and json alone."""
    assert by_the_design(_golden_plan(), GOLDEN["log_id"], GOLDEN["chunk"]) == [
        file.read_bytes() for file in GOLDEN_FILES
    ]


def test_the_golden_log_holds_every_field() -> None:
    """Every field that a row can have stands in the golden log, and so do letters beyond ASCII."""
    given_fields = {name for _, _, parts in _golden_plan() for part in parts for name in part}

    assert given_fields == set(AccessEvent._fields)
    assert any(not file.read_bytes().isascii() for file in GOLDEN_FILES)


@given(plans)
def test_any_log_has_the_bytes_of_the_design(plan: list[tuple[bytes, list[AccessEvent]]]) -> None:
    """Whatever the events, the bytes are those that the standard library makes by the design's words."""
    log = write_log(plan)
    times = [json.loads(lines_of(one.data)[0])["segment"]["written_at"] for one in log]
    parts = [
        (key, written_at, [made._asdict() | {"fields": _listed(made.fields)} for made in group])
        for (key, group), written_at in zip(plan, times, strict=True)
    ]

    assert [one.data for one in log] == by_the_design(parts, LOG_ID, CHUNK)


def _listed(fields: tuple[str, ...] | None) -> list[str] | None:
    return None if fields is None else list(fields)


@given(plans)
def test_parsing_gives_back_what_was_written(plan: list[tuple[bytes, list[AccessEvent]]]) -> None:
    """A segment has no problem after the one before it, and its rows are the events, linked by subject."""
    macs, head, heads = Macs(RING.get, SEGMENT_DOMAIN), START, dict[str, tuple[int, str, str]]()
    for written, (key, group) in zip(write_log(plan), plan, strict=True):
        segment = Segment.parse(written.data)
        assert segment.problem(head, macs) is None
        assert (segment.mac, segment.body.count(b"\n")) == (written.head.mac, len(group))
        rows = list(segment.rows())
        assert [(row["seq"], row["mac"]) for row in rows] == written.rows
        for row, made in zip(rows, group, strict=True):
            seq, prev, root = heads.get(made.candidate_id, (0, NONE, row["mac"]))
            assert (row.pop("seq"), row.pop("prev"), row.pop("key_id")) == (seq, prev, key_id(key))
            heads[made.candidate_id] = (seq + 1, row.pop("mac"), root)
            assert row.pop("schema") == "subject_audit.v1"
            given_parts = {name: value for name, value in made._asdict().items() if value is not None}
            assert row == given_parts | ({"fields": list(made.fields)} if made.fields is not None else {})
        for candidate_id, chain in written.chains.items():
            assert (chain.seq + 1, chain.mac, chain.root) == heads[candidate_id]
        head = written.head


@given(plans)
def test_the_same_inputs_give_the_same_bytes(plan: list[tuple[bytes, list[AccessEvent]]]) -> None:
    """Writing keeps no state and leaves the chains that it was given as they were."""
    *before, (key, group) = plan
    log = write_log(before)
    head = log[-1].head if log else START
    chains = {candidate_id: chain for written in log for candidate_id, chain in written.chains.items()}
    kept = copy.deepcopy(chains)

    first, second = (
        write_segment(head, chains, group, key_id=key_id(key), key=key, written_at="2026-01-01") for _ in range(2)
    )
    assert first == second
    assert chains == kept
    assert set(first.chains) == {made.candidate_id for made in group}


def test_a_subjects_rows_are_linked_within_a_segment_and_beyond_it() -> None:
    """Several events of one subject in one segment follow each other, and the next segment goes on from the last."""
    first, second = write_log([(OLD_KEY, [event(A, "1"), event(B, "2"), event(A, "3")]), (NEW_KEY, [event(A, "4")])])
    rows = [row for one in (first, second) for row in Segment.parse(one.data).rows() if row["candidate_id"] == A]

    assert [row["seq"] for row in rows] == [0, 1, 2]
    assert [row["prev"] for row in rows] == [NONE, rows[0]["mac"], rows[1]["mac"]]
    assert second.chains[A] == ChainHead(2, rows[2]["mac"], rows[0]["mac"])
    assert second.head == LogHead(LOG_ID, CHUNK, 1, json.loads(lines_of(second.data)[0])["mac"])


def test_a_chain_that_the_writer_is_not_told_of_begins_anew() -> None:
    """Only the chains given are continued."""
    head = LogHead(LOG_ID, CHUNK, 6, "ab" * 32)
    chains = {A: ChainHead(41, "cd" * 32, "ef" * 32)}
    written = write_segment(
        head, chains, [event(A, "1"), event(B, "2")], key_id="k", key=OLD_KEY, written_at="2026-01-01"
    )
    rows = list(Segment.parse(written.data).rows())

    assert [(row["seq"], row["prev"]) for row in rows] == [(42, "cd" * 32), (0, NONE)]
    assert written.chains[A].root == "ef" * 32
    assert json.loads(lines_of(written.data)[0])["segment"]["number"] == 7


def test_a_chain_keeps_its_last_evidence() -> None:
    """Other rows after the registry's leave what it said of the manifest standing; a new one of its replaces it."""
    updated = event(A, f"{'12' * 16}.x", action=MANIFEST_UPDATED, payload_sha256="34" * 32)
    deleted = event(A, f"{'34' * 16}.y", action=MANIFEST_DELETED)
    plan = [[event(A, "1")], [updated, event(A, "2")], [event(A, "3")], [deleted], [event(A, "4")]]
    found = [written.chains[A].evidence for written in write_log([(OLD_KEY, group) for group in plan])]

    now = Evidence(deleted=False, sha256="34" * 32, prior="12" * 16)
    gone = Evidence(deleted=True, sha256="", prior="34" * 16)
    assert found == [None, now, now, gone, gone]


@pytest.mark.parametrize(
    ("action", "sha256", "event_id", "expected"),
    [
        ("read", "aa", "0" * 32, None),
        ("manifest_exported", "aa", "0" * 32, None),
        (MANIFEST_UPDATED, "aa", f"{'1' * 32}.rest.more", Evidence(deleted=False, sha256="aa", prior="1" * 32)),
        (MANIFEST_UPDATED, "aa", "1" * 32, Evidence(deleted=False, sha256="aa", prior="1" * 32)),
        (MANIFEST_UPDATED, "aa", "1" * 31, Evidence(deleted=False, sha256="aa", prior=NO_PRIOR)),
        (MANIFEST_UPDATED, "aa", "A" * 32, Evidence(deleted=False, sha256="aa", prior=NO_PRIOR)),
        (MANIFEST_UPDATED, None, "x", Evidence(deleted=False, sha256="", prior=NO_PRIOR)),
        (MANIFEST_DELETED, "aa", "2" * 32, Evidence(deleted=True, sha256="", prior="2" * 32)),
        (MANIFEST_DELETED, None, "", Evidence(deleted=True, sha256="", prior=NO_PRIOR)),
    ],
)
def test_evidence_is_what_the_registrys_rows_say(
    action: str, sha256: str | None, event_id: str, expected: Evidence | None
) -> None:
    """Action, hash and the event id's first part make the evidence; any other action makes none."""
    assert evidence_of(action, sha256, event_id) == expected


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
                    "rows": 0,
                    "rows_sha256": hashlib.sha256(b"").hexdigest(),
                    "schema": "subject_audit_segment.v1",
                    "written_at": "2026-01-01",
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
    problem = segment.problem(START, Macs(RING.get, SEGMENT_DOMAIN))

    assert segment.body == data.partition(b"\n")[2]
    assert problem is None or (problem and isinstance(problem, str))
    assert segment.header is not None or problem is not None
    try:
        assert all(isinstance(row, dict) for row in segment.rows())
    except AuditLogError:
        assert segment.body


def _header(**changes: Any) -> bytes:
    data = sample_log()[1]
    header = json.loads(lines_of(data)[0])["segment"]
    header = {name: value for name, value in (header | changes).items() if value is not None}
    return joined([signed("segment", header), *lines_of(data)[1:]])


@pytest.mark.parametrize("name", ["schema", "log_id", "chunk", "number", "prev", "rows", "rows_sha256"])
@pytest.mark.parametrize("value", [None, 99, "99", [], {}])
def test_each_claim_of_a_header_is_held(name: str, value: object) -> None:
    """A header that was MACed with a claim other than the facts, or without it, is not this log's, MAC or not."""
    log = sample_log()
    before = START._replace(number=0, mac=Segment.parse(log[0]).mac)
    macs = Macs(RING.get, SEGMENT_DOMAIN)

    assert Segment.parse(_header()).problem(before, macs) is None
    problem = Segment.parse(_header(**{name: value})).problem(before, macs)
    assert problem is not None
    assert "MAC" not in problem


def test_a_link_that_cannot_be_known_is_not_held_against_a_segment() -> None:
    """Without the MAC before it, a segment is judged on all but its link."""
    segment = Segment.parse(sample_log()[1])
    before = START._replace(number=0, mac="ee" * 32)
    macs = Macs(RING.get, SEGMENT_DOMAIN)

    assert segment.problem(before, macs, prev_known=False) is None
    problem = segment.problem(before, macs)
    assert problem is not None
    assert "header's prev" in problem


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
    (bare,) = Segment.parse(write_log([(OLD_KEY, [event(A, "1")])])[0].data).rows()
    (whole,) = Segment.parse(write_log([(OLD_KEY, [full_event(A, "1")])])[0].data).rows()

    assert set(whole) - set(bare) == {"dataset", "fields", "payload_sha256", "purpose", "trace_id"}
    assert None not in bare.values()


def test_the_forms_numbers_are_those_that_other_readers_count_on() -> None:
    """10,000 rows, 8 MiB, 32 digits of the manifest before: docs/audit_log.md says so too."""
    assert (MAX_ROWS, MAX_BYTES) == (10_000, 8_388_608)
    assert (PRIOR_LENGTH, NO_PRIOR) == (32, "00000000000000000000000000000000")


def test_bytes_without_a_header_have_no_mac() -> None:
    """Nothing is taken for a MAC where line 1 is not a header."""
    parsed = Segment.parse(b"no header\nrow\n")
    assert (parsed.header, parsed.mac, parsed.inner, parsed.body) == (None, "", b"", b"row\n")
