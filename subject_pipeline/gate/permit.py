"""What the gate decided about one call, before it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from subject_pipeline.gate.hook import Told


def event_id_of(trace_id: str | None, request_id: object) -> str | None:
    """The event id of one request of a trace, the same whenever it is asked for; None where one of both is missing.

    A request's id alone is no event's: many protocols count from 1 in each session.
    """
    if not trace_id or request_id is None or request_id == "":
        return None
    return hashlib.sha256(f"{len(trace_id)}:{trace_id}{request_id}".encode()).hexdigest()[:32]


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
