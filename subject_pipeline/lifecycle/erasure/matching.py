"""What is a trace of somebody in a text. Pure.

A value that is an id is one. An id within a text is one unless a letter, a digit, `-` or `_` continues it there:
WORKER-10 is no trace of WORKER-1. What could be chance is none, since no certificate could ever be issued for anyone
who has the id 17: an id of fewer than six bytes within other text, and one of digits alone in what is not JSON. In
texts that came in or report about it, which may remain for a time, such are named nevertheless.
"""

import contextlib
import html
import re
from collections.abc import Callable, Iterator
from typing import Any

import orjson

_NO_CHANCE = 6
"""Bytes of an id that other text does not hold by chance."""


def json_in(text: str) -> Any:  # noqa: ANN401 - any JSON
    """What an object or list of JSON holds; None where the text is none."""
    if text[:1] in {"{", "["}:
        with contextlib.suppress(orjson.JSONDecodeError):
            return orjson.loads(text)
    return None


def strings_in(value: Any) -> Iterator[str]:  # noqa: ANN401 - any JSON
    """All texts of a JSON value, names too, and those of JSON within texts in its place."""
    if isinstance(value, str):
        inner = json_in(value)
        if inner is None:
            yield value
        else:
            yield from strings_in(inner)
    elif isinstance(value, dict):
        for name, item in value.items():
            yield name
            yield from strings_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings_in(item)


def unescaped(line: str) -> Iterator[str]:
    """What a line says once the escapes of HTML, or of CSV, are undone."""
    if "&" in line:
        yield html.unescape(line)
    if '""' in line:
        yield line.replace('""', '"')


def is_trace(candidate_id: str, text: str, *, is_value: bool, by_chance: bool) -> bool:
    """Whether a text that holds an id somewhere is a trace of that person.

    Args:
        candidate_id: whose.
        text: a whole value of a table or of JSON, or a line of anything.
        is_value: which of the two.
        by_chance: what could be chance is one too.
    """
    parsed = json_in(text)
    if parsed is not None:
        return any(_is_in(candidate_id, one, is_value=True, by_chance=by_chance) for one in strings_in(parsed))
    return _is_in(candidate_id, text, is_value=is_value, by_chance=by_chance)


def _is_in(candidate_id: str, text: str, *, is_value: bool, by_chance: bool) -> bool:
    if is_value and text == candidate_id:
        return True
    chance = len(candidate_id.encode()) < _NO_CHANCE or (_is_number(candidate_id) and not is_value)
    return (by_chance or not chance) and _stands_alone(candidate_id, text)


def _stands_alone(candidate_id: str, text: str) -> bool:
    """Whether an id is in a text and not merely the beginning, middle or end of another."""
    at = text.find(candidate_id)
    while at >= 0:
        before, after = text[at - 1 : at], text[at + len(candidate_id) : at + len(candidate_id) + 1]
        if not (_continues(before) or _continues(after)):
            return True
        at = text.find(candidate_id, at + 1)
    return False


_is_number: Callable[[str], object] = re.compile(r"[0-9]+").fullmatch
_continues: Callable[[str], object] = re.compile(r"[\w-]").fullmatch
