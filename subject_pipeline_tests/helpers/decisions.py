"""Decisions and manifests' JSON for tests."""

import datetime as dt
from typing import Any

from subject_pipeline.decisions.decision import Decision, parse_decision
from subject_pipeline.manifests.manifest import DatasetReference, new_manifest

REGISTERED = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
DECIDED = "2026-06-01T12:00:00.000000Z"


def document(candidate_id: str = "P-1", **fields: Any) -> dict[str, Any]:
    """The JSON of a manifest that was only registered, with these top-level fields otherwise."""
    reference = DatasetReference(name="people", key_column="person_id", key_value=candidate_id)
    manifest = new_manifest(
        candidate_id=candidate_id, dataset=reference, safe_views=(), chunk="chunk-0", now=REGISTERED
    )
    return {**manifest.as_json(), **fields}


def with_consent(scope: str, **fields: Any) -> dict[str, Any]:
    """A registered manifest whose consent to one scope is otherwise."""
    found = document()
    found["consent"][scope].update(fields)
    return found


_NEEDED: dict[str, dict[str, str]] = {
    "biometric_destroyed": {"evidence": "https://example.com/log/7"},
    "classified": {"vertical": "healthcare"},
    "retention_set": {"policy": "4_year_default"},
    "hold_placed": {"hold_id": "case-1"},
    "hold_released": {"hold_id": "case-1"},
    "readmitted": {"reason": "came back"},
}


def line(kind: str, candidate_id: str = "P-1", **fields: Any) -> dict[str, Any]:
    """A line of a decision file, with what its kind needs."""
    consent = {"scope": "general_pii"} if kind.startswith("consent_") else {}
    given = {"version": "2"} if kind == "consent_given" else {}
    until = {"until": "2029-01-01T00:00:00Z"} if kind == "consent_given" and fields.get("scope") == "biometric" else {}
    needed = {**consent, **given, **until, **_NEEDED.get(kind, {})}
    return {
        "decision_id": "d-1", "candidate_id": candidate_id, "kind": kind, "ts": DECIDED, "actor": "dpo",
        **needed, **fields,
    }  # fmt: skip


def decision(kind: str, candidate_id: str = "P-1", **fields: Any) -> Decision:
    """A decision, with what its kind needs."""
    return parse_decision(line(kind, candidate_id, **fields))
