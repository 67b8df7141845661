"""Strict reading: every text of a checkpoint has one form, and any other is refused.

A reader makes each object again from what it parsed; only equal bytes pass. So no key is there twice, no number is a
float, and nothing has a second spelling.
"""

import re
from collections.abc import Collection
from typing import Any

import orjson

from subject_pipeline.errors import CheckpointError
from subject_pipeline.formats.leaves import NO_HASH

MAX_INTEGER = 2**53 - 1
"""Of I-JSON (RFC 7493, section 2.2)."""

_is_hash = re.compile(r"[0-9a-f]{64}").fullmatch


def object_of(text: bytes, what: str, names: Collection[str]) -> dict[str, Any]:
    """The members of a JSON object that has exactly these names; their values are not looked at.

    Raises:
        CheckpointError: no such object.
    """
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise CheckpointError(f"not {what}: no JSON that can be read") from error
    if not isinstance(found, dict) or found.keys() != set(names):
        raise CheckpointError(f"not {what}: no JSON object with exactly {', '.join(sorted(names))}")
    return found


def hold(what: str, name: str, holds: bool) -> None:  # noqa: FBT001 - the claim itself
    """Refuse a value.

    Raises:
        CheckpointError: the claim does not hold.
    """
    if not holds:
        raise CheckpointError(f"not {what}: its {name} is not what one can hold")


def hold_text(what: str, text: bytes, again: bytes) -> None:
    """Refuse bytes that are not those which the parsed value makes.

    Raises:
        CheckpointError: they differ.
    """
    if text != again:
        raise CheckpointError(f"not {what}: not the canonical JSON (RFC 8785) of its values")


def hold_end(what: str, number: tuple[str, object], digest: tuple[str, object]) -> None:
    """Refuse an end that has one of number and hash without the other: a chain or log without rows has neither.

    Raises:
        CheckpointError: it is so.
    """
    (number_name, last), (digest_name, hashed) = number, digest
    hold(what, number_name, type(last) is int and -1 <= last <= MAX_INTEGER)
    hold(what, digest_name, is_hash(hashed) and (last == -1) == (hashed == NO_HASH))


def is_hash(value: object) -> bool:
    """Whether it is a hash as texts have it: 64 lower-case hex digits."""
    return type(value) is str and _is_hash(value) is not None


def is_count(value: object) -> bool:
    """Whether it is a whole number from 0 that every reader of JSON holds exactly."""
    return type(value) is int and 0 <= value <= MAX_INTEGER
