"""The backfill: a registered dataset's source becomes manifests in one call."""

import contextlib
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import polars as pl

from subject_pipeline.candidates import staged_parts
from subject_pipeline.candidates.candidates import distinct, split_refused
from subject_pipeline.candidates.staged import StagedCandidates
from subject_pipeline.candidates.staging import DEFAULT_CONCURRENCY, Advance, Keep, private_folder, stage
from subject_pipeline.changes.evidence import ManifestEvidence
from subject_pipeline.errors import StoreError
from subject_pipeline.manifests.table import ManifestTable
from subject_pipeline.objects.local import LocalObjects
from subject_pipeline.objects.protocol import ObjectStore
from subject_pipeline.registry.deciding import Counts, Failure, decide
from subject_pipeline.registry.linking import unlinked
from subject_pipeline.registry.outcomes import MAX_NAMED_FAILURES, Registration, named_failures
from subject_pipeline.registry.registering import register_staged
from subject_pipeline.registry.suppressing import Suppression
from subject_pipeline.registry.vanished import Reconciliation, reconciled
from subject_pipeline.settings import system_user
from subject_pipeline.store.chunks import ChunkLayout
from subject_pipeline.store.datasets import DatasetDeclaration
from subject_pipeline.store.opened import SubjectStore

DEFAULT_LIMIT = 1_000


@dataclass(slots=True)
class BackfillReport:
    """What a backfill did, or, of a dry run, what it would do.

    Attributes:
        rows_scanned: rows read so far.
        source_rows: rows of the whole source; None until it was read to its end or limit.
        counts: what was done. A dry run does nothing, so it counts but the candidates that no run could register.
        forecast: of a dry run alone: what a real run would count now.
        vanished: subjects that refer to the dataset and are not in its source; None: not all of its rows were read.
    """

    dry_run: bool
    rows_scanned: int = 0
    source_rows: int | None = None
    counts: Counts = field(default_factory=Counts)
    failures: list[Failure] = field(default_factory=list)
    sample: tuple[str, ...] = ()
    subjects_total: int = 0
    elapsed_s: float = 0.0
    forecast: Counts | None = None
    vanished: int | None = None


@dataclass(frozen=True, slots=True)
class Watcher:
    """Told of a backfill's progress: rows read, then rows registered."""

    staging: Advance = lambda _done, _total: None
    registering: Advance = lambda _done, _total: None


def backfill(
    store: SubjectStore,
    declaration: DatasetDeclaration,
    *,
    limit: int | None = DEFAULT_LIMIT,
    concurrency: int = DEFAULT_CONCURRENCY,
    dry_run: bool = False,
    watcher: Watcher = Watcher(),
    report: BackfillReport | None = None,
    evidence: ManifestEvidence | None = None,
) -> BackfillReport:
    """Give each candidate of a source a manifest; safe to interrupt and to run again.

    Args:
        store: where manifests are kept.
        declaration: the dataset, already narrowed to what the call asks.
        limit: read at most so many rows; None: all.
        concurrency: at most so many writes are in flight.
        dry_run: parse and count, write nothing.
        watcher: called with progress.
        report: filled while running, so that an interrupted backfill can be reported too.
        evidence: records who comes back after a deletion and who is linked, and knows who was erased; None: as the
            system user. In a store without a key ring nobody is linked, a dry run tells of nobody erased, and nobody is
            registered once it has an audit log.

    Raises:
        KeyRingError: there is an audit log, and no usable key ring; nothing was written.
        SourceError: the source cannot be read; nothing was written.
        ConfigurationError: another chunk count is wanted than the store has.
        StoreError: the store failed before anything was registered.
    """
    started = time.perf_counter()
    report = report if report is not None else BackfillReport(dry_run)
    evidence = evidence or ManifestEvidence(store, system_user())
    call = _Call(store, declaration, report, watcher, limit, concurrency)
    try:
        if dry_run:
            call.forecast(evidence)
        else:
            evidence.open()
            call.register(evidence)
    finally:
        report.elapsed_s = time.perf_counter() - started
    return report


@dataclass(frozen=True, slots=True)
class _Call:
    store: SubjectStore
    declaration: DatasetDeclaration
    report: BackfillReport
    watcher: Watcher
    limit: int | None
    concurrency: int

    def register(self, evidence: ManifestEvidence) -> None:
        folder = private_folder(self.declaration.name)
        done = Registration()
        staged: StagedCandidates | None = None
        try:
            layout = self.store.layout_or_create().chunks
            staged = self._stage(self.store.objects, folder, layout, Suppression.of(self.store, evidence).kept)
            register_staged(
                self.store,
                staged,
                into=done,
                advance=self._registering(staged),
                evidence=evidence,
            )
            self._reconcile(staged, done.reconciled)
            ManifestTable(self.store).tidy()
        finally:
            left_out = Counts(suppressed=staged.suppressed if staged else 0)
            self.report.counts, self.report.failures = done.counts + left_out, done.failures
            # An interrupted backfill is reported too; whatever ended it outweighs a store that fails here as well.
            with contextlib.suppress(StoreError):
                staged_parts.remove(self.store.objects, folder)
                self.report.subjects_total = count_subjects(self.store)

    def _registering(self, staged: StagedCandidates) -> Callable[[Registration], None]:
        """Tells the watcher of rows registered, those left out already among them."""
        return lambda so_far: self.watcher.registering(so_far.rows + staged.suppressed, staged.rows_scanned)

    def forecast(self, evidence: ManifestEvidence) -> None:
        layout, report = self.store.intended_chunks(), self.report
        keep = Suppression.of(self.store, evidence).kept if evidence.configured else None
        beside = Reconciliation()
        with tempfile.TemporaryDirectory(prefix="subject-pipeline-") as scratch:
            objects = LocalObjects(Path(scratch))
            staged = self._stage(objects, None, layout, keep)
            forecast = Counts(suppressed=staged.suppressed)
            for group in staged.groups:
                rows = staged_parts.read_group(objects, group)
                unique = distinct(rows)
                accepted, refused = split_refused(unique)
                chunks = layout.names[group.first : group.last + 1]
                stored = ManifestTable(self.store).stored_ids(chunks, staged.dataset)
                decision = decide(accepted, stored)
                lacking = unlinked(decision.known, stored).height
                beside += reconciled(stored, decision.known.height - lacking)
                failed = pl.concat([refused, decision.collided])
                room = MAX_NAMED_FAILURES - len(report.failures)
                report.failures += [failure for failure, _ in named_failures(failed.head(room), layout)]
                forecast += Counts(
                    inserted=decision.new.height,
                    skipped=decision.known.height,
                    failed=failed.height,
                    duplicates=rows.height - unique.height,
                    linked=lacking if staged.link and evidence.configured else 0,
                    linkable=lacking if staged.link and not evidence.configured else 0,
                )
                done = forecast.attempted + forecast.duplicates + forecast.suppressed
                self.watcher.registering(done, staged.rows_scanned)
        self._reconcile(staged, beside)
        report.forecast = forecast
        report.counts = replace(forecast, inserted=0, skipped=0, linked=0, linkable=0)
        report.subjects_total = count_subjects(self.store)

    def _reconcile(self, staged: StagedCandidates, beside: Reconciliation | None) -> None:
        """Report who has vanished, if all rows of the source were staged and all chunks looked at."""
        self.report.vanished = beside.vanished if beside is not None and staged.is_whole else None

    def _stage(
        self, objects: ObjectStore, folder: str | None, layout: ChunkLayout, keep: Keep | None
    ) -> StagedCandidates:
        """Stage the source; the report knows how far it was read, so that an interrupted backfill can say so."""

        def counted(done: int, total: int) -> None:
            self.report.rows_scanned = done
            self.watcher.staging(done, total)

        staged = stage(
            objects,
            folder,
            self.declaration,
            layout,
            limit=self.limit,
            concurrency=self.concurrency,
            advance=counted,
            **({"keep": keep} if keep else {}),
        )
        self.report.rows_scanned = staged.rows_scanned
        self.report.source_rows = staged.source_rows
        self.report.sample = staged.sample
        return staged


def count_subjects(store: SubjectStore) -> int:
    """How many subjects the store has; 0 for one that was never written.

    Raises:
        StoreError: the store failed.
    """
    return ManifestTable(store).count()
