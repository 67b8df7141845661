"""What each decision does to a manifest, and when it is allowed: one pure function over a manifest's JSON."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from subject_pipeline.decisions.decision import BIOMETRIC, GENERAL_PII, Decision, Kind
from subject_pipeline.decisions.policies import Policies
from subject_pipeline.decisions.retention import (
    Document,
    biometric_ends,
    depends_on,
    general_ends,
    holds_biometrics,
    is_held,
)
from subject_pipeline.errors import DecisionError

_WHILE_ORDERED = frozenset(
    {
        Kind.ERASURE_CANCELLED,
        Kind.HOLD_PLACED,
        Kind.HOLD_RELEASED,
        Kind.CONSENT_WITHDRAWN,
        Kind.BIOMETRIC_DESTROYED,
    }
)
"""What may still be decided while an erasure is ordered."""

Draft = dict[str, Any]


def apply(document: Document, decision: Decision, policies: Policies) -> Draft:
    """The manifest after a decision; `updated_at` is the caller's to set.

    Args:
        document: the manifest's JSON; not changed.
        decision: an order about this subject.
        policies: the store's.

    Raises:
        DecisionError: the decision is not allowed; what is, in words.
    """
    kind = decision.kind
    if (reason := four_eyes(decision, policies)) is not None:
        raise DecisionError(reason)
    if kind == Kind.READMITTED:
        raise DecisionError("not allowed: nobody erased has this id; the person is registered")
    if is_ordered(document) and kind not in _WHILE_ORDERED:
        what = "it is ordered already" if kind == Kind.ERASURE_ORDERED else "an erasure is ordered"
        raise DecisionError(f"not allowed: {what}; allowed now: {', '.join(sorted(_WHILE_ORDERED))}")
    draft: Draft = {**document, "consent": {scope: {**one} for scope, one in document["consent"].items()}}
    draft["retention"] = {**document["retention"]}
    _TRANSITIONS[kind](draft, decision, policies)
    return draft


def four_eyes(decision: Decision, policies: Policies) -> str | None:
    """Why a decision needs a second person; None where it does not, or has one. Both names are claims."""
    if decision.kind not in policies.four_eyes:
        return None
    second = (decision.approved_by or "").strip().casefold()
    if second and second != decision.actor.strip().casefold():
        return None
    return f"not allowed: {decision.kind} takes four eyes: approved_by must name somebody other than the actor"


def is_ordered(document: Document) -> bool:
    """Whether an erasure is ordered and stands."""
    return bool(document.get("erasure_ordered_at")) or document["status"] == "erasure_ordered"


def is_restricted(document: Document) -> bool:
    """Whether processing is restricted, whatever else is ordered."""
    return bool(document.get("restricted_at")) or document["status"] == "restricted"


def _consent_given(draft: Draft, decision: Decision, policies: Policies) -> None:
    scope = decision.scope or GENERAL_PII
    consent = draft["consent"][scope]
    later = decision.until is not None and decision.until > (consent.get("until") or "")
    if consent["status"] == "given" and consent.get("version") == decision.version and not later:
        other = " or with a later until" if scope == BIOMETRIC else ""
        _refuse(f"consent to {scope} is given with this version: allowed with another version{other}, or withdrawn")
    consent.update(status="given", version=decision.version, given_at=decision.ts)
    _put(consent, "withdrawn_at", None, always=scope == GENERAL_PII)
    if scope == BIOMETRIC:
        consent["until"] = decision.until
    _consent_dates(draft, scope, policies)


def _consent_refused(draft: Draft, decision: Decision, _: Policies) -> None:
    consent = draft["consent"][decision.scope]
    if consent["status"] not in {"pending_backfill_review", "never_collected"}:
        _refuse(f"consent to {decision.scope} is {consent['status']}: refused only before any other decision on it")
    consent["status"] = "refused"


def _consent_withdrawn(draft: Draft, decision: Decision, policies: Policies) -> None:
    scope = decision.scope or GENERAL_PII
    consent = draft["consent"][scope]
    if consent["status"] != "given":
        never = consent["status"] in {"pending_backfill_review", "never_collected"}
        advice = ": it was never given, so consent_refused (--refuse) is what to record" if never else ""
        _refuse(f"consent to {scope} is {consent['status']}, not given{advice}")
    consent.update(status="withdrawn", withdrawn_at=decision.ts)
    _consent_dates(draft, scope, policies)


def _biometric_destroyed(draft: Draft, _: Decision, __: Policies) -> None:
    consent = draft["consent"][BIOMETRIC]
    if not holds_biometrics(draft):
        _refuse(
            f"consent to biometric is {consent['status']}: there is nothing to destroy unless it is given or withdrawn"
        )
    if is_held(draft):
        held = ", ".join(hold["hold_id"] for hold in draft["holds"])
        _refuse(f"the person is held ({held}): destroy once the last hold is released")
    consent.update(status="destroyed", retention_until=None)
    _put(consent, "until", None)


def _classified(draft: Draft, decision: Decision, policies: Policies) -> None:
    words = policies.vocabulary["vertical"]
    if decision.vertical not in words:
        _refuse(f"the vertical is none that the policies declare: {', '.join(words)}")
    draft["vertical"] = decision.vertical


def _retention_set(draft: Draft, decision: Decision, policies: Policies) -> None:
    policy = policies.retention.get(decision.policy or "")
    if policy is None:
        _refuse(f"the policy is not declared: there are {', '.join(policies.retention)}")
    elif policy.scope == BIOMETRIC:
        draft["consent"][BIOMETRIC]["policy"] = decision.policy
        _set_biometric(draft, policies)
    else:
        draft["retention"]["policy"] = decision.policy
        _set_general(draft, policies)


def _interaction(draft: Draft, decision: Decision, policies: Policies) -> None:
    retention = draft["retention"]
    retention["last_interaction_at"] = max(retention.get("last_interaction_at") or "", decision.ts)
    if depends_on(policies.retention.get(retention["policy"]), "last_interaction"):
        _set_general(draft, policies)
    if depends_on(policies.retention.get(draft["consent"][BIOMETRIC].get("policy") or ""), "last_interaction"):
        _set_biometric(draft, policies)


def _hold_placed(draft: Draft, decision: Decision, _: Policies) -> None:
    holds = draft.get("holds") or []
    if any(hold["hold_id"] == decision.hold_id for hold in holds):
        _refuse("this hold is there already: release it, or place another")
    hold = {"hold_id": decision.hold_id, "placed_at": decision.ts}
    _put(hold, "reason", decision.reason)
    draft["holds"] = [*holds, hold]


def _hold_released(draft: Draft, decision: Decision, _: Policies) -> None:
    holds = draft.get("holds") or []
    left = [hold for hold in holds if hold["hold_id"] != decision.hold_id]
    if len(left) == len(holds):
        there = ", ".join(hold["hold_id"] for hold in holds) or "none"
        _refuse(f"there is no such hold; holds there are: {there}")
    _put(draft, "holds", left or None)


def _restricted(draft: Draft, decision: Decision, _: Policies) -> None:
    if is_restricted(draft):
        _refuse("the person is restricted already: allowed is unrestricted")
    draft.update(restricted_at=decision.ts, status="restricted")


def _unrestricted(draft: Draft, _: Decision, __: Policies) -> None:
    if not is_restricted(draft):
        _refuse("the person is not restricted: allowed is restricted")
    _put(draft, "restricted_at", None)
    draft["status"] = "active"


def _erasure_ordered(draft: Draft, decision: Decision, _: Policies) -> None:
    if is_restricted(draft):  # one that was imported as a word alone must survive a cancelled order
        draft["restricted_at"] = draft.get("restricted_at") or draft["updated_at"]
    draft.update(erasure_ordered_at=decision.ts, status="erasure_ordered")


def _erasure_cancelled(draft: Draft, _: Decision, __: Policies) -> None:
    if not is_ordered(draft):
        _refuse("no erasure is ordered: allowed is erasure_ordered")
    _put(draft, "erasure_ordered_at", None)
    draft["status"] = "restricted" if draft.get("restricted_at") else "active"


_TRANSITIONS: Mapping[Kind, Callable[[Draft, Decision, Policies], None]] = MappingProxyType(
    {
        Kind.CONSENT_GIVEN: _consent_given,
        Kind.CONSENT_REFUSED: _consent_refused,
        Kind.CONSENT_WITHDRAWN: _consent_withdrawn,
        Kind.BIOMETRIC_DESTROYED: _biometric_destroyed,
        Kind.CLASSIFIED: _classified,
        Kind.RETENTION_SET: _retention_set,
        Kind.INTERACTION: _interaction,
        Kind.HOLD_PLACED: _hold_placed,
        Kind.HOLD_RELEASED: _hold_released,
        Kind.RESTRICTED: _restricted,
        Kind.UNRESTRICTED: _unrestricted,
        Kind.ERASURE_ORDERED: _erasure_ordered,
        Kind.ERASURE_CANCELLED: _erasure_cancelled,
    }
)


def _consent_dates(draft: Draft, scope: str, policies: Policies) -> None:
    """Dates that a decision on a consent moves: of its own scope, where they depend on it."""
    if scope == BIOMETRIC:
        _set_biometric(draft, policies)
        return
    policy = policies.retention.get(draft["retention"]["policy"])
    if depends_on(policy, "consent_given") or depends_on(policy, "consent_withdrawn"):
        _set_general(draft, policies)


def _set_general(draft: Draft, policies: Policies) -> None:
    ends = general_ends(draft, policies)
    if ends is not None:
        draft["retention"]["general_pii_until"] = ends.time


def _set_biometric(draft: Draft, policies: Policies) -> None:
    ends = biometric_ends(draft, policies) if holds_biometrics(draft) else None
    if ends is not None or not holds_biometrics(draft):
        draft["consent"][BIOMETRIC]["retention_until"] = ends.time if ends else None


def _put(part: Draft, name: str, value: object, *, always: bool = False) -> None:
    """Set a field that appears only where it has a value."""
    if value is None and not always:
        part.pop(name, None)
    else:
        part[name] = value


def _refuse(why: str) -> None:
    raise DecisionError(f"not allowed: {why}")
