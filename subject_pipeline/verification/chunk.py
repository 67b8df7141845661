"""Verification of one chunk: its chains, its log and its manifests, checked against one view of the store."""

import datetime as dt
from collections.abc import Callable, Iterator, Mapping

from subject_pipeline.audit.segment import LogHead
from subject_pipeline.checkpoints.checkpoint import ChunkLeaf
from subject_pipeline.checkpoints.stored_checkpoints import Files, Roster, files_hash
from subject_pipeline.errors import CheckpointError, StoreError
from subject_pipeline.objects.protocol import ObjectInfo
from subject_pipeline.verification.findings import ChunkFindings
from subject_pipeline.verification.log_verdicts import BrokenLog, LogJudge, LogVerdict
from subject_pipeline.verification.manifest_verdicts import (
    BrokenManifest,
    Recent,
    judge_manifests,
    possibly_resurrected,
)
from subject_pipeline.verification.views import AuditedStore, View

Clock = Callable[[], dt.datetime]


class ViewMovedError(Exception):
    """A newer checkpoint has replaced what the view names: look again under a fresh one."""


class ChunkVerifier:
    """Verifies chunks, each under the view it is given; threads may share one."""

    def __init__(self, audited: AuditedStore, *, incremental: bool, clock: Clock) -> None:
        self._audited = audited
        self._incremental = incremental
        self._clock = clock

    def verify(self, view: View, chunk: str, *, whole: bool) -> ChunkFindings:
        """The findings of one chunk.

        Args:
            view: what the chunk is compared with.
            chunk: its name.
            whole: read all of it, however little changed.

        Raises:
            ViewMovedError: newer checkpoints have replaced what the view names.
            KeyRingError: the key ring can no longer be read.
        """
        found = ChunkFindings(chunk)
        found.problems += view.foreign(chunk)
        listed = view.listing.segments[chunk]
        found.segments = _files(listed)
        found.table_files = view.manifests.files.get(chunk, ())
        leaf = view.leaf(chunk)
        incremental = self._incremental and not whole
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
            # The table's files are as they were, yet a change was recorded: it must be looked for in them.
            self._read_manifests(view, found)
        if incremental and self._cannot_tell(found):
            return self.verify(view, chunk, whole=True)
        self._judge_manifests(view, found)
        return found

    def _take_roster(self, view: View, found: ChunkFindings) -> bool:
        """Read the chunk's roster; False where it does not hold, or cannot be read.

        Raises:
            ViewMovedError: newer checkpoints have replaced it.
        """
        if view.checkpoint is None:
            return True
        try:
            found.roster = self._audited.checkpoints.roster(view.checkpoint, found.chunk)
        except CheckpointError as error:
            if self._audited.newer_checkpoint(view.checkpoint):
                raise ViewMovedError from error
            found.problems.append(BrokenLog(found.chunk, None, "bad_checkpoint", str(error)))
            return False
        except StoreError as error:
            found.problems.append(BrokenLog(found.chunk, None, "unreadable", str(error)))
            return False
        return True

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
        if self._audited.layout is None:
            raise StoreError("the store is empty")
        roster = found.roster or Roster()
        start = LogHead(self._audited.layout.log_id, found.chunk)
        if incremental and leaf is not None:
            before = {int(item[0]): list(item) for item in roster.segments}
            now = {int(item[0]): list(item) for item in found.segments}
            if all(now.get(number) == item for number, item in before.items()):
                found.resumed = True
                start = start._replace(number=leaf.segment, sha256=leaf.segment_mac)
        judge = LogJudge(
            start=start,
            layout=self._audited.layout.chunks,
            keys=self._audited.ring.key,
            chains={entry.candidate_id: (entry.seq, entry.mac) for entry in roster.entries if entry.seq >= 0},
            resumed=found.resumed,
        )
        found.log = judge.verdict
        last, anchored = max(listed, default=-1), leaf.segment if leaf is not None else -1
        for number, data in self._audited.segments.read(found.chunk, range(start.number + 1, max(last, anchored) + 1)):
            if isinstance(data, StoreError):
                judge.unreadable(str(data))
            elif data is not None:
                sha256 = judge.segment(data)
                if leaf is not None and number == anchored and sha256 != leaf.segment_mac:
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

    def _judge_manifests(self, view: View, found: ChunkFindings) -> None:
        log, hashes = found.log, found.hashes
        if any(one.kind == "unreadable" for one in found.manifests) or (log is not None and log.unreadable):
            return  # the row that records a change may be in what could not be read
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
                document=view.manifests.documents(found.chunk),
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
