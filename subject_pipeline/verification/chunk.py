"""Verification, chunk by chunk: every chain, log and manifest held to its MACs, its links and the last checkpoint.

The order of reading is what keeps a live store from raising false alarms:

1. a view: the last checkpoint, then the table's files, then a LIST of the logs. It is frozen: a chunk is held to one
   view from its leaf to its last segment. Where the view's roster was replaced meanwhile, the chunk starts again.
2. of each chunk the manifests, then the log as far as it was listed.
3. a chunk in which a manifest does not fit starts again under a fresh view, once all others were looked at: what the
   table showed before is announced in what is listed now. What does not fit stands if it is there twice and nothing
   was announced of it in between.

One chunk's trouble is that chunk's alone, whatever it is.
"""

import datetime as dt
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from subject_pipeline.audit.segment import LogHead, Segment
from subject_pipeline.audit.stored_segments import AuditSegments, Listing
from subject_pipeline.checkpoints.checkpoint import ChunkLeaf
from subject_pipeline.checkpoints.stored_checkpoints import Checkpoint, CheckpointStore, Files, Roster, files_hash
from subject_pipeline.errors import CheckpointError, ConfigurationError, KeyRingError, StoreError
from subject_pipeline.keys.ring_file import KeyRingFile
from subject_pipeline.objects.overlapping import at_once, overlapped
from subject_pipeline.objects.protocol import ObjectInfo
from subject_pipeline.store.layout import AUDIT
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline.verification.log_verdicts import BrokenLog, LogJudge, LogVerdict
from subject_pipeline.verification.manifest_reading import ManifestReader
from subject_pipeline.verification.manifest_verdicts import (
    BrokenManifest,
    Recent,
    judge_manifests,
    possibly_resurrected,
)

CONCURRENCY = 8
"""Chunks verified at once on a store that is not local; the segments of each take up to 32 MiB."""

_LOOKS_AGAIN_AFTER_S = (0.1, 0.4, 1.5, 2.0)
_LOGS_ASKED = 16
_TRANSIENT = {"changed", "missing", "unapplied", "resurrected"}
"""What a change that is under way may look like; any other problem is none of timing."""

Clock = Callable[[], dt.datetime]
Result = TypeVar("Result")


@dataclass(slots=True)
class ChunkFindings:
    """What was found in one chunk.

    Attributes:
        log: the verdict over its log; None where the log is as the checkpoint has it, and was not read.
        manifests: those that are not as they must be.
        pending: those with a change that was announced within the last minutes, or again and again while it was looked
            for: neither broken nor fine.
        unregistered: subjects that have rows, but neither a manifest nor a row that announces its deletion.
        segments: the log's objects, as listed.
        table_files: the table's files, as listed.
        hashes: of its manifests by candidate id; None where they are as the checkpoint has them, and were not read.
        roster: the last checkpoint's entries; None where they were not needed, or there is no checkpoint.
        resumed: the log was read from the checkpoint on, and not from its beginning.
    """

    chunk: str
    log: LogVerdict | None = None
    manifests: list[BrokenManifest] = field(default_factory=list)
    pending: list[BrokenManifest] = field(default_factory=list)
    unregistered: list[str] = field(default_factory=list)
    segments: Files = ()
    table_files: Files = ()
    hashes: Mapping[str, str] | None = None
    roster: Roster | None = None
    resumed: bool = False
    problems: list[BrokenLog] = field(default_factory=list)

    @property
    def logs(self) -> list[BrokenLog]:
        """Problems of the log as such."""
        return [*self.problems, *(self.log.logs if self.log else ())]

    @property
    def subjects(self) -> set[str]:
        """Everybody whom the log, the table or the last checkpoint knows, as far as they were read."""
        log = self.log or LogVerdict(LogHead("", self.chunk))
        anchored = {entry.candidate_id for entry in self.roster.entries} if self.roster else set()
        return {*log.chains, *log.broken, *log.unreadable, *(self.hashes or ()), *anchored}

    @property
    def sound(self) -> bool:
        """Nothing is broken or unreadable; something may be pending."""
        broken = self.log is not None and (self.log.broken or self.log.unreadable)
        return not (broken or self.logs or self.manifests)

    def announced(self) -> dict[str, int]:
        """Of each subject that may be in the middle of a change, the seq of its last evidence row; -1: none."""
        evidence = self.log.evidence if self.log else {}
        suspects = [one.candidate_id for one in (*self.manifests, *self.pending) if one.kind in _SUSPECT]
        return {one: rows[-1].seq if (rows := evidence.get(one)) else -1 for one in suspects if one is not None}

    def settle(self, before: Mapping[str, int]) -> None:
        """Count what does not fit, and of which something was announced since an earlier look, as pending."""
        now = self.announced()
        moving = [one for one in self.manifests if one.candidate_id in now and _moved(one.candidate_id, before, now)]
        self.manifests = [one for one in self.manifests if one not in moving]
        self.pending += [BrokenManifest(one.candidate_id, "pending", one.detail) for one in moving]


_SUSPECT = _TRANSIENT | {"pending"}


def _moved(candidate_id: str, before: Mapping[str, int], now: Mapping[str, int]) -> bool:
    return before.get(candidate_id) != now[candidate_id]


@dataclass(frozen=True, slots=True)
class View:
    """What chunks are held to, read in this order."""

    checkpoint: Checkpoint | None
    manifests: ManifestReader
    listing: Listing

    def leaf(self, chunk: str) -> ChunkLeaf | None:
        """The checkpoint's leaf of a chunk."""
        return self.checkpoint.leaves.get(chunk) if self.checkpoint else None


class _ViewMovedError(Exception):
    """A newer checkpoint has replaced what the view names: look again under a fresh one."""


class Verifier:
    """One verification under way.

    Raises:
        KeyRingError: there is no usable key ring.
        ConfigurationError: another chunk count is wanted than the store has.
    """

    def __init__(
        self,
        store: SubjectStore,
        ring: KeyRingFile,
        *,
        incremental: bool,
        clock: Clock = lambda: dt.datetime.now(dt.UTC),
    ) -> None:
        self.store = store
        self.incremental = incremental
        self._ring = ring
        self._clock = clock
        self._signing = ring.ring().signing
        self._segments = AuditSegments(store.objects)
        self._view: View | None = None
        self.layout = store.layout()
        self.problems: list[BrokenLog] = []

    def begin(self, chunks: Sequence[str], *, known_notes: Sequence[str] = ()) -> None:
        """Read the checkpoint, open the table and list the logs.

        Args:
            chunks: what will be asked for.
            known_notes: signed notes of this log's checkpoints that were kept elsewhere.

        Raises:
            KeyRingError: the ring is not this store's.
        """
        if self.layout is None:
            if known_notes:
                self.problems.append(_store_wide("bad_checkpoint", "a checkpoint is known, the store is empty"))
            return
        checkpoint = self._read_checkpoint(known_notes)
        try:
            manifests = ManifestReader.open(self.store, self.layout.chunks)
            listing = self._segments.list(chunks, whole=set(chunks) == set(self.layout.chunks.names))
        except StoreError as error:
            self.problems.append(_store_wide("unreadable", str(error)))
            return
        self._view = View(checkpoint, manifests, listing)
        if checkpoint is None:
            self._refuse_a_strange_ring(listing)
        self.problems += [_foreign(item.key, None) for item in listing.foreign if _home(item.key, listing) is None]

    @property
    def checkpoint(self) -> Checkpoint | None:
        """The checkpoint that is held against."""
        return self._view.checkpoint if self._view else None

    @property
    def subjects(self) -> int:
        """Rows in the manifests' table."""
        return self._view.manifests.count if self._view else 0

    @property
    def checkpoints(self) -> CheckpointStore:
        """The store's checkpoints.

        Raises:
            KeyRingError: the ring has no public signing key.
            StoreError: the store has no layout yet.
        """
        if self._signing is None:
            raise KeyRingError("the key ring has no public signing key, so checkpoints cannot be checked")
        if self.layout is None:
            raise StoreError("the store is empty")
        return CheckpointStore(self.store.objects, self.layout.log_id, self._signing.public)

    def each(
        self,
        chunks: Sequence[str],
        then: Callable[[ChunkFindings], Result],
        *,
        whole: Collection[str] = (),
        concurrency: int = CONCURRENCY,
    ) -> Iterator[Result]:
        """What `then` makes of each chunk's findings: in the order of `chunks`, those that were looked at again last.

        Args:
            chunks: among those that `begin` was given.
            then: called once a chunk, in the threads that verify.
            whole: chunks to read whole, however little changed.
            concurrency: chunks at once, on a store that is not local.

        Raises:
            KeyRingError: the key ring can no longer be read.
        """
        threads = at_once(self.store.objects, concurrency)
        waiting: dict[str, Mapping[str, int]] = {chunk: {} for chunk in chunks}
        view = self._view
        for look, pause in enumerate((*_LOOKS_AGAIN_AFTER_S, None)):
            work = self._looking(view, dict(waiting), then, whole, first=look == 0, last=pause is None)
            for chunk, announced, result in overlapped(work, list(waiting), threads):
                if announced is None:
                    del waiting[chunk]
                    yield from result
                else:
                    waiting[chunk] = announced
            if not waiting or pause is None:
                return
            time.sleep(pause)
            view = self._fresh_view(list(waiting))

    def _looking(
        self,
        view: View | None,
        before: Mapping[str, Mapping[str, int]],
        then: Callable[[ChunkFindings], Result],
        whole: Collection[str],
        *,
        first: bool,
        last: bool,
    ) -> Callable[[str], tuple[str, Mapping[str, int] | None, list[Result]]]:
        """One look at a chunk: what was announced of whom, if it is to be looked at again, else what `then` made."""

        def look(chunk: str) -> tuple[str, Mapping[str, int] | None, list[Result]]:
            found = self._guarded(view, chunk, whole=chunk in whole, last=last)
            if found is None:
                return chunk, {}, []
            announced = found.announced()
            still = not first and all(not _moved(one, before[chunk], announced) for one in announced)
            if announced and not still and not last:
                return chunk, announced, []
            if announced:
                found.settle(before[chunk])
            return chunk, None, [then(found)]

        return look

    def _guarded(self, view: View | None, chunk: str, *, whole: bool, last: bool) -> ChunkFindings | None:
        """The chunk's findings, whatever goes wrong in it; None: look again, under a fresh view."""
        if view is None:
            return _unreadable(chunk, "not verified: the store could not be read")
        try:
            return self._chunk(view, chunk, whole=whole)
        except _ViewMovedError:
            return _unreadable(chunk, "checkpoints kept being written while it was looked at") if last else None
        except (ConfigurationError, KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except BaseException as error:  # noqa: BLE001 - Polars' panics are no Exceptions, and none may hide other chunks
            return _unreadable(chunk, f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}")

    def _fresh_view(self, chunks: Sequence[str]) -> View | None:
        """A view of some chunks as they are now; None where the store cannot be read."""
        if self.layout is None or self._view is None:
            return None
        try:
            checkpoint = self._view.checkpoint and self.checkpoints.latest(whole=False)
            manifests = ManifestReader.open(self.store, self.layout.chunks)
            return View(checkpoint, manifests, self._segments.list(chunks, whole=False))
        except (CheckpointError, StoreError):
            return None

    def _chunk(self, view: View, chunk: str, *, whole: bool) -> ChunkFindings:
        """Verify one chunk under a view."""
        found = ChunkFindings(chunk)
        found.problems += [
            _foreign(item.key, chunk) for item in view.listing.foreign if _home(item.key, view.listing) == chunk
        ]
        listed = view.listing.segments[chunk]
        found.segments = _files(listed)
        found.table_files = view.manifests.files.get(chunk, ())
        leaf = view.leaf(chunk)
        incremental = self.incremental and not whole
        old = leaf if incremental else None
        same_log = old is not None and files_hash(found.segments) == old.segments_sha256
        same_table = old is not None and files_hash(found.table_files) == old.table_files_sha256
        if same_log and same_table:
            return found
        if leaf is not None and not self._take_roster(view, found):
            leaf, same_log, same_table = None, False, False
        if not same_table:
            self._read_manifests(view, found)
        if not same_log:
            self._read_log(found, leaf, listed, incremental=incremental)
        if found.hashes is None and found.log is not None and found.log.evidence:
            # The table's files are as they were, yet a change was announced: it must be looked for in them.
            self._read_manifests(view, found)
        if incremental and self._cannot_tell(found):
            return self._chunk(view, chunk, whole=True)
        self._judge_manifests(found)
        return found

    def _read_checkpoint(self, known_notes: Sequence[str]) -> Checkpoint | None:
        """The last checkpoint, if it holds and every note known from elsewhere is among the stored ones."""
        try:
            if self._signing is None and not known_notes:
                self.problems.append(_store_wide("unreadable", "the key ring has no public signing key"))
                return None
            store = self.checkpoints
            checkpoint = store.latest(whole=not self.incremental)
            reasons = [reason for note in known_notes if (reason := store.holds(note)) is not None]
            if checkpoint and self.layout and tuple(checkpoint.leaves) != self.layout.chunks.names:
                reasons.append("its leaves are not those of the store's chunks")
            self.problems += [_store_wide("bad_checkpoint", reason) for reason in reasons]
        except CheckpointError as error:
            self.problems.append(_store_wide("bad_checkpoint", str(error)))
        except StoreError as error:
            self.problems.append(_store_wide("unreadable", str(error)))
        else:
            return None if reasons else checkpoint
        return None

    def _refuse_a_strange_ring(self, listing: Listing) -> None:
        """Where no note was verified: a ring that also knows no key of the logs is another store's.

        Raises:
            KeyRingError: it is.
        """
        logs = [(chunk, max(numbers)) for chunk, numbers in listing.segments.items() if numbers][:_LOGS_ASKED]
        asked = 0
        for chunk, number in logs:
            try:
                header = Segment.parse(self._segments.get(chunk, number) or b"").header
            except StoreError:
                continue
            if header is None:
                continue
            if self._ring.key(str(header.get("key_id"))) is not None:
                return
            asked += 1
        if asked:
            raise KeyRingError(
                f"this key ring is not this store's: it has none of the keys of {asked:,} logs that were asked, and no "
                "checkpoint is signed by its key; set SUBJECT_KEY_RING to the ring that this store is written with"
            )

    def _take_roster(self, view: View, found: ChunkFindings) -> bool:
        """Read the chunk's roster; False where it does not hold, or cannot be read.

        Raises:
            _ViewMovedError: newer checkpoints have replaced it.
        """
        if view.checkpoint is None:
            return True
        try:
            found.roster = self.checkpoints.roster(view.checkpoint, found.chunk)
        except CheckpointError as error:
            if self._newer_checkpoint(view.checkpoint):
                raise _ViewMovedError from error
            found.problems.append(BrokenLog(found.chunk, None, "bad_checkpoint", str(error)))
            return False
        except StoreError as error:
            found.problems.append(BrokenLog(found.chunk, None, "unreadable", str(error)))
            return False
        return True

    def _newer_checkpoint(self, than: Checkpoint) -> bool:
        try:
            latest = self.checkpoints.latest(whole=False)
        except (CheckpointError, StoreError):
            return False
        return latest is not None and latest.note.number > than.note.number

    def _read_manifests(self, view: View, found: ChunkFindings) -> None:
        try:
            manifests = view.manifests.chunk(found.chunk)
        except StoreError as error:
            found.manifests.append(BrokenManifest(None, "unreadable", f"manifests of {found.chunk}: {error}"))
        else:
            found.hashes = manifests.hashes
            found.manifests += manifests.broken

    def _read_log(
        self, found: ChunkFindings, leaf: ChunkLeaf | None, listed: Mapping[int, ObjectInfo], *, incremental: bool
    ) -> None:
        """Judge every segment up to the last that is listed, and what the checkpoint says of them."""
        if self.layout is None:
            raise StoreError("the store is empty")
        roster = found.roster or Roster()
        start = LogHead(self.layout.log_id, found.chunk)
        if incremental and leaf is not None:
            before = {int(item[0]): list(item) for item in roster.segments}
            now = {int(item[0]): list(item) for item in found.segments}
            if all(now.get(number) == item for number, item in before.items()):
                found.resumed = True
                start = start._replace(number=leaf.segment, mac=leaf.segment_mac)
        judge = LogJudge(
            start=start,
            layout=self.layout.chunks,
            keys=self._ring.key,
            chains={entry.candidate_id: (entry.seq, entry.mac) for entry in roster.entries if entry.seq >= 0},
            resumed=found.resumed,
        )
        found.log = judge.verdict
        last, anchored = max(listed, default=-1), leaf.segment if leaf is not None else -1
        for number, data in self._segments.read(found.chunk, range(start.number + 1, max(last, anchored) + 1)):
            if isinstance(data, StoreError):
                judge.unreadable(str(data))
            elif data is not None:
                mac = judge.segment(data)
                if leaf is not None and number == anchored and mac != leaf.segment_mac:
                    detail = f"segment {number} is not the one that the last checkpoint anchored"
                    found.problems.append(BrokenLog(found.chunk, number, "rewritten", detail))
            elif number <= last:
                judge.gone()
            else:
                detail = f"the last checkpoint anchored segment {anchored}, the log ends before {number}"
                kind = "truncated" if number else "missing"
                found.problems.append(BrokenLog(found.chunk, number, kind, detail))
                break
        judge.finish()

    def _cannot_tell(self, found: ChunkFindings) -> bool:
        """Whether somebody is there of whom only the part of the log that was not read tells whether they may be."""
        if found.hashes is None or found.roster is None or not (found.log is None or found.resumed):
            return False
        evidence = found.log.evidence if found.log else {}
        return possibly_resurrected(found.hashes, found.roster.entries, evidence)

    def _judge_manifests(self, found: ChunkFindings) -> None:
        log, hashes = found.log, found.hashes
        if any(one.kind == "unreadable" for one in found.manifests) or (log is not None and log.unreadable):
            return  # the row that announces a change may be in what could not be read
        entries = found.roster.entries if found.roster else ()
        if hashes is None:
            registered = {entry.candidate_id for entry in entries if entry.manifest_sha256}
        else:
            registered = set(hashes)
            astray = {one.candidate_id for one in found.manifests if one.candidate_id is not None}
            for one in judge_manifests(
                hashes,
                {entry.candidate_id: entry for entry in entries},
                log.evidence if log else {},
                unjudged=astray | (log.broken.keys() if log else set()),
                recent=Recent.at(self._clock()),
            ):
                (found.pending if one.kind == "pending" else found.manifests).append(one)
        found.unregistered = sorted(_unregistered(registered, log)) if log else []


def _files(listed: Mapping[int, ObjectInfo]) -> Files:
    return [[number, item.size, item.tag] for number, item in sorted(listed.items())]


def _unregistered(registered: set[str], log: LogVerdict) -> Iterator[str]:
    for candidate_id in log.chains.keys() - registered:
        evidence = log.evidence.get(candidate_id)
        if not (evidence and evidence[-1].evidence.deleted):
            yield candidate_id


def _home(key: str, listing: Listing) -> str | None:
    """The chunk among whose segments an object lies that is none of them."""
    chunk = key.removeprefix(AUDIT).partition("/")[0]
    return chunk if chunk in listing.segments else None


def _foreign(key: str, chunk: str | None) -> BrokenLog:
    return BrokenLog(chunk, None, "foreign_object", f"{key!r} is no segment of the audit log")


def _unreadable(chunk: str, detail: str) -> ChunkFindings:
    return ChunkFindings(chunk, problems=[BrokenLog(chunk, None, "unreadable", detail)])


def _store_wide(kind: str, detail: str) -> BrokenLog:
    return BrokenLog(None, None, kind, detail)
