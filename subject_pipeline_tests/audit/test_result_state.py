import http
import math
import types
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subject_pipeline.audit.result_state import RESULT_STATES, ResultState, audit_result_state
from subject_pipeline_tests.helpers.strategies import json_values

FALSY: list[Any] = [None, False, "", 0, 0.0, [], {}, (), math.nan]
TRUTHY = [True, "timeout", " ", "false", "0", 1, -1, 0.5, math.inf, [0], {"code": None}, [None]]


class _Undecided:
    def __repr__(self) -> str:
        return "undecided"  # a test's name must not change from run to run

    def __bool__(self) -> bool:
        raise ValueError("the truth value of an array is ambiguous")


def test_the_states_and_their_order() -> None:
    """There are four, in the order in which they are reported."""
    assert RESULT_STATES == ("success", "error", "denied", "not_found")


@pytest.mark.parametrize("flag", ["error", "denied", "not_found"])
@pytest.mark.parametrize("value", FALSY, ids=repr)
def test_a_falsy_signal_does_not_count(flag: str, value: object) -> None:
    """A field that is there and says nothing leaves a success one, and hides no other signal."""
    assert audit_result_state({flag: value, "rows": 3}) == "success"
    assert audit_result_state({flag: value, "status": 500}) == "error"


@pytest.mark.parametrize("flag", ["error", "denied", "not_found"])
@pytest.mark.parametrize("value", [*TRUTHY, _Undecided()], ids=repr)
def test_a_truthy_signal_counts(flag: str, value: object) -> None:
    """Whatever is truthy counts, and so does an object that refuses to say whether it is."""
    assert audit_result_state({flag: value}) == flag


@pytest.mark.parametrize("flag", ["isError", "is_error"])
def test_the_error_flag_of_an_mcp_result_counts(flag: str) -> None:
    """As `error` does: truthy, at the top level, after denied and not found, before a status."""
    assert audit_result_state({flag: True, "content": []}) == "error"
    assert audit_result_state({flag: True, "status": 404}) == "error"
    assert audit_result_state({flag: True, "denied": True}) == "denied"
    assert audit_result_state({flag: True, "not_found": True}) == "not_found"
    assert audit_result_state({"result": {flag: True}}) == "success"
    for falsy in FALSY:
        assert audit_result_state({flag: falsy, "content": []}) == "success"
        assert audit_result_state({flag: falsy, "status": 403}) == "denied"


@pytest.mark.parametrize(
    "payload",
    [
        None, True, False, 0, 404, 403.0, math.nan, "", "denied", "404", b"error", [], ["error"],
        [{"error": "timeout"}], ({"denied": True},), {"error"}, _Undecided(), {},
    ],
    ids=repr,
)  # fmt: skip
def test_what_is_no_mapping_carries_no_signal(payload: object) -> None:
    """Only an object has signals; a list of objects, a bare word or number has none."""
    assert audit_result_state(payload) == "success"


@pytest.mark.parametrize(
    "payload",
    [
        {"result": {"error": "timeout"}},
        {"data": {"status": 403}, "status": 200},
        {"rows": [{"not_found": True}]},
        {"Error": "x", "DENIED": True, "not-found": True, "notFound": True, "Status": 500},
        {"status": {"code": 404}},
        {"status": [404]},
        {1: "error", None: "denied"},
    ],
    ids=repr,
)
def test_only_the_top_level_counts(payload: object) -> None:
    """What lies deeper belongs to the data, and names are compared as they are written."""
    assert audit_result_state(payload) == "success"


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (401, "denied"), (403, "denied"), (404, "not_found"), (410, "not_found"),
        (400, "error"), (402, "error"), (409, "error"), (418, "error"), (429, "error"), (451, "error"),
        (500, "error"), (503, "error"), (599, "error"), (600, "error"), (10**400, "error"),
        (200, "success"), (204, "success"), (301, "success"), (399, "success"), (0, "success"), (-404, "success"),
        (403.0, "denied"), (404.0, "not_found"), (500.5, "error"), (399.9, "success"), (403.5, "error"),
        (math.inf, "error"), (-math.inf, "success"), (math.nan, "success"),
        (http.HTTPStatus.FORBIDDEN, "denied"), (http.HTTPStatus.GONE, "not_found"), (http.HTTPStatus.OK, "success"),
        ("401", "denied"), (" 403\n", "denied"), ("404", "not_found"), ("\t410 ", "not_found"), ("500", "error"),
        ("200", "success"), ("0404", "not_found"), ("000", "success"), ("0", "success"), ("1000", "error"),
        ("9" * 10_000, "error"), ("0" * 10_000, "success"), ("0" * 10_000 + "403", "denied"),
        ("٤٠٤", "success"), ("4²", "success"), ("404.0", "success"), ("+404", "success"), ("-500", "success"),
        ("4 04", "success"), ("5_00", "success"), ("0x193", "success"), ("500 error", "success"),
        (True, "success"), (False, "success"), (None, "success"), ("", "success"), (b"404", "success"),
    ],
    ids=lambda value: repr(value)[:12],
)  # fmt: skip
def test_an_http_status_as_number_or_digits(status: object, expected: ResultState) -> None:
    """401 and 403 are denied, 404 and 410 not found, any other from 400 an error; nothing else means anything."""
    assert audit_result_state({"status": status}) == expected


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("error", "error"), ("failed", "error"), ("failure", "error"),
        ("denied", "denied"), ("forbidden", "denied"), ("unauthorized", "denied"),
        ("not_found", "not_found"), ("missing", "not_found"),
    ],
)  # fmt: skip
def test_a_status_word_in_any_spelling(word: str, expected: ResultState) -> None:
    """Words count in any case, with `-` or a space for `_`, and white space around them."""
    for spelt in (word, word.upper(), word.title(), word.replace("_", "-"), word.replace("_", " ").title()):
        assert audit_result_state({"status": spelt}) == expected
        assert audit_result_state({"status": f" \t{spelt}\n"}) == expected


@pytest.mark.parametrize("word", ["ok", "success", "success_error", "errors", "notfound", "not__found", "un denied"])
def test_other_words_mean_nothing(word: str) -> None:
    """A word that is not listed is no signal."""
    assert audit_result_state({"status": word}) == "success"


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ({"error": "x", "not_found": True, "denied": True, "status": 500}, "denied"),
        ({"error": "x", "not_found": True, "status": 403}, "not_found"),
        ({"error": "x", "status": 403}, "error"),
        ({"error": "x", "status": 404}, "error"),
        ({"not_found": True, "status": 403}, "not_found"),
        ({"denied": True, "status": 200}, "denied"),
        ({"error": "x", "status": "success"}, "error"),
        ({"error": None, "status": 403}, "denied"),
        ({"denied": False, "not_found": 0, "error": "", "status": "missing"}, "not_found"),
        ({"status": 500, "denied": True}, "denied"),
    ],
    ids=repr,
)
def test_contradictory_signals_are_settled_by_precedence(payload: dict[str, Any], expected: ResultState) -> None:
    """Denied beats not found beats error beats status, in whatever order the fields stand."""
    assert audit_result_state(payload) == expected
    assert audit_result_state(dict(reversed(payload.items()))) == expected
    assert audit_result_state(types.MappingProxyType(payload)) == expected


@given(
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(
            ["denied", "not_found", "error", "isError", "status"], json_values | st.text() | st.floats()
        ),
    )
)
def test_any_payload_has_a_state(payload: dict[str, Any]) -> None:
    """No payload raises, and none is a success while a signal of it is truthy."""
    state = audit_result_state(payload)

    assert state in RESULT_STATES
    # `value == value` is what a NaN is not.
    if any(value and value == value for flag, value in payload.items() if flag != "status"):  # noqa: PLR0124
        assert state != "success"
