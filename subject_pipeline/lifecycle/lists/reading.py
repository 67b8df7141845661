"""Reading the manifests of one version of the table, a group of chunks at a time."""

import datetime as dt
from collections.abc import Callable, Sequence
from typing import TypeVar

from subject_pipeline.candidates.staged import plan_groups
from subject_pipeline.lifecycle.lists.life_columns import LIFE_COLUMNS, Frames
from subject_pipeline.lifecycle.lists.review_counts import ReviewCounts, review_counts
from subject_pipeline.manifests.snapshot import Snapshot
from subject_pipeline.manifests.table import ManifestTable
from subject_pipeline.store.opened import SubjectStore

Result = TypeVar("Result")


def read_manifests(store: SubjectStore, columns: Sequence[str], reading: Callable[[Frames], Result]) -> Result:
    """What `reading` makes of all manifests; memory does not grow with their number.

    Args:
        store: where they are.
        columns: of `TABLE_SCHEMA`; `chunk` and `storage_key` among them.
        reading: takes the frames, sorted by chunk and storage key. It is called again if files were vacuumed under it,
            and must begin again then.

    Raises:
        AmbiguousSubjectError: the table has a row that no honest writer makes.
        ConfigurationError: another chunk count is wanted than the store has.
        StoreError: the store failed.
    """
    layout = store.layout()
    names = layout.chunks.names if layout else ()

    def frames(snapshot: Snapshot) -> Frames:
        for group in plan_groups(snapshot.count(), len(names)):
            yield snapshot.rows(names[group.first : group.last + 1], columns).sort("chunk", "storage_key")

    def read(snapshot: Snapshot) -> tuple[Result]:
        return (reading(frames(snapshot)),)

    found = ManifestTable(store).read(read, None) if names else None
    return found[0] if found is not None else reading(iter(()))


def stored_review_counts(store: SubjectStore, now: dt.datetime) -> ReviewCounts:
    """Count all subjects of a store, of one version of its table.

    Raises:
        AmbiguousSubjectError: the table has a row that no honest writer makes.
        StoreError: the store failed.
    """
    return read_manifests(
        store, LIFE_COLUMNS, lambda frames: sum((review_counts(rows, now) for rows in frames), ReviewCounts())
    )
