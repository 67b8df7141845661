"""Usual events: those of plain letters, checked by one expression in a third of the time that rule after rule takes.

Anything else is None here, and for `parse_event` to take or to refuse; a property test compares the two.
"""

import re
from typing import Any

import orjson

from subject_pipeline.audit.events import EVIDENCE_PREFIX, MAX_FIELDS, MAX_TEXT, AccessEvent, event_time, payload_hash
from subject_pipeline.audit.result_state import audit_result_state
from subject_pipeline.errors import EventError
from subject_pipeline.store.ids import MAX_STORAGE_KEY_BYTES

_OPTIONAL = ("dataset", "purpose", "trace_id")
_TEXT = rf"(?= *[!-~])[ -~]{{1,{MAX_TEXT}}}"
_are_usual = re.compile(
    rf"[A-Za-z0-9_-]{{1,{MAX_STORAGE_KEY_BYTES}}}\n(?!{EVIDENCE_PREFIX}){_TEXT}(?:\n{_TEXT})*"
).fullmatch

_REMEMBERED = 4_096
_SHORT = 512


class UsualEvents:
    """Makes events of JSON values; remembers what came of short payloads, which are often the same ones."""

    def __init__(self) -> None:
        self._payloads: dict[bytes, tuple[str, str]] = {}

    def event(self, value: object) -> AccessEvent | None:
        """What `parse_event` makes of a value that came from JSON; None: only that can tell.

        Args:
            value: what an I-JSON text holds.
        """
        if type(value) is not dict or (payload := value.get("payload")) is None:
            return None
        try:
            texts = [value["candidate_id"], value["action"], value["event_id"], value["actor"]]
            dataset, purpose, trace_id = [value.get(name) or None for name in _OPTIONAL]
            texts += [text for text in (dataset, purpose, trace_id) if text is not None]
            fields = value.get("fields")
            if fields is not None:
                if type(fields) is not list or len(fields) > MAX_FIELDS:
                    return None
                texts += fields
            joined = "\n".join(texts)
            # A text with a line break in it would pass for two.
            if joined.count("\n") != len(texts) - 1 or not _are_usual(joined):
                return None
            result, sha256 = self._payload(payload)
            ts = event_time(value.get("ts"))
        except (KeyError, TypeError, EventError):
            return None
        candidate_id, action, event_id, actor = texts[:4]
        named = tuple(fields) if fields else None
        return AccessEvent(candidate_id, event_id, ts, actor, action, result, dataset, named, purpose, trace_id, sha256)

    def _payload(self, payload: Any) -> tuple[str, str]:  # noqa: ANN401 - any JSON
        """Result and hash of a payload; EventError: it has none."""
        text = orjson.dumps(payload)
        known = self._payloads.get(text)
        if known is None:
            known = audit_result_state(payload), payload_hash(payload)
            # What JSON cannot hold, such as an infinity, would be written as null and pass for it.
            if len(text) <= _SHORT and b"null" not in text and len(self._payloads) < _REMEMBERED:
                self._payloads[text] = known
        return known
