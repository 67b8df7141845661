"""What came of an access: success, error, denied or not found, read from the answer's payload."""

from collections.abc import Mapping
from typing import Literal, get_args

ResultState = Literal["success", "error", "denied", "not_found"]
RESULT_STATES: tuple[ResultState, ...] = get_args(ResultState)

_FLAGS: dict[str, ResultState] = {  # the order is the precedence
    "denied": "denied",
    "not_found": "not_found",
    "error": "error",
    "isError": "error",  # of MCP's tool results
    "is_error": "error",  # the same, as Python's clients spell it
}
_WORDS: dict[str, ResultState] = {
    "error": "error",
    "failed": "error",
    "failure": "error",
    "denied": "denied",
    "forbidden": "denied",
    "unauthorized": "denied",
    "not_found": "not_found",
    "missing": "not_found",
}
_HTTP: dict[float, ResultState] = {401: "denied", 403: "denied", 404: "not_found", 410: "not_found"}
_FIRST_HTTP_ERROR = 400
_HTTP_DIGITS = 3
_AS_UNDERSCORE = str.maketrans("- ", "__")


def audit_result_state(payload: object) -> ResultState:
    """The result that a payload reports; no value in it makes this raise.

    Only the top level of a mapping counts; anything else carries no signal. Signals, the first that is there decides:

    1. `denied`, `not_found`, `error`, in this order, where truthy (NaN is not); `isError`, or `is_error`, of an MCP
       result is an `error` too.
    2. `status`: an HTTP status as a number or ASCII digits (401 and 403 are denied, 404 and 410 not found, any other
       from 400 an error), or one of the words error, failed, failure; denied, forbidden, unauthorized; not_found,
       missing; in any case, with `-` or a space for `_`, whatever white space is around.

    Without a signal it is `success`.
    """
    if not isinstance(payload, Mapping):
        return "success"
    for flag, state in _FLAGS.items():
        if _is_set(payload.get(flag)):
            return state
    return _of_status(payload.get("status"))


def _is_set(value: object) -> bool:
    if isinstance(value, float) and value != value:  # noqa: PLR0124 - how a NaN is recognised
        return False
    try:
        return bool(value)
    except Exception:  # noqa: BLE001 - the caller's own object; what refuses to say that it is empty counts as set
        return True


def _of_status(status: object) -> ResultState:
    if isinstance(status, bool):
        return "success"
    if isinstance(status, int | float):
        return _of_number(status)
    if not isinstance(status, str):
        return "success"
    word = status.strip()
    if word.isascii() and word.isdigit():
        digits = word.lstrip("0")
        # Python refuses to read very long numbers; all that counts of them is that they are large.
        return "error" if len(digits) > _HTTP_DIGITS else _of_number(int(digits or "0"))
    return _WORDS.get(word.lower().translate(_AS_UNDERSCORE), "success")


def _of_number(status: float) -> ResultState:
    # A NaN is neither found nor at least anything.
    return _HTTP.get(status, "error" if status >= _FIRST_HTTP_ERROR else "success")
