"""Times as the store writes them: RFC 3339 in UTC with exactly six decimals and `Z`."""

import datetime as dt

COLUMN_FORMAT = "%Y-%m-%dT%H:%M:%S%.6fZ"
"""The same form for a Polars column of UTC times."""


def format_time(value: dt.datetime) -> str:
    """An aware time, as `2026-06-30T12:00:00.000000Z`.

    Raises:
        OverflowError: no calendar holds this time in UTC.
    """
    return value.astimezone(dt.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
