"""Maintenance: small files into few, and what only earlier versions need removed for good."""

import datetime as dt
from dataclasses import dataclass

from subject_pipeline.candidates import staged_parts
from subject_pipeline.candidates.staging import ABANDONED_AFTER, clean_up
from subject_pipeline.manifests.table import ManifestTable
from subject_pipeline.objects.retries import retrying
from subject_pipeline.store.layout import TABLE
from subject_pipeline.store.opened import SubjectStore


@dataclass(frozen=True, slots=True)
class Compaction:
    """What the table took before and after: files and bytes, Delta's log not counted."""

    files_before: int
    files_after: int
    bytes_before: int
    bytes_after: int
    staged_removed: int


def compact(store: SubjectStore) -> Compaction:
    """Rewrite small files into few, remove every file that no current manifest needs, and clean stagings up.

    Afterwards deleted subjects are physically gone, and earlier versions of the table can no longer be read. What a
    killed writer left unfinished goes once it is a day old, since younger it may be a live writer's.

    Raises:
        StoreError: the store failed; run it again to finish.
    """
    store.layout()
    files, size = _usage(store)
    table = ManifestTable(store)

    def vacuum() -> None:
        snapshot = table.snapshot()
        if snapshot is not None:
            snapshot.vacuum()

    retrying(lambda: table.compact(more_than=1))
    retrying(vacuum)  # of two at once, the one may find gone what the other has just removed
    staged_removed = sum(clean_up(store, dataset) for dataset in staged_parts.datasets_staged(store.objects))
    store.objects.remove_abandoned(dt.datetime.now(dt.UTC) - ABANDONED_AFTER)
    files_after, size_after = _usage(store)
    return Compaction(files, files_after, size, size_after, staged_removed)


def _usage(store: SubjectStore) -> tuple[int, int]:
    sizes = [item.size for item in store.objects.list(f"{TABLE}/") if "/_delta_log/" not in item.key]
    return len(sizes), sum(sizes)
