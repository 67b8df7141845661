"""Manifests of people to whom something has happened, as documents and as rows of the table."""

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl
from hypothesis import strategies as st

from subject_pipeline.formats.times import format_time
from subject_pipeline.manifests.frames import to_rows
from subject_pipeline.manifests.manifest import DatasetReference, SubjectManifest, new_manifest
from subject_pipeline.store.chunks import ChunkLayout

NOW = dt.datetime(2026, 6, 30, 12, tzinfo=dt.UTC)
LAYOUT = ChunkLayout(4)


def days_ago(days: float) -> str:
    """So many days before `NOW`, as the store writes times."""
    return format_time(NOW - dt.timedelta(days=days))


def life(candidate_id: str = "W-1", **changes: Any) -> SubjectManifest:
    """A manifest of somebody registered a hundred days ago, with some fields otherwise, at any depth."""
    reference = DatasetReference(name="people", key_column="id", key_value=candidate_id)
    new = new_manifest(
        candidate_id=candidate_id, dataset=reference, safe_views=(), chunk="", now=NOW - dt.timedelta(days=100)
    )
    return SubjectManifest.parse(_with(new.as_json(), changes))


def _with(document: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    both = document.keys() & changes.keys()
    deeper = {name: _with(document[name], changes[name]) for name in both if isinstance(changes[name], dict)}
    return {**document, **changes, **deeper}


def hold(hold_id: str = "H-1", **changes: Any) -> dict[str, Any]:
    """A hold that stands since ten days ago."""
    return {"hold_id": hold_id, "placed_at": days_ago(10), **changes}


def rows_of(manifests: Iterable[SubjectManifest]) -> pl.DataFrame:
    """Rows of the table."""
    return to_rows(manifests, LAYOUT)


_TIMES = st.integers(-1_000, 2_000).map(days_ago)
_MAYBE = st.none() | _TIMES


def _left_out(part: dict[str, Any]) -> dict[str, Any]:
    """Fields that appear where they have a value."""
    return {name: value for name, value in part.items() if value}


LIVES = st.builds(
    life,
    created_at=_TIMES,
    status=st.sampled_from(["active", "restricted", "erasure_ordered"]),
    vertical=st.sampled_from(["unknown", "general", "elsewhere"]),
    consent=st.fixed_dictionaries(
        {
            "general_pii": st.fixed_dictionaries(
                {
                    "status": st.sampled_from(["pending_backfill_review", "given", "refused", "withdrawn"]),
                    "given_at": _MAYBE,
                    "withdrawn_at": _MAYBE,
                }
            ),
            "biometric": st.tuples(
                st.fixed_dictionaries(
                    {
                        "status": st.sampled_from(["never_collected", "given", "refused", "withdrawn", "destroyed"]),
                        "retention_until": _MAYBE,
                    }
                ),
                st.fixed_dictionaries(
                    {
                        "given_at": _MAYBE,
                        "withdrawn_at": _MAYBE,
                        "until": _MAYBE,
                        "policy": st.sampled_from([None, "bipa", "gone"]),
                    }
                ).map(_left_out),
            ).map(lambda parts: parts[0] | parts[1]),
        }
    ),
    retention=st.tuples(
        st.fixed_dictionaries(
            {"general_pii_until": _TIMES, "policy": st.sampled_from(["4_year_default", "short", "gone"])}
        ),
        st.fixed_dictionaries({"last_interaction_at": _MAYBE}).map(_left_out),
    ).map(lambda parts: parts[0] | parts[1]),
    restricted_at=_MAYBE,
    erasure_ordered_at=_MAYBE,
    holds=st.lists(st.sampled_from(["H-1", "=H", "-3"]).map(hold), max_size=2),
)
"""Manifests that decisions and imports can lead to, and some that neither does."""


def only_times(one: SubjectManifest) -> SubjectManifest:
    """A life in which nothing but a restriction and an order of erasure is left of what decisions add."""
    kept = {"general_pii": one.consent.general_pii, "biometric": {"status": one.consent.biometric.status}}
    changed = {"holds": (), "consent": kept, "retention": {**one.retention.model_dump(), "last_interaction_at": None}}
    return SubjectManifest.parse({**one.model_dump(by_alias=True), **changed})
