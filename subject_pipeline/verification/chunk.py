"""Verification of one chunk: its chains, its log and its manifests, checked against one view of the store.

It is longer than other files because everything that is read of a chunk is read here, under that one view.
"""

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Mapping

from subject_pipeline.audit.reading import rows_of, segments_up_to
from subject_pipeline.audit.segment import LogHead
from subject_pipeline.audit.stored_segments import AuditSegments
from subject_pipeline.checkpoints.anchored import AnchoredSubjects
from subject_pipeline.checkpoints.leaves import ChunkLeaf, Files, files_hash
from subject_pipeline.checkpoints.rosters import GONE, Roster, RosterEntry
from subject_pipeline.errors import CheckpointError, StoreError
from subject_pipeline.objects.protocol import ObjectInfo
from subject_pipeline.verification.findings import ChunkFindings
from subject_pipeline.verification.log_verdicts import BrokenLog, LogJudge, LogVerdict
from subject_pipeline.verification.manifest_verdicts import (
    BrokenManifest,
    Recent,
    judge_manifests,
    judge_unnamed,
)
from subject_pipeline.verification.questionable import Questionable, moves, questionable
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
        found.segments = _files(chunk, listed)
        found.table_files = view.manifests.files.get(chunk, ())
        leaf = view.leaf(chunk)
        incremental = self._incremental and not whole
        old = leaf if incremental else None
        same_log = old is not None and max(listed, default=-1) == old.segment and _begins_as(old, chunk, listed)
        same_table = old is not None and files_hash(found.table_files) == old.table_files_sha256
        if same_log and same_table:
            return found
        if leaf is not None and not self._take_roster(view, found):
            leaf, same_log, same_table = None, False, False
        if not same_table:
            self._read_manifests(view, found)
        if not same_log:
            self._read_log(view, found, leaf, listed, incremental=incremental)
        if found.hashes is None and found.log is not None and found.log.evidence:
            # The table's files are as they were, yet a change was recorded: it must be looked for in them.
            self._read_manifests(view, found)
        self._judge_manifests(view, found)
        if found.resumed and found.log is not None:
            found.log.questionable = self._question(view, found, found.log)
        if found.unnamed:
            if incremental:
                return self.verify(view, chunk, whole=True)  # what was not read may name them
            _name(found)
        return found

    def _take_roster(self, view: View, found: ChunkFindings) -> bool:
        """Read the chunk's roster; False where it does not hold, or cannot be read.

        Raises:
            ViewMovedError: newer checkpoints have replaced it.
        """
        if view.checkpoint is None:
            return True
        try:
            roster = self._audited.checkpoints.roster(view.checkpoint.leaves[found.chunk])
            found.anchored = AnchoredSubjects(view.checkpoint.statement.log_id, roster)
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
        self,
        view: View,
        found: ChunkFindings,
        leaf: ChunkLeaf | None,
        listed: Mapping[int, ObjectInfo],
        *,
        incremental: bool,
    ) -> None:
        """Judge every segment up to the last that is listed, and what the checkpoint says of them."""
        if self._audited.layout is None:
            raise StoreError("the store is empty")
        start = LogHead(self._audited.layout.log_id, found.chunk)
        if incremental and leaf is not None and _begins_as(leaf, found.chunk, listed):
            found.resumed = True
            start = start._replace(number=leaf.segment, sha256=leaf.segment_sha256)
        judge = LogJudge(
            start=start,
            layout=self._audited.layout.chunks,
            keys=self._audited.macs,
            anchored=found.anchored or AnchoredSubjects(start.log_id, Roster()),
            resumed=found.resumed,
            retired=view.retired.get(found.chunk, {}),
        )
        found.log = judge.verdict
        before = 0
        last, anchored = max(listed, default=-1), leaf.segment if leaf is not None else -1
        for number, data in self._audited.segments.read(found.chunk, range(start.number + 1, max(last, anchored) + 1)):
            if isinstance(data, StoreError):
                judge.unreadable(str(data))
            elif data is not None:
                sha256 = judge.segment(data)
                if leaf is not None and number == anchored:
                    found.problems += _against_leaf(found, judge, leaf, sha256)
                    before = judge.verdict.rows
            elif number <= last:
                judge.gone()
            else:
                detail = f"the last checkpoint anchored segment {anchored}, the log ends before {number}"
                kind = "truncated" if number else "missing"
                found.problems.append(BrokenLog(found.chunk, number, kind, detail))
                break
        found.unanchored = judge.finish().rows - before

    def _question(self, view: View, found: ChunkFindings, log: LogVerdict) -> list[Questionable]:
        """The newly recorded accesses that should not have been, of a log whose beginning was not read.

        The chains looked at from their beginnings are those of anyone who has new rows and something against accesses:
        by the manifest, by being gone, or by what was lifted in the same rows. Whether a row that was recorded late is
        of a time at which something stood that was lifted before the checkpoint, a full verification tells.
        """
        layout, anchored = self._audited.layout, found.anchored
        before = {one: (anchored.chain(one) if anchored else None) or (-1, "") for one in log.chains}
        rows = {one: seq - before[one][0] for one, (seq, _) in log.chains.items()}
        accessed = {one for one, count in rows.items() if count > len(log.evidence.get(one, ()))}
        if layout is None or not accessed:
            return []
        lifted = {
            one for one in accessed & log.evidence.keys() if any(moves(row.decision) for row in log.evidence[one])
        }
        gone = {one for one in accessed if anchored and (entry := anchored.entry(one)) and entry.state in GONE}
        wanted = lifted | gone | (accessed & self._restricted(view, found))
        numbers = segments_up_to(self._audited.store, layout.log_id, found.chunk, log.head.number, wanted)
        chains = rows_of(self._audited.segments, found.chunk, numbers, wanted) if wanted else iter(())
        return [
            one
            for one in questionable(chains)
            if before[one.candidate_id][0] < one.seq <= log.chains[one.candidate_id][0]
        ]

    @staticmethod
    def _restricted(view: View, found: ChunkFindings) -> set[str]:
        """Whose manifest says something against accesses."""
        try:
            return view.manifests.restricted(found.chunk)
        except StoreError as error:
            found.manifests.append(BrokenManifest(None, "unreadable", f"manifests of {found.chunk}: {error}"))
            return set()

    def _judge_manifests(self, view: View, found: ChunkFindings) -> None:
        log, hashes = found.log, found.hashes
        if any(one.kind == "unreadable" for one in found.manifests) or (
            log is not None and (log.unreadable or log.unreadable_unnamed)
        ):
            return  # the row that records a change may be in what could not be read
        if hashes is not None:
            named = found.named
            astray = {one.candidate_id for one in found.manifests if one.candidate_id is not None}
            roster: dict[str, RosterEntry] = {}
            if found.anchored is not None:
                roster = found.anchored.entries(named)
                found.manifests += judge_unnamed(found.anchored.others(named))
            for one in judge_manifests(
                hashes,
                roster,
                log.evidence if log else {},
                unjudged=astray | (log.broken.keys() if log else set()),
                recent=Recent.at(self._clock()),
                document=view.manifests.documents(found.chunk),
            ):
                (found.pending if one.kind == "pending" else found.manifests).append(one)
            found.unanchored_manifests = _unanchored(hashes, roster, [*found.manifests, *found.pending])
        found.unregistered = sorted(_unregistered(found, log)) if log else []


def _against_leaf(found: ChunkFindings, judge: LogJudge, leaf: ChunkLeaf, sha256: str) -> Iterator[BrokenLog]:
    """What is wrong with what a checkpoint anchored: another segment, or a roster that leaves subjects out."""
    if sha256 != leaf.segment_sha256:
        detail = f"segment {leaf.segment} is not the one that the last checkpoint anchored"
        yield BrokenLog(found.chunk, leaf.segment, "rewritten", detail)
    elif found.anchored is not None:
        left_out = sum(found.anchored.chain(candidate_id) is None for candidate_id in judge.met)
        if left_out:
            detail = f"the last checkpoint's roster leaves out {left_out:,} subjects who have rows in what it anchors"
            yield BrokenLog(found.chunk, None, "bad_checkpoint", detail)


def _unanchored(
    hashes: Mapping[str, str], roster: Mapping[str, RosterEntry], problems: Iterable[BrokenManifest]
) -> int:
    """How many manifests, or their absence, are not as the checkpoint has them, and are not said to be wrong either."""
    told = {one.candidate_id for one in problems}
    there = {
        candidate_id
        for candidate_id, sha256 in hashes.items()
        if (entry := roster.get(candidate_id)) is None or entry.manifest_sha256 != sha256
    }
    gone = {one for one in roster.keys() - hashes.keys() if roster[one].state == "present"}
    return len((there | gone) - told)


def _files(chunk: str, listed: Mapping[int, ObjectInfo]) -> Files:
    return [[AuditSegments.key(chunk, number), item.size, item.tag] for number, item in sorted(listed.items())]


def _begins_as(leaf: ChunkLeaf, chunk: str, listed: Mapping[int, ObjectInfo]) -> bool:
    """Whether the log's objects up to the anchored segment are those that the checkpoint was made over."""
    anchored = {number: item for number, item in listed.items() if number <= leaf.segment}
    return files_hash(_files(chunk, anchored)) == leaf.objects_sha256


def _name(found: ChunkFindings) -> None:
    """Give those chains their ids of which only the hash is known, where the table has an id that makes it."""
    if found.anchored is None or found.log is None:
        return
    unnamed, found.log.broken_unnamed = found.log.broken_unnamed, []
    ids = {found.anchored.id_sha256(candidate_id): candidate_id for candidate_id in found.named}
    for one in unnamed:
        candidate_id = ids.get(one.id_sha256 or "")
        if candidate_id is None:
            found.log.broken_unnamed.append(one)
        else:
            found.log.broken[candidate_id] = one.named(candidate_id)


def _unregistered(found: ChunkFindings, log: LogVerdict) -> Iterator[str]:
    """Those who have rows that are not all denied, but neither a manifest nor a row that announces its deletion."""
    for candidate_id, (seq, _) in log.chains.items():
        entry = found.anchored.entry(candidate_id) if found.anchored else None
        read = seq - (entry.seq if found.resumed and entry else -1)
        if log.denied.get(candidate_id, 0) == read:
            continue
        state = entry.state if entry else "absent"
        there = state == "present" if found.hashes is None else candidate_id in found.hashes
        evidence = log.evidence.get(candidate_id)
        if not (there or state in GONE or (evidence and evidence[-1].evidence.deleted)):
            yield candidate_id
