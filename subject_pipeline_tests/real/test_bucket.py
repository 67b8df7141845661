from pathlib import Path

import obstore
import polars as pl
import pytest

from subject_pipeline.candidates.source_files import find_source_files
from subject_pipeline.candidates.source_keys import SourceKeys
from subject_pipeline.errors import SourceError
from subject_pipeline.objects.backends import open_backend
from subject_pipeline.objects.location import StoreLocation

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
