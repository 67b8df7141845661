"""The audit log's objects: create-only segments, `audit/<chunk>/<number, 12 digits>.jsonl`, dense from 0."""

import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from subject_pipeline.audit.segment import MAX_BYTES
from subject_pipeline.errors import AuditLogError, StoreError
from subject_pipeline.objects.overlapping import at_once, overlapped
from subject_pipeline.objects.protocol import ObjectInfo, ObjectStore
from subject_pipeline.store.layout import AUDIT

_KEY = re.compile(rf"{AUDIT}([^/]+)/([0-9]{{12}})\.jsonl")
_AHEAD = 4
MAX_STORED_BYTES = 6 * MAX_BYTES + (1 << 20)
"""No segment is larger: a writer counts the characters of its rows, of which JSON makes up to six bytes each, and a
header. A larger object is not read."""

_LOOKED_PAST = 128


@dataclass(slots=True)
class Listing:
    """What a LIST of some chunks' logs showed.

    Attributes:
        segments: by chunk and number; a LIST during an append may show gaps that are none.
        foreign: objects below `audit/` that are no segment of these chunks.
    """

    segments: dict[str, dict[int, ObjectInfo]] = field(default_factory=dict)
    foreign: list[ObjectInfo] = field(default_factory=list)


class AuditSegments:
    """The segments of one store's logs."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects

    @staticmethod
    def key(chunk: str, number: int) -> str:
        """The key of a segment."""
        return f"{AUDIT}{chunk}/{number:012d}.jsonl"

    @classmethod
    def place(cls, key: str) -> tuple[str, int] | None:
        """The chunk and number of the segment with exactly this key; None if no segment can have it."""
        match = _KEY.fullmatch(key)
        found = (match[1], int(match[2])) if match else None
        return found if found and cls.key(*found) == key else None

    def exist(self) -> bool:
        """Whether anything was ever logged.

        Raises:
            StoreError: the store failed.
        """
        return next(self._objects.list(AUDIT), None) is not None

    def create(self, chunk: str, number: int, data: bytes) -> bool:
        """Put a segment if it is absent; see `ObjectStore.create`."""
        return self._objects.create(self.key(chunk, number), data)

    def get(self, chunk: str, number: int) -> bytes | None:
        """A segment's bytes; None where there is none.

        Raises:
            StoreError: the store failed, or the object is larger than any segment.
        """
        return self._objects.get(self.key(chunk, number), limit=MAX_STORED_BYTES)

    def list(self, chunks: Iterable[str], *, whole: bool) -> Listing:
        """List the logs of some chunks.

        Args:
            chunks: their names.
            whole: they are all the chunks that the store has, so one LIST is enough, and anything else is foreign.

        Raises:
            StoreError: the store failed.
        """
        found = Listing({chunk: {} for chunk in chunks})
        for prefix in [AUDIT] if whole else [f"{AUDIT}{chunk}/" for chunk in found.segments]:
            for item in self._objects.list(prefix):
                chunk, number = self.place(item.key) or ("", -1)
                if chunk in found.segments:
                    found.segments[chunk][number] = item
                else:
                    found.foreign.append(item)
        return found

    def read(self, chunk: str, numbers: Iterable[int]) -> Iterator[tuple[int, bytes | StoreError | None]]:
        """Segments in the order of `numbers`: the bytes, None where there is no such object, or the store's failure."""

        def one(number: int) -> tuple[int, bytes | StoreError | None]:
            try:
                return number, self.get(chunk, number)
            except StoreError as error:
                return number, error

        return overlapped(one, numbers, at_once(self._objects, _AHEAD))

    def tail(self, chunk: str, after: int, *, listed: bool = True) -> Iterator[tuple[int, bytes]]:
        """Every segment after a number, in order.

        Args:
            chunk: whose log.
            after: the last number that is known; -1 for the whole log.
            listed: look past the end too, to distinguish a log with a gap from one that ends: by a LIST, or on a local
                disk, where the end of a long log is wanted, by the next 128 numbers. False: ask for the next until
                there is none.

        Raises:
            AuditLogError: a segment is gone with later ones still there; nothing may be appended to such a log.
            StoreError: the store failed.
        """
        last = after
        if listed and (after < 0 or not self._objects.local):
            for item in self._objects.list(f"{AUDIT}{chunk}/", after=self.key(chunk, after) if after >= 0 else ""):
                place = self.place(item.key)
                last = max(last, place[1]) if place else last
        for number, data in self.read(chunk, range(after + 1, last + 1)):
            if isinstance(data, StoreError):
                raise data
            if data is None:
                raise AuditLogError(self._gone(chunk, number))
            yield number, data
        # A folder's LIST takes longer the more it holds; an index is never far behind a log's end.
        looks_past = listed and after >= 0 and self._objects.local
        for number in itertools.count(last + 1):
            data = self.get(chunk, number)
            if data is None and looks_past and self._objects.exists(*self._behind(chunk, number)):
                data = self.get(
                    chunk, number
                )  # appended meanwhile, and one behind it: none is made before the last one
                if data is None:
                    raise AuditLogError(self._gone(chunk, number))
            if data is None:
                return
            yield number, data

    def _behind(self, chunk: str, number: int) -> Iterator[str]:
        return (self.key(chunk, later) for later in range(number + 1, number + _LOOKED_PAST))

    def _gone(self, chunk: str, number: int) -> str:
        return (
            f"the segment {self.key(chunk, number)} is gone while later ones are there: nothing is appended to a "
            "damaged log; see `subject-pipeline audit verify`"
        )
