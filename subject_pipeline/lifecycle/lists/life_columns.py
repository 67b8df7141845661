"""A subject's life by column: what `decisions` says of one manifest, said of all rows of the table at once.

Fields that decisions add lie in `extra`, which few rows have; they are found there without making manifests of rows.
"""

import datetime as dt
from collections.abc import Iterator, Mapping
from types import MappingProxyType

import polars as pl

from subject_pipeline.decisions.decision import BIOMETRIC, GENERAL_PII, SCOPES
from subject_pipeline.formats.times import COLUMN_FORMAT

Frames = Iterator[pl.DataFrame]
"""Rows of the table, all of a chunk in one frame."""

LIFE_COLUMNS = (
    "chunk",
    "storage_key",
    "candidate_id",
    "created_at",
    "updated_at",
    "status",
    "vertical",
    "consent",
    "retention",
    "datasets",
    "extra",
)
"""What the expressions here take of the table."""


def added(path: str) -> pl.Expr:
    """The text of a field that decisions add, or the JSON of one that is no text; null where it is not there."""
    return pl.col("extra").str.json_path_match(f"$.{path}")


def _consent(scope: str) -> pl.Expr:
    return pl.col("consent").struct.field(scope)


CONSENT: Mapping[str, pl.Expr] = MappingProxyType({scope: _consent(scope).struct.field("status") for scope in SCOPES})
"""The status of the consent, by scope."""

UNTIL: Mapping[str, pl.Expr] = MappingProxyType(
    {
        GENERAL_PII: pl.col("retention").struct.field("general_pii_until"),
        BIOMETRIC: _consent(BIOMETRIC).struct.field("retention_until"),
    }
)
"""Until when the data may be kept, by scope."""

POLICY = pl.col("retention").struct.field("policy")
DATASETS = pl.col("datasets").list.eval(pl.element().struct.field("name")).list.unique(maintain_order=True)
"""The names of the datasets that a manifest refers to."""

HOLDS = added("holds")
HELD = HOLDS.ne_missing("[]") & HOLDS.is_not_null()
ORDERED = (pl.col("status") == "erasure_ordered") | added("erasure_ordered_at").is_not_null()
_noted = added("erasure_ordered_at").str.to_datetime(COLUMN_FORMAT, time_unit="us", strict=False)
ORDERED_AT = pl.coalesce(_noted.dt.replace_time_zone("UTC"), "created_at")
"""When the erasure of those was ordered; of one that was imported as a word alone, when they were registered."""
RESTRICTED = (pl.col("status") == "restricted") | added("restricted_at").is_not_null()
PENDING = CONSENT[GENERAL_PII] == "pending_backfill_review"
UNCLASSIFIED = pl.col("vertical") == "unknown"


def due(scope: str, now: dt.datetime) -> pl.Expr:
    """Whether the time of a scope's data is over, held or not.

    Args:
        scope: one of `SCOPES`.
        now: UTC.
    """
    over = UNTIL[scope] <= now
    there = CONSENT[scope].is_in(["given", "withdrawn"]) if scope == BIOMETRIC else pl.lit(value=True)
    return (over & there).fill_null(value=False)


def text_of(time: pl.Expr) -> pl.Expr:
    """A column of times as text in the store's form."""
    return time.dt.to_string(COLUMN_FORMAT)
