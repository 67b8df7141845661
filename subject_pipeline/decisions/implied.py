"""What a change of a manifest amounts to that nobody decided: the kinds of decisions that would have made it. Pure."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from subject_pipeline.decisions.decision import BIOMETRIC, GENERAL_PII, SCOPES, Kind
from subject_pipeline.decisions.policies import Policies
from subject_pipeline.decisions.retention import Document, general_ends
from subject_pipeline.decisions.transitions import is_ordered, is_restricted
from subject_pipeline.manifests.manifest import DEFAULT_POLICY, Consent

_CONSENT_KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "given": Kind.CONSENT_GIVEN,
        "refused": Kind.CONSENT_REFUSED,
        "withdrawn": Kind.CONSENT_WITHDRAWN,
        "destroyed": Kind.BIOMETRIC_DESTROYED,
    }
)
"""The kind that leaves each status of a consent; the others are those before any decision."""


def implied(before: Document | None, after: Document) -> frozenset[Kind]:
    """The kinds whose effect a change has: none of them where nothing that is decided differs.

    A consent that goes back to what it was before any decision has the effect of all kinds about consent.

    Args:
        before: a manifest's JSON; None: the person is new, so the change is from what registration writes.
        after: the manifest's JSON that is to take its place.
    """
    before = before if before is not None else _registered(after)
    kinds = {kind for scope in SCOPES for kind in _of_consent(before["consent"][scope], after["consent"][scope])}
    if before["vertical"] != after["vertical"]:
        kinds.add(Kind.CLASSIFIED)
    if _dates(before) != _dates(after):
        kinds.add(Kind.RETENTION_SET)
    if before["retention"].get("last_interaction_at") != after["retention"].get("last_interaction_at"):
        kinds.add(Kind.INTERACTION)
    holds, holds_then = _holds(before), _holds(after)
    if any(holds.get(hold_id) != hold for hold_id, hold in holds_then.items()):
        kinds.add(Kind.HOLD_PLACED)
    if holds.keys() - holds_then.keys():
        kinds.add(Kind.HOLD_RELEASED)
    if (is_restricted(before), before.get("restricted_at")) != (is_restricted(after), after.get("restricted_at")):
        kinds.add(Kind.RESTRICTED if is_restricted(after) else Kind.UNRESTRICTED)
    if (is_ordered(before), before.get("erasure_ordered_at")) != (is_ordered(after), after.get("erasure_ordered_at")):
        kinds.add(Kind.ERASURE_ORDERED if is_ordered(after) else Kind.ERASURE_CANCELLED)
    return frozenset(kinds)


def _registered(after: Document) -> Document:
    """What registration at the time that a manifest gives would have written, as far as it is decided about."""
    registered = {
        "created_at": after["created_at"],
        "status": "active",
        "vertical": "unknown",
        "consent": Consent().model_dump(mode="json"),
        "retention": {"policy": DEFAULT_POLICY},
    }
    ends = general_ends(registered, Policies())
    return {**registered, "retention": {**registered["retention"], "general_pii_until": ends.time if ends else None}}


def _of_consent(before: Mapping[str, Any], after: Mapping[str, Any]) -> frozenset[Kind]:
    said = ("version", "given_at", "withdrawn_at", "until")
    kind = _CONSENT_KINDS.get(after["status"])
    if before["status"] == after["status"] and (kind is None or all(before.get(one) == after.get(one) for one in said)):
        return frozenset()
    return frozenset(_CONSENT_KINDS.values()) if kind is None else frozenset({kind})


def _dates(document: Document) -> tuple[object, ...]:
    """All that says when data must go, and what that is counted from."""
    retention, biometric = document["retention"], document["consent"][BIOMETRIC]
    return (
        *(document["created_at"], retention["policy"], retention[f"{GENERAL_PII}_until"]),
        *(biometric.get("policy"), biometric["retention_until"]),
    )


def _holds(document: Document) -> Mapping[str, Mapping[str, Any]]:
    return {hold["hold_id"]: hold for hold in document.get("holds") or ()}
