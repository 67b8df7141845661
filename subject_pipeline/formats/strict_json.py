"""JSON texts as I-JSON (RFC 7493) wants them: no object has a key twice, at whatever depth."""

import json
from typing import Any

import orjson

from subject_pipeline.errors import EventError

_TWICE = "an object has a key twice"


def load_json(text: bytes) -> Any:  # noqa: ANN401 - any JSON
    """What a JSON text holds.

    If a key is there twice, some readers keep the first and others the second, so what is hashed would not be what was
    seen. The text and what was read from it, written again, have equally many strings only if nothing was dropped.

    Raises:
        EventError: it is not JSON, an object has a key twice, or it is nested too deeply; nothing of it is quoted.
    """
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise EventError(f"not JSON (at character {error.colno})") from None
    try:
        again = orjson.dumps(value)
    except orjson.JSONEncodeError:  # deeper than it writes
        _look_through(text)
        return value
    if _strings(again) != _strings(text):
        raise EventError(_TWICE)
    return value


def compact_json(text: bytes) -> bytes | None:
    """The same JSON without white space, its keys in their order; None: no JSON, a key is there twice, or too deep.

    Numbers beyond 64 bits do not stay what they are.
    """
    try:
        again = orjson.dumps(orjson.loads(text))
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return None
    return again if _strings(again) == _strings(text) else None


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of its members: what `json.loads` takes as `object_pairs_hook`.

    Raises:
        EventError: a key is there twice.
    """
    found = dict(pairs)
    if len(found) != len(pairs):
        raise EventError(_TWICE)
    return found


def _strings(text: bytes) -> int:
    """Twice the number of strings in a JSON text: quotes, without those inside of strings."""
    if b"\\" in text:
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    return text.count(b'"')


def _look_through(text: bytes) -> None:
    try:
        json.loads(text, object_pairs_hook=unique_keys, parse_int=len, parse_float=len)
    except RecursionError:
        raise EventError("nested too deeply") from None
