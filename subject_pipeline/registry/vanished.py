"""Vanished: subjects that refer to a dataset and are not in its source any more. Nothing is changed; they are told."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from subject_pipeline.candidates.staged import ROWS_PER_GROUP, StagedCandidates
from subject_pipeline.candidates.staged_parts import read_group, read_record
from subject_pipeline.candidates.staging import stage
from subject_pipeline.errors import StagingError
from subject_pipeline.manifests.rows import PROBLEM, REFERS
from subject_pipeline.manifests.table import ManifestTable
from subject_pipeline.objects.local import LocalObjects
from subject_pipeline.objects.protocol import ObjectStore
from subject_pipeline.store.opened import SubjectStore


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """A dataset's subjects beside its source.

    Attributes:
        subjects: those that refer to the dataset.
        vanished: those among them that are not in the source.
    """

    subjects: int = 0
    vanished: int = 0

    def __add__(self, other: "Reconciliation") -> "Reconciliation":
        return Reconciliation(self.subjects + other.subjects, self.vanished + other.vanished)

    @property
    def share(self) -> float:
        """The vanished of all; 0 where there is nobody."""
        return self.vanished / self.subjects if self.subjects else 0.0


def reconciled(stored: pl.DataFrame, found: int) -> Reconciliation:
    """What a dataset's subjects are beside its source.

    Args:
        stored: `STORED_IDS_SCHEMA` and `refers`, of all chunks that were looked at.
        found: how many of them refer to the dataset and are in the source.
    """
    subjects = stored.filter(REFERS, pl.col(PROBLEM).is_null()).height
    return Reconciliation(subjects, subjects - found)


def reconcile(store: SubjectStore, staged: StagedCandidates) -> Reconciliation | None:
    """Count everyone who refers to a dataset and is not in what was staged of it in the store.

    Returns:
        None where not all rows of the source were staged, or it was staged again meanwhile, so that nothing can be
        said.

    Raises:
        StagingError: a staged part is gone, or damaged.
        StoreError: the store failed.
    """
    if not staged.is_whole:
        return None
    found = Reconciliation()
    try:
        for subjects, gone in _looked_up(store, store.objects, staged):
            found += Reconciliation(subjects, gone.len())
    except StagingError:
        if read_record(store.objects, staged.dataset).parts == staged.parts:
            raise
        return None
    return found


def vanished(store: SubjectStore, dataset: str) -> pl.DataFrame:
    """Everyone who refers to a registered dataset and is not in its source now, sorted; the source is read for that.

    Returns:
        One column, `candidate_id`.

    Raises:
        DatasetError: no such dataset is registered.
        SourceError: the source cannot be read.
        StoreError: the store failed.
    """
    declaration = store.catalog.dataset(dataset)
    with tempfile.TemporaryDirectory(prefix="subject-pipeline-") as scratch:
        objects = LocalObjects(Path(scratch))
        staged = stage(objects, None, declaration, store.intended_chunks(), limit=None)
        gone = [ids for _, ids in _looked_up(store, objects, staged)]
    return pl.concat([pl.Series("candidate_id", [], dtype=pl.String), *gone]).sort().to_frame()


def _looked_up(store: SubjectStore, objects: ObjectStore, staged: StagedCandidates) -> Iterator[tuple[int, pl.Series]]:
    """How many refer to the dataset, and the ids that are not staged, so many chunks at a time as memory holds."""
    names = store.intended_chunks().names
    table = ManifestTable(store)
    for group in staged.groups:
        rows: pl.DataFrame | None = None
        for chunks in table.bounded(names[group.first : group.last + 1], ROWS_PER_GROUP):
            stored = table.stored_ids(chunks, staged.dataset).filter(REFERS, pl.col(PROBLEM).is_null())
            if stored.is_empty():
                continue
            rows = read_group(objects, group) if rows is None else rows
            yield stored.height, stored.join(rows, on="candidate_id", how="anti")["candidate_id"]
