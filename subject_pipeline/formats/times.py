"""Times as the store writes them: RFC 3339 in UTC with exactly six decimals and `Z`."""

import datetime as dt
import re

COLUMN_FORMAT = "%Y-%m-%dT%H:%M:%S%.6fZ"
"""The same form for a Polars column of UTC times."""

TIME_FORM = r"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])T(?:[01][0-9]|2[0-3])(?::[0-5][0-9]){2}\.[0-9]{6}Z"
"""The form as a regular expression; a day that its month does not have passes it."""

_is_time = re.compile(TIME_FORM).fullmatch


def is_time(value: object) -> bool:
    """Whether a value is text of this form."""
    return type(value) is str and _is_time(value) is not None


def is_moment(value: object) -> bool:
    """Whether a value is text of this form, and a time that the calendar has."""
    try:
        return is_time(value) and bool(dt.datetime.fromisoformat(str(value)))
    except ValueError:
        return False


def format_time(value: dt.datetime) -> str:
    """An aware time, as `2026-06-30T12:00:00.000000Z`.

    Raises:
        OverflowError: no calendar holds this time in UTC.
    """
    return value.astimezone(dt.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
