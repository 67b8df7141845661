"""Manifests and audit rows counted by column, a part of them at a time, in memory that depends on no part's size.

Both are in this one file, longer than most: they share how counts are kept, put in order and bounded.
"""

import datetime as dt
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from subject_pipeline.audit.events import ERASED, EVIDENCE_PREFIX, MANIFEST_DELETED, MAX_TEXT
from subject_pipeline.audit.result_state import RESULT_STATES
from subject_pipeline.decisions.decision import BIOMETRIC, GENERAL_PII, SCOPES, Kind
from subject_pipeline.lifecycle.lists.life_columns import DATASETS, PENDING, POLICY, UNTIL, due
from subject_pipeline.lifecycle.lists.review_counts import ReviewCounts, review_counts
from subject_pipeline.reports.numbers import (
    OVERDUE,
    PURPOSES,
    RECENT_DAYS,
    RETENTION_BANDS,
    AccessNumbers,
    Results,
    SubjectNumbers,
)

MANIFEST_COLUMNS = (
    "chunk", "candidate_id", "created_at", "status", "vertical", "consent", "retention", "datasets", "extra",
)  # fmt: skip
"""What `SubjectCounts` takes of the table."""

_NEEDED = ("candidate_id", "ts", "actor", "action", "result")
ROW_SCHEMA = pl.Schema(
    {**dict.fromkeys((*_NEEDED, "purpose"), pl.String()), "decision": pl.Struct({"kind": pl.String()})}
)
"""What `SegmentCounts` takes of a segment's rows; null where a row does not have it, as one need not have a purpose."""

DECIDED = (*(kind.value for kind in Kind), ERASED)
"""Kinds of registry rows that record an order; the others the registry records by itself."""

_DAYS = {"within_30_days": 30, "within_90_days": 90, "within_365_days": 365}
_BREAKDOWNS = {"status": pl.col("status"), "vertical": pl.col("vertical"), "policy": POLICY}

ACCESSES_BY = ("day", "action", "actor", "purpose")
"""What accesses are broken down by, each of them by result too."""


class SubjectCounts:
    """Counts manifests, frame by frame."""

    def __init__(self, now: dt.datetime, pending_days: float) -> None:
        """Begin with none.

        Args:
            now: the report's time, UTC.
            pending_days: consent undecided for longer than this is too long.
        """
        self._now = now
        self._pending_days = pending_days
        self._reviews = ReviewCounts()
        self._overdue = self._pending = 0
        self._breakdowns: dict[str, Counter[str]] = {name: Counter() for name in _BREAKDOWNS}
        self._datasets: Counter[str] = Counter()
        self._bands = {scope: dict.fromkeys(RETENTION_BANDS, 0) for scope in SCOPES}

    def add(self, rows: pl.DataFrame) -> None:
        """Count manifests.

        Args:
            rows: `MANIFEST_COLUMNS` of the table.
        """
        self._reviews += review_counts(rows, self._now)
        for name, value in _BREAKDOWNS.items():
            counted = rows.group_by(value.fill_null("").alias("name")).len()
            self._breakdowns[name].update(dict(counted.iter_rows()))
        names = rows.select(name=DATASETS).explode("name", empty_as_null=True).fill_null("")
        self._datasets.update(dict(names.group_by("name").len().iter_rows()))
        for scope in SCOPES:
            counted = rows.group_by(self._band(scope).alias("band")).len().drop_nulls()
            for band, count in counted.iter_rows():
                self._bands[scope][band] += count
        self._overdue += rows.filter(pl.any_horizontal(due(scope, self._now) for scope in SCOPES)).height
        latest = self._now - dt.timedelta(days=self._pending_days)
        self._pending += rows.filter(PENDING, pl.col("created_at") < latest).height

    def numbers(self) -> SubjectNumbers:
        """What was counted so far."""
        status, vertical, policy = (_frequent(self._breakdowns[name]) for name in _BREAKDOWNS)
        consent = {scope: Counter(_frequent(counts)) for scope, counts in self._reviews.consent.items()}
        return SubjectNumbers(
            replace(self._reviews, consent=consent),
            status,
            vertical,
            policy,
            _frequent(self._datasets),
            self._bands[GENERAL_PII],
            self._bands[BIOMETRIC],
            self._overdue,
            self._pending,
            self._pending_days,
        )

    def _band(self, scope: str) -> pl.Expr:
        """When the time of a scope's data is over; null where it has no date, or the data is not there."""
        until = UNTIL[scope]
        band: pl.Expr = pl.lit(RETENTION_BANDS[-1])
        for name, days in reversed(_DAYS.items()):
            band = pl.when(until <= self._now + dt.timedelta(days=days)).then(pl.lit(name)).otherwise(band)
        band = pl.when(until > self._now).then(band)
        return pl.when(due(scope, self._now)).then(pl.lit(OVERDUE)).otherwise(band)


@dataclass(frozen=True, slots=True)
class SegmentCounts:
    """One segment's rows, counted.

    Attributes:
        accesses: for each of `ACCESSES_BY`, accesses by (its value, result), in the order of the rows. Days are of UTC;
            the purpose is empty where there is none.
        registry_rows: rows of the registry's own, by action.
        decisions: those that record an order, by (month of their time, kind).
        subjects: columns `candidate_id`, `accessed`, and `answered`: has rows other than denied accesses; a subject a
            row.
        last_change: the action of each subject's last row of the registry's own; `ERASED` where that is an erasure.
        unreadable: lines that are no row.
    """

    accesses: Mapping[str, Mapping[tuple[Any, str], int]]
    registry_rows: Mapping[str, int]
    decisions: Mapping[tuple[str, str], int]
    subjects: pl.DataFrame
    last_change: Mapping[str, str]
    unreadable: int

    @classmethod
    def of(cls, rows: pl.DataFrame, unreadable: int = 0) -> "SegmentCounts":
        """Count a segment's rows.

        Args:
            rows: `ROW_SCHEMA`, in the segment's order; one that lacks something, or has an unknown result or a
                time that no calendar has, counts as unreadable.
            unreadable: lines that could not even be made such a row.
        """
        dated = rows.with_columns(
            day=pl.col("ts").str.slice(0, 10).str.to_date("%Y-%m-%d", strict=False),
            purpose=pl.col("purpose").fill_null("").str.head(MAX_TEXT),
            kind=pl.col("decision").struct.field("kind"),
        )
        sound = dated.filter(
            pl.all_horizontal(pl.col(*_NEEDED, "day").is_not_null()), pl.col("result").is_in(RESULT_STATES)
        ).with_columns(access=~pl.col("action").str.starts_with(EVIDENCE_PREFIX))
        accesses = sound.filter("access")
        changes = sound.filter(~pl.col("access"))
        ordered = changes.filter(pl.col("kind").is_in(DECIDED)).group_by(pl.col("ts").str.slice(0, 7), "kind").len()
        subjects = sound.group_by("candidate_id").agg(
            accessed=pl.col("access").any(),
            answered=(~pl.col("access") | (pl.col("result") != "denied")).any(),
        )
        change = pl.when(pl.col("kind") == ERASED).then(pl.lit(ERASED)).otherwise("action")
        return cls(
            {name: _counted(accesses, name) for name in ACCESSES_BY},
            dict(changes.group_by("action").len().iter_rows()),
            {(month, kind): count for month, kind, count in ordered.iter_rows()},
            subjects,
            dict(changes.select("candidate_id", change).iter_rows()),
            unreadable + rows.height - sound.height,
        )


class AccessCounts:
    """Counts audit rows, chunk by chunk; a subject's rows are all in one chunk."""

    def __init__(self, now: dt.datetime) -> None:
        """Begin with none; `now` is the report's time, UTC."""
        self._today = now.date()
        self._by: dict[str, dict[Any, dict[str, int]]] = {name: {} for name in ACCESSES_BY}
        self._other_purposes: dict[str, int] = dict.fromkeys(RESULT_STATES, 0)
        self._registry: Counter[str] = Counter()
        self._decisions: Counter[tuple[str, str]] = Counter()
        self._subjects = self._unregistered = self._erased = self._segments = self._unreadable = 0
        self._lost: list[str] = []
        self._questionable = 0

    def question(self, count: int) -> None:
        """Note accesses that should not have been."""
        self._questionable += count

    def lose(self, why: str) -> None:
        """Note a segment that the store did not give."""
        self._lost.append(why)

    def add(self, segments: Sequence[SegmentCounts], registered: pl.Series) -> None:
        """Count one chunk's segments.

        Args:
            segments: in the log's order.
            registered: the ids of all manifests of that chunk.
        """
        last_change: dict[str, str] = {}
        for one in segments:
            for name, counts in one.accesses.items():
                self._add_accesses(name, counts)
            self._registry.update(one.registry_rows)
            self._decisions.update(one.decisions)
            self._unreadable += one.unreadable
            last_change.update(one.last_change)
        self._segments += len(segments)
        if not segments:
            return
        subjects = (
            pl.concat(one.subjects for one in segments)
            .group_by("candidate_id")
            .agg(pl.col("accessed", "answered").any())
            .with_columns(registered=pl.col("candidate_id").is_in(registered.implode()))
        )
        gone = [one for one, change in last_change.items() if change in {MANIFEST_DELETED, ERASED}]
        deleted = pl.col("candidate_id").is_in(pl.Series(gone, dtype=pl.String).implode())
        self._erased += sum(change == ERASED for change in last_change.values())
        self._unregistered += subjects.filter("answered", ~pl.col("registered"), ~deleted).height
        self._subjects += subjects.filter("accessed").height

    def _add_accesses(self, name: str, counts: Mapping[tuple[Any, str], int]) -> None:
        known = self._by[name]
        for (value, result), count in counts.items():
            if name == "purpose" and value not in known and len(known) == PURPOSES:
                self._other_purposes[result] += count
            else:
                known.setdefault(value, dict.fromkeys(RESULT_STATES, 0))[result] += count

    def numbers(self) -> AccessNumbers:
        """What was counted so far."""
        days = self._by["day"]
        first = self._today - dt.timedelta(days=RECENT_DAYS - 1)
        recent = [counts for day, counts in days.items() if first <= day <= self._today]
        return AccessNumbers(
            dict(sorted(days.items())),
            _busiest(self._by["action"]),
            _busiest(self._by["actor"]),
            _busiest(self._by["purpose"]),
            self._other_purposes,
            {result: sum(one[result] for one in recent) for result in RESULT_STATES},
            _frequent(self._registry),
            self._by_month(),
            self._erased,
            self._subjects,
            self._unregistered,
            self._segments,
            self._unreadable,
            self._lost,
            self._questionable,
        )

    def _by_month(self) -> dict[str, dict[str, int]]:
        months = {month: Counter[str]() for month in sorted({month for month, _ in self._decisions}, reverse=True)}
        for (month, kind), count in self._decisions.items():
            months[month][kind] = count
        return {month: _frequent(kinds) for month, kinds in months.items()}


def _counted(rows: pl.DataFrame, name: str) -> dict[tuple[Any, str], int]:
    counted = rows.group_by(name, "result", maintain_order=True).len()
    return {(value, result): count for value, result, count in counted.iter_rows()}


def _frequent(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _busiest(rows: Mapping[str, Results]) -> dict[str, Results]:
    return dict(sorted(rows.items(), key=lambda item: (-sum(item[1].values()), item[0])))
