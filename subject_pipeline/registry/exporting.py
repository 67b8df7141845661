"""Manifests out of the registry, as JSON lines or parquet, sorted by chunk and storage key."""

from collections.abc import Iterable
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from subject_pipeline.candidates.staged import plan_groups
from subject_pipeline.errors import ConfigurationError
from subject_pipeline.manifests.frames import TABLE_SCHEMA, to_json_lines
from subject_pipeline.manifests.snapshot import Snapshot
from subject_pipeline.manifests.table import ManifestTable
from subject_pipeline.objects.durability import whole_file
from subject_pipeline.store.opened import SubjectStore

_WRITERS = {".jsonl", ".ndjson", ".parquet"}


def export(store: SubjectStore, path: Path) -> int:
    """Write every manifest of one version of the table to a file, which appears whole or not at all.

    Args:
        store: where the manifests are.
        path: `.jsonl` (or `.ndjson`): the manifests' JSON, one a line; `.parquet`: the table's columns.

    Returns:
        How many manifests were written.

    Raises:
        ConfigurationError: the file's name says neither.
        SourceError: the file cannot be written.
        StoreError: the store failed.
    """
    if path.suffix not in _WRITERS:
        raise ConfigurationError(f"cannot export to {path}: name it .jsonl or .parquet")
    layout = store.layout()
    names = layout.chunks.names if layout else ()

    def write(snapshot: Snapshot | None) -> int:
        groups = plan_groups(snapshot.count(), len(names)) if snapshot and names else ()
        frames = (
            snapshot.rows(names[group.first : group.last + 1]).sort("chunk", "storage_key")
            for group in groups
            if snapshot
        )
        with whole_file(path) as unfinished:
            if path.suffix == ".parquet":
                return _write_parquet(unfinished, frames)
            return _write_lines(unfinished, frames)

    written = ManifestTable(store).read(write, None)
    return write(None) if written is None else written


def _write_lines(path: Path, frames: Iterable[pl.DataFrame]) -> int:
    count = 0
    with path.open("wb") as file:
        for rows in frames:
            for line in to_json_lines(rows):
                file.write(line.encode() + b"\n")
            count += rows.height
    return count


def _write_parquet(path: Path, frames: Iterable[pl.DataFrame]) -> int:
    count = 0
    schema = pl.DataFrame(schema=TABLE_SCHEMA).to_arrow().schema
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for rows in frames:
            writer.write_table(rows.to_arrow().cast(schema))
            count += rows.height
    return count
