"""Vanished: subjects that refer to a dataset and are not in its source any more."""

import tempfile
from functools import partial
from pathlib import Path

import polars as pl

from subject_pipeline.candidates.staged_parts import read_group
from subject_pipeline.candidates.staging import stage
from subject_pipeline.manifests.frames import TABLE_SCHEMA
from subject_pipeline.manifests.snapshot import Snapshot
from subject_pipeline.manifests.table import ManifestTable
from subject_pipeline.objects.local import LocalObjects
from subject_pipeline.store.opened import SubjectStore

_COLUMNS = ("candidate_id", "datasets")


def vanished(store: SubjectStore, dataset: str) -> pl.DataFrame:
    """Whoever refers to a registered dataset and is not in its source now, sorted; the source is read for that.

    Returns:
        One column, `candidate_id`.

    Raises:
        DatasetError: no such dataset is registered.
        SourceError: the source cannot be read.
        StoreError: the store failed.
    """
    declaration = store.catalog.dataset(dataset)
    layout = store.intended_chunks()
    gone = pl.DataFrame(schema={"candidate_id": pl.String})
    nobody = pl.DataFrame(schema={name: TABLE_SCHEMA[name] for name in _COLUMNS})
    names = pl.col("datasets").list.eval(pl.element().struct.field("name"))
    with tempfile.TemporaryDirectory(prefix="subject-pipeline-") as scratch:
        objects = LocalObjects(Path(scratch))
        for group in stage(objects, None, declaration, layout, limit=None).groups:
            chunks = layout.names[group.first : group.last + 1]
            stored = ManifestTable(store).read(partial(Snapshot.rows, chunks=chunks, columns=_COLUMNS), nobody)
            there = stored.filter(names.list.contains(dataset)).select("candidate_id")
            gone = pl.concat([gone, there.join(read_group(objects, group), on="candidate_id", how="anti")])
    return gone.sort("candidate_id")
