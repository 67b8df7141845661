import datetime as dt
import hashlib
import itertools
import json
import traceback
import zoneinfo
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from subject_pipeline.audit.events import (
    ERASED,
    MAX_FIELDS,
    MAX_TEXT,
    AccessEvent,
    evidence_event,
    new_event,
    parse_event,
    payload_hash,
    recorded_event,
)
from subject_pipeline.errors import EventError

SECRET = "4111-1111"  # what no reason may hold
GOOD: dict[str, Any] = {
    "event_id": "e-1",
    "candidate_id": "WORKER-1",
    "ts": "2026-06-30T12:00:00Z",
    "actor": "ada",
    "action": "read",
}
TEXTS = ["event_id", "candidate_id", "actor", "action", "dataset", "purpose", "trace_id"]


def _reason(changes: dict[str, Any]) -> str:
    with pytest.raises(EventError) as raised:
        parse_event(GOOD | changes)
    return str(raised.value)


def _refusal(changes: dict[str, Any]) -> EventError | None:
    try:
        parse_event(GOOD | changes)
    except EventError as error:
        return error
    return None


def test_an_event_with_all_its_parts_is_taken_whole() -> None:
    """Every part lands in its place; what an event does not have is ignored."""
    value = GOOD | {
        "result": "denied",
        "dataset": "workers",
        "fields": ["name", "phone"],
        "purpose": "payroll",
        "trace_id": "00-4b",
        "colour": SECRET,
    }
    assert parse_event(value) == AccessEvent(
        "WORKER-1",
        "e-1",
        "2026-06-30T12:00:00.000000Z",
        "ada",
        "read",
        "denied",
        "workers",
        ("name", "phone"),
        "payroll",
        "00-4b",
        None,
    )


def test_null_is_absent() -> None:
    """Optional parts that are null, and empty texts and lists, are as if they were not there."""
    bare = parse_event(GOOD)

    assert bare == AccessEvent("WORKER-1", "e-1", "2026-06-30T12:00:00.000000Z", "ada", "read", "success")
    names = ("payload", "result", "dataset", "fields", "purpose", "trace_id")
    assert parse_event(GOOD | dict.fromkeys(names)) == bare
    assert parse_event(GOOD | {"dataset": "", "purpose": "", "trace_id": "", "fields": []}) == bare


@pytest.mark.parametrize("name", GOOD)
def test_what_every_event_has_must_be_there(name: str) -> None:
    """An event without one of the five, or with null in it, is refused by that name."""
    without = {one: value for one, value in GOOD.items() if one != name}
    with pytest.raises(EventError, match=f"^{name}: missing$"):
        parse_event(without)
    assert _reason({name: None}) == f"{name}: missing"


@pytest.mark.parametrize("value", [1, 0, True, False, 1.5, [], {}, ["x"], b"x", dt.date(2026, 1, 1)])
@pytest.mark.parametrize("name", [*TEXTS, "ts"])
def test_a_text_must_be_text(name: str, value: object) -> None:
    """Any other type is refused, an empty one too, and not taken for its text or for nothing."""
    assert _reason({name: value}) == f"{name}: must be text"


@pytest.mark.parametrize("value", ["", " ", "\t\n", "\u00a0\u2003"])
@pytest.mark.parametrize("name", list(GOOD))
def test_a_required_text_is_not_empty(name: str, value: str) -> None:
    """White space alone is no text."""
    assert _reason({name: value}) == f"{name}: empty"


@pytest.mark.parametrize("name", [*TEXTS, "ts", "fields"])
def test_a_text_has_its_limit(name: str) -> None:
    """One character more than the limit is refused, the limit itself is taken."""
    text = "x" * MAX_TEXT
    assert _reason({name: ["a", text + "x"] if name == "fields" else text + "x"}) == (
        f"{name}: longer than {MAX_TEXT:,} characters"
    )
    if name not in {"candidate_id", "ts"}:
        event = parse_event(GOOD | {name: [text] if name == "fields" else text})
        assert getattr(event, name) == ((text,) if name == "fields" else text)


@pytest.mark.parametrize("text", ["\ud800", "a\udfff", "é\udc80z"])
@pytest.mark.parametrize("name", [*TEXTS, "ts"])
def test_a_lone_surrogate_is_refused(name: str, text: str) -> None:
    """What UTF-8 cannot hold is refused before it is to become bytes."""
    assert _reason({name: text}) == f"{name}: holds a lone surrogate"
    assert _reason({"fields": [text]}) == "fields: holds a lone surrogate"


def test_a_candidate_id_is_one_that_a_subject_can_have() -> None:
    """An id whose storage key is too long is refused, as registering it is."""
    assert parse_event(GOOD | {"candidate_id": "é" * 200}).candidate_id == "é" * 200
    reason = _reason({"candidate_id": "é" * 201})
    assert reason.startswith("candidate_id: storage key is 201 bytes long")


@pytest.mark.parametrize("action", ["manifest_updated", "manifest_deleted", "manifest_", "manifest_anything"])
def test_only_the_registry_speaks_of_manifests(action: str) -> None:
    """Evidence cannot be forged by an event."""
    assert "only by the registry" in _reason({"action": action})
    assert parse_event(GOOD | {"action": "read_manifest"}).action == "read_manifest"


@pytest.mark.parametrize("fields", ["name", 1, {"name": 1}, True, 0, "", b"x", {}])
def test_fields_are_a_list(fields: object) -> None:
    """One name alone is not a list of names."""
    assert _reason({"fields": fields}) == "fields: must be a list of names"


@pytest.mark.parametrize("name", [None, 1, "", " ", ["x"]])
def test_each_field_is_a_name(name: object) -> None:
    """A list with anything but names in it is refused, not shortened."""
    assert _reason({"fields": ["name", name]}).startswith("fields: ")


def test_fields_have_their_limit() -> None:
    """One name more than the limit is refused, the limit itself is taken, a tuple like a list."""
    names = tuple(f"f{at}" for at in range(MAX_FIELDS))
    assert parse_event(GOOD | {"fields": names}).fields == names
    assert _reason({"fields": [*names, "x"]}) == f"fields: more than {MAX_FIELDS:,} names"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-06-30T12:00:00Z", "2026-06-30T12:00:00.000000Z"),
        ("2026-06-30T12:00:00.123456Z", "2026-06-30T12:00:00.123456Z"),
        ("2026-06-30t12:00:00z", "2026-06-30T12:00:00.000000Z"),
        ("2026-06-30T12:00:00.123456z", "2026-06-30T12:00:00.123456Z"),
        ("2026-06-30t12:00:00.123456Z", "2026-06-30T12:00:00.123456Z"),
        ("2026-06-30 12:00:00Z", "2026-06-30T12:00:00.000000Z"),
        ("2026-06-30 12:00:00.123456Z", "2026-06-30T12:00:00.123456Z"),
        ("2026-06-30T12:00:00.1Z", "2026-06-30T12:00:00.100000Z"),
        ("2026-06-30T12:00:00.1+00:00", "2026-06-30T12:00:00.100000Z"),
        ("2026-06-30T12:00:00.123456789Z", "2026-06-30T12:00:00.123456Z"),
        ("2026-06-30T12:00:00.999999999Z", "2026-06-30T12:00:00.999999Z"),
        ("2026-06-30T14:30:00+02:30", "2026-06-30T12:00:00.000000Z"),
        ("2026-06-30T23:30:00-23:59", "2026-07-01T23:29:00.000000Z"),
        ("2026-06-30T12:00:00-00:00", "2026-06-30T12:00:00.000000Z"),
        ("2024-02-29T23:59:59Z", "2024-02-29T23:59:59.000000Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000Z"),
        ("0099-12-31T00:00:00-01:00", "0099-12-31T01:00:00.000000Z"),
        ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_a_time_is_kept_in_one_form(text: str, expected: str) -> None:
    """Every form of RFC 3339 becomes UTC with six decimals and `Z`; what is beyond microseconds is cut, not rounded."""
    assert parse_event(GOOD | {"ts": text}).ts == expected
    assert parse_event(GOOD | {"ts": expected}).ts == expected


@pytest.mark.parametrize(
    "text",
    [
        "2026-06-30",
        "2026-06-30T12:00Z",
        "2026-06-30T12:00:00",
        "2026-06-30T12:00:00.Z",
        "2026-06-30T12:00:00,5Z",
        "2026-06-30T12:00:00.1234567890Z",
        "2026-06-30T12:00:00+0200",
        "2026-06-30T12:00:00+02",
        "2026-06-30T12:00:00 Z",
        "2026-06-30T12:00:00ZZ",
        "2026-06-30_12:00:00Z",
        "20260630T120000Z",
        "2026-W27-2T12:00:00Z",
        "26-06-30T12:00:00Z",
        "-2026-06-30T12:00:00Z",
        "12026-06-30T12:00:00Z",
        " 2026-06-30T12:00:00Z",
        "2026-06-30T12:00:00Z\n",
        "\u0662026-06-30T12:00:00Z",
        "２026-06-30T12:00:00Z",  # noqa: RUF001 - a digit that is not ASCII's
        "1719748800",
        "yesterday",
        "2016-12-31T23:59:60Z",
        "0000-01-01T00:00:00Z",
        "0000-01-01T00:00:00.000000Z",
        "2026-02-29T00:00:00Z",
        "2026-02-29T00:00:00.000000Z",
        "2026-13-01T00:00:00Z",
        "2026-00-01T00:00:00Z",
        "2026-06-31T00:00:00Z",
        "2026-06-30T24:00:00Z",
        "2026-06-30T12:60:00Z",
        "2026-06-30T12:00:61.000000Z",
        "2026-06-30T12:00:00+24:00",
        "0001-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
    ],
)
def test_any_other_time_is_refused(text: str) -> None:
    """A time without an offset, of another form, or that no calendar has, is refused with a reason of its own."""
    assert _reason({"ts": text}).startswith("ts: ")


@pytest.mark.parametrize("offset", ["+00:60", "+00:99", "-01:75"])
def test_an_offset_has_minutes(offset: str) -> None:
    """RFC 3339 gives an offset's minutes the same range as a time's."""
    _reason({"ts": f"2026-06-30T12:00:00{offset}"})


_offsets = st.integers(-1439, 1439).map(lambda minutes: dt.timezone(dt.timedelta(minutes=minutes)))


@given(st.datetimes(timezones=st.timezones() | _offsets))
def test_a_datetime_is_the_same_moment(moment: dt.datetime) -> None:
    """An aware datetime, as parquet gives it, becomes its own moment in UTC, or is refused at the calendar's ends."""
    try:
        expected = moment.astimezone(dt.UTC)
    except OverflowError:
        assert _reason({"ts": moment}).startswith("ts: ")
        return
    text = parse_event(GOOD | {"ts": moment}).ts
    assert len(text) == 27
    assert dt.datetime.fromisoformat(text) == expected
    assert parse_event(GOOD | {"ts": text}).ts == text


def test_a_datetime_without_a_zone_is_refused() -> None:
    """Whose clock it was is not guessed."""
    assert _reason({"ts": dt.datetime(2026, 6, 30)}) == "ts: has no time zone"  # noqa: DTZ001 - on purpose
    summer = dt.datetime(2026, 6, 30, 14, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"))
    assert parse_event(GOOD | {"ts": summer}).ts == "2026-06-30T12:00:00.000000Z"


@pytest.mark.parametrize("value", [None, [], "x", 1, b"{}", [GOOD], json.dumps(GOOD)])
def test_an_event_is_an_object(value: object) -> None:
    """Any other JSON is refused."""
    with pytest.raises(EventError, match="not a JSON object"):
        parse_event(value)


@pytest.mark.parametrize("result", ["success", "error", "denied", "not_found"])
def test_a_result_may_be_given(result: str) -> None:
    """Without a payload the result given counts."""
    assert parse_event(GOOD | {"result": result}).result == result
    assert parse_event(GOOD | {"result": result, "payload": None}).result == result


@pytest.mark.parametrize("result", ["", "ok", "SUCCESS", " success", 0, 1, False, True, [], ["error"], {}])
def test_a_result_is_one_of_four(result: object) -> None:
    """Any other, an empty one too, is refused and not taken for success."""
    assert _reason({"result": result}).startswith("result: must be one of success")


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ({"denied": True}, "denied"),
        ({"error": "no"}, "error"),
        ({"status": 404}, "not_found"),
        ({}, "success"),
        ({"error": None, "denied": False, "not_found": "", "status": 0}, "success"),
        ([], "success"),
        ("", "success"),
        (0, "success"),
        (False, "success"),
        ([{"error": 1}], "success"),
        ("denied", "success"),
    ],
)
def test_a_payload_beats_a_result(payload: object, expected: str) -> None:
    """A payload that is there decides, a falsy one too, whatever the result says, and a bad result is not looked at."""
    digest = hashlib.sha256(json.dumps(payload, separators=(",", ":"), sort_keys=True).encode()).hexdigest()
    for result in (None, "success", "error", "denied", "not_found", "nonsense"):
        event = parse_event(GOOD | {"payload": payload, "result": result})
        assert (event.result, event.payload_sha256) == (expected, digest)


def test_a_payload_leaves_its_hash_alone() -> None:
    """Nothing of a payload but result and hash is in the event, and the order of its keys does not count."""
    event = parse_event(GOOD | {"payload": {"ssn": SECRET, "b": 1}})

    assert SECRET not in repr(event)
    assert event.payload_sha256 == hashlib.sha256(b'{"b":1,"ssn":"%b"}' % SECRET.encode()).hexdigest()
    assert event.payload_sha256 == payload_hash({"b": 1, "ssn": SECRET})


_deep: Any = SECRET
for _ in range(50_000):
    _deep = [_deep]


@pytest.mark.parametrize(
    "payload",
    [
        {"a": float("nan")},
        {"a": [float("inf")]},
        {"a": 2**53},
        {"a": SECRET + "\ud800"},
        {SECRET + "\ud800": 1},
        {1: SECRET},
        {"a": SECRET.encode()},
        {"a": dt.datetime(2026, 1, 1, tzinfo=dt.UTC)},
        {SECRET},
        _deep,
    ],
    ids=range(10),
)
def test_a_payload_that_is_no_json_is_refused(payload: object) -> None:
    """What has no canonical form has no hash, so its event is refused; nothing of it is in the reason."""
    reason = _reason({"payload": payload})
    assert reason.startswith("payload: ")
    assert SECRET not in reason


@pytest.mark.parametrize("name", [*TEXTS, "ts", "fields", "result", "payload"])
def test_a_reason_holds_no_value_of_the_event(name: str) -> None:
    """Whatever is wrong with whichever part, its value is in no message along the chain of causes."""
    long = SECRET * MAX_TEXT
    for value in (SECRET + "\ud800", long, [SECRET, 1], {SECRET: 1}, [long], [[SECRET]], {1: SECRET}, SECRET.encode()):
        error = _refusal({"actor": SECRET, "event_id": SECRET, name: value})
        assert SECRET not in "".join(traceback.format_exception(error))


@given(
    st.dictionaries(
        st.sampled_from([*GOOD, "payload", "result", "dataset", "fields", "purpose", "trace_id", "x"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=3),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
            max_leaves=4,
        ),
        max_size=4,
    )
)
def test_any_value_is_an_event_or_an_error_of_ours(changes: dict[str, Any]) -> None:
    """Whatever stands in whichever part, there is an event that a row can hold, or an EventError."""
    if _refusal(changes) is not None:
        return
    event = parse_event(GOOD | changes)
    json.dumps(event, ensure_ascii=False).encode()
    assert len(event.identity()) == 16


def test_checked_parts_make_an_event() -> None:
    """A caller that has derived result and hash itself gives them, with or without optional parts."""
    parts: dict[str, Any] = {**GOOD, "result": "error", "payload_sha256": "ab" * 32}
    plain = new_event(**parts)

    assert (plain.result, plain.payload_sha256, plain.dataset) == ("error", "ab" * 32, None)
    assert new_event(**parts, optional={}) == plain
    assert new_event(**parts, optional={"dataset": "workers", "actor": "eve"}) == plain._replace(dataset="workers")
    assert new_event(**parts | {"payload_sha256": None}).payload_sha256 is None


_event = parse_event(GOOD)


@pytest.mark.parametrize(
    "other",
    [
        _event._replace(candidate_id="WORKER-2"),
        _event._replace(event_id="e-2"),
        _event._replace(ts="2026-07-30T12:00:00.000000Z"),
        _event._replace(ts="2025-06-30T12:00:00.000000Z"),
        _event._replace(candidate_id="WORKER-1e", event_id="-1"),
        _event._replace(candidate_id="WORKER-", event_id="1e-1"),
        _event._replace(candidate_id="", event_id="WORKER-1e-1"),
    ],
)
def test_another_event_has_another_identity(other: AccessEvent) -> None:
    """Subject, id and month each make an event another one, wherever the one ends and the other begins."""
    assert other.identity() != _event.identity()


@given(st.text(max_size=4), st.text(max_size=4), st.text(max_size=4), st.text(max_size=4))
def test_identities_are_the_same_for_the_same_parts_alone(one: str, two: str, three: str, four: str) -> None:
    """No two pairs of subject and id share an identity."""
    first, second = (_event._replace(candidate_id=a, event_id=b) for a, b in ((one, two), (three, four)))
    try:
        assert (first.identity() == second.identity()) == ((one, two) == (three, four))
    except UnicodeEncodeError:
        assert any("\ud800" <= letter <= "\udfff" for letter in one + two + three + four)


def test_the_rest_of_an_event_is_not_its_identity() -> None:
    """The same event told again with other content, or within the month, is the same event, of 16 bytes."""
    other = AccessEvent(
        "WORKER-1", "e-1", "2026-06-01T00:00:00.000000Z", "eve", "write", "error", "d", ("f",), "p", "t"
    )

    assert other.identity() == _event.identity()
    assert len(_event.identity()) == 16
    assert _event.identity() == hashlib.blake2b(b"2026-068:WORKER-1e-1", digest_size=16).digest()


def test_an_event_with_all_its_parts_and_a_payload_is_taken_whole() -> None:
    """What an event may have lands in its place beside a payload too."""
    optional = {"dataset": "workers", "fields": ["name", "phone"], "purpose": "payroll", "trace_id": "00-4b"}
    event = parse_event(GOOD | optional | {"payload": {}})
    assert (event.dataset, event.fields, event.purpose, event.trace_id) == (
        "workers",
        ("name", "phone"),
        "payroll",
        "00-4b",
    )


_ODD = [
    "",
    " ",
    "\u2003",
    "\u00e9",
    "\ud800",
    "x" * 199,
    "x" * 201,
    "x" * 1_025,
    "manifest_x",
    1,
    True,
    None,
    b"x",
    ["x"],
]
_REQUIRED = ["candidate_id", "event_id", "actor", "action"]


@pytest.mark.parametrize("name", _REQUIRED)
def test_a_payload_changes_nothing_of_what_an_event_must_hold(name: str) -> None:
    """An event with a payload is what it is without, but for what is read from the payload, or is refused alike."""

    def parsed(value: dict[str, Any]) -> AccessEvent | str:
        try:
            return parse_event(value)
        except EventError as error:
            return str(error)

    others: list[dict[str, Any]] = [{}, *({other: value} for other in _REQUIRED for value in ("", 1))]
    others += [dict.fromkeys(_REQUIRED, 1), dict.fromkeys(_REQUIRED, 1) | {"action": "read"}]
    for odd, also in itertools.product(_ODD, others):
        value = GOOD | also | {name: odd}
        without = parsed(value | {"result": "not_found"})
        if isinstance(without, AccessEvent):
            without = without._replace(payload_sha256=payload_hash({"status": 404}))
        assert parsed(value | {"payload": {"status": 404}}) == without


def test_what_the_registry_records_of_a_change() -> None:
    """An update holds the new manifest's hash, a deletion none; both are successes of the registry's own actions."""
    parts: dict[str, Any] = {
        "candidate_id": "P-1",
        "event_id": "e",
        "ts": "2026-06-30T12:00:00.000000Z",
        "actor": "ada",
    }
    updated = evidence_event(**parts, manifest_sha256="a" * 64, decision={"kind": "replaced"})
    deleted = evidence_event(**parts, manifest_sha256=None, decision={"kind": "deleted"})
    assert (updated.action, updated.manifest_sha256) == ("manifest_updated", "a" * 64)
    assert (deleted.action, deleted.manifest_sha256) == ("manifest_deleted", None)
    assert (updated.decision, deleted.decision) == ({"kind": "replaced"}, {"kind": "deleted"})
    assert updated.payload_sha256 is deleted.payload_sha256 is None
    assert updated.result == deleted.result == "success"
    assert updated[:4] == deleted[:4] == tuple(parts.values())


def test_the_limits_are_those_that_are_promised() -> None:
    """1,024 characters, 1,000 names: other writers count on them."""
    assert (MAX_TEXT, MAX_FIELDS) == (1_024, 1_000)


def test_a_row_gives_back_the_event_that_it_records() -> None:
    """With all that an event may have, and with nothing of it; a row that lacks what every row has is no event."""
    optional = {"dataset": "workers", "fields": ["name", "phone"], "purpose": "payroll", "trace_id": "00-4b"}
    full = parse_event(GOOD | optional | {"payload": {"denied": True}})
    change = full._replace(
        reason="why", manifest_sha256="ab" * 32, decision={"kind": "replaced", "changes": {"b": [1]}}
    )
    gated = full._replace(gate={"policy_sha256": "ab" * 32, "table_version": 7, "max_age_s": 0})
    for event in (parse_event(GOOD), full, change, gated):
        row = {name: value for name, value in event._asdict().items() if value is not None}
        assert recorded_event(json.loads(json.dumps(row)) | {"seq": 3, "mac": "ab"}) == event
        for name in ("candidate_id", "event_id", "ts", "actor", "action", "result"):
            with pytest.raises(KeyError, match=name):
                recorded_event({key: value for key, value in row.items() if key != name})


def test_a_record_tells_who_from_what() -> None:
    """16 bytes of the subject, the id and the month, then 8 of everything else."""
    event = parse_event(GOOD)
    assert event.record() == event.identity() + event.content()
    assert (len(event.identity()), len(event.content())) == (16, 8)
    for other in (event._replace(candidate_id="other"), event._replace(event_id="other")):
        assert other.content() == event.content()
        assert other.identity() != event.identity()
    others: dict[str, Any] = {
        name: "x" for name in AccessEvent._fields if name not in {"candidate_id", "event_id", "ts"}
    }
    contents = {event._replace(**{name: value}).content() for name, value in others.items()}
    later = event._replace(ts=event.ts.replace("12:", "13:"))
    assert later.identity() == event.identity()
    assert len(contents | {later.content(), event.content()}) == len(others) + 2


def test_a_decision_is_the_same_in_whatever_order_its_names_are() -> None:
    """What is read back from a row, where they are sorted, is what was recorded."""
    event = parse_event(GOOD)
    one, other = (event._replace(decision=dict(pairs)) for pairs in ([("b", 1), ("a", 2)], [("a", 2), ("b", 1)]))
    assert one.content() == other.content() != event._replace(decision={"a": 1, "b": 2}).content()


def test_a_gate_is_part_of_what_an_event_says() -> None:
    """Of two events that differ in it, the second is conflicting; without one, an event says what it always said."""
    bare = parse_event(GOOD)
    gate = {"policy_sha256": "ab" * 32, "table_version": 7, "max_age_s": 0}
    said = hashlib.blake2b(orjson.dumps(bare[2:-1], option=orjson.OPT_SORT_KEYS), digest_size=8).digest()
    assert bare.content() == said
    assert (
        len({one.content() for one in (bare, bare._replace(gate=gate), bare._replace(gate={**gate, "max_age_s": 1}))})
        == 3
    )
    gated = bare._replace(gate=gate)
    assert bare.identity() == gated.identity()
    others = [gated._replace(ts="2026-06-30T12:00:01.000000Z"), gated._replace(actor="another")]
    assert len({gated.content(), *(one.content() for one in others)}) == 3


def test_the_kind_of_an_erasure_is_the_word_of_the_format() -> None:
    """Deletions for good are known by it in every log that was ever written, so it is one of `docs/formats.md`."""
    assert ERASED == "erased"
