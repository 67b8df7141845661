"""Which events of one month a log holds, and what each says: found by id, kept in little more than their own bytes."""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from sys import byteorder

from subject_pipeline.audit.events import CONTENT, IDENTITY

EVENT_WIDTH = IDENTITY + CONTENT
"""Bytes of an event's record: its identity, then the digest of its content."""

_HIGH = 8
"""Bytes of an identity that a part is searched by."""
_FRESH = 32_768
_FRESH_BYTES = 160
"""Bytes that an event takes which is not in a part yet."""


class KnownEvents:
    """Sorted parts as the index has them, and what came since; not thread-safe.

    Args:
        parts: records of `EVENT_WIDTH` bytes, sorted within each part.
    """

    def __init__(self, parts: Iterable[bytes] = ()) -> None:
        self._parts = [_Part(part) for part in parts if part]
        self._fresh: dict[bytes, bytes] = {}

    def contents(self, identity: bytes) -> Iterator[bytes]:
        """The contents that are recorded under an identity: none or one; more only if another program wrote the log."""
        fresh = self._fresh.get(identity)
        if fresh is not None:
            yield fresh
        for part in self._parts:
            yield from part.contents(identity)

    def add(self, records: Iterable[bytes]) -> None:
        """Add records; of several with one identity the first counts."""
        for record in records:
            self._fresh.setdefault(record[:IDENTITY], record[IDENTITY:])
        if len(self._fresh) < _FRESH:
            return
        records = sorted(identity + content for identity, content in self._fresh.items())
        self._fresh = {}
        # Like the index: a part swallows the one before it that is not twice its size.
        while self._parts and len(self._parts[-1].data) < 2 * len(records) * EVENT_WIDTH:
            records = sorted([*self._parts.pop().records(), *records])
        self._parts.append(_Part(b"".join(records)))

    @property
    def weight(self) -> int:
        """About how many bytes this keeps in memory."""
        return sum(part.weight for part in self._parts) + len(self._fresh) * _FRESH_BYTES


class _Part:
    """Sorted records, and the beginnings of their identities as numbers, which are bisected without a copy."""

    __slots__ = ("_high", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        words = array("Q", data)
        if byteorder == "little":
            words.byteswap()
        self._high = words[:: EVENT_WIDTH // _HIGH]

    def contents(self, identity: bytes) -> Iterator[bytes]:
        high = int.from_bytes(identity[:_HIGH])
        at = bisect_left(self._high, high)
        if at == len(self._high) or self._high[at] != high:
            return
        for place in range(at, bisect_right(self._high, high, lo=at)):
            record = self.data[place * EVENT_WIDTH : (place + 1) * EVENT_WIDTH]
            if record.startswith(identity):
                yield record[IDENTITY:]

    def records(self) -> Iterator[bytes]:
        return (self.data[at : at + EVENT_WIDTH] for at in range(0, len(self.data), EVENT_WIDTH))

    @property
    def weight(self) -> int:
        return len(self.data) + len(self._high) * _HIGH
