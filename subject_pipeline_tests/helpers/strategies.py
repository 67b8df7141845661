"""Hypothesis strategies of manifests as any writer, a newer one too, may have written them."""

import datetime as dt
from typing import Any

from hypothesis import strategies as st

from subject_pipeline.manifests.manifest import SubjectManifest

# What Polars and JSON can hold: every code point but lone surrogates.
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
times = st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2262, 1, 1), timezones=st.just(dt.UTC))  # noqa: DTZ001
_time_texts = times.map(dt.datetime.isoformat)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
# `schema_` is the name of our attribute, not of a field in JSON.
_known = {
    "schema", "schema_", "candidate_id", "created_at", "updated_at", "status", "vertical", "consent", "retention",
    "datasets", "safe_views", "audit_log_path", "audit_log_chain_root", "general_pii", "biometric", "version",
    "given_at", "withdrawn_at", "retention_until", "general_pii_until", "policy", "name", "key_column", "key_value",
}  # fmt: skip
_names = st.one_of(
    st.sampled_from(["extra", "chunk", "storage_key", "newer", "imported_audit_log", "model_config", "copy"]),
    text.filter(lambda name: name not in _known),
)
_unknown = st.just(dict[str, Any]()) | st.dictionaries(_names, json_values, max_size=2)


@st.composite
def _part(draw: st.DrawFn, fields: dict[str, st.SearchStrategy[Any]]) -> dict[str, Any]:
    return {name: draw(value) for name, value in fields.items()} | draw(_unknown)


_consent = _part(
    {
        "general_pii": _part(
            {
                "status": text,
                "version": st.none() | text,
                "given_at": st.none() | _time_texts,
                "withdrawn_at": st.none() | _time_texts,
            }
        ),
        "biometric": _part({"status": text, "retention_until": st.none() | _time_texts}),
    }
)


def manifests() -> st.SearchStrategy[SubjectManifest]:
    """Manifests with values of every kind, and unknown fields at every depth."""
    return _part(
        {
            "schema": st.sampled_from(["subject_manifest.v1", "subject_manifest.v2"]),
            "candidate_id": text.filter(bool),
            "created_at": _time_texts,
            "updated_at": _time_texts,
            "status": text,
            "vertical": text,
            "consent": _consent,
            "retention": _part({"general_pii_until": _time_texts, "policy": text}),
            "datasets": st.lists(_part({"name": text, "key_column": text, "key_value": text}), max_size=3),
            "safe_views": st.lists(text, max_size=3),
            "audit_log_path": text,
            "audit_log_chain_root": text,
        }
    ).map(SubjectManifest.parse)
