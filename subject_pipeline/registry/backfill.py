"""The backfill: a registered dataset's source becomes manifests in one call."""

import contextlib
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from subject_pipeline.candidates import staged_parts
from subject_pipeline.candidates.candidates import distinct, split_refused
from subject_pipeline.candidates.staged import StagedCandidates
from subject_pipeline.candidates.staging import DEFAULT_CONCURRENCY, Advance, private_folder, stage
from subject_pipeline.errors import StoreError
from subject_pipeline.keys.ring_file import KeyRingFile
from subject_pipeline.manifests.rows import STORED_IDS_SCHEMA
from subject_pipeline.manifests.table import ManifestTable
from subject_pipeline.objects.local import LocalObjects
from subject_pipeline.registry.deciding import Counts, Failure, decide
from subject_pipeline.registry.evidence import ManifestEvidence
from subject_pipeline.registry.registering import (
    MAX_NAMED_FAILURES,
    Registration,
    named_failures,
    register_staged,
)
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
        watcher: told of progress.
        report: filled while running, so that an interrupted backfill can be told too.
        evidence: announces who comes back after a deletion; without it, nobody is registered in a store that has an
            audit log.

    Raises:
        KeyRingError: there is an audit log, and no usable key ring; nothing was written.
        SourceError: the source cannot be read; nothing was written.
        ConfigurationError: another chunk count is wanted than the store has.
        StoreError: the store failed before anything was registered.
    """
    started = time.perf_counter()
    report = report if report is not None else BackfillReport(dry_run)
    try:
        if dry_run:
            _forecast(store, declaration, report, limit, concurrency, watcher)
        else:
            evidence = evidence or ManifestEvidence(store, KeyRingFile(None), actor="")
            evidence.open()
            _register(store, declaration, report, evidence, limit=limit, concurrency=concurrency, watcher=watcher)
    finally:
        report.elapsed_s = time.perf_counter() - started
    return report


def _register(
    store: SubjectStore,
    declaration: DatasetDeclaration,
    report: BackfillReport,
    evidence: ManifestEvidence,
    *,
    limit: int | None,
    concurrency: int,
    watcher: Watcher,
) -> None:
    layout = store.layout_or_create().chunks
    folder = private_folder(declaration.name)
    done = Registration()
    try:
        staged = stage(
            store.objects,
            folder,
            declaration,
            layout,
            limit=limit,
            concurrency=concurrency,
            advance=_counted(report, watcher.staging),
        )
        _tell_staged(report, staged)
        register_staged(
            store,
            staged,
            into=done,
            advance=lambda so_far: watcher.registering(so_far.rows, staged.rows_scanned),
            evidence=evidence,
        )
        ManifestTable(store).tidy()
    finally:
        report.counts, report.failures = done.counts, done.failures
        # An interrupted backfill is told too; whatever ended it outweighs a store that fails here as well.
        with contextlib.suppress(StoreError):
            staged_parts.remove(store.objects, folder)
            report.subjects_total = count_subjects(store)


def _forecast(
    store: SubjectStore,
    declaration: DatasetDeclaration,
    report: BackfillReport,
    limit: int | None,
    concurrency: int,
    watcher: Watcher,
) -> None:
    layout = store.intended_chunks()
    with tempfile.TemporaryDirectory(prefix="subject-pipeline-") as scratch:
        objects = LocalObjects(Path(scratch))
        staged = stage(
            objects,
            None,
            declaration,
            layout,
            limit=limit,
            concurrency=concurrency,
            advance=_counted(report, watcher.staging),
        )
        _tell_staged(report, staged)
        forecast = Counts()
        for group in staged.groups:
            rows = staged_parts.read_group(objects, group)
            unique = distinct(rows)
            accepted, refused = split_refused(unique)
            chunks = layout.names[group.first : group.last + 1]
            decision = decide(
                accepted,
                ManifestTable(store).read(
                    lambda snapshot, chunks=chunks: snapshot.stored_ids(chunks),  # type: ignore[misc]
                    pl.DataFrame(schema=STORED_IDS_SCHEMA),
                ),
            )
            failed = pl.concat([refused, decision.collided])
            room = MAX_NAMED_FAILURES - len(report.failures)
            report.failures += [failure for failure, _ in named_failures(failed.head(room), layout)]
            forecast += Counts(
                inserted=decision.new.height,
                skipped=decision.known.height,
                failed=failed.height,
                duplicates=rows.height - unique.height,
            )
            watcher.registering(forecast.attempted + forecast.duplicates, staged.rows_scanned)
    report.forecast = forecast
    report.counts = Counts(failed=forecast.failed, duplicates=forecast.duplicates)
    report.subjects_total = count_subjects(store)


def _counted(report: BackfillReport, advance: Advance) -> Advance:
    """Progress that the report keeps too, so that a backfill which is interrupted while it reads can be told."""

    def counted(done: int, total: int) -> None:
        report.rows_scanned = done
        advance(done, total)

    return counted


def _tell_staged(report: BackfillReport, staged: StagedCandidates) -> None:
    report.rows_scanned = staged.rows_scanned
    report.source_rows = staged.source_rows
    report.sample = staged.sample


def count_subjects(store: SubjectStore) -> int:
    """How many subjects the store has; 0 for one that was never written.

    Raises:
        StoreError: the store failed.
    """
    return ManifestTable(store).read(lambda snapshot: snapshot.count(), 0)
