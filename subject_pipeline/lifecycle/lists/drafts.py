"""Reviews: what waits for a decision, as rows that are drafts of decisions.

Anyone who reviews fills in `kind` and what that kind needs; all else is there. A row left as it is decides nothing, but
for biometric data past its date: its draft says `biometric_destroyed`, and is refused until it names the evidence.
"""

import datetime as dt
from collections.abc import Callable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

import orjson
import polars as pl
import polars_hash as plh

from subject_pipeline.decisions.decision import BIOMETRIC, CHECK_DIGITS, GENERAL_PII, SCOPES, Kind
from subject_pipeline.formats.times import format_time
from subject_pipeline.lifecycle.lists.life_columns import (
    CONSENT,
    DATASETS,
    HELD,
    HOLDS,
    ORDERED,
    PENDING,
    POLICY,
    UNTIL,
    added,
    due,
    text_of,
)

_SINCE, _SCOPE, _HOLD = "about_since", "about_scope", "about_hold_reason"
_ABOUT: Mapping[str, pl.Expr] = MappingProxyType(
    {
        "about_status": pl.col("status"),
        "about_vertical": pl.col("vertical"),
        "about_datasets": DATASETS.list.join(" "),
        "about_created_at": text_of(pl.col("created_at")),
        "about_consent": CONSENT[GENERAL_PII],
        "about_biometric_consent": CONSENT[BIOMETRIC],
        "about_retention_until": text_of(UNTIL[GENERAL_PII]),
        "about_biometric_until": text_of(UNTIL[BIOMETRIC]),
        "about_policy": POLICY,
        "about_restricted_at": added("restricted_at"),
        "about_erasure_ordered_at": added("erasure_ordered_at"),
    }
)
_FIRST = ("decision_id", "candidate_id", "candidate_check", "kind", "ts", "actor")
_REST = ("scope", "version", "until", "vertical", "policy", "hold_id", "reason", "evidence", "approved_by")
DRAFT_SCHEMA = pl.Schema(
    dict.fromkeys((*_FIRST, *_REST, _SINCE, _SCOPE, _HOLD, *_ABOUT, "about_holds", "about_gone_from"), pl.String)
)
"""One draft a row. Columns `about_*` inform, and are ignored when decisions are applied."""


class ReviewKind(StrEnum):
    """The reviews that there are."""

    PENDING_CONSENT = "pending_consent"
    RETENTION_DUE = "retention_due"
    VANISHED = "vanished"
    HELD = "held"
    ORDERED = "ordered"


class Export(NamedTuple):
    """One export of a review.

    Attributes:
        kind: which review.
        actor: whose decisions these will be, unless the reviewer writes another name.
        now: UTC; a draft is stale once something newer was decided on its matter.
        decision_id: gives a new random id.
        older_than: only what has waited for at least so long.
    """

    kind: ReviewKind
    actor: str
    now: dt.datetime
    decision_id: Callable[[], str]
    older_than: dt.timedelta = dt.timedelta(0)


def drafts(rows: pl.DataFrame, export: Export, gone_from: str | None = None) -> pl.DataFrame:
    """The drafts of those subjects who wait for what the review is about, `DRAFT_SCHEMA`.

    Args:
        rows: `LIFE_COLUMNS` of the table; for `vanished`, of those alone who are gone from a dataset's source.
        export: the review.
        gone_from: that dataset.
    """
    waiting = _WAITING[export.kind](rows, export.now)
    if export.older_than:
        waiting = waiting.filter(pl.col(_SINCE) <= format_time(export.now - export.older_than))
    digest = plh.col("candidate_id").chash.sha2_256().str.head(CHECK_DIGITS)
    filled = waiting.with_columns(
        decision_id=pl.Series([export.decision_id() for _ in range(waiting.height)], dtype=pl.String),
        candidate_check=digest,
        ts=pl.lit(format_time(export.now)),
        actor=pl.lit(export.actor),
        about_gone_from=pl.lit(gone_from, pl.String),
    )
    empty = (pl.lit(None, pl.String).alias(name) for name in DRAFT_SCHEMA if name not in filled.columns)
    return filled.with_columns(*empty).select(DRAFT_SCHEMA.names())


def _about(rows: pl.DataFrame, since: pl.Expr, **fields: pl.Expr) -> pl.DataFrame:
    """Columns that inform about subjects, when their waiting began, and what a draft says from the start."""
    found = rows.select(
        "candidate_id",
        *(value.alias(name) for name, value in _ABOUT.items()),
        pl.when(HELD).then(HOLDS).alias("_holds"),
        since.alias(_SINCE),
        *(value.alias(name) for name, value in fields.items()),
    )
    names = [", ".join(hold["hold_id"] for hold in _holds(text)) or None for text in found["_holds"]]
    return found.with_columns(about_holds=pl.Series(names, dtype=pl.String))


def _holds(text: str | None) -> list[dict[str, str]]:
    """The holds of a manifest, from their JSON."""
    found: list[dict[str, str]] = orjson.loads(text) if text is not None else []
    return found


def _pending(rows: pl.DataFrame, _: dt.datetime) -> pl.DataFrame:
    return _about(rows.filter(PENDING), text_of(pl.col("created_at")), scope=pl.lit(GENERAL_PII))


def _due(rows: pl.DataFrame, now: dt.datetime) -> pl.DataFrame:
    """One draft for each scope that is due."""
    found = []
    for scope in SCOPES:
        destroyed = pl.when(~HELD).then(pl.lit(Kind.BIOMETRIC_DESTROYED.value))
        kind = destroyed if scope == BIOMETRIC else pl.lit(None, pl.String)
        over = rows.filter(due(scope, now))
        found.append(_about(over, text_of(UNTIL[scope]), kind=kind, **{_SCOPE: pl.lit(scope)}))
    return pl.concat(found)


def _vanished(rows: pl.DataFrame, _: dt.datetime) -> pl.DataFrame:
    return _about(rows, text_of(pl.col("created_at")))


def _held(rows: pl.DataFrame, _: dt.datetime) -> pl.DataFrame:
    """One draft for each hold."""
    found = _about(rows.filter(HELD), pl.lit(None, pl.String))
    holds = [
        {"at": at, "hold_id": hold["hold_id"], _SINCE: hold["placed_at"], _HOLD: hold.get("reason")}
        for at, text in enumerate(found["_holds"])
        for hold in _holds(text)
    ]
    columns = {"at": pl.UInt32, **dict.fromkeys(("hold_id", _SINCE, _HOLD), pl.String)}
    return pl.DataFrame(holds, schema=columns).join(
        found.drop(_SINCE).with_row_index("at"), on="at", how="inner", maintain_order="left"
    )


def _ordered(rows: pl.DataFrame, _: dt.datetime) -> pl.DataFrame:
    return _about(rows.filter(ORDERED), pl.coalesce(added("erasure_ordered_at"), text_of(pl.col("updated_at"))))


_WAITING: Mapping[ReviewKind, Callable[[pl.DataFrame, dt.datetime], pl.DataFrame]] = MappingProxyType(
    {
        ReviewKind.PENDING_CONSENT: _pending,
        ReviewKind.RETENTION_DUE: _due,
        ReviewKind.VANISHED: _vanished,
        ReviewKind.HELD: _held,
        ReviewKind.ORDERED: _ordered,
    }
)
