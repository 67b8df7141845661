"""Ids of people and the storage keys they are stored under, and which ids may be subjects."""

import re

UNSAFE = r"[^A-Za-z0-9_-]"
"""What a storage key may not hold."""
MAX_STORAGE_KEY_BYTES = 200

_replaced = re.compile(UNSAFE).sub


def candidate_id(key_value: str, prefix: str) -> str:
    """The id that a key value forms under a dataset's prefix."""
    return prefix + key_value


def storage_key(candidate_id: str) -> str:
    """The id with every character outside `[A-Za-z0-9_-]` replaced by `_`; always ASCII."""
    return _replaced("_", candidate_id)


def refusal(candidate_id: str, key_value: str) -> str | None:
    """Why this candidate cannot become a subject, or None where it can."""
    if not key_value:
        return "empty key value: a subject needs an id of its own"
    length = len(storage_key(candidate_id))
    if length > MAX_STORAGE_KEY_BYTES:
        return f"storage key is {length} bytes long; at most {MAX_STORAGE_KEY_BYTES} are allowed"
    return None
