"""Applying files of decisions: batch by batch; what is rejected is reported in dead letters, by place and hash."""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from sys import getsizeof
from typing import NamedTuple

from subject_pipeline.decisions.decision import Decision, is_undecided, parse_decision
from subject_pipeline.errors import DecisionError, SourceError
from subject_pipeline.garbage import uncollected
from subject_pipeline.ingestion.ingest_report import Rejection, bury
from subject_pipeline.ingestion.ingesting import MAX_NAMED, raise_unread
from subject_pipeline.ingestion.line_files import LineFile
from subject_pipeline.lifecycle.applying import Decisions
from subject_pipeline.lifecycle.decision_files import read_decisions
from subject_pipeline.lifecycle.judging import Verdict
from subject_pipeline.objects.protocol import ObjectStore

_BATCH = 200_000
_BATCH_BYTES = 160 << 20


@dataclass(slots=True)
class DecisionReport:
    """What became of files of decisions; `decisions = applied + already_applied + rejected`.

    Attributes:
        undecided: drafts for which nobody has chosen a kind; they are no decisions.
        rejections: the first 10,000 of the lines rejected; all are counted.
        dead_letters: the reports that were written of these lines, as keys of the store.
    """

    files: int = 0
    applied: int = 0
    already_applied: int = 0
    rejected: int = 0
    undecided: int = 0
    rejections: list[Rejection] = field(default_factory=list)
    dead_letters: list[str] = field(default_factory=list)
    elapsed_s: float = 0.0

    @property
    def decisions(self) -> int:
        """Lines that are decisions, or should be."""
        return self.applied + self.already_applied + self.rejected


class _Placed(NamedTuple):
    decision: Decision
    line: int
    sha256: str


@uncollected()
def apply_files(
    decisions: Decisions,
    objects: ObjectStore,
    files: Sequence[LineFile],
    report: DecisionReport,
    *,
    dry_run: bool = False,
    progress: Callable[[int], None] = lambda _: None,
) -> None:
    """Apply the decisions of files, in their order; one that is rejected stops no other, and neither does a file.

    Args:
        decisions: applies them.
        objects: the store's, for dead letters.
        files: read in order, as streams.
        report: filled while applying, so that a run which ends early can be reported too.
        dry_run: judge everything against the store as it is, and write nothing, no dead letters either.
        progress: called after each batch with lines done.

    Raises:
        KeyRingError: there is no usable key ring.
        SourceError: files cannot be read, or not to their ends; all others were applied.
        StoreError: the store failed. What is counted is applied; applying again continues.
    """
    started = time.perf_counter()
    unread: list[SourceError] = []
    try:
        for file in files:
            try:
                _apply_file(decisions, objects, file, report, progress, dry_run=dry_run)
                report.files += 1
            except SourceError as error:
                unread.append(error)
    finally:
        report.elapsed_s += time.perf_counter() - started
    raise_unread(unread, len(files))


def _apply_file(
    decisions: Decisions,
    objects: ObjectStore,
    file: LineFile,
    report: DecisionReport,
    progress: Callable[[int], None],
    *,
    dry_run: bool,
) -> None:
    rejections: list[Rejection] = []

    def reject(line: int, reason: str, sha256: str) -> None:
        report.rejected += 1
        if len(rejections) < MAX_NAMED:
            rejections.append(Rejection(file.name, line, reason, sha256))

    try:
        for batch in _batches(file, report, reject):
            known = dict[int, Verdict]()
            try:
                known.update(enumerate(decisions.apply([one.decision for one in batch], dry_run=dry_run, known=known)))
            finally:
                for at, verdict in sorted(known.items()):
                    if verdict.outcome == "applied":
                        report.applied += 1
                    elif verdict.outcome == "already_applied":
                        report.already_applied += 1
                    else:
                        reject(batch[at].line, verdict.reason, batch[at].sha256)
            progress(report.decisions + report.undecided)
    finally:
        if rejections:
            rejections.sort(key=lambda one: one.line)
            report.rejections += rejections[: MAX_NAMED - len(report.rejections)]
            if not dry_run:
                report.dead_letters.append(bury(objects, file.name, rejections))


def _batches(
    file: LineFile, report: DecisionReport, reject: Callable[[int, str, str], None]
) -> Iterator[list[_Placed]]:
    """A file's decisions, so many at a time; drafts are counted, and lines that are no decisions rejected."""
    batch: list[_Placed] = []
    size = 0
    with closing(file.lines(read_decisions)) as lines:
        for line in lines:
            sha256 = hashlib.sha256(line.raw).hexdigest()
            if line.problem:
                reject(line.number, f"malformed: {line.problem}", sha256)
                continue
            if is_undecided(line.value):
                report.undecided += 1
                continue
            try:
                decision = parse_decision(line.value)
            except DecisionError as error:
                reject(line.number, f"malformed: {error}", sha256)
                continue
            batch.append(_Placed(decision, line.number, sha256))
            size += sum(map(getsizeof, decision))
            if len(batch) >= _BATCH or size >= _BATCH_BYTES:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch
