"""One decision: its fields, which of them each kind needs, and the matter that it is about."""

import hashlib
import re
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple

from subject_pipeline.audit.events import MAX_TEXT, event_time
from subject_pipeline.errors import DecisionError, EventError
from subject_pipeline.formats.shown_text import from_cell, same_cell, shown

MAX_REASON = 200
"""Characters of a reason, which holds no personal data."""

CHECK_DIGITS = 12
"""Hex digits of `candidate_check`."""


class Kind(StrEnum):
    """What a decision file or a command may order."""

    CONSENT_GIVEN = "consent_given"
    CONSENT_REFUSED = "consent_refused"
    CONSENT_WITHDRAWN = "consent_withdrawn"
    BIOMETRIC_DESTROYED = "biometric_destroyed"
    CLASSIFIED = "classified"
    RETENTION_SET = "retention_set"
    INTERACTION = "interaction"
    HOLD_PLACED = "hold_placed"
    HOLD_RELEASED = "hold_released"
    RESTRICTED = "restricted"
    UNRESTRICTED = "unrestricted"
    ERASURE_ORDERED = "erasure_ordered"
    ERASURE_CANCELLED = "erasure_cancelled"
    READMITTED = "readmitted"


GENERAL_PII, BIOMETRIC = "general_pii", "biometric"
SCOPES = (GENERAL_PII, BIOMETRIC)

NEEDS: Mapping[Kind, tuple[str, ...]] = MappingProxyType(
    dict.fromkeys(Kind, ())
    | {
        Kind.CONSENT_GIVEN: ("scope", "version"),
        Kind.CONSENT_REFUSED: ("scope",),
        Kind.CONSENT_WITHDRAWN: ("scope",),
        Kind.BIOMETRIC_DESTROYED: ("evidence",),
        Kind.CLASSIFIED: ("vertical",),
        Kind.RETENTION_SET: ("policy",),
        Kind.HOLD_PLACED: ("hold_id",),
        Kind.HOLD_RELEASED: ("hold_id",),
        Kind.READMITTED: ("reason",),
    }
)
"""The fields that a kind needs, beside those that every decision has; biometric `consent_given` also takes `until`."""

REGISTRYS_OWN = ("registered", "replaced", "deleted", "linked", "erased")
"""Kinds that the registry records by itself, and that nobody can order."""

_ALWAYS = ("decision_id", "candidate_id", "kind", "ts", "actor")
_OPTIONAL = ("reason", "evidence", "approved_by")
_SPECIFIC = ("scope", "version", "until", "vertical", "policy", "hold_id")
_KNOWN = frozenset({*_ALWAYS, *_OPTIONAL, *_SPECIFIC, "candidate_check"})
_IGNORED = "about_"

_is_evidence = re.compile(r"sha256:[0-9a-f]{64}|(?!sha256:)[A-Za-z][A-Za-z0-9+.-]*:\S+").fullmatch


class Decision(NamedTuple):
    """An order about one subject; `order` is what a row of the log records of it.

    Attributes:
        decision_id: what makes two decisions about one subject the same.
        ts: when it was decided: RFC 3339, UTC, six decimals, `Z`.
        actor: who decided, by their own claim.
        reason: at most 200 characters, no personal data.
        evidence: the document that it rests on: a URI or `sha256:<64 hex digits>`.
        approved_by: the second pair of eyes, likewise by claim.
        until: of a biometric consent, when the person said that it ends; a time like `ts`.
    """

    decision_id: str
    candidate_id: str
    kind: Kind
    ts: str
    actor: str
    reason: str | None = None
    evidence: str | None = None
    approved_by: str | None = None
    scope: str | None = None
    version: str | None = None
    until: str | None = None
    vertical: str | None = None
    policy: str | None = None
    hold_id: str | None = None

    @property
    def order(self) -> dict[str, str]:
        """The fields that have a value."""
        return {name: value for name, value in zip(self._fields, map(_plain, self), strict=True) if value is not None}

    @property
    def matter(self) -> str | None:
        """What it is about: an older decision on the same matter is stale; None: it is never stale."""
        return matter_of(self._asdict())


def _plain(value: str | None) -> str | None:
    return value if value is None else str(value)


def matter_of(order: Mapping[str, Any]) -> str | None:
    """The matter of a recorded decision, which may be of a kind that only the registry makes."""
    matter = _MATTERS.get(order["kind"])
    return matter.format_map(order) if matter is not None else None


_MATTERS: Mapping[str, str] = MappingProxyType(
    {
        Kind.CONSENT_GIVEN: "consent to {scope}",
        Kind.CONSENT_REFUSED: "consent to {scope}",
        Kind.CONSENT_WITHDRAWN: "consent to {scope}",
        Kind.BIOMETRIC_DESTROYED: f"consent to {BIOMETRIC}",
        Kind.CLASSIFIED: "vertical",
        Kind.RETENTION_SET: "retention policy",
        Kind.HOLD_PLACED: "hold {hold_id}",
        Kind.HOLD_RELEASED: "hold {hold_id}",
        Kind.RESTRICTED: "restriction",
        Kind.UNRESTRICTED: "restriction",
        Kind.ERASURE_ORDERED: "erasure",
        Kind.ERASURE_CANCELLED: "erasure",
        Kind.READMITTED: "erasure",
        "erased": "erasure",
    }
)


def candidate_check(candidate_id: str) -> str:
    """12 hex digits that show whether an id is still what it was: a spreadsheet makes 17 of 0017."""
    return hashlib.sha256(candidate_id.encode()).hexdigest()[:CHECK_DIGITS]


def is_undecided(value: object) -> bool:
    """Whether a line is a draft for which nobody has chosen a kind yet."""
    return isinstance(value, Mapping) and "kind" in value and value["kind"] in (None, "")


def parse_decision(value: object) -> Decision:
    """The decision that a JSON object, or a row of a table, holds; empty texts count as absent.

    Columns whose names begin with `about_` inform anyone who decides, and are ignored.

    Raises:
        DecisionError: what is wrong, in words, without the value of any field but `kind`.
    """
    if not isinstance(value, Mapping):
        raise DecisionError("not a JSON object")
    given = {name: item for name, item in value.items() if item is not None and item != ""}
    unknown = sorted(name for name in given if name not in _KNOWN and not str(name).startswith(_IGNORED))
    if unknown:
        raise DecisionError(f"unknown field {shown(str(unknown[0]))!r}")
    for name in _ALWAYS:
        if name not in given:
            raise DecisionError(f"{name}: missing")
    kind = _kind(given["kind"])
    texts = _of_a_draft(
        {name: _text(name, item) for name, item in given.items() if name in _KNOWN - {"ts", "until", "kind"}}
    )
    _check_texts(texts)
    needed = NEEDS[kind]
    if kind == Kind.CONSENT_GIVEN and texts.get("scope") == BIOMETRIC:
        needed = (*needed, "until")
    for name in needed:
        if name not in given:
            raise DecisionError(f"{name}: missing, {kind} needs it")
    for name in _SPECIFIC:
        if name in given and name not in needed:
            raise DecisionError(f"{name}: {kind} takes none")
    times = {name: _time(name, given[name]) for name in ("ts", "until") if name in given}
    texts.pop("candidate_check", None)
    return Decision(**texts, **times, kind=kind)


def _of_a_draft(texts: Mapping[str, str]) -> dict[str, str]:
    """The texts of a draft without the apostrophes that its export put before what looks like a formula.

    Only drafts have a check. Of an id with and without an apostrophe, it says which is meant; of 150 checks one looks
    like a number, and is still known where a spreadsheet made it one.
    """
    if "candidate_check" not in texts:
        return dict(texts)
    plain = {name: from_cell(text) for name, text in texts.items()}
    if same_cell(plain["candidate_check"], candidate_check(texts["candidate_id"])):
        plain["candidate_id"] = texts["candidate_id"]
    return plain


def _check_texts(texts: Mapping[str, str]) -> None:
    """Refuse texts that are not of their fields' forms."""
    check = texts.get("candidate_check")
    if check is not None and not same_cell(check, candidate_check(texts["candidate_id"])):
        raise DecisionError(
            "candidate_check does not match candidate_id: was the id changed, by a spreadsheet perhaps?"
        )
    if len(texts.get("reason", "")) > MAX_REASON:
        raise DecisionError(f"reason: longer than {MAX_REASON} characters")
    if "evidence" in texts and not _is_evidence(texts["evidence"]):
        raise DecisionError("evidence: must be a URI, or sha256: and 64 lower-case hex digits")
    if texts.get("scope", GENERAL_PII) not in SCOPES:
        raise DecisionError(f"scope: must be one of {', '.join(SCOPES)}")


def _kind(value: object) -> Kind:
    if value in REGISTRYS_OWN:
        raise DecisionError(f"kind: {value} is recorded by the registry alone, and cannot be ordered")
    try:
        return Kind(value)  # type: ignore[arg-type]
    except ValueError:
        raise DecisionError(f"kind: {shown(str(value))!r} is none of {', '.join(Kind)}") from None


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise DecisionError(f"{name}: must be text")
    if value.isspace():
        raise DecisionError(f"{name}: empty")
    if len(value) > MAX_TEXT:
        raise DecisionError(f"{name}: longer than {MAX_TEXT:,} characters")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise DecisionError(f"{name}: holds a lone surrogate") from error
    return value


def _time(name: str, value: object) -> str:
    try:
        return event_time(value)
    except EventError as error:
        raise DecisionError(f"{name}: {str(error).removeprefix('ts: ')}") from error
