"""The retention clock: until when a manifest's data may be kept, by which rule, and whether that is over."""

import datetime as dt
from collections.abc import Mapping
from typing import Any, NamedTuple

from subject_pipeline.decisions.decision import BIOMETRIC, GENERAL_PII
from subject_pipeline.decisions.policies import Basis, Policies, Policy, Rule
from subject_pipeline.errors import HeldError
from subject_pipeline.formats.times import format_time

Document = Mapping[str, Any]
"""A manifest's JSON."""

UNTIL = "until"
"""In the place of a rule's basis: the end that the person's own consent names."""


class Ends(NamedTuple):
    """When a retention ends, and why.

    Attributes:
        time: RFC 3339, UTC.
        policy: the policy's name; None: the consent's own `until` comes first.
        rule: of the policy; None likewise.
        since: the time that it is counted from.
    """

    time: str
    policy: str | None = None
    rule: Rule | None = None
    since: str = ""


def date_of(document: Document, basis: Basis, scope: str) -> str | None:
    """The time in a manifest that a rule counts from; None where there is none."""
    if basis == "registered":
        return str(document["created_at"])
    if basis == "last_interaction":
        return str(document["retention"].get("last_interaction_at") or document["created_at"])
    found = document["consent"][scope].get("given_at" if basis == "consent_given" else "withdrawn_at")
    return None if found is None else str(found)


def by_policy(document: Document, name: str, policy: Policy) -> Ends:
    """When a policy's time is over: the first of its rules that have a date; if none has one, from registration."""
    dated = [(rule, since) for rule in policy.first_of if (since := date_of(document, rule.basis, policy.scope))]
    counted = dated or [(rule, str(document["created_at"])) for rule in policy.first_of]
    ends = [
        Ends(format_time(rule.ends(dt.datetime.fromisoformat(since))), name, rule, since) for rule, since in counted
    ]
    return min(ends, key=lambda one: one.time)


def general_ends(document: Document, policies: Policies) -> Ends | None:
    """When general personal data must go by its policy; None: the policy is not declared, so what is stored stands."""
    name = document["retention"]["policy"]
    policy = policies.retention.get(name)
    return None if policy is None else by_policy(document, name, policy)


def biometric_ends(document: Document, policies: Policies) -> Ends | None:
    """When biometric data must go: the earlier of the consent's `until` and the policy; None: nothing says when."""
    consent = document["consent"][BIOMETRIC]
    name, until = consent.get("policy"), consent.get("until")
    policy = policies.retention.get(name) if name else None
    ends = [] if policy is None else [by_policy(document, str(name), policy)]
    if until is not None:
        ends.append(Ends(str(until), since=str(until)))
    return min(ends, key=lambda one: one.time) if ends else None


def depends_on(policy: Policy | None, basis: Basis) -> bool:
    """Whether a policy's date may change with this."""
    return policy is not None and any(rule.basis == basis for rule in policy.first_of)


def holds_biometrics(document: Document) -> bool:
    """Whether biometric data may be there: collected on a consent, and not destroyed."""
    return document["consent"][BIOMETRIC]["status"] in {"given", "withdrawn"}


def is_held(document: Document) -> bool:
    """Whether a legal hold stands."""
    return bool(document.get("holds"))


def check_not_held(document: Document) -> None:
    """Refuse to delete somebody held.

    Raises:
        HeldError: the holds are named.
    """
    if is_held(document):
        holds = ", ".join(hold["hold_id"] for hold in document["holds"])
        raise HeldError(
            f"{document['candidate_id']!r} is held ({holds}) and was not deleted: release the last hold first"
        )


def due(document: Document, now: str) -> tuple[str, ...]:
    """The scopes whose time is over, held or not.

    Args:
        document: a manifest's JSON.
        now: RFC 3339, UTC, six decimals, so that times compare as texts.
    """
    found = [GENERAL_PII] if document["retention"]["general_pii_until"] <= now else []
    until = document["consent"][BIOMETRIC]["retention_until"]
    if until is not None and holds_biometrics(document) and until <= now:
        found.append(BIOMETRIC)
    return tuple(found)
