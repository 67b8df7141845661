"""Verification: every chain, log and manifest of a store held to its MACs, its links and the last checkpoint.

The order of reading is what keeps a live store from raising false alarms:

1. the last checkpoint, and any note of one that is known from elsewhere.
2. chunk by chunk the manifests, then the log, so that what the table shows was announced in what is read after it.
3. a gap in a LIST counts once a GET has found nothing, and a manifest that does not fit once both were read again.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from subject_pipeline.domain.audit_segments import LogHead
from subject_pipeline.domain.audit_verdicts import BrokenLog, LogJudge, LogVerdict
from subject_pipeline.domain.checkpoints import ChunkLeaf
from subject_pipeline.domain.manifest_verdicts import BrokenManifest, judge_manifests
from subject_pipeline.errors import CheckpointError, KeyRingError, StoreError
from subject_pipeline.storage.audit_segments import AUDIT, AuditSegments, Listing
from subject_pipeline.storage.checkpoints import Checkpoint, CheckpointStore, Files, Roster, files_hash
from subject_pipeline.storage.key_ring_file import KeyRingFile
from subject_pipeline.storage.objects import ObjectInfo
from subject_pipeline.use_cases.manifest_reading import ManifestReader
from subject_pipeline.use_cases.store import SubjectStore

_LOOKS_AGAIN_AFTER_S = (0.0, 0.1, 0.4, 1.5)
_PATIENCE_S = 10.0
"""All waiting of one verification for changes that are announced and not yet made."""


@dataclass(slots=True)
class ChunkFindings:
    """What was found in one chunk.

    Attributes:
        log: the verdict over its log; None where the log is as the checkpoint has it, and was not read.
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
        """Nothing at all was found."""
        broken = self.log is not None and (self.log.broken or self.log.unreadable)
        return not (broken or self.logs or self.manifests)


class Verifier:
    """One verification under way: opened once, asked chunk by chunk.

    Raises:
        KeyRingError: there is no usable key ring.
        ConfigurationError: another chunk count is wanted than the store has.
    """

    def __init__(self, store: SubjectStore, ring: KeyRingFile, *, incremental: bool) -> None:
        self.store = store
        self.incremental = incremental
        self._ring = ring
        self._signing = ring.ring().signing
        self._segments = AuditSegments(store.objects)
        self._waited_s = 0.0
        self.layout = store.layout()
        self.checkpoint: Checkpoint | None = None
        self.problems: list[BrokenLog] = []
        self._manifests: ManifestReader | None = None
        self._listing = Listing()

    def begin(self, chunks: Sequence[str], *, known_notes: Sequence[str] = (), listed: bool = False) -> None:
        """Read the checkpoint, open the table and list the logs.

        Args:
            chunks: what will be asked for.
            known_notes: signed notes of this log's checkpoints that were kept elsewhere.
            listed: look up the table's files even where nothing is compared with them.
        """
        if self.layout is None:
            if known_notes:
                self.problems.append(_store_wide("bad_checkpoint", "a checkpoint is known, the store is empty"))
            return
        self._read_checkpoint(known_notes)
        try:
            self._manifests = ManifestReader.open(self.store, self.layout.chunks, listed=listed or self.incremental)
        except StoreError as error:
            self.problems.append(_store_wide("unreadable", str(error)))
        try:
            self._listing = self._segments.list(chunks, whole=set(chunks) == set(self.layout.chunks.names))
        except StoreError as error:
            self.problems.append(_store_wide("unreadable", str(error)))
            self._listing = Listing({chunk: {} for chunk in chunks})
            self._manifests = None
        for item in self._listing.foreign:
            chunk = item.key.removeprefix(AUDIT).partition("/")[0]
            at = chunk if chunk in self._listing.segments else None
            self.problems.append(BrokenLog(at, None, "foreign_object", f"{item.key!r} is no segment of the audit log"))

    @property
    def subjects(self) -> int:
        """Manifests in the table."""
        return self._manifests.count if self._manifests else 0

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

    def chunk(self, chunk: str, *, whole: bool = False) -> ChunkFindings:
        """Verify one chunk; `whole`: read all of it, however little changed."""
        if self.layout is None or self._manifests is None:
            failed = BrokenLog(chunk, None, "unreadable", "not verified: the store could not be read")
            return ChunkFindings(chunk, problems=[failed])
        found = ChunkFindings(chunk)
        found.problems += [one for one in self.problems if one.chunk == chunk]
        listed = self._listing.segments[chunk]
        found.segments = _files(listed)
        found.table_files = self._manifests.files.get(chunk, ())
        leaf = self._leaf(chunk)
        incremental = self.incremental and not whole
        old = leaf if incremental else None
        same_log = old is not None and files_hash(found.segments) == old.segments_sha256
        same_table = old is not None and files_hash(found.table_files) == old.table_files_sha256
        if same_log and same_table:
            return found
        if leaf is not None and not self._take_roster(found):
            leaf, same_log, same_table = None, False, False
        if not same_table:
            try:
                found.hashes = self._manifests.hashes(chunk)
            except StoreError as error:
                found.manifests.append(BrokenManifest(None, "unreadable", f"manifests of {chunk}: {error}"))
        judge = None if same_log else self._judge(found, leaf, listed, incremental=incremental)
        if not found.manifests:
            self._hold_manifests(found, judge)
        return found

    def _read_checkpoint(self, known_notes: Sequence[str]) -> None:
        try:
            if self._signing is None and not known_notes:
                self.problems.append(_store_wide("unreadable", "the key ring has no public signing key"))
                return
            store = self.checkpoints
            self.checkpoint = store.latest(whole=not self.incremental)
            if self.checkpoint and self.layout and tuple(self.checkpoint.leaves) != self.layout.chunks.names:
                self.checkpoint = None
                self.problems.append(_store_wide("bad_checkpoint", "its leaves are not those of the store's chunks"))
            reasons = [reason for note in known_notes if (reason := store.holds(note)) is not None]
            if reasons:
                self.checkpoint = None
            self.problems += [_store_wide("bad_checkpoint", reason) for reason in reasons]
        except CheckpointError as error:
            self.problems.append(_store_wide("bad_checkpoint", str(error)))
        except StoreError as error:
            self.problems.append(_store_wide("unreadable", str(error)))

    def _leaf(self, chunk: str) -> ChunkLeaf | None:
        if self.checkpoint is None:
            return None
        return self.checkpoint.leaves.get(chunk)

    def _take_roster(self, found: ChunkFindings) -> bool:
        """Read the chunk's roster; where a newer checkpoint has replaced it meanwhile, that one is held against."""
        for look in range(3):
            if self.checkpoint is None:
                return True
            try:
                found.roster = self.checkpoints.roster(self.checkpoint, found.chunk)
            except CheckpointError as error:
                if look < 2 and self._newer_checkpoint():  # noqa: PLR2004 - not after the last look
                    continue
                found.problems.append(BrokenLog(found.chunk, None, "bad_checkpoint", str(error)))
                return False
            except StoreError as error:
                found.problems.append(BrokenLog(found.chunk, None, "unreadable", str(error)))
                return False
            else:
                return True
        return False

    def _newer_checkpoint(self) -> bool:
        before = self.checkpoint
        try:
            self.checkpoint = self.checkpoints.latest(whole=False)
        except (CheckpointError, StoreError):
            return False
        return self.checkpoint is not None and before is not None and self.checkpoint.sha256 != before.sha256

    def _judge(
        self, found: ChunkFindings, leaf: ChunkLeaf | None, listed: Mapping[int, ObjectInfo], *, incremental: bool
    ) -> LogJudge:
        layout = self.layout
        if layout is None:
            raise StoreError("the store is empty")
        roster = found.roster or Roster()
        start = LogHead(layout.log_id, found.chunk)
        if incremental and leaf is not None:
            before = {int(item[0]): list(item) for item in roster.segments}
            now = {int(item[0]): list(item) for item in found.segments}
            if all(now.get(number) == item for number, item in before.items()):
                found.resumed = True
                start = start._replace(number=leaf.segment, mac=leaf.segment_mac)
        judge = LogJudge(
            start=start,
            layout=layout.chunks,
            keys=self._ring.key,
            chains={entry.candidate_id: (entry.seq, entry.mac) for entry in roster.entries if entry.seq >= 0},
            resumed=found.resumed,
        )
        found.log = judge.verdict
        self._read_log(found, judge, leaf, max(listed, default=-1))
        return judge

    def _read_log(self, found: ChunkFindings, judge: LogJudge, leaf: ChunkLeaf | None, last: int) -> None:
        """Judge every segment up to the last, and what the checkpoint says of them."""
        anchored = leaf.segment if leaf is not None else -1
        first = judge.verdict.head.number + 1
        for number, data in self._segments.read(found.chunk, range(first, max(last, anchored) + 1)):
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

    def _hold_manifests(self, found: ChunkFindings, judge: LogJudge | None) -> None:
        """Judge the manifests; one that does not fit counts once table and log were read again.

        Somebody who is being changed again and again may be met between announcement and change each time, so a
        problem stands only if no further row announced anything since the look before.
        """
        self._judge_manifests(found)
        announced: dict[str, int] = {}
        for wait in _LOOKS_AGAIN_AFTER_S:
            if not found.manifests or self._waited_s + wait > _PATIENCE_S:
                break
            announced = _last_announced(found)
            self._waited_s += wait
            time.sleep(wait)
            try:
                judge = self._look_again(found, judge)
                self._judge_manifests(found)
            except StoreError:
                return  # what was found before stands
        now = _last_announced(found)
        found.manifests = [
            one
            for one in found.manifests
            if one.candidate_id is None or now.get(one.candidate_id) == announced.get(one.candidate_id)
        ]

    def _judge_manifests(self, found: ChunkFindings) -> None:
        log = found.log
        entries = found.roster.entries if found.roster else ()
        if log is not None and log.unreadable:
            return  # the row that announces a change may be in what could not be read
        if found.hashes is None and log is not None and log.evidence and self._manifests is not None:
            # The table's files are as they were, yet a change was announced: it must be looked for in them.
            found.hashes = self._manifests.hashes(found.chunk)
        if found.hashes is None:
            registered = {entry.candidate_id for entry in entries if entry.manifest_sha256}
        else:
            registered = set(found.hashes)
            found.manifests = judge_manifests(
                found.hashes,
                {entry.candidate_id: entry for entry in entries},
                log.evidence if log else {},
                unjudged=log.broken.keys() if log else (),
            )
        found.unregistered = sorted(_unregistered(registered, log)) if log else []

    def _look_again(self, found: ChunkFindings, judge: LogJudge | None) -> LogJudge:
        """Read the table, then what the log has gained, anew.

        Raises:
            StoreError: the store failed.
        """
        if self.layout is None:
            raise StoreError("the store is empty")
        fresh = ManifestReader.open(self.store, self.layout.chunks, listed=True)
        found.hashes = fresh.hashes(found.chunk)
        found.table_files = fresh.files.get(found.chunk, ())
        listed = self._segments.list([found.chunk], whole=False).segments[found.chunk]
        if judge is None:
            found.segments = _files(listed)
            return self._judge(found, self._leaf(found.chunk), listed, incremental=True)
        for _, data in self._segments.tail(found.chunk, judge.verdict.head.number):
            judge.segment(data)
        judge.finish()
        found.segments = [item for item in _files(listed) if int(item[0]) <= judge.verdict.head.number]
        return judge


def _files(listed: Mapping[int, ObjectInfo]) -> Files:
    return [[number, item.size, item.tag] for number, item in sorted(listed.items())]


def _last_announced(found: ChunkFindings) -> dict[str, int]:
    """The seq of each subject's last evidence row."""
    return {one: rows[-1].seq for one, rows in found.log.evidence.items()} if found.log else {}


def _unregistered(registered: set[str], log: LogVerdict) -> Iterator[str]:
    for candidate_id in log.chains.keys() - registered:
        evidence = log.evidence.get(candidate_id)
        if not (evidence and evidence[-1].evidence.deleted):
            yield candidate_id


def _store_wide(kind: str, detail: str) -> BrokenLog:
    return BrokenLog(None, None, kind, detail)
