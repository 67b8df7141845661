"""Ids as the fields of answers hold them: one or several, text or numbers, with their prefix or without."""

import decimal
import math
import numbers
from collections.abc import Collection, Sequence
from collections.abc import Set as AbstractSet

from subject_pipeline.gate.answers.opened import NO_SEQUENCES


def several(value: object) -> Collection[object]:
    """What an id field holds: one, or several."""
    if isinstance(value, AbstractSet):
        return sorted(value, key=str)  # rows must not be in the order of a hash
    if isinstance(value, Sequence) and not isinstance(value, NO_SEQUENCES):
        return value
    return (value,)


def prefixed(prefix: str, text: str) -> str:
    """An id as a dataset's field has it, which may be without its prefix."""
    return text if text.startswith(prefix) else prefix + text


def whole(value: object) -> int | None:
    """A number that is whole, as an integer; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real | decimal.Decimal):
        return None
    try:
        floor: int = math.floor(value)  # type: ignore[assignment] # of what `isinstance` lets through
    except (ValueError, OverflowError):  # of what is not a number, or infinite
        return None
    return floor if floor == value else None
