"""Insertion: new rows as parquet files of our own, one a chunk, added to the table by one commit.

A MERGE would read what is there once more to learn what the caller knows already: that these rows are new. The commit
never rebases by itself: delta-rs would let an append land beside another of the same people (1.6.6). If another writer
was first, what it committed is read, and only if none of it is about our chunks are the same files offered again.
"""

import io
import json
import uuid
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import polars as pl
from deltalake import CommitProperties, DeltaTable
from deltalake.exceptions import CommitFailedError
from deltalake.transaction import AddAction

from subject_pipeline.errors import ConflictError, StoreError
from subject_pipeline.manifests.commits import Commits
from subject_pipeline.store.layout import TABLE

if TYPE_CHECKING:
    from subject_pipeline.objects.protocol import ObjectStore

_THREADS = 4
"""Files that are compressed and written at once: Polars leaves one core idle with one, and a bucket is far away."""


class Insertion:
    """One insertion into a table, decided against the version that the table is opened at."""

    def __init__(self, objects: "ObjectStore", commits: Commits, table: DeltaTable) -> None:
        self._objects = objects
        self._commits = commits
        self._table = table
        self._operation = uuid.uuid4().hex

    def run(self, rows: pl.DataFrame) -> None:
        """Insert rows, all or none, on disk when this returns.

        Args:
            rows: `TABLE_SCHEMA`, none of them in the table at the version that it is opened at.

        Raises:
            ConflictError: another writer committed to these chunks meanwhile; nothing was written.
            OutcomeUnknownError: it could not be learnt whether the commit landed.
            StoreError: the store failed; nothing was written.
        """
        parts = rows.partition_by("chunk", as_dict=True, include_key=False)
        with ThreadPoolExecutor(_THREADS) as pool:
            files = list(pool.map(self._write, [str(chunk) for (chunk,) in parts], parts.values()))
        chunks = {str(chunk) for (chunk,) in parts}
        try:
            self._commits.settle(self._operation, self._table.version(), lambda: self._commit(files, chunks))
        except ConflictError:
            self._remove(file.path for file in files)
            raise

    def _write(self, chunk: str, rows: pl.DataFrame) -> AddAction:
        buffer = io.BytesIO()
        # Without statistics: those of an id column would be ids, in a file that an erasure may leave for a while.
        rows.write_parquet(buffer, compression="zstd", compression_level=1, statistics=False)
        path, data = f"chunk={chunk}/part-00000-{uuid.uuid4()}-c000.zstd.parquet", buffer.getvalue()
        if not self._objects.create(f"{TABLE}/{path}", data):
            raise StoreError(f"another object is in the place of {TABLE}/{path}")
        return AddAction(path, len(data), {"chunk": chunk}, 0, True, json.dumps({"numRecords": rows.height}))  # noqa: FBT003

    def _commit(self, files: Sequence[AddAction], chunks: set[str]) -> None:
        """Commit at the version after the table's; again at a later one while no commit between concerns our chunks.

        Raises:
            CommitFailedError: one does.
        """
        while True:
            since = self._table.version()
            try:
                self._table.create_write_transaction(
                    list(files),
                    "append",
                    self._table.schema(),
                    ["chunk"],
                    commit_properties=CommitProperties(
                        custom_metadata={"operationId": self._operation}, max_commit_retries=0
                    ),
                )
            except CommitFailedError:
                self._table.update_incremental()
                between = self._commits.between(since, self._table.version())
                if any(one.operation == self._operation for one in between):
                    return
                if not between or any(one.concerns(chunks) for one in between):
                    raise
            else:
                return

    def _remove(self, paths: Iterable[str]) -> None:
        """Remove files that no version will ever name; if that fails, a vacuum does."""
        for path in paths:
            try:
                self._objects.delete(f"{TABLE}/{path}")
            except StoreError:
                return
