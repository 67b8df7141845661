"""The manifests' Delta table `subjects/`: one row a subject, partitioned by chunk.

Column statistics are off for the id columns and no predicate names an id, so Delta's log holds none: an erased id is
gone once the files that held it are vacuumed.
"""

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from subject_pipeline.errors import ConflictError, StoreError
from subject_pipeline.manifests.commits import table_errors
from subject_pipeline.manifests.frames import TABLE_SCHEMA
from subject_pipeline.manifests.rows import REFERS, STORED_IDS_SCHEMA
from subject_pipeline.manifests.snapshot import CROWDED, Snapshot
from subject_pipeline.objects.durability import sync_file, sync_folders
from subject_pipeline.store.layout import TABLE
from subject_pipeline.store.opened import SubjectStore

_PROPERTIES = {
    "delta.dataSkippingStatsColumns": "created_at,updated_at,status,vertical",
    "delta.logRetentionDuration": "interval 30 days",
}
_READER_VERSION = 1
_SWITCHED_OFF = {"delta.columnMapping.mode": "none", "delta.enableDeletionVectors": "false"}
"""What would let the log show other rows, or other columns, than the files hold."""

_READ_ATTEMPTS = 4

_LOG = logging.getLogger(__name__)
Result = TypeVar("Result")


class ManifestTable:
    """The table of one store. Opens it again for every operation, so each sees the latest version."""

    def __init__(self, store: SubjectStore) -> None:
        self._uri = store.location.child(TABLE)
        folder = store.location.local_path
        self._folder = None if folder is None else folder / TABLE
        self._options = dict(store.location.options) or None
        self._store = store

    def snapshot(self) -> Snapshot | None:
        """The table's latest version, or None where no manifest was ever written.

        Raises:
            StoreError: the store failed.
        """
        with table_errors("open the manifests"):
            if self._folder is not None and not (self._folder / "_delta_log").is_dir():
                return None
            try:
                table = DeltaTable(self._uri, storage_options=self._options)
            except TableNotFoundError:
                return None
            reader, metadata = table.protocol().min_reader_version, table.metadata()
        if reader > _READER_VERSION:
            raise StoreError(
                f"cannot read the manifests: another engine raised the table to reader version {reader}; "
                f"this program reads version {_READER_VERSION}"
            )
        for name, off in _SWITCHED_OFF.items():
            if (value := metadata.configuration.get(name, off)) != off:
                raise StoreError(f"cannot read the manifests: the table's property {name} was set to {value!r}")
        if metadata.partition_columns != ["chunk"]:
            raise StoreError(f"cannot read the manifests: the table is partitioned by {metadata.partition_columns}")
        return Snapshot(table, self._store)

    def snapshot_or_create(self) -> Snapshot:
        """The table's latest version; the table is created where there is none.

        Raises:
            ConflictError: another writer is creating it at this moment.
            StoreError: the store failed.
        """
        found = self.snapshot()
        if found is not None:
            return found
        with table_errors("create the manifests' table"):
            DeltaTable.create(
                self._uri,
                schema=pl.DataFrame(schema=TABLE_SCHEMA).to_arrow().schema,
                mode="ignore",
                partition_by=["chunk"],
                configuration=_PROPERTIES,
                storage_options=self._options,
            )
        if self._folder is not None:
            log = self._folder / "_delta_log"
            with table_errors("flush the manifests' table"):
                sync_file(log / f"{0:020d}.json")
                sync_folders([log, log.parent, log.parent.parent])
        found = self.snapshot()
        if found is None:
            raise ConflictError("the manifests' table vanished while it was created")
        return found

    def read(self, reading: Callable[[Snapshot], Result], otherwise: Result) -> Result:
        """What `reading` takes from the latest version; a vacuum under the reader means to open it again.

        Args:
            reading: called with a snapshot.
            otherwise: the answer where no manifest was ever written.

        Raises:
            StoreError: the store failed.
        """
        attempt = 1
        while (snapshot := self.snapshot()) is not None:
            try:
                return reading(snapshot)
            except ConflictError:
                if attempt == _READ_ATTEMPTS:
                    raise
                attempt += 1
        return otherwise

    def stored_ids(self, chunks: Sequence[str], dataset: str | None = None) -> pl.DataFrame:
        """`STORED_IDS_SCHEMA` of every row that the latest version has in these chunks, as `Snapshot.stored_ids`.

        Raises:
            AmbiguousSubjectError: the log names a file of these chunks that is none of the table's.
            StoreError: the store failed.
        """
        nobody = pl.DataFrame(schema=STORED_IDS_SCHEMA)
        if dataset is not None:
            nobody = nobody.with_columns(pl.lit(value=False).alias(REFERS))
        return self.read(lambda snapshot: snapshot.stored_ids(chunks, dataset), nobody)

    def bounded(self, chunks: Sequence[str], rows_at_most: int) -> list[list[str]]:
        """These chunks as `Snapshot.bounded` divides them; none where no manifest was ever written.

        Raises:
            StoreError: the store failed.
        """
        nowhere: list[list[str]] = []
        return self.read(lambda snapshot: snapshot.bounded(chunks, rows_at_most), nowhere)

    def count(self) -> int:
        """How many rows the latest version has; 0 where no manifest was ever written.

        Raises:
            AmbiguousSubjectError: the log names a file that is none of the table's.
            StoreError: the store failed.
        """
        return self.read(lambda snapshot: snapshot.count(), 0)

    def tidy(self, chunks: Sequence[str] | None = None) -> int:
        """Compact the chunks that have more than a handful of files, as far as the store lets us.

        A writer who is at work there goes first, and a store that fails does not undo what was committed before.

        Args:
            chunks: look at these alone; None: at all.

        Returns:
            How many files went.
        """
        try:
            return self.compact(CROWDED, chunks)
        except ConflictError:
            return 0
        except StoreError as error:
            _LOG.warning("small files were left as they are: %s", error)
            return 0

    def compact(self, more_than: int, chunks: Sequence[str] | None = None) -> int:
        """Rewrite the chunks that have more files than this, a group of chunks a commit.

        Args:
            more_than: how many files a chunk may keep.
            chunks: look at these alone; None: at all.

        Returns:
            How many files went.

        Raises:
            ConflictError: another writer committed to some of these chunks meanwhile; the groups before them are done.
            StoreError: the store failed.
        """
        snapshot = self.snapshot()
        went = 0
        for group in snapshot.crowded(more_than) if snapshot else []:
            wanted = [chunk for chunk in group if chunks is None or chunk in chunks]
            # Each group is read and replaced at one version, the latest.
            if wanted and (latest := self.snapshot()) is not None:
                went += latest.compact(wanted)
        return went
