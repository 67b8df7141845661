"""Maintenance: merges small files, and removes for good what only earlier versions need."""

import datetime as dt
from dataclasses import dataclass

from subject_pipeline.candidates import staged_parts
from subject_pipeline.candidates.staging import ABANDONED_AFTER, clean_up
from subject_pipeline.changes.evidence import ManifestEvidence
from subject_pipeline.changes.settling import settle
from subject_pipeline.manifests.table import ManifestTable
from subject_pipeline.objects.retries import retrying
from subject_pipeline.registry.suppressing import Suppression
from subject_pipeline.store.layout import TABLE
from subject_pipeline.store.opened import SubjectStore


@dataclass(frozen=True, slots=True)
class Compaction:
    """What the table took before and after: files and bytes, Delta's log not counted.

    Attributes:
        settled: subjects whose recorded change was applied.
        unexplained: subjects, or whole chunks, that were left since the log does not explain their manifests.
    """

    files_before: int
    files_after: int
    bytes_before: int
    bytes_after: int
    staged_removed: int
    settled: int = 0
    unexplained: int = 0


def compact(store: SubjectStore, evidence: ManifestEvidence | None = None) -> Compaction:
    """Apply what is recorded and was not applied, merge small files, remove what no manifest needs, clean up stagings.

    Afterwards deleted subjects are physically gone, and earlier versions of the table can no longer be read. What a
    killed writer left unfinished is deleted once it is a day old, since before that it may be a live writer's.

    Args:
        store: what to compact.
        evidence: with the keys of the audit log; without it nothing is settled.

    Raises:
        StoreError: the store failed; run it again to finish.
    """
    store.layout()
    settled, unexplained = settle(store, evidence) if evidence is not None else (0, 0)
    files, size = _usage(store)
    table = ManifestTable(store)

    def vacuum() -> None:
        snapshot = table.snapshot()
        if snapshot is not None:
            snapshot.vacuum()

    retrying(lambda: table.compact(more_than=1))
    retrying(vacuum)  # of two at once, one may find gone what the other has just removed
    if evidence is not None:  # what a staging wrote that looked before an erasure was recorded
        staged_parts.keep(store.objects, Suppression.of(store, evidence).kept)
    staged_removed = sum(clean_up(store, dataset) for dataset in staged_parts.datasets_staged(store.objects))
    store.objects.remove_abandoned(dt.datetime.now(dt.UTC) - ABANDONED_AFTER)
    files_after, size_after = _usage(store)
    return Compaction(files, files_after, size, size_after, staged_removed, settled, unexplained)


def _usage(store: SubjectStore) -> tuple[int, int]:
    sizes = [item.size for item in store.objects.list(f"{TABLE}/") if "/_delta_log/" not in item.key]
    return len(sizes), sum(sizes)
