"""What waits for a decision, counted by column: for reports, checks and the UI."""

import datetime as dt
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from subject_pipeline.decisions.decision import SCOPES
from subject_pipeline.lifecycle.lists.life_columns import (
    CONSENT,
    HELD,
    ORDERED,
    ORDERED_AT,
    PENDING,
    RESTRICTED,
    UNCLASSIFIED,
    due,
)

_AGES = {"under_30_days": 30, "30_to_90_days": 90, "90_to_365_days": 365}
MOST_DAYS = 30
"""How long an order to erase somebody who is not held may stand before it is done."""

OLDER = "365_days_or_more"
AGES = (*_AGES, OLDER)
"""How long a consent has been pending, counted from registration."""


@dataclass(frozen=True, slots=True)
class ReviewCounts:
    """Counts of subjects; those of several parts of the table can be added up.

    Attributes:
        subjects: all of them.
        consent: by scope, then by status.
        pending: general consents that nobody has decided, by age: `AGES`.
        due: by scope, those whose time is over, held or not.
        due_held: those due in any scope who are held.
        held: under at least one legal hold.
        ordered: whose erasure is ordered.
        ordered_long: of those, who is not held, and was ordered more than `MOST_DAYS` days ago.
        restricted: whose processing is restricted, also if an erasure is ordered.
        unclassified: whose vertical is unknown.
    """

    subjects: int = 0
    consent: Mapping[str, Counter[str]] = field(default_factory=lambda: {scope: Counter() for scope in SCOPES})
    pending: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(AGES, 0))
    due: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(SCOPES, 0))
    due_held: int = 0
    held: int = 0
    ordered: int = 0
    ordered_long: int = 0
    restricted: int = 0
    unclassified: int = 0

    def __add__(self, other: "ReviewCounts") -> "ReviewCounts":
        return ReviewCounts(
            self.subjects + other.subjects,
            {scope: self.consent[scope] + other.consent[scope] for scope in SCOPES},
            {age: self.pending[age] + other.pending[age] for age in AGES},
            {scope: self.due[scope] + other.due[scope] for scope in SCOPES},
            self.due_held + other.due_held,
            self.held + other.held,
            self.ordered + other.ordered,
            self.ordered_long + other.ordered_long,
            self.restricted + other.restricted,
            self.unclassified + other.unclassified,
        )


def review_counts(rows: pl.DataFrame, now: dt.datetime) -> ReviewCounts:
    """Count some subjects.

    Args:
        rows: `LIFE_COLUMNS` of the table.
        now: UTC.
    """
    consent = {scope: Counter(dict(_by(rows, CONSENT[scope]).iter_rows())) for scope in SCOPES}
    pending = dict(_by(rows.filter(PENDING), _age(now)).iter_rows())
    over = {scope: due(scope, now) for scope in SCOPES}
    flags = {
        **{f"due {scope}": that for scope, that in over.items()},
        "due_held": HELD & pl.any_horizontal(over.values()),
        "held": HELD,
        "ordered": ORDERED,
        "ordered_long": ORDERED & ~HELD & (now - dt.timedelta(days=MOST_DAYS) > ORDERED_AT),
        "restricted": RESTRICTED,
        "unclassified": UNCLASSIFIED,
    }
    found = rows.select(that.sum().alias(name) for name, that in flags.items()).row(0, named=True)
    return ReviewCounts(
        rows.height,
        consent,
        {age: pending.get(age, 0) for age in AGES},
        {scope: found.pop(f"due {scope}") for scope in SCOPES},
        **found,
    )


def _by(rows: pl.DataFrame, value: pl.Expr) -> pl.DataFrame:
    return rows.group_by(value.fill_null("").alias("name")).len()


def _age(now: dt.datetime) -> pl.Expr:
    age: pl.Expr = pl.lit(OLDER)
    for name, days in reversed(_AGES.items()):
        age = pl.when(pl.col("created_at") > now - dt.timedelta(days=days)).then(pl.lit(name)).otherwise(age)
    return age
