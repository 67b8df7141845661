"""What a writer knows of one chunk's log: where it ends, where its chains end, and which events it holds."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from subject_pipeline.audit.events import AccessEvent, recorded_event
from subject_pipeline.audit.index.records import (
    KnownEvents,
    SegmentDelta,
    heads_with_evidence,
    key_hashes,
    subject_digest,
)
from subject_pipeline.audit.index.stored import AuditIndex, IndexLostError, IndexState
from subject_pipeline.audit.segment import ChainHead, LogHead, ManifestState, Segment, Written, evidence_of
from subject_pipeline.audit.stored_segments import AuditSegments
from subject_pipeline.errors import AuditLogError
from subject_pipeline.keys.macs import SEGMENT_DOMAIN, KeyLookup, Macs
from subject_pipeline.store.chunks import key_hash
from subject_pipeline.store.ids import storage_key


@dataclass(frozen=True, slots=True)
class Chains:
    """Where the chains of one chunk ended at one time; safe to share between threads."""

    base: IndexState
    recent: Mapping[str, ChainHead]

    def chain(self, candidate_id: str) -> ChainHead | None:
        """Where a subject's chain ended; None where it had none."""
        known = self.recent.get(candidate_id)
        return known or (self.base.chain(candidate_id) if self.base.heads else None)


class ChunkState:
    """One chunk's log as its writer sees it; not thread-safe: only one leader at a time uses it."""

    def __init__(self, index: AuditIndex, segments: AuditSegments, base: IndexState, keys: KeyLookup) -> None:
        self._index = index
        self._segments = segments
        self._macs = Macs(keys, SEGMENT_DOMAIN)
        self._chains: dict[str, ChainHead] = {}
        self._events: dict[str, KnownEvents] = {}
        self._pending_events = 0
        self.base = base
        self.trusts_index = True
        self.head = base.head
        self.pending: list[SegmentDelta] = []

    @classmethod
    def load(
        cls,
        index: AuditIndex,
        segments: AuditSegments,
        head: LogHead,
        keys: KeyLookup,
        *,
        use_index: bool = True,
        past_end: bool = True,
    ) -> "ChunkState":
        """The state of a log now: the newest index, and the segments after it.

        Args:
            index: the store's.
            segments: the store's.
            head: where the log begins: its ids, and no segment.
            keys: the ring's.
            use_index: False: read the log from its beginning.
            past_end: False: believe an index that the log ends there, which is enough where nothing is appended.

        Raises:
            AuditLogError: the log is shorter than its index, or a segment read is damaged.
            StoreError: the store failed.
        """
        base = index.newest(head.log_id, head.chunk) if use_index else None
        state = cls(index, segments, base or IndexState(head), keys)
        state.trusts_index = use_index
        state.catch_up(listed=past_end or base is None)
        if base is not None and not state.pending:
            state.check_head()
        return state

    def catch_up(self, *, listed: bool = False) -> None:
        """Read what others have written since; otherwise as `load`, and `listed` as in `AuditSegments.tail`."""
        for _, data in self._segments.tail(self.head.chunk, self.head.number, listed=listed):
            self.take(data)

    def check_head(self) -> None:
        """Refuse a log whose last segment is not the one that its index names."""
        head = self.head
        where = AuditSegments.key(head.chunk, head.number)
        data = self._segments.get(head.chunk, head.number)
        if data is None:
            raise AuditLogError(f"the log of {head.chunk} is shorter than its index: {where} is gone; {_ADVICE}")
        segment = Segment.parse(data)
        before = head._replace(number=head.number - 1)
        problem = segment.problem(before, self._macs, prev_known=False)
        if problem is None and segment.sha256 != head.sha256:
            problem = "it is not the one that the audit index was made from"
        if problem is not None:
            raise AuditLogError(f"{where} is damaged: {problem}; {_ADVICE}")

    def take(self, data: bytes) -> None:
        """Advance by one segment that another writer wrote.

        Raises:
            AuditLogError: it does not follow from what was read so far.
        """
        segment = Segment.parse(data)
        problem = segment.problem(self.head, self._macs)
        if problem is not None:
            where = AuditSegments.key(self.head.chunk, self.head.number + 1)
            raise AuditLogError(f"{where} is damaged: {problem}; {_ADVICE}")
        chains: dict[str, ChainHead] = {}
        events: dict[str, list[bytes]] = {}
        for sha256, row in segment.rows():
            try:
                candidate_id, ts = row["candidate_id"], row["ts"]
                last = chains.get(candidate_id) or self.chain(candidate_id)
                evidence = evidence_of(row["seq"], row["action"], row.get("manifest_sha256"), row.get("decision"))
                chains[candidate_id] = ChainHead(
                    row["seq"],
                    sha256,
                    sha256 if last is None else last.root,
                    evidence or (last.evidence if last else None),
                )
                record = recorded_event(row).record()
            except (KeyError, TypeError, AttributeError) as error:
                where = AuditSegments.key(self.head.chunk, self.head.number + 1)
                raise AuditLogError(f"a row of {where} is damaged; {_ADVICE}") from error
            events.setdefault(ts[:7], []).append(record)
        self._add(SegmentDelta(self.head.number + 1, segment.sha256, len(data), chains, events))

    def advance(self, written: Written, events: Sequence[AccessEvent], records: Sequence[bytes]) -> None:
        """Advance by one segment of our own, with its events and their records."""
        months: dict[str, list[bytes]] = {}
        for event, record in zip(events, records, strict=True):
            months.setdefault(event.ts[:7], []).append(record)
        self._add(SegmentDelta(written.head.number, written.head.sha256, len(written.data), written.chains, months))

    def _add(self, delta: SegmentDelta) -> None:
        self._chains.update(delta.chains)
        for month, records in delta.events.items():
            self._pending_events += len(records)
            if month in self._events:
                self._events[month].add(records)
        self.pending.append(delta)
        self.head = self.head._replace(number=delta.number, sha256=delta.sha256)

    def chain(self, candidate_id: str) -> ChainHead | None:
        """Where a subject's chain ends; None where it has none."""
        known = self._chains.get(candidate_id)
        return known or (self.base.chain(candidate_id) if self.base.heads else None)

    def all_chains(self) -> Chains:
        """Where all chains end now."""
        return Chains(self.base, dict(self._chains))

    def chains(self, candidate_ids: Iterable[str]) -> dict[str, ChainHead]:
        """Where the chains of these subjects end; those without one are left out."""
        found = {candidate_id: self.chain(candidate_id) for candidate_id in candidate_ids}
        return {candidate_id: head for candidate_id, head in found.items() if head is not None}

    def segments_of(self, subjects: Collection[bytes]) -> list[int]:
        """The numbers of the segments that hold rows of any of these subjects, given by their digests; sorted.

        Raises:
            StoreError: the store failed.
        """
        found = {
            delta.number for delta in self.pending if not set(map(subject_digest, delta.chains)).isdisjoint(subjects)
        }
        try:
            found.update(self._index.segments_of(self.base, subjects))
        except IndexLostError:
            found.update(range(self.base.head.number + 1))
        return sorted(found)

    def with_evidence(self, state: ManifestState | None = None) -> dict[bytes, ChainHead]:
        """Where the chains end of all subjects that have a registry row, by their digests.

        Args:
            state: only those whose last registry row leaves the manifest so; None: all.
        """
        recent = {subject_digest(one): head for one, head in self._chains.items() if head.evidence is not None}
        found = heads_with_evidence(self.base.heads, state) | recent
        if state is None:
            return found
        return {digest: head for digest, head in found.items() if head.evidence and head.evidence.state == state}

    def key_hashes(self, state: ManifestState | None = None) -> set[int]:
        """XXH64 of the storage keys of all those subjects, and perhaps of some whose state has changed since."""
        recent = {key_hash(storage_key(one)) for one, head in self._chains.items() if head.evidence is not None}
        return recent.union(key_hashes(self.base.heads, state))

    def events(self, month: str) -> KnownEvents:
        """All events of a month, read from the index at the month's first use.

        Raises:
            IndexLostError: the index is damaged: load the state again without it.
            StoreError: the store failed.
        """
        if month not in self._events:
            found = self._index.events(self.base, month)
            for delta in self.pending:
                found.add(delta.events.get(month, ()))
            self._events[month] = found
        return self._events[month]

    def indexed(self, base: IndexState) -> None:
        """An index was written: what it covers need not be kept in addition."""
        self.base = base
        self.pending = [delta for delta in self.pending if delta.number > base.head.number]
        self._pending_events = sum(len(records) for delta in self.pending for records in delta.events.values())
        self._chains = {name: head for delta in self.pending for name, head in delta.chains.items()}

    @property
    def weight(self) -> int:
        """About how many bytes this keeps in memory."""
        known = sum(events.weight for events in self._events.values())
        pending = self._pending_events * _RECORD_BYTES + len(self._chains) * _CHAIN_BYTES
        return known + pending + len(self.base.heads)


_RECORD_BYTES = 72
_CHAIN_BYTES = 600
_ADVICE = "nothing is appended to a damaged log; see `subject-pipeline audit verify`"
