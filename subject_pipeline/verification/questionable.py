"""Accesses that should not have been: answered against a withdrawal, a restriction, or an erasure ordered or done.

An access is compared with what was recorded before it in its chain: anyone who answered before that cannot have known
it. It is questionable if it was answered (`success`), for another purpose than the person's own request, at a time
later than a restriction was recorded, by more than the gate may take to notice, and before the restriction was lifted.
A row that was recorded late, of an earlier time, is compared with what stood at its time.
"""

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from subject_pipeline.audit.events import ERASED, EVIDENCE_PREFIX
from subject_pipeline.formats.times import format_time, is_time

ANSWERED, DENIED = "success", "denied"
OWN_REQUEST = "data_subject_request"
"""The purpose of an access for the person themselves."""

_WITHDRAWN = "consent_withdrawn"
_BEGIN = frozenset({_WITHDRAWN, "restricted", "erasure_ordered", ERASED})
_END = {"consent_given": _WITHDRAWN, "unrestricted": "restricted", "erasure_cancelled": "erasure_ordered"}
_AFRESH = frozenset({"deleted", "readmitted", "registered"})
"""Nothing of what stood before still does: there is no manifest any more, or a new one."""
_WHOLE = frozenset({"replaced", "registered"})
"""What stands after them can only be seen from the manifest that they set."""


class Questionable(NamedTuple):
    """One access that should not have been.

    Attributes:
        seq: the row's.
        restriction: the kind of what stood against it, and of a consent the scope.
        since: when that was recorded, RFC 3339.
    """

    candidate_id: str
    seq: int
    ts: str
    actor: str
    action: str
    purpose: str
    restriction: str
    since: str


class _Span(NamedTuple):
    restriction: str
    since: str
    until: str


_FOR_GOOD = "~"
"""Later than any time as text."""


class Restrictions:
    """What stood against accesses to one subject, and when, by the registry rows noted so far."""

    __slots__ = ("_open", "_spans")

    def __init__(self) -> None:
        self._open: dict[str, str] = {}
        self._spans: list[_Span] = []

    def __bool__(self) -> bool:
        """Whether anything ever stood."""
        return bool(self._open or self._spans)

    def note(self, decision: Mapping[str, Any]) -> None:
        """Take in the next registry row's decision."""
        kind, at = decision.get("kind"), decision.get("recorded_at")
        if not isinstance(kind, str) or not isinstance(at, str) or not is_time(at):
            return
        if kind in _AFRESH:
            for name in list(self._open):
                self._end(name, at)
        if kind in _WHOLE:
            self._note_manifest(decision.get("changes"), at)
        elif kind in _BEGIN:
            self._open.setdefault(_named(kind, decision.get("scope")), at)
        elif kind in _END:
            self._end(_named(_END[kind], decision.get("scope")), at)

    def against(self, row: Mapping[str, Any]) -> Questionable | None:
        """The finding, if an access that was answered should not have been."""
        if row.get("purpose") == OWN_REQUEST:
            return None
        ts = row["ts"]
        known = _earlier(ts, row["gate"]["max_age_s"]) if "gate" in row else ts
        standing = (_Span(name, since, _FOR_GOOD) for name, since in self._open.items())
        for span in (*self._spans, *standing):
            if span.since < known and ts < span.until:
                return Questionable(
                    row["candidate_id"], row["seq"], ts, row["actor"], row["action"], row.get("purpose", ""),
                    span.restriction, span.since,
                )  # fmt: skip
        return None

    def _end(self, name: str, at: str) -> None:
        since = self._open.pop(name, None)
        if since is not None:
            self._spans.append(_Span(name, since, at))

    def _note_manifest(self, changes: object, at: str) -> None:
        """What a manifest that was put as a whole says of it; a field that it did not change stands as before."""
        if not isinstance(changes, dict):
            return
        stands: dict[str, bool] = {}
        if "status" in changes:
            stands["restricted"] = changes["status"] == "restricted" or bool(changes.get("restricted_at"))
            stands["erasure_ordered"] = changes["status"] == "erasure_ordered"
        consent = changes.get("consent")
        for scope, one in consent.items() if isinstance(consent, dict) else ():
            status = one.get("status") if isinstance(one, dict) else None
            if status != "destroyed":
                stands[_named(_WITHDRAWN, scope)] = status == "withdrawn"
        for name, there in stands.items():
            if there:
                self._open.setdefault(name, at)
            else:
                self._end(name, at)


def begins(decision: Mapping[str, Any]) -> bool:
    """Whether a registry row's decision makes later accesses questionable."""
    known: dict[str, Restrictions] = {}
    note(known, "", decision)
    return bool(known)


def moves(decision: Mapping[str, Any]) -> bool:
    """Whether a registry row's decision begins or lifts something that makes accesses questionable."""
    kind = decision.get("kind")
    return kind in _BEGIN or kind in _END or kind in _AFRESH or kind in _WHOLE


def note(known: dict[str, Restrictions], candidate_id: str, decision: Mapping[str, Any]) -> None:
    """Take in a registry row; nothing is kept of somebody against whom nothing ever stood."""
    restrictions = known.get(candidate_id) or Restrictions()
    restrictions.note(decision)
    if restrictions:
        known[candidate_id] = restrictions


def questionable(rows: Iterable[Mapping[str, Any]]) -> Iterator[Questionable]:
    """The accesses among some subjects' whole chains that should not have been; rows in the log's order."""
    known: dict[str, Restrictions] = {}
    for row in rows:
        candidate_id = row["candidate_id"]
        if row["action"].startswith(EVIDENCE_PREFIX):
            note(known, candidate_id, row["decision"])
        elif candidate_id in known and row["result"] == ANSWERED:
            found = known[candidate_id].against(row)
            if found is not None:
                yield found


def _named(kind: str, scope: object) -> str:
    return f"{kind}:{scope}" if kind == _WITHDRAWN else kind


def _earlier(ts: str, seconds: int) -> str:
    """A time so many seconds before; what no calendar has is never questioned."""
    try:
        return format_time(dt.datetime.fromisoformat(ts) - dt.timedelta(seconds=seconds))
    except (OverflowError, ValueError):
        return ""
