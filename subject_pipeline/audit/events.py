"""Access events: who did what to whose data, when and with what result, before they become rows of the log.

A payload is reduced to its result and its hash here; nothing of it goes further.

It is longer than other files because every rule about an event is here.
"""

import datetime as dt
import hashlib
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import orjson

from subject_pipeline.audit.result_state import RESULT_STATES, audit_result_state
from subject_pipeline.errors import CanonicalJsonError, EventError
from subject_pipeline.formats.canonical_json import canonical_json
from subject_pipeline.formats.times import format_time, is_time
from subject_pipeline.store.ids import refusal

EVIDENCE_PREFIX = "manifest_"
"""Actions that only the registry may record."""

MANIFEST_UPDATED = "manifest_updated"
MANIFEST_DELETED = "manifest_deleted"
ERASED = "erased"
"""The kind of the decision with which a deletion is for good."""

MAX_TEXT = 1_024
"""Characters of any one text of an event."""

MAX_FIELDS = 1_000

IDENTITY, CONTENT = 16, 8
"""Bytes of the digests that show whether two events are the same, and whether they say the same."""

_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)", re.ASCII)


class AccessEvent(NamedTuple):
    """One access to one subject's data. A tuple, since an ingestion makes a hundred thousand of them a second.

    Attributes:
        candidate_id: whose data.
        event_id: with `candidate_id` and the month of `ts`, what makes two events the same.
        ts: RFC 3339, UTC, six decimals, `Z`.
        result: `success`, `error`, `denied` or `not_found`.
        fields: names of the fields touched, never their values.
        payload_sha256: of the payload's canonical JSON, 64 hex digits.
        reason: why, in words.
        manifest_sha256: of a registry row: the manifest's after the change; None where it is deleted.
        decision: of a registry row: what was decided, as JSON values without floats.
        gate: of an access that the gate decided on: by what, `policy_sha256`, `table_version` and `max_age_s`.
    """

    candidate_id: str
    event_id: str
    ts: str
    actor: str
    action: str
    result: str
    dataset: str | None = None
    fields: tuple[str, ...] | None = None
    purpose: str | None = None
    trace_id: str | None = None
    payload_sha256: str | None = None
    reason: str | None = None
    manifest_sha256: str | None = None
    decision: Mapping[str, Any] | None = None
    gate: Mapping[str, Any] | None = None

    def identity(self) -> bytes:
        """16 bytes that are the same for the same event: its subject, its id and the UTC month of its time."""
        text = f"{self.ts[:7]}{len(self.candidate_id)}:{self.candidate_id}{self.event_id}"
        return hashlib.blake2b(text.encode(), digest_size=IDENTITY).digest()

    def content(self) -> bytes:
        """8 bytes that are the same for events that say the same of the access: everything recorded but the ids."""
        said = self[2:-1] if self.gate is None else self[2:]  # as indexes have it of rows from before there was a gate
        return hashlib.blake2b(orjson.dumps(said, option=orjson.OPT_SORT_KEYS), digest_size=CONTENT).digest()

    def record(self) -> bytes:
        """Identity and content, as an index keeps them."""
        return self.identity() + self.content()


def parse_event(value: object) -> AccessEvent:
    """The event that a JSON object or a parquet row holds; fields that an event does not have are ignored.

    Args:
        value: with `event_id, candidate_id, ts, actor, action` and optional `payload` (or `result`), `dataset`,
            `fields`, `purpose`, `trace_id`. Null counts as absent; `payload` beats `result`.

    Raises:
        EventError: what is wrong, without any of the event's own values.
    """
    if not isinstance(value, dict):
        raise EventError("not a JSON object")
    payload = value.get("payload")
    result = value.get("result")
    return new_event(
        candidate_id=value.get("candidate_id"),
        event_id=value.get("event_id"),
        ts=value.get("ts"),
        actor=value.get("actor"),
        action=value.get("action"),
        result=audit_result_state(payload) if payload is not None or result is None else result,
        payload_sha256=None if payload is None else payload_hash(payload),
        optional=value,
    )


def new_event(
    *,
    candidate_id: object,
    event_id: object,
    ts: object,
    actor: object,
    action: object,
    result: object,
    payload_sha256: str | None = None,
    optional: Mapping[str, Any] = MappingProxyType({}),
) -> AccessEvent:
    """An event of checked parts.

    Args:
        candidate_id: whose data.
        event_id: the event's own id.
        ts: RFC 3339 with an offset, or an aware datetime.
        actor: who.
        action: what; `manifest_*` is the registry's own.
        result: one of the four.
        payload_sha256: 64 hex digits.
        optional: looked at for `dataset`, `fields`, `purpose` and `trace_id`.

    Raises:
        EventError: what is wrong, without any of the event's own values.
    """
    candidate = checked_subject(candidate_id)
    verb = checked_action(action)
    if result not in RESULT_STATES:
        raise EventError(f"result: must be one of {', '.join(RESULT_STATES)}")
    return AccessEvent(
        candidate,
        _text("event_id", event_id),
        event_time(ts),
        checked_actor(actor),
        verb,
        str(result),
        _optional("dataset", optional),
        _fields(optional.get("fields")),
        _optional("purpose", optional),
        _optional("trace_id", optional),
        payload_sha256,
    )


def checked_subject(value: object) -> str:
    """An id that a row can be about; EventError: none can."""
    candidate = _text("candidate_id", value)
    reason = refusal(candidate, candidate)
    if reason is not None:
        raise EventError(f"candidate_id: {reason}")
    return candidate


def checked_actor(value: object) -> str:
    """An actor that a row can name; EventError: it cannot."""
    return _text("actor", value)


def checked_action(value: object) -> str:
    """An action that a row of an access can name; EventError: it cannot, or it is the registry's own."""
    action = _text("action", value)
    if action.startswith(EVIDENCE_PREFIX):
        raise EventError(f"action: {EVIDENCE_PREFIX}* is recorded only by the registry")
    return action


def evidence_event(
    *, candidate_id: str, event_id: str, ts: str, actor: str, manifest_sha256: str | None, decision: Mapping[str, Any]
) -> AccessEvent:
    """What the registry records before it changes or deletes a manifest that is there.

    Args:
        candidate_id: whose.
        event_id: random.
        ts: RFC 3339, UTC, six decimals.
        actor: who.
        manifest_sha256: of the new manifest's canonical JSON; None: it is deleted.
        decision: its kind, and what goes with that.
    """
    action = MANIFEST_DELETED if manifest_sha256 is None else MANIFEST_UPDATED
    return AccessEvent(
        candidate_id, event_id, ts, actor, action, "success", manifest_sha256=manifest_sha256, decision=decision
    )


def recorded_event(row: Mapping[str, Any]) -> AccessEvent:
    """The event that a row of the log records.

    Raises:
        KeyError: the row lacks what every row has.
    """
    fields = row.get("fields")
    return AccessEvent(
        row["candidate_id"],
        row["event_id"],
        row["ts"],
        row["actor"],
        row["action"],
        row["result"],
        row.get("dataset"),
        None if fields is None else tuple(fields),
        row.get("purpose"),
        row.get("trace_id"),
        row.get("payload_sha256"),
        row.get("reason"),
        row.get("manifest_sha256"),
        row.get("decision"),
        row.get("gate"),
    )


def payload_hash(payload: object) -> str:
    """SHA-256 of a payload's canonical JSON, 64 hex digits.

    Raises:
        EventError: the payload is not JSON, or holds what I-JSON cannot.
    """
    try:
        return hashlib.sha256(canonical_json(payload)).hexdigest()
    except CanonicalJsonError as error:
        raise EventError(f"payload: {error}") from error


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise EventError(f"{name}: {'missing' if value is None else 'must be text'}")
    if not value or value.isspace():
        raise EventError(f"{name}: empty")
    if len(value) > MAX_TEXT:
        raise EventError(f"{name}: longer than {MAX_TEXT:,} characters")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise EventError(f"{name}: holds a lone surrogate") from error
    return value


def _optional(name: str, values: Mapping[str, Any]) -> str | None:
    value = values.get(name)
    return None if value is None or value == "" else _text(name, value)


def _fields(value: object) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list | tuple):
        raise EventError("fields: must be a list of names")
    if len(value) > MAX_FIELDS:
        raise EventError(f"fields: more than {MAX_FIELDS:,} names")
    return tuple([_text("fields", name) for name in value]) or None


def event_time(value: object) -> str:
    """A time as rows hold it; EventError: it is none."""
    if isinstance(value, dt.datetime):
        moment = value
    else:
        if isinstance(value, str) and is_time(value):
            return _checked(value)
        text = _text("ts", value)
        if not _RFC_3339.fullmatch(text):
            raise EventError("ts: must be RFC 3339 with an offset, like 2026-06-30T12:00:00Z")
        try:
            moment = dt.datetime.fromisoformat(text.upper())
        except ValueError as error:
            raise EventError("ts: no calendar has this time") from error
    if moment.tzinfo is None:
        raise EventError("ts: has no time zone")
    try:
        return format_time(moment)
    except OverflowError as error:
        raise EventError("ts: no calendar holds this time in UTC") from error


def _checked(text: str) -> str:
    """A time that is written as we write it, if a calendar has it."""
    try:
        dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise EventError("ts: no calendar has this time") from error
    return text
