"""Manifests in memory, by chunk, for a bounded time; what reads them is loaded when it is first needed."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from subject_pipeline.audit.log import AuditLog
from subject_pipeline.errors import SubjectPipelineError
from subject_pipeline.store.ids import storage_key

if TYPE_CHECKING:
    from subject_pipeline.changes.current import ChunkView, CurrentManifests, Known
    from subject_pipeline.store.chunks import ChunkLayout


class Moment(NamedTuple):
    """A time by two clocks: one that only grows, and one that goes on while the machine sleeps."""

    monotonic: float
    wall: float


def read_clocks() -> Moment:
    """The time now."""
    return Moment(time.monotonic(), time.time())


_ROWS = 1_000_000
"""That are kept of all chunks together, but for those that are needed just now."""


class Seen(NamedTuple):
    """What is known of a subject, and the version of the table that it is known by; None: it cannot be read."""

    known: "Known | None"
    version: int


@dataclass(frozen=True, slots=True)
class _Entry:
    view: "ChunkView"
    since: Moment


class ManifestCache:
    """What is known of subjects, never older than `max_age`. Safe to share between threads.

    A view counts from before it was read. If a clock goes back nothing in memory is believed.

    Args:
        log: of the store.
        max_age: seconds.
        clocks: gives the time.
    """

    def __init__(self, log: AuditLog, max_age: int, clocks: Callable[[], Moment] = read_clocks) -> None:
        self._log = log
        self._max_age = max_age
        self._clocks = clocks
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}
        self._layout: ChunkLayout | None = None
        self._manifests: CurrentManifests | None = None

    def known(self, candidate_ids: Collection[str]) -> dict[str, Seen] | None:
        """What is known of some subjects from memory alone; None where that is not all of it."""
        layout, now = self._layout, self._clocks()
        if layout is None:
            return None
        found: dict[str, Seen] = {}
        for one in candidate_ids:
            entry = self._entries.get(layout.chunk_of(storage_key(one)))
            if entry is None or not self._is_fresh(entry, now) or (known := entry.view.look(one)) is None:
                return None
            found[one] = Seen(known, entry.view.stored.version)
        return found

    def load(self, candidate_ids: Collection[str], *, again: bool = False) -> dict[str, Seen]:
        """What is known of some subjects, read where memory does not have it; nothing of whom cannot be read.

        Args:
            candidate_ids: whom it is about.
            again: believe nothing that is in memory.
        """
        found = dict.fromkeys(candidate_ids, Seen(None, 0))
        try:
            layout = self._layout or self._log.layout.chunks
            wanted: dict[str, list[str]] = defaultdict(list)
            for one in candidate_ids:
                wanted[layout.chunk_of(storage_key(one))].append(one)
            # One at a time: a thread that waits here finds what the one before has read.
            with self._lock:
                self._layout = layout
                views = self._views(wanted, again=again)
                for chunk, view in views.items():
                    found.update(self._looked_up(chunk, view, wanted[chunk]))
        except SubjectPipelineError:
            return found
        return found

    def _views(self, chunks: Collection[str], *, again: bool) -> "Mapping[str, ChunkView]":
        now = self._clocks()
        kept = {one: entry for one in chunks if (entry := self._entries.get(one)) is not None}
        stale = [one for one in chunks if again or one not in kept or not self._is_fresh(kept[one], now)]
        if not stale:
            return {one: entry.view for one, entry in kept.items()}
        before = {one: kept[one].view for one in stale if one in kept}
        for one in stale:
            self._entries.pop(one, None)
        read = self._reader().views(stale, before)
        self._entries.update({one: _Entry(view, now) for one, view in read.items()})
        self._forget(but_for=chunks)
        return {one: self._entries[one].view for one in chunks if one in self._entries}

    def _forget(self, but_for: Collection[str]) -> None:
        """Let go of the views that were read first, while there are too many rows."""
        rows = sum(len(entry.view.stored.places) for entry in self._entries.values())
        for one in [name for name in self._entries if name not in but_for]:
            if rows <= _ROWS:
                break
            rows -= len(self._entries.pop(one).view.stored.places)

    def _looked_up(self, chunk: str, view: "ChunkView", candidate_ids: Collection[str]) -> dict[str, Seen]:
        unclear = [one for one in candidate_ids if view.look(one) is None]
        try:
            if unclear:
                self._reader().settle(chunk, view, unclear)
        except SubjectPipelineError:
            candidate_ids = [one for one in candidate_ids if one not in unclear]
        return {one: Seen(view.look(one), view.stored.version) for one in candidate_ids}

    def _reader(self) -> "CurrentManifests":
        if self._manifests is None:
            # Polars and the table take a second and 90 MiB: a process that only records never loads them.
            from subject_pipeline.changes.current import CurrentManifests  # noqa: PLC0415

            self._manifests = CurrentManifests(self._log)
        return self._manifests

    def _is_fresh(self, entry: _Entry, now: Moment) -> bool:
        passed = now.monotonic - entry.since.monotonic, now.wall - entry.since.wall
        return min(passed) >= 0 and max(passed) <= self._max_age
