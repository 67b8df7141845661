"""Manifests and audit rows counted by column, a part of them at a time, in memory that depends on no part's size.

Both are in this one file, longer than most: they share how counts are kept, put in order and bounded.
"""

import datetime as dt
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from subject_pipeline.audit.events import EVIDENCE_PREFIX, MANIFEST_DELETED, MAX_TEXT
from subject_pipeline.audit.result_state import RESULT_STATES
from subject_pipeline.reports.numbers import (
    MOST_ACCESSED,
    NAMED,
    OVERDUE,
    PURPOSES,
    RECENT_DAYS,
    RETENTION_BANDS,
    AccessedSubject,
    AccessNumbers,
    HeldSubject,
    Results,
    SubjectNumbers,
)

MANIFEST_COLUMNS = ("chunk", "candidate_id", "created_at", "status", "vertical", "consent", "retention", "datasets")
"""What `SubjectCounts` takes of the table."""

ROW_SCHEMA = pl.Schema(dict.fromkeys(("candidate_id", "ts", "actor", "action", "result", "purpose"), pl.String))
"""What `SegmentCounts` takes of a segment's rows; null where a row does not have it, as one need not have a purpose."""

_DAYS = {"within_30_days": 30, "within_90_days": 90, "within_365_days": 365}
_GENERAL = pl.col("consent").struct.field("general_pii").struct.field("status")
_BIOMETRIC = pl.col("consent").struct.field("biometric")
_UNTIL = pl.col("retention").struct.field("general_pii_until")
_POLICY = pl.col("retention").struct.field("policy")
_BREAKDOWNS = {
    "status": pl.col("status"),
    "vertical": pl.col("vertical"),
    "general": _GENERAL,
    "biometric": _BIOMETRIC.struct.field("status"),
    "policy": _POLICY,
}
_DATASETS = pl.col("datasets").list.eval(pl.element().struct.field("name")).list.unique()
_DATES = {"general_pii": _UNTIL, "biometric": _BIOMETRIC.struct.field("retention_until")}
_PENDING = "pending"

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
        self._subjects = self._overdue = self._pending = 0
        self._breakdowns: dict[str, Counter[str]] = {name: Counter() for name in _BREAKDOWNS}
        self._datasets: Counter[str] = Counter()
        self._bands = {data: dict.fromkeys(RETENTION_BANDS, 0) for data in _DATES}
        self._overdue_named: list[HeldSubject] = []
        self._pending_named: list[HeldSubject] = []

    def add(self, rows: pl.DataFrame) -> None:
        """Count manifests.

        Args:
            rows: `MANIFEST_COLUMNS` of the table.
        """
        self._subjects += rows.height
        for name, value in _BREAKDOWNS.items():
            counted = rows.group_by(value.fill_null("").alias("name")).len()
            self._breakdowns[name].update(dict(counted.iter_rows()))
        names = rows.select(name=_DATASETS).explode("name", empty_as_null=True).fill_null("")
        self._datasets.update(dict(names.group_by("name").len().iter_rows()))
        for data, until in _DATES.items():
            counted = rows.group_by(self._band(until).alias("band")).len().drop_nulls()
            for band, count in counted.iter_rows():
                self._bands[data][band] += count
            late = rows.filter(until < self._now).select("candidate_id", since=until, why=_POLICY)
            self._overdue_named = self._oldest(self._overdue_named, late, data)
        self._overdue += rows.filter(pl.any_horizontal(until < self._now for until in _DATES.values())).height
        latest = self._now - dt.timedelta(days=self._pending_days)
        waiting = rows.filter(_GENERAL.str.starts_with(_PENDING) & (pl.col("created_at") < latest))
        self._pending += waiting.height
        named = waiting.select("candidate_id", since="created_at", why=_GENERAL)
        self._pending_named = self._oldest(self._pending_named, named, "general_pii")

    def numbers(self) -> SubjectNumbers:
        """What was counted so far."""
        status, vertical, general, biometric, policy = (_frequent(self._breakdowns[name]) for name in _BREAKDOWNS)
        return SubjectNumbers(
            self._subjects,
            status,
            vertical,
            general,
            biometric,
            policy,
            _frequent(self._datasets),
            self._bands["general_pii"],
            self._bands["biometric"],
            self._overdue,
            self._overdue_named,
            self._pending,
            self._pending_named,
            self._pending_days,
        )

    def _band(self, until: pl.Expr) -> pl.Expr:
        band: pl.Expr = pl.when(until.is_not_null()).then(pl.lit(RETENTION_BANDS[-1]))
        for name, days in reversed(_DAYS.items()):
            band = pl.when(until <= self._now + dt.timedelta(days=days)).then(pl.lit(name)).otherwise(band)
        return pl.when(until < self._now).then(pl.lit(OVERDUE)).otherwise(band)

    def _oldest(self, known: Sequence[HeldSubject], found: pl.DataFrame, data: str) -> list[HeldSubject]:
        rows = found.sort("since", "candidate_id").head(NAMED).iter_rows()
        new = [HeldSubject(one, data, since, (self._now - since).days, why) for one, since, why in rows]
        return sorted([*known, *new], key=lambda held: (held.since, held.candidate_id, held.data))[:NAMED]


@dataclass(frozen=True, slots=True)
class SegmentCounts:
    """One segment's rows, counted.

    Attributes:
        accesses: for each of `ACCESSES_BY`, accesses by (its value, result), in the order of the rows. Days are of UTC;
            the purpose is empty where there is none.
        registry_rows: rows of the registry's own, by action.
        subjects: columns `candidate_id`, `rows`, `accesses`, `denied`, `error`, one subject a row.
        last_change: the action of each subject's last row of the registry's own.
        unreadable: lines that are no row.
    """

    accesses: Mapping[str, Mapping[tuple[Any, str], int]]
    registry_rows: Mapping[str, int]
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
        )
        sound = dated.filter(
            pl.all_horizontal(pl.all().is_not_null()), pl.col("result").is_in(RESULT_STATES)
        ).with_columns(access=~pl.col("action").str.starts_with(EVIDENCE_PREFIX))
        accesses = sound.filter("access")
        changes = sound.filter(~pl.col("access"))
        access = pl.col("access")
        subjects = sound.group_by("candidate_id").agg(
            rows=pl.len(),
            accesses=access.sum(),
            denied=(access & (pl.col("result") == "denied")).sum(),
            error=(access & (pl.col("result") == "error")).sum(),
        )
        return cls(
            {name: _counted(accesses, name) for name in ACCESSES_BY},
            dict(changes.group_by("action").len().iter_rows()),
            subjects,
            dict(changes.select("candidate_id", "action").iter_rows()),
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
        self._subjects = self._unregistered = self._segments = self._unreadable = 0
        self._most: list[AccessedSubject] = []
        self._unregistered_named: list[str] = []
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
            self._unreadable += one.unreadable
            last_change.update(one.last_change)
        self._segments += len(segments)
        if not segments:
            return
        subjects = (
            pl.concat(one.subjects for one in segments)
            .group_by("candidate_id")
            .agg(pl.col("accesses", "denied", "error", "rows").sum())
            .with_columns(registered=pl.col("candidate_id").is_in(registered.implode()))
        )
        deleted = pl.Series([one for one, action in last_change.items() if action == MANIFEST_DELETED], dtype=pl.String)
        answered = pl.col("rows") > pl.col("denied")
        strangers = subjects.filter(answered, ~pl.col("registered"), ~pl.col("candidate_id").is_in(deleted.implode()))
        self._unregistered += strangers.height
        names = strangers["candidate_id"].sort().head(NAMED).to_list()
        self._unregistered_named = sorted([*self._unregistered_named, *names])[:NAMED]
        top = subjects.filter(pl.col("accesses") > 0).sort("accesses", "candidate_id", descending=[True, False])
        self._subjects += top.height
        first = top.head(MOST_ACCESSED).drop("rows")
        most = [AccessedSubject(*row) for row in first.iter_rows()]
        both = sorted([*self._most, *most], key=lambda one: (-one.accesses, one.candidate_id))
        self._most = both[:MOST_ACCESSED]

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
            self._subjects,
            self._most,
            self._unregistered,
            self._unregistered_named,
            self._segments,
            self._unreadable,
            self._lost,
            self._questionable,
        )


def _counted(rows: pl.DataFrame, name: str) -> dict[tuple[Any, str], int]:
    counted = rows.group_by(name, "result", maintain_order=True).len()
    return {(value, result): count for value, result, count in counted.iter_rows()}


def _frequent(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _busiest(rows: Mapping[str, Results]) -> dict[str, Results]:
    return dict(sorted(rows.items(), key=lambda item: (-sum(item[1].values()), item[0])))
