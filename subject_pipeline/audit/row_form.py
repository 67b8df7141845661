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

MAX_DEPTH = 100
"""Levels of objects and lists in a decision, its own included: few enough for every reader of JSON."""

_REQUIRED = ("action", "actor", "candidate_id", "event_id", "key_id", "nonce", "prev", "result", "schema", "seq", "ts")
_values = itemgetter(*_REQUIRED)
_TEXTS = ("dataset", "purpose", "reason", "trace_id")
_GATE = {"max_age_s", "policy_sha256", "table_version"}
_TS_LENGTH = 27
_KEY_ID_LENGTH = 16
_PLAIN = frozenset({str, bool, int, type(None)})
_OPTIONS = orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER

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
        if "decision" in row and not is_decision(row["decision"]):
            return None
        # Only a decision can hold names that are not ASCII, which RFC 8785 sorts in an order of its own.
        if (canonical_json(row) if "decision" in row else orjson.dumps(row, option=_OPTIONS)) != inner:
            return None
    except (orjson.JSONDecodeError, orjson.JSONEncodeError, CanonicalJsonError, KeyError, TypeError):
        return None
    if (
        not type(action) is type(actor) is type(candidate_id) is type(event_id) is str
        or not type(key_id) is type(nonce) is type(prev) is type(ts) is str
        or type(seq) is not int
        or schema != ROW_SCHEMA
        or result not in RESULT_STATES
        or not (action and actor and candidate_id and event_id)
        or len(key_id) != _KEY_ID_LENGTH
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
        return _is_text(value)
    if name in {"payload_sha256", "manifest_sha256"}:
        return is_hash(value)
    if name == "fields":
        return type(value) is list and bool(value) and all(map(_is_text, value))
    if name == "decision":
        return True  # looked at before anything else was done with it
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


def is_decision(value: object) -> bool:
    """Whether a value can stand as a row's decision: an object with its `kind`, no floats, no deep nesting."""
    return isinstance(value, dict) and _is_text(value.get("kind")) and _is_shallow(value, MAX_DEPTH)


def _is_text(value: object) -> bool:
    return type(value) is str and value != ""


def _is_shallow(value: object, levels: int) -> bool:
    """Whether JSON values hold no number but integers, and not more levels: no two programs treat the others alike."""
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    if items is None:
        return not isinstance(value, float)
    return levels > 0 and all(type(item) in _PLAIN or _is_shallow(item, levels - 1) for item in items)
