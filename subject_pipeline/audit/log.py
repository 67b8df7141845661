"""The audit log's writer: group commit per chunk, settled by reading back, rebased after a lost race.

An append that returned is on disk. One that raised says whether its rows may be there: `OutcomeUnknownError` where
that could not be learnt, any other error where they are not. Either way the same event may be appended again.

Its locks are what makes it longer than other files: who holds which is easier to see in one place.
"""

import datetime as dt
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import TypeVar

from subject_pipeline.audit.chunk_state import ChunkState
from subject_pipeline.audit.events import AccessEvent
from subject_pipeline.audit.group_commit import NOTHING_EXPECTED, Appended, Lane, Ticket, fresh, in_time, parts, take
from subject_pipeline.audit.index.stored import AuditIndex, IndexLostError
from subject_pipeline.audit.index.writer import INDEX_AFTER_BYTES, IndexWriter
from subject_pipeline.audit.segment import LogHead, write_segment
from subject_pipeline.audit.stored_segments import AuditSegments
from subject_pipeline.errors import ConflictError, OutcomeUnknownError, StoreError, SubjectPipelineError
from subject_pipeline.formats.times import format_time
from subject_pipeline.objects.overlapping import at_once, overlapped
from subject_pipeline.objects.retries import retrying
from subject_pipeline.store.ids import storage_key
from subject_pipeline.store.layout import StoreLayout
from subject_pipeline.store.opened import SubjectStore

Reading = TypeVar("Reading")

_FIRST_WAIT_S = 0.004
_AT_ONCE = 16
"""Chunks of a bucket to which one call appends at a time."""

_MEMORY = 128 << 20
"""What is kept of all chunks' logs together, but for the one that was just appended to."""

_INDEX_BEFORE_FORGETTING = 64 << 10
"""Bytes of a log beyond its index that are indexed before they are forgotten: else the next append reads them again."""


class AuditLog:
    """The audit log of one store: appends from any number of threads, processes and machines land in intact chains.

    Chunks never wait for each other; appends of this process to one chunk share a segment.
    """

    def __init__(
        self,
        store: SubjectStore,
        *,
        clock: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
        check_layout: Callable[[StoreLayout], None] = lambda _layout: None,
    ) -> None:
        """Open a log; nothing is read yet.

        Args:
            store: whose, with its keys.
            clock: gives `written_at`.
            check_layout: raises where the store's layout must not be used; called once, before it is.
        """
        self.store = store
        self.segments = AuditSegments(store.objects)
        self.index = AuditIndex(store.objects, store.ring.key)
        self._indexing = IndexWriter(store.objects, self.index, store.ring)
        self._clock = clock
        self._check_layout = check_layout
        self._lanes: dict[str, Lane] = {}
        self._lock = threading.Lock()
        self._layout: StoreLayout | None = None
        self._pid = os.getpid()
        self._weights: OrderedDict[str, int] = OrderedDict()  # the least recently led chunk first
        self._weight = 0

    @property
    def layout(self) -> StoreLayout:
        """The store's layout, written now if this is its first use.

        Raises:
            ConfigurationError: another chunk count is wanted than the store has.
            CheckpointError: it contradicts what is signed.
            StoreError: the store failed.
        """
        if self._layout is None:
            layout = self.store.layout_or_create()
            self._check_layout(layout)
            self._layout = layout
        return self._layout

    def now(self) -> str:
        """The time, as events carry it."""
        return format_time(self._clock())

    def append(
        self,
        events: Sequence[AccessEvent],
        *,
        unique: bool = False,
        after: Mapping[str, int] = NOTHING_EXPECTED,
    ) -> list[Appended]:
        """Append events, whatever chunks they fall into; what the log holds already under their ids is left as it is.

        Args:
            events: in the order in which they become rows of their subjects' chains.
            unique: their ids were made for them just now, so none can be there already.
            after: as in `append_to`.

        Returns:
            One result per event, in order.

        Raises:
            KeyRingError: there is no usable key ring.
            OvertakenError: as in `append_to`. Rows of other chunks may be there.
            AuditLogError: a log is damaged; nothing is appended to it.
            OutcomeUnknownError: it could not be learnt whether the rows are there.
            StoreError: the store failed. Rows of other chunks may be there, none of the chunk that the message names.
        """
        self.store.ring.ring()
        chunk_of = self.layout.chunks.chunk_of
        placed = [(chunk_of(storage_key(event.candidate_id)), at) for at, event in enumerate(events)]
        groups = [(chunk, [at for _, at in group]) for chunk, group in groupby(sorted(placed), key=itemgetter(0))]

        def append(group: tuple[str, list[int]]) -> Iterable[tuple[int, Appended]]:
            chunk, places = group
            done = self.append_to(chunk, [events[at] for at in places], unique=unique, after=after)
            return zip(places, done, strict=True)

        # Not one more than there are: starting threads for one chunk would cost more than its segment.
        at_a_time = at_once(self.store.objects, min(_AT_ONCE, len(groups)))
        results = {at: one for done in overlapped(append, groups, at_a_time) for at, one in done}
        return [results[at] for at in range(len(events))]

    def append_to(
        self,
        chunk: str,
        events: Sequence[AccessEvent],
        *,
        unique: bool = False,
        after: Mapping[str, int] = NOTHING_EXPECTED,
    ) -> list[Appended]:
        """Append events that all fall into one chunk, as few segments as hold them; otherwise as `append`.

        Args:
            chunk: that of all these subjects.
            events: see `append`.
            unique: see `append`.
            after: by subject the seq of the last registry row after which its events may follow; -1: none. The events
                of a subject that is not in it follow anything.

        Raises:
            OvertakenError: a subject's chain has gained a registry row; nothing of that segment was appended.
        """
        if os.getpid() != self._pid:
            raise StoreError("this audit log was opened in another process; open it again after a fork, or use spawn")
        lane = self._lane(chunk)
        return [
            result
            for part, size in parts(events)
            for result in self._append_part(lane, chunk, Ticket(part, size, unique=unique, after=_among(part, after)))
        ]

    def _lane(self, chunk: str) -> Lane:
        with self._lock:
            return self._lanes.setdefault(chunk, Lane())

    def _append_part(self, lane: Lane, chunk: str, ticket: Ticket) -> list[Appended]:
        with lane.condition:
            lane.waiting.append(ticket)
            while lane.busy and not ticket.done:
                lane.condition.wait()
            if not ticket.done:
                lane.busy = True
        if not ticket.done:
            self._lead(lane, chunk, ticket)
        if ticket.error is not None:
            # A fresh error a caller: one object raised in several threads would mix up their tracebacks.
            raise type(ticket.error)(*ticket.error.args) from ticket.error
        return ticket.results

    def chunk_state(self, chunk: str, *, past_end: bool = True) -> ChunkState:
        """What a chunk's log holds now, read again.

        Args:
            chunk: its name.
            past_end: as in `ChunkState.load`.

        Raises:
            AuditLogError: the log is damaged.
            StoreError: the store failed.
        """
        return self._load(chunk, use_index=True, past_end=past_end)

    def reading(self, chunk: str, read: Callable[[ChunkState], Reading]) -> Reading:
        """What `read` takes from a chunk's log as it is now, by the state that appends of this process keep.

        So what this process appended is not read back. Appends to the chunk wait meanwhile, so `read` is brief and
        keeps nothing that it is given.

        Raises:
            AuditLogError: the log is damaged.
            StoreError: the store failed.
        """
        lane = self._lane(chunk)
        with lane.condition:
            while lane.busy:
                lane.condition.wait()
            lane.busy = True
        kept = False
        try:
            if lane.state is None:
                lane.state = self.chunk_state(chunk)
            else:
                lane.state.catch_up()
            found = read(lane.state)
            kept = True
            return found
        finally:
            with lane.condition:
                if not kept:
                    lane.state = None
                self._weigh(chunk, lane.state)
                lane.busy = False
                lane.condition.notify_all()
            self._shrink(chunk)

    def rebuild_index(self, chunk: str) -> tuple[int, int]:
        """Derive a chunk's index again from its whole log, in place of the one that is there.

        Returns:
            How many segments were read, and how many objects of the former index went.

        Raises:
            KeyRingError: there is no usable key ring.
            AuditLogError: the log is damaged; the index is left as it is.
            StoreError: the store failed.
        """
        ring = self.store.ring.ring()
        state = self._load(chunk, use_index=False)
        if not state.pending:
            return 0, self.index.remove(chunk)
        kept = self.index.write(state.base, state.pending, key_id=ring.active, key=ring.active_key)
        return len(state.pending), self.index.remove(chunk, keep=kept)

    def _load(self, chunk: str, *, use_index: bool, past_end: bool = True) -> ChunkState:
        head = LogHead(self.layout.log_id, chunk)
        keys = self.store.ring.key
        return ChunkState.load(self.index, self.segments, head, keys, use_index=use_index, past_end=past_end)

    def close(self, *, index_after_bytes: int = INDEX_AFTER_BYTES) -> None:
        """Finish the index writes that are due; the log itself needs no closing.

        Args:
            index_after_bytes: also index chunks with so much beyond their index.
        """
        self._indexing.finish(list(self._lanes.values()), index_after_bytes)

    def _lead(self, lane: Lane, chunk: str, own: Ticket) -> None:
        """Commit what waits, group by group, until one's own is done; then hand over to the next that waits."""
        try:
            while not own.done:
                with lane.condition:
                    group = take(lane.waiting)
                failure: SubjectPipelineError | None = OutcomeUnknownError(
                    f"an append to the log of {chunk} was interrupted; its rows may be there"
                )
                try:
                    self._commit(lane, chunk, group)
                    failure = None
                except SubjectPipelineError as error:
                    failure = error
                finally:
                    with lane.condition:
                        if failure is not None:
                            lane.state = None  # what was learnt may be stale: the next append reads again
                        for ticket in group:
                            # Who was overtaken stays so, whatever became of the others' rows.
                            ticket.error, ticket.done = ticket.error or failure, True
                        lane.condition.notify_all()
        finally:
            with lane.condition:
                self._weigh(chunk, lane.state)
                lane.busy = False
                if lane.state is not None:
                    self._indexing.write_if_due(lane)
                lane.condition.notify_all()
        self._shrink(chunk)

    def _commit(self, lane: Lane, chunk: str, group: Sequence[Ticket]) -> None:
        ring = self.store.ring.ring()

        def attempt() -> None:
            state = lane.state
            if state is None:
                state = lane.state = self.chunk_state(chunk)
            if any(ticket.is_ahead(state) for ticket in group):
                state.catch_up()
            going = in_time(state, group)
            try:
                left = fresh(state, going)
            except IndexLostError:
                state = lane.state = self._load(chunk, use_index=False)
                left = fresh(state, going)
            wanted = [event for events, _ in left for event in events if isinstance(event, AccessEvent)]
            records = [record for _, new in left for record in new]
            if wanted:
                written = write_segment(
                    state.head,
                    state.chains({event.candidate_id for event in wanted}),
                    wanted,
                    key_id=ring.active,
                    key=ring.active_key,
                    written_at=self.now(),
                    random=os.urandom,
                )
                if not self.segments.create(chunk, written.head.number, written.data):
                    state.catch_up()
                    raise ConflictError(f"other writers kept winning the log of {chunk}; nothing was appended to it")
                state.advance(written, wanted, records)
            rows = iter(written.rows if wanted else ())
            for ticket, (events, _) in zip(going, left, strict=True):
                ticket.results = [
                    Appended("appended", *next(rows)) if isinstance(event, AccessEvent) else event for event in events
                ]

        retrying(attempt, first_wait_s=_FIRST_WAIT_S)

    def _weigh(self, chunk: str, state: ChunkState | None) -> None:
        """Note what a chunk's state takes, and that it was led last; by who leads it, with its lane's lock held."""
        weight = state.weight if state is not None else 0
        with self._lock:
            self._weight += weight - self._weights.pop(chunk, 0)
            self._weights[chunk] = weight

    def _shrink(self, chunk: str) -> None:
        """Forget the state of idle chunks, the least recently led first, while memory is tight.

        The one that was led just now keeps its own: else every append to a chunk that is large would read it again.
        """
        with self._lock:
            if self._weight < _MEMORY:
                return
            others = [name for name in self._weights if name != chunk]
        for name in others:
            lane = self._lanes[name]
            with lane.condition:
                if lane.busy:
                    continue
                self._indexing.write_if_due(lane, _INDEX_BEFORE_FORGETTING)
                lane.state = None
                with self._lock:
                    self._weight -= self._weights.pop(name, 0)
                    if self._weight < _MEMORY:
                        return


def _among(events: Sequence[AccessEvent], after: Mapping[str, int]) -> Mapping[str, int]:
    """What is expected of the subjects of these events."""
    names = {event.candidate_id for event in events} & after.keys() if after else ()
    return {name: after[name] for name in names} if names else NOTHING_EXPECTED
