"""Ids as fields of answers hold them: text or numbers, with their prefix or without, in a field of any case style."""

import decimal
import math
import numbers

_CASE_STYLE = str.maketrans("", "", "_- ")


def without_style(name: str) -> str:
    """The name of a field, the same in whatever case style."""
    return name.translate(_CASE_STYLE).casefold()


def prefixed(prefix: str, text: str) -> str:
    """An id as a dataset's field has it, which may be without its prefix."""
    return text if text.startswith(prefix) else prefix + text


def whole(value: object) -> int | None:
    """A number that is whole, as an integer; None for anything else."""
    if type(value) is int:
        return value
    if isinstance(value, bool) or not isinstance(value, numbers.Real | decimal.Decimal):
        return None
    try:
        floor: int = math.floor(value)  # type: ignore[assignment] # of what `isinstance` lets through
    except (ValueError, OverflowError):  # of what is not a number, or infinite
        return None
    return floor if floor == value else None
