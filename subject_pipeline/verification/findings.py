"""What verification finds in one chunk, and when it must look again."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from subject_pipeline.checkpoints.anchored import AnchoredSubjects
from subject_pipeline.checkpoints.leaves import Files
from subject_pipeline.verification.log_verdicts import BrokenLog, LogVerdict
from subject_pipeline.verification.manifest_verdicts import BrokenManifest
from subject_pipeline.verification.questionable import Questionable

_SUSPECT = {"changed", "missing", "unapplied", "resurrected", "pending"}
"""What a change that is under way may look like; any other problem is none of timing."""


@dataclass(slots=True)
class ChunkFindings:
    """What was found in one chunk.

    Attributes:
        log: the verdict over its log; None where the log is as the checkpoint has it, and was not read.
        manifests: those that are not as they must be.
        pending: those with a change that was recorded within the last minutes, or again and again while it was looked
            for: neither broken nor fine.
        unregistered: subjects that have rows other than denied ones, but neither a manifest nor a row that records its
            deletion.
        segments: the log's objects, as listed.
        table_files: the table's files, as listed.
        hashes: of its manifests by candidate id; None where they are as the checkpoint has them, and were not read.
        anchored: the last checkpoint's entries; None where they were not needed, or there is no checkpoint.
        unanchored: rows of segments that no checkpoint anchors yet.
        unanchored_manifests: manifests that rest on such rows, or on no row, or are gone by such a row.
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
    anchored: AnchoredSubjects | None = None
    unanchored: int = 0
    unanchored_manifests: int = 0
    resumed: bool = False
    problems: list[BrokenLog] = field(default_factory=list)

    @property
    def logs(self) -> list[BrokenLog]:
        """Problems of the log as such."""
        return [*self.problems, *(self.log.logs if self.log else ())]

    @property
    def questionable(self) -> list[Questionable]:
        """Accesses that should not have been, among what was read."""
        return self.log.questionable if self.log else []

    def knows(self, candidate_id: str) -> bool:
        """Whether the log, the table or the last checkpoint knows a subject, as far as they were read."""
        anchored = self.anchored is not None and self.anchored.entry(candidate_id) is not None
        return anchored or candidate_id in self.named

    @property
    def named(self) -> set[str]:
        """Everybody whom the log or the table names, as far as they were read."""
        astray = (one.candidate_id for one in self.manifests if one.candidate_id is not None)
        log = self.log
        return {*(self.hashes or ()), *astray, *((*log.chains, *log.broken, *log.unreadable) if log else ())}

    @property
    def unnamed(self) -> bool:
        """Whether there is a problem of somebody of whom only the hash of the id is known."""
        chains = self.log is not None and bool(self.log.broken_unnamed)
        return chains or any(one.id_sha256 is not None for one in self.manifests)

    @property
    def sound(self) -> bool:
        """Nothing is broken or unreadable; something may be pending."""
        log = self.log
        broken = log and (log.broken or log.broken_unnamed or log.unreadable or log.unreadable_unnamed)
        return not (broken or self.logs or self.manifests)

    def recorded(self) -> dict[str, int]:
        """Of each subject that may be in the middle of a change, the seq of its last evidence row; -1: none."""
        evidence = self.log.evidence if self.log else {}
        suspects = [one.subject for one in (*self.manifests, *self.pending) if one.kind in _SUSPECT]
        return {one: rows[-1].seq if (rows := evidence.get(one)) else -1 for one in suspects if one is not None}

    def settle(self, before: Mapping[str, int]) -> None:
        """Count what does not fit, and of which something was recorded since an earlier look, as pending."""
        now = self.recorded()
        moving = [one for one in self.manifests if one.candidate_id in now and moved(one.candidate_id, before, now)]
        self.manifests = [one for one in self.manifests if one not in moving]
        self.pending += [BrokenManifest(one.candidate_id, "pending", one.detail) for one in moving]


def moved(candidate_id: str, before: Mapping[str, int], now: Mapping[str, int]) -> bool:
    """Whether something was recorded of a subject between two looks, or they were not in the earlier one."""
    return before.get(candidate_id) != now[candidate_id]


def foreign(key: str, chunk: str | None) -> BrokenLog:
    """The problem of an object that lies among the segments and is none."""
    return BrokenLog(chunk, None, "foreign_object", f"{key!r} is no segment of the audit log")


def unreadable(chunk: str, detail: str) -> ChunkFindings:
    """The findings of a chunk that could not be verified."""
    return ChunkFindings(chunk, problems=[BrokenLog(chunk, None, "unreadable", detail)])


def store_wide(kind: str, detail: str) -> BrokenLog:
    """A problem of the whole store."""
    return BrokenLog(None, None, kind, detail)
