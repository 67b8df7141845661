"""The audit index's objects, `audit_index/<chunk>/`: heads whole, everything that only grows as increments.

An increment covers a range of segments. A new one swallows those before it that are not twice its size, so there are
only ever about log2 of them. Any object may be missing, stale or forged: then the log is read instead.
"""

import contextlib
import datetime as dt
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from subject_pipeline.audit.index.records import (
    EVENT_WIDTH,
    POSTING_WIDTH,
    KnownEvents,
    SegmentDelta,
    head_in,
    merge_heads,
    merge_records,
    postings,
    seal,
    segments_in,
    unseal,
)
from subject_pipeline.audit.segment import ChainHead, LogHead
from subject_pipeline.errors import StoreError
from subject_pipeline.keys.macs import INDEX_DOMAIN, KeyLookup, Macs
from subject_pipeline.objects.protocol import ObjectStore
from subject_pipeline.store.layout import AUDIT_INDEX

_ROWS = "rows"
_HEADS = re.compile(r"[0-9]{12}")
_SUPERSEDED_AFTER = dt.timedelta(hours=1)
_HEADS_KEPT = 2


class IndexLostError(StoreError):
    """An object that the index names is gone or is not what was sealed: read the log instead."""


@dataclass(frozen=True, slots=True)
class Increment:
    """Postings (`kind` is `rows`) or one month's event records (`kind` is the month) of a range of segments."""

    kind: str
    first: int
    last: int
    segment_sha256: str
    count: int

    def as_json(self) -> list[str | int]:
        """As it is in the heads' header."""
        return [self.kind, self.first, self.last, self.segment_sha256, self.count]


@dataclass(frozen=True, slots=True)
class IndexState:
    """An index as of one segment.

    Attributes:
        head: where the log ended.
        heads: records of all chains' heads.
        increments: what the rest is in, oldest first.
    """

    head: LogHead
    heads: bytes = b""
    increments: tuple[Increment, ...] = field(default=())

    def chain(self, candidate_id: str) -> ChainHead | None:
        """Where a subject's chain ended."""
        return head_in(self.heads, candidate_id)


class AuditIndex:
    """The index of one store's logs."""

    def __init__(self, objects: ObjectStore, keys: KeyLookup) -> None:
        self._objects = objects
        self._macs = Macs(keys, INDEX_DOMAIN)

    def newest(self, log_id: str, chunk: str) -> IndexState | None:
        """The newest index of a chunk that is whole and ours; None where there is none.

        Raises:
            StoreError: the store failed.
        """
        folder = f"{AUDIT_INDEX}{chunk}/heads/"
        found = [item for item in self._objects.list(folder) if _HEADS.fullmatch(item.key.removeprefix(folder))]
        for item in reversed(found[-_HEADS_KEPT:]):
            opened = unseal(self._objects.get(item.key), self._macs)
            if opened is None:
                continue
            header, heads = opened
            if (header.get("log_id"), header.get("chunk"), "number" in header) != (log_id, chunk, True):
                continue  # properly sealed, but copied here from elsewhere
            head = LogHead(log_id, chunk, header["number"], header["segment_sha256"])
            if item.key == _heads_key(head):
                return IndexState(head, heads, tuple(Increment(*parts) for parts in header["increments"]))
        return None

    def events(self, state: IndexState, month: str) -> KnownEvents:
        """All events of a month that the index covers.

        Raises:
            IndexLostError: an increment is gone or damaged.
            StoreError: the store failed.
        """
        return KnownEvents(self._payload(state.head, one) for one in state.increments if one.kind == month)

    def segments_of(self, state: IndexState, subjects: Collection[bytes]) -> list[int]:
        """The numbers of the segments that hold rows of any of these subjects, sorted; otherwise as `events`.

        Args:
            state: the index.
            subjects: their digests.
        """
        found: set[int] = set()
        for increment in state.increments:
            if increment.kind == _ROWS:
                found.update(segments_in(self._payload(state.head, increment), subjects))
        return sorted(found)

    def write(self, before: IndexState, deltas: Sequence[SegmentDelta], *, key_id: str, key: bytes) -> IndexState:
        """The index after some more segments, stored.

        Args:
            before: the index that they follow.
            deltas: at least one, in the log's order.
            key_id: the active key's id.
            key: the active key.

        Raises:
            IndexLostError: an increment of `before` is gone or damaged.
            StoreError: the store failed.
        """
        last = deltas[-1]
        head = before.head._replace(number=last.number, sha256=last.sha256)
        kept = list(before.increments)
        months = sorted({month for delta in deltas for month in delta.events})
        added = {_ROWS: postings(deltas)}
        for month in months:
            records = [record for delta in deltas for record in delta.events.get(month, ())]
            added[month] = merge_records([b"".join(records)], EVENT_WIDTH)
        for kind, data in added.items():
            width = POSTING_WIDTH if kind == _ROWS else EVENT_WIDTH
            increment, swallowed, payload = self._grown(before.head, kept, kind, data, deltas, width)
            kept = [one for one in kept if one not in swallowed] + [increment]
            about = {"chunk": head.chunk, "log_id": head.log_id, "increment": increment.as_json()}
            self._objects.replace(_increment_key(head.chunk, increment), seal(about, payload, key_id=key_id, key=key))
        state = IndexState(head, merge_heads(before.heads, deltas), tuple(kept))
        header: dict[str, Any] = {
            "chunk": head.chunk,
            "log_id": head.log_id,
            "number": head.number,
            "segment_sha256": head.sha256,
            "increments": [increment.as_json() for increment in kept],
        }
        self._objects.replace(_heads_key(head), seal(header, state.heads, key_id=key_id, key=key))
        self._forget_superseded(state)
        return state

    def remove(self, chunk: str, keep: IndexState | None = None) -> int:
        """Delete a chunk's index, except the objects of one state; returns how many objects were deleted.

        Raises:
            StoreError: the store failed.
        """
        wanted = _keys(keep) if keep else set()
        found = [item.key for item in self._objects.list(f"{AUDIT_INDEX}{chunk}/") if item.key not in wanted]
        for key in found:
            self._objects.delete(key)
        return len(found)

    def _grown(
        self,
        head: LogHead,
        kept: Sequence[Increment],
        kind: str,
        data: bytes,
        deltas: Sequence[SegmentDelta],
        width: int,
    ) -> tuple[Increment, list[Increment], bytes]:
        """An increment of new records, the earlier ones that it swallows, and what it holds."""
        swallowed: list[Increment] = []
        parts, count = [data], len(data) // width
        for earlier in reversed([one for one in kept if one.kind == kind]):
            if earlier.count >= 2 * count:
                break
            parts.append(self._payload(head, earlier))
            swallowed.append(earlier)
            count += earlier.count
        payload = merge_records(parts, width) if swallowed else data
        first = swallowed[-1].first if swallowed else deltas[0].number
        return Increment(kind, first, deltas[-1].number, deltas[-1].sha256, len(payload) // width), swallowed, payload

    def _payload(self, head: LogHead, increment: Increment) -> bytes:
        key = _increment_key(head.chunk, increment)
        opened = unseal(self._objects.get(key), self._macs)
        expected: dict[str, Any] = {"chunk": head.chunk, "log_id": head.log_id, "increment": increment.as_json()}
        if opened is None or any(opened[0].get(name) != value for name, value in expected.items()):
            raise IndexLostError(f"the object {key!r} of the audit index is gone or damaged")
        return opened[1]

    def _forget_superseded(self, state: IndexState) -> None:
        """Delete what no newer index needs, once no reader can still use it; if that fails, nothing is lost."""
        wanted = _keys(state)
        before = dt.datetime.now(dt.UTC) - _SUPERSEDED_AFTER
        with contextlib.suppress(StoreError):
            for item in list(self._objects.list(f"{AUDIT_INDEX}{state.head.chunk}/")):
                if item.key not in wanted and item.modified < before:
                    self._objects.delete(item.key)


def _keys(state: IndexState) -> set[str]:
    return {_heads_key(state.head), *(_increment_key(state.head.chunk, one) for one in state.increments)}


def _heads_key(head: LogHead) -> str:
    return f"{AUDIT_INDEX}{head.chunk}/heads/{head.number:012d}"


def _increment_key(chunk: str, increment: Increment) -> str:
    return f"{AUDIT_INDEX}{chunk}/{increment.kind}/{increment.first:012d}-{increment.last:012d}"
