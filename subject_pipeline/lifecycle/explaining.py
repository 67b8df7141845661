"""Why a subject's data is kept until when: which rule gives each date, counted from what, and which row says so."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from subject_pipeline.audit.events import MANIFEST_DELETED
from subject_pipeline.decisions.decision import BIOMETRIC, SCOPES
from subject_pipeline.decisions.policies import Policies
from subject_pipeline.decisions.retention import (
    UNTIL,
    Document,
    Ends,
    biometric_ends,
    due,
    general_ends,
    holds_biometrics,
)
from subject_pipeline.decisions.transitions import is_ordered, is_restricted

REGISTRATION = "registration"
"""In the place of a row: a first registration, or import, needs none."""

_MADE_BY = {"consent_given": "consent_given", "consent_withdrawn": "consent_withdrawn", UNTIL: "consent_given"}
_FIELD = {"consent_given": "given_at", "consent_withdrawn": "withdrawn_at", UNTIL: "until"}
_WHOLE = ("registered", "replaced")

Row = Mapping[str, Any]
"""A row of the log, with its `seq`, `ts`, `action` and `decision`."""


def explained(document: Document, rows: Sequence[Row], policies: Policies, now: str) -> dict[str, Any]:
    """What is known of a subject's dates, as JSON values.

    Args:
        document: its manifest's JSON.
        rows: all rows of its chain, in order; those that are none of the registry's are passed over.
        policies: the store's.
        now: RFC 3339, UTC, six decimals.
    """
    recorded = list(_since_last_deletion(rows))
    over = due(document, now)
    holds = list(document.get("holds") or ())
    return {
        "candidate_id": document["candidate_id"],
        "status": document["status"],
        "now": now,
        "dates": {scope: {**_date(scope, document, recorded, policies), "due": scope in over} for scope in SCOPES},
        "held": bool(holds),
        "holds": holds,
        "ordered": is_ordered(document),
        "erasure_ordered_at": document.get("erasure_ordered_at"),
        "restricted": is_restricted(document),
        "restricted_at": document.get("restricted_at"),
    }


def in_words(found: Mapping[str, Any]) -> str:
    """An explanation for people."""
    lines = []
    for scope, date in found["dates"].items():
        if date["until"] is None:
            lines.append(f"{scope}: no date; {date['why']}")
            continue
        state = "" if not date["due"] else ", due and held" if found["held"] else ", due"
        lines.append(f"{scope}: until {date['until']}{state}; {date['why']}")
    holds = ", ".join(f"{hold['hold_id']} since {hold['placed_at']}" for hold in found["holds"])
    lines.append(f"held: {holds or 'no'}")
    for name, at in (("ordered", "erasure_ordered_at"), ("restricted", "restricted_at")):
        lines.append(f"{name}: {'no' if not found[name] else f'since {found[at]}' if found[at] else 'yes'}")
    return "\n".join(lines)


def _date(scope: str, document: Document, rows: Sequence[Row], policies: Policies) -> dict[str, Any]:
    """A scope's date, and why it is that."""
    if scope == BIOMETRIC:
        consent = document["consent"][BIOMETRIC]
        until, name = consent["retention_until"], consent.get("policy")
        ends = biometric_ends(document, policies)
        if until is None and not holds_biometrics(document):
            return _told(None, f"consent is {consent['status']}, so there is nothing to keep", explained=True)
    else:
        until, name = document["retention"]["general_pii_until"], document["retention"]["policy"]
        ends = general_ends(document, policies)
    if ends is not None and ends.time == until:
        return _by_rule(scope, ends, document, rows)
    if name and name not in policies.retention:
        why = (
            f"the policy {name} is not declared, so no rule explains it: it was imported, or the policies have changed"
        )
    elif ends is None:
        why = "no policy and no consent says when" + ("" if until is None else ", so no rule explains it")
    else:
        given = ends.policy or "the consent's own end"
        why = f"no rule explains it: it was imported, or the policies have changed; now {given} would give {ends.time}"
    return {**_told(until, why, explained=False), "would_be": None if ends is None else ends.time}


def _told(until: str | None, why: str, *, explained: bool) -> dict[str, Any]:
    nothing = dict.fromkeys(("policy", "rule", "counted_from", "row"))
    return {"until": until, "explained": explained, **nothing, "why": why}


def _by_rule(scope: str, ends: Ends, document: Document, rows: Sequence[Row]) -> dict[str, Any]:
    basis = UNTIL if ends.rule is None else str(ends.rule.basis)
    if ends.since == document["created_at"] and ends.rule is not None:
        interaction = document["retention"].get("last_interaction_at")
        if basis != "last_interaction" or ends.since != interaction:
            basis = "registered"
    row = _row_of(scope, basis, ends.since, rows)
    source = REGISTRATION if row is None else {
        "seq": row.get("seq"),
        "ts": row.get("ts"),
        "recorded_at": row["decision"].get("recorded_at"),
        "kind": row["decision"].get("kind"),
        "decision_id": row["decision"].get("decision_id"),
    }  # fmt: skip
    counted = f"row {row.get('seq')}, {row['decision'].get('kind')}" if row is not None else REGISTRATION
    if ends.rule is None:
        why = f"the person's own consent ends then ({counted})"
    else:
        why = f"{ends.policy}: {ends.rule.keep} from {basis}, {ends.since} ({counted})"
    return {
        "until": ends.time,
        "explained": True,
        "policy": ends.policy,
        "rule": None if ends.rule is None else {"keep": ends.rule.keep, "from": ends.rule.basis},
        "counted_from": {"what": basis, "time": ends.since},
        "row": source,
        "why": why,
    }


def _row_of(scope: str, basis: str, time: str, rows: Sequence[Row]) -> Row | None:
    """The row that gave a manifest the time that a rule counts from; None where no row did."""
    found = None
    for row in rows:
        decision = row["decision"]
        kind, changes = decision.get("kind"), decision.get("changes")
        if kind in _WHOLE and isinstance(changes, Mapping):
            there = _value_in(changes, scope, basis) == time
            found = found if found is not None and there else row if there else found
        elif basis == "last_interaction":
            found = row if kind == "interaction" and decision.get("ts") == time else found
        elif basis in _MADE_BY and kind == _MADE_BY[basis] and decision.get("scope") == scope:
            found = row if decision.get("until" if basis == UNTIL else "ts") == time else found
    return found


def _value_in(changes: Mapping[str, Any], scope: str, basis: str) -> object:
    """The time of a basis among the fields that a row set as a whole."""
    if basis == "registered":
        return changes.get("created_at")
    part = changes.get("retention" if basis == "last_interaction" else "consent")
    if basis != "last_interaction" and isinstance(part, Mapping):
        part = part.get(scope)
    return part.get(_FIELD.get(basis, "last_interaction_at")) if isinstance(part, Mapping) else None


def _since_last_deletion(rows: Sequence[Row]) -> Iterator[Row]:
    """The rows with a decision that made the manifest what it is."""
    decided = [row for row in rows if isinstance(row.get("decision"), Mapping)]
    last = max((at for at, row in enumerate(decided) if row.get("action") == MANIFEST_DELETED), default=-1)
    yield from decided[last + 1 :]
