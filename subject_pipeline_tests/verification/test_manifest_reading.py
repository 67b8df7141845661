"""How many manifests verification holds at once."""

from pathlib import Path

import pytest

from subject_pipeline.candidates import staged
from subject_pipeline.manifests.table import ManifestTable
from subject_pipeline.registry.backfill import backfill
from subject_pipeline.samples.people import sample_workers
from subject_pipeline.store.datasets import DatasetDeclaration
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline.verification.manifest_reading import ManifestReader


@pytest.mark.long
def test_fresh_manifests_are_read_in_groups_of_the_size_that_memory_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However well their files are compressed: a hundred thousand fresh ones take 14 bytes each."""
    source = tmp_path / "workers.parquet"
    sample_workers(100_000, source)
    store = SubjectStore.at(str(tmp_path / "store"), wanted_chunks=64)
    people = DatasetDeclaration(
        name="workers", source=str(source), key_column="worker_id", candidate_id_prefix="WORKER-"
    )
    store.register(people)
    backfill(store, people, limit=None)
    layout = store.layout_or_create().chunks
    monkeypatch.setattr(staged, "ROWS_PER_GROUP", 10_000)

    reader = ManifestReader.open(store, layout)

    most = 0
    for first in layout.names:
        reader.chunk(first)
        most = max(most, sum(len(found.hashes) for found in reader._read.values() if not isinstance(found, Exception)))
    assert ManifestTable(store).stored_ids(layout.names).height == 100_000
    assert most <= 10_000 * 1.1
