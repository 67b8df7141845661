"""Rulings on people, and the rows that record them: what is shared by what the gate does before and after a call."""

import datetime as dt
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from subject_pipeline.audit.events import AccessEvent, checked_subject, new_event
from subject_pipeline.audit.log import AuditLog
from subject_pipeline.audit.reading import show
from subject_pipeline.errors import StoreError
from subject_pipeline.formats.times import format_time
from subject_pipeline.gate.cache import ManifestCache, Seen
from subject_pipeline.gate.hook import Told
from subject_pipeline.gate.judging import CLOCKS_DIFFER, Reason, judge
from subject_pipeline.gate.permit import Ruling
from subject_pipeline.gate.policy import Purpose
from subject_pipeline.gate.policy_file import ReadPolicy

NOBODY_READ = Seen(None, 0)


@dataclass(frozen=True, slots=True)
class Rulings:
    """What was decided about some people at one time.

    Attributes:
        now: when, as rows have it; after whatever it was decided from was read.
        by_subject: in the order asked for.
    """

    now: str
    by_subject: Mapping[str, Ruling]

    @property
    def denied(self) -> dict[str, str]:
        """The reasons of those who may not be shown."""
        return {one: ruling.reason for one, ruling in self.by_subject.items() if ruling.reason}

    @property
    def allowed(self) -> tuple[str, ...]:
        """Those who may be shown."""
        return tuple(one for one, ruling in self.by_subject.items() if not ruling.reason)


class Deciding:
    """Decides by one policy from one cache, and records in one log.

    Args:
        log: where the rows go.
        read: the policy.
        cache: the manifests.
        actor: who acts, if a call names nobody else.
    """

    def __init__(self, log: AuditLog, read: ReadPolicy, cache: ManifestCache, actor: str) -> None:
        self._log = log
        self._read = read
        self._cache = cache
        self._actor = actor

    def purpose(self, told: Told) -> Purpose | None:
        """What the policy says of the purpose of a call; None: nothing, so it is not allowed."""
        return self._read.policy.purposes.get(told.get("purpose") or "")

    def at_once(self, told: Told, subjects: Collection[str]) -> Rulings | None:
        """Decide from memory; None: it is not enough."""
        if self.purpose(told) is None:
            return self._rulings(None, dict.fromkeys(subjects, NOBODY_READ))
        seen = self._cache.known(subjects)
        return None if seen is None else self._rulings(self.purpose(told), seen)

    def decide(self, told: Told, subjects: Collection[str], *, again: bool = False) -> Rulings:
        """Decide, reading what memory does not have; with `again`, reading everything."""
        if self.purpose(told) is None:
            return self._rulings(None, dict.fromkeys(subjects, NOBODY_READ))
        return self._rulings(self.purpose(told), self._cache.load(subjects, again=again))

    def unread(self, told: Told, subjects: Collection[str]) -> Rulings:
        """Decide where nothing could be read."""
        return self._rulings(self.purpose(told), dict.fromkeys(subjects, NOBODY_READ))

    def _rulings(self, purpose: Purpose | None, seen: Mapping[str, Seen]) -> Rulings:
        now = self._log.now()
        latest = format_time(dt.datetime.fromisoformat(now) + CLOCKS_DIFFER)
        return Rulings(now, {one: _ruling(purpose, that, latest) for one, that in seen.items()})

    def denials(self, call: "Call", rulings: Rulings, on_record: Mapping[str, str]) -> list[AccessEvent]:
        """A row for each denial that is not on record yet."""
        return [
            self._row(call, one, ruling.version, call.denied_id, "denied", rulings.now)._replace(reason=ruling.reason)
            for one, ruling in rulings.by_subject.items()
            if ruling.reason and on_record.get(one) != ruling.reason
        ]

    def accesses(
        self, call: "Call", rulings: Rulings, named: Mapping[str, Sequence[str]], result: str, digest: str | None
    ) -> list[AccessEvent]:
        """A row for each of those who are shown, with the names of their fields."""
        event_id = call.shown_id(digest)
        rows = []
        for one, fields in named.items():
            ruling = rulings.by_subject[one]
            # Some clocks are ahead: an access follows what it was decided from.
            row = self._row(call, one, ruling.version, event_id, result, max(rulings.now, ruling.since))
            rows.append(row._replace(fields=tuple(fields) or None, payload_sha256=digest))
        return rows

    def _row(self, call: "Call", subject: str, version: int, event_id: str, result: str, ts: str) -> AccessEvent:
        """A row of a call; what is the same in many is checked once."""
        like = call.rows.get((event_id, result, version))
        if like is None:
            actor = call.told.get("actor")
            like = new_event(
                candidate_id=subject,
                event_id=event_id,
                ts=ts,
                actor=self._actor if actor is None else actor,
                action=call.action,
                result=result,
                optional=call.told,
            )
            policy = {"policy_sha256": self._read.sha256, "max_age_s": self._read.policy.max_age}
            like = call.rows[event_id, result, version] = like._replace(gate={**policy, "table_version": version})
        return like._replace(candidate_id=checked_subject(subject), ts=ts)

    def record(self, call: "Call", events: Iterable[AccessEvent], rulings: Rulings) -> None:
        """Append rows; on disk when this returns. Those of whoever is shown, only if nothing was decided since.

        Raises:
            OvertakenError: a registry row came that was not taken into account: decide again.
            StoreError: the store failed, or the call's own id is another's.
        """
        rows = list(events)
        if not rows:
            return
        after = {row.candidate_id: rulings.by_subject[row.candidate_id].last for row in rows if row.reason is None}
        own = call.told.get("event_id") is not None
        first, call.tried = (
            not call.tried,
            True,
        )  # before it is: of an append that fails, other chunks' rows may be there
        done = self._log.append(rows, unique=first and not own, after=after)
        if own:
            self._check_on_record([row for row, one in zip(rows, done, strict=True) if not one.new])

    def _check_on_record(self, rows: Iterable[AccessEvent]) -> None:
        """Make sure that rows whose id the log had already are there as what they say, not as another call's."""
        again = []
        for row in rows:
            there = [stored["row"] for stored in show(self._log.store, self._log.ring, row.candidate_id)]
            if any(_says(one, row) for one in there):
                continue
            if row.reason is None:
                raise StoreError("another call has the event id of this one: give each call its own, or none")
            again.append(row._replace(event_id=uuid.uuid4().hex))
        if again:
            self._log.append(again, unique=True)


@dataclass(slots=True)
class Call:
    """One call while its rows are recorded, perhaps in more than one attempt.

    Attributes:
        denied_id: the event id of its denials.
        tried: something may be on record under its ids.
        rows: what its rows have in common.
    """

    action: str
    told: Told
    denied_id: str = ""
    tried: bool = False
    rows: dict[tuple[str, str, int], AccessEvent] = field(default_factory=dict)
    _shown: dict[str | None, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.denied_id = self.told.get("event_id") or uuid.uuid4().hex

    def shown_id(self, digest: str | None) -> str:
        """The event id of whoever is shown by an answer: what is recorded again is there once, by its hash."""
        return self.told.get("event_id") or self._shown.setdefault(digest, uuid.uuid4().hex)


def _ruling(purpose: Purpose | None, seen: Seen, latest: str) -> Ruling:
    if purpose is None:
        return Ruling(Reason.PURPOSE_NOT_ALLOWED.value)
    known = seen.known
    if known is None or not known.readable:
        return Ruling(Reason.UNREADABLE.value, seen.version)
    reason = judge(purpose, known.document, latest)
    since = "" if known.document is None else str(known.document["updated_at"])
    return Ruling("" if reason is None else reason.value, seen.version, known.last, since)


def _says(stored: Mapping[str, Any], row: AccessEvent) -> bool:
    """Whether a stored row records the access that this one would."""
    names = ("event_id", "action", "actor", "result", "purpose", "reason")
    return all(stored.get(name) == getattr(row, name) for name in names)
