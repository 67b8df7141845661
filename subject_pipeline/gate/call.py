"""One call of a tool: what its caller says of it, what was permitted, and the rows that record it."""

import hashlib
import uuid
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypedDict

from subject_pipeline.audit.events import AccessEvent, checked_subject, new_event

MAX_FIELDS = 200
"""How many names of fields a row takes."""


class Told(TypedDict, total=False):
    """What a caller may say about one call.

    Attributes:
        subjects: one id or more, from the tool's arguments: a denied or failed answer often names nobody.
        actor: on whose behalf, if not the hook's own actor.
        purpose: what for.
        trace_id: of the request.
        dataset: where the data are from.
        event_id: the id of this one call, for a caller that may record it again: within a UTC month, rows of one
            subject with one id are one row, so an id that another call had hides this one. Default: a random one.
    """

    subjects: str | Iterable[str]
    actor: str | None
    purpose: str | None
    trace_id: str | None
    dataset: str | None
    event_id: str | None


def check_told(told: Told) -> None:
    """Refuse arguments that no call takes: a misspelt one must not be a call without it.

    Raises:
        TypeError: there is one.
    """
    if unknown := told.keys() - Told.__annotations__.keys():
        raise TypeError(f"unknown arguments {', '.join(sorted(unknown))}; see subject_pipeline.gate.Told")


def told_subjects(told: Told) -> tuple[str, ...]:
    """The subjects that a caller named, each once, in order."""
    given = told.get("subjects", ())
    return tuple(dict.fromkeys((given,) if isinstance(given, str) else tuple(given)))


def event_id_of(trace_id: str | None, request_id: object) -> str | None:
    """The event id of one request of a trace, the same whenever it is asked for; None where one of both is missing.

    A request's id alone is no event's: many protocols count from 1 in each session.
    """
    if not trace_id or request_id is None or request_id == "":
        return None
    return hashlib.sha256(f"{len(trace_id)}:{trace_id}{request_id}".encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Permit:
    """Whom a tool may be called about. It lets nothing out: `SubjectGate.after` decides again.

    Attributes:
        action: what may be done.
        allowed: ids, in the order given.
        denied: the others, each with its reason; on record.
        told: what the caller said of the call.
    """

    action: str
    allowed: tuple[str, ...] = ()
    denied: Mapping[str, str] = field(default_factory=dict)
    told: Told = field(default_factory=Told)


class Call:
    """One call while its rows are made and recorded, perhaps in more than one attempt.

    Args:
        action: what is done.
        told: what the caller says of it.
        actor: who acts, if the caller names nobody else.

    Attributes:
        denied_id: the event id of its denials.
        tried: something may be on record under its ids.
    """

    def __init__(self, action: str, told: Told, actor: str) -> None:
        self.action = action
        self.told = told
        self.denied_id = uuid.uuid4().hex if self.own_id is None else self.own_id
        self.tried = False
        claimed = told.get("actor")
        self._actor = actor if claimed is None else claimed
        self._shown: dict[str | None, str] = {}
        self._like: dict[tuple[str, str], AccessEvent] = {}

    @property
    def own_id(self) -> str | None:
        """The event id that the caller gave it."""
        return self.told.get("event_id")

    def shown_id(self, digest: str | None) -> str:
        """The event id of everyone who is shown by an answer: what is recorded again is there once, by its hash."""
        if self.own_id is not None:
            return self.own_id
        if digest not in self._shown:
            self._shown[digest] = uuid.uuid4().hex
        return self._shown[digest]

    def row(
        self,
        subject: str,
        event_id: str,
        ts: str,
        result: str,
        fields: Collection[str] = (),
        digest: str | None = None,
    ) -> AccessEvent:
        """A row of this call about one subject; what all of them have in common is checked once.

        Args:
            subject: an id.
            event_id: one of this call's.
            ts: when, as rows have it.
            result: one of the four.
            fields: names that look like identifiers; the first of them, sorted, are kept.
            digest: the SHA-256 of the payload.

        Raises:
            EventError: something that no row can name.
        """
        like = self._like.get((event_id, result))
        if like is None:
            like = self._like[event_id, result] = new_event(
                candidate_id=subject,
                event_id=event_id,
                ts=ts,
                actor=self._actor,
                action=self.action,
                result=result,
                optional=self.told,
            )
        named = tuple(sorted(fields)[:MAX_FIELDS]) or None
        return like._replace(candidate_id=checked_subject(subject), ts=ts, fields=named, payload_sha256=digest)
