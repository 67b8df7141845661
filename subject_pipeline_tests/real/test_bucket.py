from pathlib import Path

import obstore
import polars as pl
import pytest

from subject_pipeline.domain.datasets import DatasetDeclaration
from subject_pipeline.errors import SourceError
from subject_pipeline.storage.location import StoreLocation
from subject_pipeline.storage.remote_objects import RemoteObjects, open_backend
from subject_pipeline.storage.source_files import find_source_files
from subject_pipeline.storage.source_keys import SourceKeys
from subject_pipeline.use_cases.backfill import backfill
from subject_pipeline.use_cases.maintenance import compact
from subject_pipeline.use_cases.registry import SubjectRegistry
from subject_pipeline.use_cases.store import SubjectStore

pytestmark = pytest.mark.real


def upload(bucket: str, key: str, frame: pl.DataFrame, folder: Path) -> None:
    """Put a parquet file into the bucket."""
    local = folder / "upload.parquet"
    frame.write_parquet(local)
    obstore.put(open_backend(StoreLocation.parse(bucket)), key, local.read_bytes())


def test_a_source_in_a_bucket_is_a_file_a_folder_or_a_glob(bucket: str, tmp_path: Path) -> None:
    """The same rows come from each, in order of the files' names."""
    upload(bucket, "in/b.parquet", pl.DataFrame({"id": [3, 4]}), tmp_path)
    upload(bucket, "in/a.parquet", pl.DataFrame({"id": [1, 2]}), tmp_path)
    upload(bucket, "in/_tmp.parquet", pl.DataFrame({"id": [9]}), tmp_path)

    def keys(uri: str, limit: int | None = None) -> list[str]:
        source = SourceKeys(find_source_files(uri), "id")
        return [key for batch in source.batches(limit) for key in batch["key"]]

    assert keys(f"{bucket}/in/a.parquet") == ["1", "2"]
    assert keys(f"{bucket}/in") == ["1", "2", "3", "4"]
    assert keys(f"{bucket}/in/[ab].parquet", 3) == ["1", "2", "3"]
    with pytest.raises(SourceError, match="no parquet file is at"):
        find_source_files(f"{bucket}/nowhere/*.parquet")


def test_objects_in_a_bucket_are_put_if_absent(bucket: str) -> None:
    """A second create with other bytes leaves the first, as on local files."""
    objects = RemoteObjects.at(StoreLocation.parse(bucket))
    assert objects.get("catalog/x") is None
    assert objects.create("catalog/x", b"one")
    assert objects.create("catalog/x", b"one")
    assert not objects.create("catalog/x", b"two")
    assert objects.get("catalog/x") == b"one"
    assert [item.key for item in objects.list("catalog/")] == ["catalog/x"]
    objects.delete("catalog/x")
    objects.delete("catalog/x")
    assert objects.get("catalog/x") is None


def test_the_registry_works_whole_in_a_bucket(bucket: str, tmp_path: Path) -> None:
    """Source and store in a bucket: register, re-run, collide, get, delete, compact."""
    upload(bucket, "people.parquet", pl.DataFrame({"id": [*(f"P-{n}" for n in range(300)), "P_1"]}), tmp_path)
    store = SubjectStore.at(f"{bucket}/store", wanted_chunks=4)
    people = DatasetDeclaration(name="people", source=f"{bucket}/people.parquet", key_column="id")
    store.register(people)
    first = backfill(store, people, limit=None)
    assert (first.counts.inserted, first.counts.failed, first.subjects_total) == (301, 0, 301)
    again = backfill(store, people, limit=None)
    assert (again.counts.inserted, again.counts.skipped) == (0, 301)
    registry = SubjectRegistry(store)
    assert registry.get("P-7").datasets[0].key_value == "P-7"
    registry.delete("P-7")
    compact(store)
    assert registry.count() == 300
    assert not list(store.objects.list("staging/"))
