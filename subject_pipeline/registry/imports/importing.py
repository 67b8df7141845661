"""Manifests into the registry: what is new is registered, what differs is replaced."""

import datetime as dt
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import MappingProxyType

import polars as pl

from subject_pipeline.changes.evidence import ManifestEvidence, incomplete
from subject_pipeline.decisions.decision import Kind
from subject_pipeline.errors import StoreError
from subject_pipeline.garbage import uncollected
from subject_pipeline.manifests.files import read_documents
from subject_pipeline.manifests.manifest import Translations
from subject_pipeline.manifests.table import ManifestTable
from subject_pipeline.objects.retries import retrying
from subject_pipeline.registry.imports.attempt import ImportAttempt
from subject_pipeline.registry.imports.rows import at_home, rows_of
from subject_pipeline.registry.outcomes import ImportReport
from subject_pipeline.settings import system_user
from subject_pipeline.store.chunks import ChunkLayout
from subject_pipeline.store.opened import SubjectStore

_BATCH = 20_000


@uncollected()
def import_manifests(
    store: SubjectStore,
    path: Path,
    report: ImportReport | None = None,
    evidence: ManifestEvidence | None = None,
    words: Translations = MappingProxyType({}),
) -> ImportReport:
    """Import manifests from JSON lines, one JSON file, or a folder with one JSON file per subject.

    A document that is not a manifest, one with a word that neither we nor the stored policies have, one whose storage
    key belongs to another id, one of somebody who was erased, one that would remove a hold, lift a restriction or
    cancel an order, and one with the effect of a decision that takes four eyes, is named and does not stop the others.
    Of the same id twice, the later one is kept. `updated_at` becomes the time of the import where a manifest is
    written, and is always later than the stored one's; one that differs in nothing else is unchanged, and not written.
    `audit_log_path` becomes this store's; a log of another system that a manifest points to is kept under
    `imported_audit_log`. Once the store has an audit log, every replacement is recorded in it first, and
    `audit_log_chain_root` becomes what the log says.

    Args:
        store: where manifests are kept.
        path: the file or folder.
        report: filled while importing, so that an import which ends early can be reported too.
        evidence: records changes; None: as the system user. Without a key ring, nothing is imported into a store that
            has an audit log.
        words: translates words of another system.

    Raises:
        KeyRingError: there is an audit log, or there are stored policies, and no usable key ring.
        PolicyError: the stored policies cannot be used.
        AuditLogError: the log is damaged.
        SourceError: the file or folder cannot be read.
        StoreError: the store failed; what was imported so far stays, and a second call continues.
    """
    documents = read_documents(path)
    first = next(documents, None)
    report = report if report is not None else ImportReport()
    if first is None:
        return report
    evidence = evidence or ManifestEvidence(store, system_user())
    evidence.open()
    layout = store.layout_or_create().chunks
    now, policies = dt.datetime.now(dt.UTC), evidence.policies()
    batch = [first, *islice(documents, _BATCH - 1)]
    while batch:
        rows = at_home(rows_of(batch, words, policies.vocabulary, layout, report), evidence, now)
        _import_batch(store, layout, rows, report, evidence, policies.four_eyes)
        batch = list(islice(documents, _BATCH))
    ManifestTable(store).tidy()
    return report


def _import_batch(
    store: SubjectStore,
    layout: ChunkLayout,
    rows: pl.DataFrame,
    report: ImportReport,
    evidence: ManifestEvidence,
    four_eyes: frozenset[Kind],
) -> None:
    # An earlier document of the same id is overtaken before it was ever written.
    latest = rows.group_by("candidate_id", maintain_order=True).last().select(rows.columns)
    report.unchanged += rows.height - latest.height
    if latest.is_empty():
        return
    for part in _parts(store, latest) if evidence.open() else [latest]:
        _import_part(ImportAttempt(store, part, layout, evidence, four_eyes), report)


def _parts(store: SubjectStore, rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Rows that are committed together: first new subjects, few of whom need a row, then the others chunk by chunk.

    So the log is never far ahead of the table.
    """
    chunks = rows["chunk"].unique().sort().to_list()
    known = ManifestTable(store).stored_ids(chunks)
    new = rows.join(known, on="storage_key", how="anti", maintain_order="left")
    if new.height:
        yield new
    there = rows.join(known, on="storage_key", how="semi", maintain_order="left")
    yield from there.partition_by("chunk", maintain_order=True)


def _import_part(job: ImportAttempt, report: ImportReport) -> None:
    try:
        failures = retrying(job.attempt)
    except StoreError as error:
        if job.recorded:
            raise incomplete("an import", error) from error
        raise
    report.inserted += len(job.inserted)
    report.replaced += len(job.replaced)
    report.unchanged += job.rows.height - len(job.inserted) - len(job.replaced) - len(failures)
    for failure in failures:
        report.fail(failure.where, failure.candidate_id, failure.reason)
