"""The one form of a row of the audit log: exactly these fields and types, in canonical JSON (RFC 8785)."""

import re
from operator import itemgetter
from typing import Any

import orjson

from subject_pipeline.audit.events import EVIDENCE_PREFIX, MANIFEST_DELETED, MANIFEST_UPDATED
from subject_pipeline.audit.result_state import RESULT_STATES
from subject_pipeline.audit.segment import NONCE_LENGTH, ROW_SCHEMA
from subject_pipeline.errors import CanonicalJsonError
from subject_pipeline.formats.canonical_json import canonical_json
from subject_pipeline.formats.times import TIME_FORM

_REQUIRED = ("action", "actor", "candidate_id", "event_id", "key_id", "nonce", "prev", "result", "schema", "seq", "ts")
_values = itemgetter(*_REQUIRED)
_TEXTS = ("dataset", "purpose", "reason", "trace_id")
_GATE = {"max_age_s", "policy_sha256", "table_version"}
_TS_LENGTH = 27

_HASH = r"[0-9a-f]{64}"
_KEY_ID = r"[0-9a-f]{16}"
_NONCE = r"[A-Za-z0-9_-]{21}[AQgw]"
"""16 bytes in base64url without padding, in their one canonical form."""

_is_hash = re.compile(_HASH).fullmatch
_have_their_form = re.compile(_KEY_ID + _NONCE + _HASH + TIME_FORM).fullmatch

_TEXT = r"[ !#-\[\]-~]+"
"""Letters that stand in JSON as they are."""
_usual = re.compile(
    rf'\{{"action":"(?!{EVIDENCE_PREFIX})({_TEXT})","actor":"{_TEXT}","candidate_id":"({_TEXT})",'
    rf'(?:"dataset":"{_TEXT}",)?"event_id":"({_TEXT})",(?:"fields":\["{_TEXT}"(?:,"{_TEXT}")*\],)?'
    rf'"key_id":"({_KEY_ID})","nonce":"{_NONCE}",(?:"payload_sha256":"{_HASH}",)?"prev":"({_HASH})",'
    rf'(?:"purpose":"{_TEXT}",)?(?:"reason":"{_TEXT}",)?"result":"({"|".join(RESULT_STATES)})",'
    rf'"schema":"{re.escape(ROW_SCHEMA)}","seq":(0|[1-9][0-9]{{0,14}}),(?:"trace_id":"{_TEXT}",)?"ts":"({TIME_FORM})"\}}'
).fullmatch


Judged = tuple[str, str, str, str, str, str, int, str, dict[str, Any] | None]
"""Of a row: action, candidate_id, event_id, key_id, prev, result, seq and ts, and all of it where it is not usual."""


def judged_row(inner: bytes) -> Judged | None:
    """What a verifier looks at of the row that has exactly these bytes; None: no row does.

    Most rows are of plain letters, and one expression shows that they are canonical and of the one form, in a third of
    the time that parsing takes. Whatever it does not know is parsed.
    """
    if inner.isascii() and (usual := _usual(inner.decode())) is not None:
        action, candidate_id, event_id, key_id, prev, result, seq, ts = usual.groups()
        return action, candidate_id, event_id, key_id, prev, result, int(seq), ts, None
    row = row_of(inner)
    if row is None:
        return None
    action, _, candidate_id, event_id, key_id, _, prev, result, _, seq, ts = _values(row)
    return action, candidate_id, event_id, key_id, prev, result, seq, ts, row


def row_of(inner: bytes) -> dict[str, Any] | None:
    """The row that has exactly these bytes; None: no row does.

    Whether its links, its key and its place are right is judged elsewhere.
    """
    try:
        row: dict[str, Any] = orjson.loads(inner)
        action, actor, candidate_id, event_id, key_id, nonce, prev, result, schema, seq, ts = _values(row)
        if canonical_json(row) != inner:
            return None
    except (orjson.JSONDecodeError, CanonicalJsonError, KeyError, TypeError):
        return None
    if (
        not type(action) is type(actor) is type(candidate_id) is type(event_id) is str
        or not type(key_id) is type(nonce) is type(prev) is type(ts) is str
        or type(seq) is not int
        or seq < 0
        or schema != ROW_SCHEMA
        or result not in RESULT_STATES
        or not (action and actor and candidate_id and event_id)
        or len(nonce) != NONCE_LENGTH
        or len(ts) != _TS_LENGTH
        or not _have_their_form(key_id + nonce + prev + ts)
    ):
        return None
    return row if _others_hold(row, action) else None


def _others_hold(row: dict[str, Any], action: str) -> bool:
    """Whether all further fields are known and of their types, and the registry's are in the registry's rows."""
    registry = action.startswith(EVIDENCE_PREFIX)
    if registry and action not in {MANIFEST_UPDATED, MANIFEST_DELETED}:
        return False
    if registry != ("decision" in row) or (action == MANIFEST_UPDATED) != ("manifest_sha256" in row):
        return False
    return all(_holds(name, value) for name, value in row.items() if name not in _REQUIRED)


def _holds(name: str, value: object) -> bool:
    if name in _TEXTS:
        return type(value) is str and value != ""
    if name in {"payload_sha256", "manifest_sha256"}:
        return is_hash(value)
    if name == "fields":
        return type(value) is list and bool(value) and all(type(item) is str and item for item in value)
    if name == "decision":
        return isinstance(value, dict) and type(value.get("kind")) is str and without_floats(value)
    if name == "gate":
        return (
            isinstance(value, dict)
            and value.keys() == _GATE
            and is_hash(value["policy_sha256"])
            and type(value["table_version"]) is type(value["max_age_s"]) is int
        )
    return False


def is_hash(value: object) -> bool:
    """Whether a value is 64 lower-case hex digits."""
    return type(value) is str and _is_hash(value) is not None


def without_floats(value: object) -> bool:
    """Whether JSON values hold no number but integers, at whatever depth: no two programs write floats alike."""
    if isinstance(value, dict):
        return all(map(without_floats, value.values()))
    if isinstance(value, list):
        return all(map(without_floats, value))
    return not isinstance(value, float)
