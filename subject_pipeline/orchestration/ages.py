"""How long ago something was last done to each partition, and for which of them that is too long."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_DAY = dt.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Stale:
    """A partition for which that is too long ago.

    Attributes:
        partition: its name.
        last: when it was last done, UTC; None: never, as far as is known.
        days: how long ago; None if it never was.
    """

    partition: str
    last: dt.datetime | None
    days: float | None


@dataclass(frozen=True, slots=True)
class Freshness:
    """The state at one moment.

    Attributes:
        stale: those for which it is too long ago: never first, then the longest ago.
        never: how many of them it was never done to.
        oldest_days: the longest ago of those that it was ever done to; None if there are none.
    """

    stale: Sequence[Stale]
    never: int
    oldest_days: float | None


def freshness(
    last: Mapping[str, dt.datetime], partitions: Sequence[str], *, now: dt.datetime, within: dt.timedelta
) -> Freshness:
    """Compare partitions with a limit; a time in the future, as after a clock was set back, counts as now.

    Args:
        last: when it was last done to each, UTC.
        partitions: those to look at; others are ignored.
        now: UTC.
        within: how long ago is still recent.
    """
    ages = {name: max(now - last[name], dt.timedelta()) for name in partitions if name in last}
    late = sorted((name for name, age in ages.items() if age > within), key=lambda name: (-ages[name], name))
    never = [name for name in partitions if name not in last]
    stale = [Stale(name, None, None) for name in never]
    stale += [Stale(name, last[name], ages[name] / _DAY) for name in late]
    return Freshness(stale, len(never), max(ages.values()) / _DAY if ages else None)
