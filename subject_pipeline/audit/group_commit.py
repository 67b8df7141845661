"""Group commit: appends of this process to one chunk wait in a lane, and share the next segment."""

import threading
from collections import deque
from collections.abc import Container, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, NamedTuple

import orjson

from subject_pipeline.audit.chunk_state import ChunkState
from subject_pipeline.audit.events import IDENTITY, AccessEvent
from subject_pipeline.audit.segment import MAX_BYTES, MAX_ROWS
from subject_pipeline.errors import OvertakenError, SubjectPipelineError

if TYPE_CHECKING:
    from concurrent.futures import Future

NOTHING_EXPECTED: Mapping[str, int] = MappingProxyType({})
_ROW_BYTES = 600
"""What a row takes beside its texts."""

_GATE_BYTES = 160


class Appended(NamedTuple):
    """What became of one event.

    Attributes:
        outcome: it was appended now; the log held it already; or the log holds another under its id, which stands.
        seq: its row's; -1 where it was not appended.
        row_sha256: its row's leaf hash; empty where it was not appended.
        mac: its row's; likewise.
    """

    outcome: Literal["appended", "already_present", "conflicting"]
    seq: int = -1
    row_sha256: str = ""
    mac: str = ""

    @property
    def new(self) -> bool:
        """Whether it was appended now."""
        return self.outcome == "appended"


_ALREADY_PRESENT = Appended("already_present")
_CONFLICTING = Appended("conflicting")


class Ticket:
    """Events that wait for one chunk's leader, and what became of them."""

    __slots__ = ("after", "done", "error", "events", "results", "size", "unique")

    def __init__(
        self, events: Sequence[AccessEvent], size: int, *, unique: bool, after: Mapping[str, int] = NOTHING_EXPECTED
    ) -> None:
        self.events = events
        self.size = size
        self.unique = unique
        self.after = after
        self.results: list[Appended] = []
        self.error: SubjectPipelineError | None = None
        self.done = False

    def overtaken(self, state: ChunkState, changed: Container[str]) -> str | None:
        """A subject whose last registry row is another than is expected, by the log or by this group."""
        for candidate_id, seq in self.after.items():
            if _last_change(state, candidate_id) != seq or candidate_id in changed:
                return candidate_id
        return None

    def is_ahead(self, state: ChunkState) -> bool:
        """Whether a row is expected that a state, which its writer has kept since, does not know yet."""
        return any(_last_change(state, candidate_id) < seq for candidate_id, seq in self.after.items())


def _last_change(state: ChunkState, candidate_id: str) -> int:
    """The seq of a subject's last registry row; -1: it has none."""
    chain = state.chain(candidate_id)
    return chain.evidence.seq if chain is not None and chain.evidence is not None else -1


class Lane:
    """One chunk's queue and state; the first append to find it idle leads."""

    def __init__(self) -> None:
        self.condition = threading.Condition()
        self.waiting: deque[Ticket] = deque()
        self.busy = False
        self.state: ChunkState | None = None
        self.indexing: Future[None] | None = None


def take(waiting: deque[Ticket]) -> list[Ticket]:
    """The tickets that share the next segment: at least one, up to the limits of a segment."""
    group = [waiting.popleft()]
    rows, size = len(group[0].events), group[0].size
    while waiting:
        rows, size = rows + len(waiting[0].events), size + waiting[0].size
        if rows > MAX_ROWS or size > MAX_BYTES:
            break
        group.append(waiting.popleft())
    return group


def parts(events: Sequence[AccessEvent]) -> Iterator[tuple[list[AccessEvent], int]]:
    """Events in parts that a segment each can hold, with about how many bytes their rows take."""
    part: list[AccessEvent] = []
    size = 0
    for event in events:
        added = row_size(event)
        if part and (len(part) == MAX_ROWS or size + added > MAX_BYTES):
            yield part, size
            part, size = [], 0
        part.append(event)
        size += added
    if part:
        yield part, size


def row_size(event: AccessEvent) -> int:
    """About how many bytes an event's row takes, and never too few by more than its escapes."""
    texts = len(event.candidate_id) + len(event.event_id) + len(event.actor) + len(event.action)
    optional = len(event.purpose or "") + len(event.trace_id or "") + len(event.dataset or "") + len(event.reason or "")
    decision = 0 if event.decision is None else len(orjson.dumps(event.decision))
    gate = 0 if event.gate is None else _GATE_BYTES
    return _ROW_BYTES + texts + optional + decision + gate + (sum(map(len, event.fields)) if event.fields else 0)


def in_time(state: ChunkState, group: Sequence[Ticket]) -> list[Ticket]:
    """The tickets whose subjects are as they expect; each of the others is told that it was overtaken."""
    changed: set[str] = set()
    going = []
    for ticket in group:
        overtaken = ticket.overtaken(state, changed)
        ticket.error = None if overtaken is None else OvertakenError(f"{overtaken!r} was changed by another meanwhile")
        if overtaken is None:
            if ticket.after:
                changed.update(event.candidate_id for event in ticket.events if event.decision is not None)
            going.append(ticket)
    return going


def fresh(state: ChunkState, group: Sequence[Ticket]) -> list[tuple[Sequence[AccessEvent | Appended], Sequence[bytes]]]:
    """For each ticket its events, in the place of those whose ids the log, or this group, has: what became of them.

    With each the records of those that are left.
    """
    taken: dict[bytes, bytes] = {}
    found: list[tuple[Sequence[AccessEvent | Appended], Sequence[bytes]]] = []
    for ticket in group:
        records = [event.record() for event in ticket.events]
        if ticket.unique:
            found.append((ticket.events, records))
            continue
        kept: list[AccessEvent | Appended] = []
        left: list[bytes] = []
        for event, record in zip(ticket.events, records, strict=True):
            identity, content = record[:IDENTITY], record[IDENTITY:]
            here = taken.get(identity)
            held = [here] if here is not None else list(state.events(event.ts[:7]).contents(identity))
            if held:
                kept.append(_ALREADY_PRESENT if content in held else _CONFLICTING)
            else:
                taken[identity] = content
                kept.append(event)
                left.append(record)
        found.append((kept, left))
    return found
