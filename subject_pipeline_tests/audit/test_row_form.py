import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subject_pipeline.audit.row_form import MAX_DEPTH, is_decision, is_hash, row_of
from subject_pipeline_tests.helpers.audit_samples import NONE, OLD_KEY, canonical, key_id

BARE: dict[str, Any] = {
    "action": "read",
    "actor": "ada",
    "candidate_id": "WORKER/1",
    "event_id": "e",
    "key_id": key_id(OLD_KEY),
    "nonce": "abcdefghijklmnopqrst-Q",
    "prev": NONE,
    "result": "success",
    "schema": "subject_audit.v2",
    "seq": 0,
    "ts": "2026-06-30T12:00:00.000000Z",
}
OPTIONAL: dict[str, Any] = {
    "dataset": "löhne",
    "fields": ["straße", "name"],
    "purpose": "payroll",
    "trace_id": "00-4b",
    "payload_sha256": "0123456789abcdef" * 4,
    "reason": "a ticket",
    "gate": {"policy_sha256": "ab" * 32, "table_version": 7, "max_age_s": 0},
}
FULL = BARE | OPTIONAL
UPDATED = FULL | {
    "action": "manifest_updated",
    "manifest_sha256": "cd" * 32,
    "decision": {"kind": "replaced", "changes": {"status": None, "x": [True, 2**53 - 1, -(2**53) + 1, "é"]}},
}
DELETED = BARE | {"action": "manifest_deleted", "decision": {"kind": "deleted"}}

TEXTS = ("action", "actor", "candidate_id", "event_id", "dataset", "purpose", "trace_id", "reason")
HASHES = ("prev", "payload_sha256", "manifest_sha256")
NO_INTEGERS: list[Any] = [True, 1.0, "1", None, [], 2**53]
NO_TEXTS: list[Any] = [None, True, 0, 1.5, [], ["a"], {}, {"a": "b"}, ""]


def holds(row: Mapping[str, Any]) -> bool:
    """Whether the canonical bytes of a row are a row's."""
    return row_of(canonical(row)) is not None


@pytest.mark.parametrize("row", [BARE, FULL, UPDATED, DELETED], ids=["bare", "full", "updated", "deleted"])
def test_a_row_comes_back_with_all_its_fields(row: dict[str, Any]) -> None:
    """Everything that it says."""
    assert row_of(canonical(row)) == row


@pytest.mark.parametrize("name", sorted(BARE))
def test_what_every_row_has_is_missed_in_any(name: str) -> None:
    """A row without it, or with null in its place, is none."""
    for row in (BARE, FULL, UPDATED, DELETED):
        assert not holds({one: value for one, value in row.items() if one != name})
        assert not holds(row | {name: None})


@pytest.mark.parametrize("name", sorted(OPTIONAL))
def test_what_a_row_may_have_it_may_lack(name: str) -> None:
    """Each optional field alone, and all but it, are a row; null in its place is not its absence."""
    assert holds(BARE | {name: OPTIONAL[name]})
    assert holds({one: value for one, value in FULL.items() if one != name})
    assert not holds(FULL | {name: None})


@pytest.mark.parametrize("name", ["note", "mac", "row", "segment", "recorded_at", "kind", "", "Actor", "é", "z\x00"])
@pytest.mark.parametrize("value", ["x", 1, None, {}])
def test_no_other_field_is_known(name: str, value: object) -> None:
    """In no kind of row."""
    assert not any(holds(row | {name: value}) for row in (BARE, FULL, UPDATED, DELETED))


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_is_text_and_not_empty(name: str) -> None:
    """Of any letters, but nothing else and not nothing."""
    assert not any(holds(FULL | {name: value}) for value in NO_TEXTS)
    assert holds(FULL | {name: " "})
    assert holds(FULL | {name: "\x00\x7f\u2028\U0001f600\ufeff"})


@pytest.mark.parametrize("name", HASHES)
def test_a_hash_is_64_lowercase_hex_digits(name: str) -> None:
    """No other length, no capitals, no digits of another script, nothing around them."""
    good = "0a" * 32
    assert holds(UPDATED | {name: good})
    for value in (*NO_TEXTS, good[1:], good + "0", good.upper(), "0A" * 32, good[:-1] + "g", good[:-1] + "\u0660"):
        assert not holds(UPDATED | {name: value})
    for value in (good + "\n", good[:-1] + "\n", " " + good[1:], "0x" + good[2:]):
        assert not holds(UPDATED | {name: value})
    assert is_hash(good)
    assert not is_hash(good.encode())


@pytest.mark.parametrize(
    "value", [*NO_TEXTS, "0" * 15, "0" * 17, "F" * 16, "g" * 16, "0" * 15 + "\n", "\u0661" * 16, 1234567890123456]
)
def test_a_key_id_is_16_lowercase_hex_digits(value: object) -> None:
    """Whether a ring has the key is judged elsewhere."""
    assert not holds(BARE | {"key_id": value})


def test_fields_side_by_side_are_each_of_their_length() -> None:
    """What one of them lacks another cannot have too much of."""
    one_on = BARE | {"key_id": "0" * 15, "nonce": "0" + "a" * 21, "prev": "A" + NONE}
    assert not holds(one_on)
    assert not holds(BARE | {"key_id": "0" * 15, "prev": "0" * 65})
    assert not holds(BARE | {"key_id": "0" * 17, "prev": "0" * 63})
    assert not holds(BARE | {"nonce": "a" * 21, "prev": "Q" + NONE})
    assert not holds(BARE | {"prev": NONE + "2", "ts": BARE["ts"][1:]})
    assert not holds(BARE | {"prev": NONE[1:], "ts": "0" + BARE["ts"]})


@pytest.mark.parametrize("last", "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=+/ ")
def test_a_nonce_is_the_one_base64url_of_16_bytes(last: str) -> None:
    """Its 22nd character holds two bits alone, so only four of all are canonical there."""
    assert holds(BARE | {"nonce": "a" * 21 + last}) == (last in "AQgw")
    assert holds(BARE | {"nonce": "a" * 10 + last + "a" * 10 + "A"}) == (last not in "=+/ ")


@pytest.mark.parametrize(
    "value", [*NO_TEXTS, "A" * 21, "A" * 23, "A" * 22 + "==", "A" * 21 + "\n", "A" * 20 + "==", "\u0391" * 22]
)
def test_a_nonce_has_22_characters(value: object) -> None:
    """No padding, no other alphabet."""
    assert not holds(BARE | {"nonce": value})


@pytest.mark.parametrize(
    "value",
    [
        *NO_TEXTS,
        "2026-06-30T12:00:00Z",
        "2026-06-30T12:00:00.000Z",
        "2026-06-30T12:00:00.0000000Z",
        "2026-06-30T12:00:00.00000Z",
        "2026-06-30T12:00:00.000000z",
        "2026-06-30t12:00:00.000000Z",
        "2026-06-30 12:00:00.000000Z",
        "2026-06-30T12:00:00.000000",
        "2026-06-30T12:00:00.0000+00",
        "2026-06-30T12:00:00,000000Z",
        "2026-13-01T12:00:00.000000Z",
        "2026-00-01T12:00:00.000000Z",
        "2026-06-32T12:00:00.000000Z",
        "2026-06-00T12:00:00.000000Z",
        "2026-06-30T24:00:00.000000Z",
        "2026-06-30T12:60:00.000000Z",
        "2026-06-30T12:00:60.000000Z",
        "2026-06-3\u0660T12:00:00.000000Z",
        " 2026-06-30T12:00:00.00000Z",
        "2026-06-30T12:00:00.000000Z\n",
        "+2026-6-30T12:00:00.000000Z",
        "02026-06-30T12:00:00.00000Z",
    ],
)
def test_a_time_has_one_form(value: object) -> None:
    """RFC 3339 in UTC with six decimals and capitals."""
    assert not holds(BARE | {"ts": value})


@pytest.mark.parametrize(
    "ts", ["0001-01-01T00:00:00.000000Z", "9999-12-31T23:59:59.999999Z", "2024-02-29T09:10:19.000001Z"]
)
def test_any_time_of_that_form_is_one(ts: str) -> None:
    """From the first to the last that a calendar of four digits has."""
    assert holds(BARE | {"ts": ts})


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("seq", [True, False, 0.0, 1.5, "0", [], {}, 2**53, 2**63, 2**64, -(2**53)]),
        ("schema", ["subject_audit.v1", "subject_audit.v3", "subject_audit", "subject_audit_segment.v2", 2, []]),
        ("result", ["fine", "Success", "", 0, [], ["success"], {}]),
        ("fields", ["name", {}, [], [""], ["a", ""], [1], [None], [["a"]], [True], 1, 2.5]),
    ],
)
def test_other_fields_have_their_types(name: str, values: list[object]) -> None:
    """An integer that doubles hold, one schema, one of four results, a list of names."""
    assert not any(holds(FULL | {name: value}) for value in values)


def test_integers_end_where_doubles_lose_count() -> None:
    """Up to 2^53 - 1; whether a seq is the right one is judged elsewhere."""
    assert all(holds(BARE | {"seq": value}) for value in (1, 2**53 - 1, -1))


@pytest.mark.parametrize("result", ["success", "error", "denied", "not_found"])
def test_there_are_four_results(result: str) -> None:
    """Each of them is one."""
    assert holds(BARE | {"result": result})


@pytest.mark.parametrize(
    "gate",
    [
        *NO_TEXTS,
        OPTIONAL["gate"] | {"more": 1},
        *({one: value for one, value in OPTIONAL["gate"].items() if one != name} for name in OPTIONAL["gate"]),
        OPTIONAL["gate"] | {"policy_sha256": "AB" * 32},
        OPTIONAL["gate"] | {"policy_sha256": 1},
        *(OPTIONAL["gate"] | {name: value} for name in ("table_version", "max_age_s") for value in NO_INTEGERS),
    ],
)
def test_a_gate_has_its_three_fields(gate: object) -> None:
    """A hash and two integers, and nothing else."""
    assert not holds(FULL | {"gate": gate})


# --- the registry's rows ---


@pytest.mark.parametrize(
    "action",
    ["manifest_", "manifest_exported", "manifest_update", "manifest_updated2", "manifest_updated ", "manifest_é"],
)
def test_the_registry_has_two_actions(action: str) -> None:
    """Another that begins like its own is none, with or without what goes with those."""
    for row in (BARE, UPDATED, DELETED):
        assert not holds(row | {"action": action})
    for near in ("manifest", "Manifest_updated", "a manifest_updated"):
        assert holds(BARE | {"action": near})


def test_an_update_has_its_hash_and_nothing_else_has_one() -> None:
    """A deletion leaves no manifest, and an access changes none."""
    assert holds(UPDATED)
    assert not holds({name: value for name, value in UPDATED.items() if name != "manifest_sha256"})
    for row in (DELETED, BARE, FULL):
        assert not holds(row | {"manifest_sha256": "cd" * 32})


def test_a_decision_is_in_each_of_the_registrys_rows_and_in_no_other() -> None:
    """Nobody else decides."""
    for row in (UPDATED, DELETED):
        assert not holds({name: value for name, value in row.items() if name != "decision"})
    for row in (BARE, FULL):
        assert not holds(row | {"decision": {"kind": "replaced"}})


@pytest.mark.parametrize(
    "value",
    [*NO_TEXTS, {"changes": {}}, {"kind": ""}, {"kind": None}, {"kind": 1}, {"kind": ["a"]}, {"Kind": "replaced"}],
)
def test_a_decision_is_an_object_with_its_kind(value: object) -> None:
    """Which kinds there are is judged elsewhere; that it has one is not."""
    assert not holds(DELETED | {"decision": value})
    assert not is_decision(value)


def _places(value: object) -> list[dict[str, Any]]:
    """Decisions that hold a value at its top, in an object, in a list, and deep down."""
    return [
        {"kind": "x", "a": value},
        {"kind": "x", "a": {"b": value}},
        {"kind": "x", "a": [1, value]},
        {"kind": "x", "a": [{"b": [[], {"c": [value]}]}]},
    ]


@pytest.mark.parametrize("value", [0.5, 1.0, -0.0, 1e300, 1e16])
def test_no_float_is_anywhere_in_a_decision(value: float) -> None:
    """Not even one that is a whole number."""
    for decision in _places(value):
        assert not is_decision(decision)
        assert not holds(DELETED | {"decision": decision})
        assert holds(json.loads(json.dumps(DELETED | {"decision": decision}), parse_float=lambda _: 1))


@pytest.mark.parametrize("value", [2**53, -(2**53), 2**63, 2**64, 2**70])
def test_no_integer_in_a_decision_is_beyond_what_doubles_hold(value: int) -> None:
    """At whatever depth, however JSON's readers hold it."""
    for decision in _places(value):
        assert not holds(DELETED | {"decision": decision})
    for decision in _places(2**53 - 1):
        assert holds(DELETED | {"decision": decision})


@pytest.mark.parametrize("levels", [1, 2, MAX_DEPTH - 1, MAX_DEPTH])
@pytest.mark.parametrize(("first", "last"), [("[", "]"), ('{"a":', "}")])
def test_a_decision_may_be_nested_so_deeply(levels: int, first: str, last: str) -> None:
    """Its own level counts; every reader agrees, whatever its own limits are."""
    inside = json.loads(first * (levels - 1) + "0" + last * (levels - 1))
    assert MAX_DEPTH == 100
    assert holds(DELETED | {"decision": {"a": inside, "kind": "x"}})


@pytest.mark.parametrize(
    "levels", [MAX_DEPTH + 1, 254, 255, 256, 400, 495, 496, 497, 498, 499, 900, 1_023, 1_024, 5_000]
)
@pytest.mark.parametrize(("first", "last"), [("[", "]"), ('{"a":', "}")])
def test_a_decision_that_is_nested_deeper_is_none_and_breaks_no_reader(levels: int, first: str, last: str) -> None:
    """Anyone who can write to a store could otherwise stop its verification."""
    inside = (first * (levels - 1) + "0" + last * (levels - 1)).encode()
    inner = canonical(DELETED | {"decision": {"a": 0, "kind": "x"}}).replace(b'"a":0', b'"a":' + inside, 1)
    assert row_of(inner) is None


def test_names_in_a_decision_are_sorted_by_utf_16() -> None:
    """As RFC 8785 has it; the order of their characters' numbers, which JSON libraries have, is another."""
    right = canonical(DELETED | {"decision": {"kind": "x", "\U0001f600": 1, "\ufb33": 2}})
    swapped = right.replace('"\U0001f600":1,"\ufb33":2'.encode(), '"\ufb33":2,"\U0001f600":1'.encode())
    assert swapped != right
    assert row_of(right) is not None
    assert row_of(swapped) is None


# --- the bytes ---


def _reversed(inner: bytes) -> bytes:
    return json.dumps(dict(reversed(json.loads(inner).items())), ensure_ascii=False, separators=(",", ":")).encode()


def _put(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    return lambda inner: inner.replace(old, new, 1)


OTHER_BYTES: dict[str, Callable[[bytes], bytes]] = {
    "keys in another order": _reversed,
    "a key twice": _put(b'{"action"', b'{"action":"read","action"'),
    "a key twice at the end": lambda inner: inner[:-1] + b',"ts":"2026-06-30T12:00:00.000000Z"}',
    "a key of the decision twice": _put(b'"kind":', b'"kind":"x","kind":'),
    "a space after a colon": _put(b'":', b'": '),
    "a space after a comma": _put(b',"', b', "'),
    "a space before": lambda inner: b" " + inner,
    "a space after": lambda inner: inner + b" ",
    "a line feed after": lambda inner: inner + b"\n",
    "something after": lambda inner: inner + b"{}",
    "nothing": lambda _: b"",
    "cut": lambda inner: inner[:-1],
    "a byte order mark": lambda inner: b"\xef\xbb\xbf" + inner,
    "a letter escaped": _put(b'"actor":"a', b'"actor":"\\u0061'),
    "a key escaped": _put(b'"actor"', b'"\\u0061ctor"'),
    "a slash escaped": _put(b"WORKER/1", b"WORKER\\/1"),
    "a control character bare": _put(b'"actor":"', b'"actor":"\x01'),
    "a control character in capitals": _put(b'"actor":"', b'"actor":"\\u001F'),
    "a lone surrogate": _put(b'"actor":"', b'"actor":"\\ud800'),
    "a surrogate in UTF-8": _put(b'"actor":"', b'"actor":"\xed\xa0\x80'),
    "bad UTF-8": _put(b'"actor":"', b'"actor":"\xff'),
    "a float": _put(b'"seq":0', b'"seq":0.0'),
    "an exponent": _put(b'"seq":0', b'"seq":0e0'),
    "minus zero": _put(b'"seq":0', b'"seq":-0'),
    "a zero before": _put(b'"seq":0', b'"seq":00'),
    "no number": _put(b'"seq":0', b'"seq":NaN'),
    "a list around": lambda inner: b"[" + inner + b"]",
    "no object": lambda _: b'"row"',
    "null": lambda _: b"null",
    "a number": lambda _: b"7",
    "a list": lambda _: b"[]",
    "UTF-16": lambda inner: inner.decode().encode("utf-16-le"),
}


@pytest.mark.parametrize("change", OTHER_BYTES.values(), ids=OTHER_BYTES)
def test_other_bytes_of_a_row_are_none(change: Callable[[bytes], bytes]) -> None:
    """One sequence of bytes for each row, by RFC 8785, whatever readers of JSON make of others."""
    changed = 0
    for row in (BARE, FULL, UPDATED, DELETED):
        inner = canonical(row)
        if change(inner) != inner:
            changed += 1
            assert row_of(change(inner)) is None
    assert changed


_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | _texts,
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(_texts, inside, max_size=3),
    max_leaves=5,
)


@given(
    st.sampled_from([BARE, FULL, UPDATED, DELETED]),
    st.dictionaries(st.sampled_from([*UPDATED, "more"]), _values, max_size=2),
    st.booleans(),
)
def test_whatever_is_taken_for_a_row_has_no_other_bytes(
    good: dict[str, Any], changes: dict[str, Any], canonically: bool
) -> None:
    """Any JSON with any values is either refused or makes the same bytes again, and nothing raises."""
    row = good | changes
    inner = canonical(row) if canonically else json.dumps(row, sort_keys=True).encode()
    found = row_of(inner)
    assert found is None or canonical(found) == inner


@given(st.binary(max_size=200))
def test_any_bytes_are_a_row_or_none(data: bytes) -> None:
    """Nothing raises."""
    assert row_of(data) is None
