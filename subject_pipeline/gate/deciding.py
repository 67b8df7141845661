"""Rulings on people, and the rows that record them: what is shared by what the gate does before and after a call."""

import datetime as dt
import uuid
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from subject_pipeline.audit.events import AccessEvent
from subject_pipeline.audit.log import AuditLog
from subject_pipeline.audit.reading import show
from subject_pipeline.formats.times import format_time
from subject_pipeline.gate.cache import ManifestCache, Seen
from subject_pipeline.gate.call import Call, Told
from subject_pipeline.gate.judging import CLOCKS_DIFFER, Reason, judge
from subject_pipeline.gate.policy import Purpose
from subject_pipeline.gate.policy_file import ReadPolicy


class Ruling(NamedTuple):
    """What was decided about one subject, and from what.

    Attributes:
        reason: why it may not be shown; empty: it may.
        version: of the table; 0 where it was not read.
        last: the seq of the last registry row taken into account; -1: there is none.
        since: when the manifest was last changed; empty where there is none.
    """

    reason: str
    version: int = 0
    last: int = -1
    since: str = ""


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
    """

    def __init__(self, log: AuditLog, read: ReadPolicy, cache: ManifestCache) -> None:
        self._log = log
        self._read = read
        self._cache = cache

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

    def denials(self, call: Call, rulings: Rulings, on_record: Mapping[str, str]) -> list[AccessEvent]:
        """A row for each denial that is not on record yet."""
        gates = {version: self._gate(version) for version in {one.version for one in rulings.by_subject.values()}}
        return [
            call.row(one, call.denied_id, rulings.now, "denied")._replace(
                reason=ruling.reason, gate=gates[ruling.version]
            )
            for one, ruling in rulings.by_subject.items()
            if ruling.reason and on_record.get(one) != ruling.reason
        ]

    def accesses(
        self, call: Call, rulings: Rulings, named: Mapping[str, Collection[str]], result: str, digest: str | None
    ) -> list[AccessEvent]:
        """A row for each of those who are shown, with the names of their fields."""
        gates = {version: self._gate(version) for version in {one.version for one in rulings.by_subject.values()}}
        rows, event_id = [], call.shown_id(digest)
        for one, fields in named.items():
            ruling = rulings.by_subject[one]
            # Some clocks are ahead: an access follows what it was decided from.
            row = call.row(one, event_id, max(rulings.now, ruling.since), result, fields, digest)
            rows.append(row._replace(gate=gates[ruling.version]))
        return rows

    def _gate(self, version: int) -> dict[str, Any]:
        return {
            "policy_sha256": self._read.sha256,
            "table_version": version,
            "max_age_s": self._read.policy.max_age,
        }

    def record(self, call: Call, events: Iterable[AccessEvent], rulings: Rulings) -> None:
        """Append rows; on disk when this returns. Those of anyone who is shown, only if nothing was decided since.

        Raises:
            OvertakenError: a registry row came that was not taken into account: decide again.
            StoreError: the store failed.
        """
        rows = list(events)
        if not rows:
            return
        after = {row.candidate_id: rulings.by_subject[row.candidate_id].last for row in rows if row.reason is None}
        tried, call.tried = call.tried, True  # of an append that fails, rows of other chunks may be there
        done = self._log.append(rows, unique=call.own_id is None and not tried, after=after)
        if call.own_id is not None:
            there = [row for row, one in zip(rows, done, strict=True) if not one.new]
            hidden = [row._replace(event_id=uuid.uuid4().hex) for row in there if not self._is_on_record(row)]
            self._log.append(hidden, unique=True, after=after)

    def _is_on_record(self, row: AccessEvent) -> bool:
        """Whether the row that the log has under an event's id says the same of it, but for the time."""
        stored = show(self._log.store, row.candidate_id)
        return any(_says(one["row"], row) for one in stored)


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
    names = ("event_id", "action", "actor", "result", "purpose", "reason", "payload_sha256")
    return all(stored.get(name) == getattr(row, name) for name in names)
