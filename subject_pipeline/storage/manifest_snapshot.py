"""One version of the manifests' table: reads of it, and one write decided against it.

No candidate id ever enters Delta's log: operations join on a source frame instead of naming ids in a predicate.
"""

import contextlib
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote

import polars as pl
from deltalake import CommitProperties, DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError

from subject_pipeline.domain.manifest_frames import TABLE_SCHEMA
from subject_pipeline.domain.registration import STORED_IDS_SCHEMA
from subject_pipeline.errors import ConflictError, OutcomeUnknownError, StoreError, VanishedFileError
from subject_pipeline.storage.durability import sync_file, sync_folders
from subject_pipeline.storage.remote_objects import reason

CROWDED = 8
"""A chunk with more files than this is worth compacting."""

_CHUNK_OF_PATH = r"chunk=(chunk-[0-9a-f]+)[/\\][^/\\]*$"
_ORPHAN_AGE = timedelta(hours=24)


class Commit:
    """One landed commit: its version and the files it added, relative to the table."""

    __slots__ = ("added", "version")

    def __init__(self, version: int, added: tuple[str, ...]) -> None:
        self.version = version
        self.added = added


class Snapshot:
    """The table at one version. Reads are of this version; one write may follow, decided against it."""

    def __init__(
        self,
        table: DeltaTable,
        commit_of: Callable[[str, int], Commit | None],
        folder: Path | None,
        options: dict[str, str] | None,
    ) -> None:
        self._table = table
        self._commit_of = commit_of
        self._folder = folder
        self._options = options
        self._base = table.table_uri.rstrip("/") if folder is None else str(folder)
        self.version = table.version()

    def count(self) -> int:
        """How many subjects there are."""
        with table_errors("count the manifests"):
            return int(self._table.count())

    def stored_ids(self, chunks: Sequence[str]) -> pl.DataFrame:
        """`STORED_IDS_SCHEMA` of every subject in these chunks.

        Raises:
            ConflictError: a file was vacuumed under the reader; open the table again.
            StoreError: the store failed.
        """
        return self.rows(chunks, list(STORED_IDS_SCHEMA))

    def rows(
        self, chunks: Sequence[str] | None = None, columns: Sequence[str] | None = None, *where: pl.Expr
    ) -> pl.DataFrame:
        """Rows of the table, `TABLE_SCHEMA`, of all chunks or of some, of all columns or of some.

        Raises:
            ConflictError: a file was vacuumed under the reader; open the table again.
            StoreError: the store failed.
        """
        with table_errors("read the manifests"):
            files = self.files()
            if chunks is not None:
                files = files.filter(pl.col("chunk").is_in(list(chunks)))
            wanted = list(columns or TABLE_SCHEMA)
            if files.is_empty():
                return pl.DataFrame(schema={name: TABLE_SCHEMA[name] for name in wanted})
            # Not scan_delta: it reads no table below a folder whose name a URL must encode, or has `=` in it.
            plan = pl.scan_parquet(
                [f"{self._base}/{unquote(path)}" for path in files["path"]],
                hive_partitioning=False,
                glob=False,
                include_file_paths="chunk",
                storage_options=self._options,
            )
            return (
                plan.with_columns(pl.col("chunk").str.extract(_CHUNK_OF_PATH)).filter(*where).select(wanted).collect()
            )

    def insert(self, rows: pl.DataFrame) -> None:
        """Insert rows that this version does not have, all or none, on disk when this returns.

        Args:
            rows: `TABLE_SCHEMA`, distinct by storage key.

        Raises:
            ConflictError: another writer committed to these chunks meanwhile; nothing was written.
            OutcomeUnknownError: it could not be learnt whether the commit landed.
            StoreError: the store failed; nothing was written.
        """
        self._merge(rows, "insert")

    def upsert(self, rows: pl.DataFrame) -> None:
        """Insert rows, or replace those with the same candidate id; otherwise as `insert`."""
        self._merge(rows, "upsert")

    def delete(self, ids: pl.DataFrame) -> None:
        """Delete the subjects named by columns `chunk`, `storage_key` and `candidate_id`; otherwise as `insert`."""
        self._merge(ids, "delete")

    def _merge(self, rows: pl.DataFrame, what: Literal["insert", "upsert", "delete"]) -> None:
        # Every chunk of the rows is named: the commit then conflicts with none of other chunks, and no source row
        # can lie outside the chunks named, where it would be inserted a second time.
        chunks = rows["chunk"].unique().sort().to_list()
        named = ", ".join(f"'{chunk}'" for chunk in chunks)
        operation = uuid.uuid4().hex
        merge = self._table.merge(
            rows,
            f"t.chunk IN ({named}) AND t.chunk = s.chunk AND t.storage_key = s.storage_key",
            source_alias="s",
            target_alias="t",
            commit_properties=CommitProperties(custom_metadata={"operationId": operation}),
        )
        same = "t.candidate_id = s.candidate_id"
        merge = merge.when_matched_delete(same) if what == "delete" else merge.when_not_matched_insert_all()
        if what == "upsert":
            merge = merge.when_matched_update_all(same)
        self._settle(operation, merge.execute)

    def _settle(self, operation: str, commit: Callable[[], Any]) -> None:
        """Run a commit, and learn by reading back whether it landed where it says that it did not."""
        since = self.version
        try:
            with table_errors("commit to the manifests"):
                commit()
        except StoreError as error:
            try:
                landed = self._commit_of(operation, since)
            except StoreError as second:
                raise OutcomeUnknownError(
                    f"cannot tell whether a commit to the manifests landed: {error}; then {second}"
                ) from error
            if landed is None:
                raise
            self._sync(landed)
        else:
            if self._folder is not None:
                self._sync(self._commit_of(operation, since))

    def _sync(self, commit: Commit | None) -> None:
        if commit is None or self._folder is None:
            return
        files = [self._folder / name for name in commit.added]
        log = self._folder / "_delta_log"
        try:
            for file in files:
                with contextlib.suppress(FileNotFoundError):  # it was compacted and vacuumed meanwhile
                    sync_file(file)
            sync_file(log / f"{commit.version:020d}.json")
            sync_folders([log, self._folder, *(file.parent for file in files)])
        except OSError as error:
            raise OutcomeUnknownError(f"committed to the manifests, but could not flush it to disk: {error}") from error

    def files(self) -> pl.DataFrame:
        """Columns `path` (relative to the table, URL-encoded) and `chunk`, one live file a row.

        Raises:
            DeltaError: the log cannot be read; callers translate it.
        """
        actions = pl.DataFrame(self._table.get_add_actions(flatten=True))
        if actions.is_empty():
            return pl.DataFrame(schema={"path": pl.String, "chunk": pl.String})
        return actions.select("path", chunk="partition.chunk")

    def crowded(self, more_than: int = CROWDED) -> list[str]:
        """The chunks that have more files than this, sorted."""
        with table_errors("list the manifests' files"):
            counts = self.files().group_by("chunk").len().filter(pl.col("len") > more_than)
        return counts["chunk"].sort().to_list()

    def compact(self, chunks: Sequence[str]) -> int:
        """Rewrite the small files of these chunks into few; returns how many files went.

        Raises:
            ConflictError: another writer committed to these chunks meanwhile; nothing was written.
            StoreError: the store failed.
        """
        if not chunks:
            return 0
        operation = uuid.uuid4().hex
        metrics: dict[str, Any] = {}

        def optimize() -> None:
            metrics.update(
                self._table.optimize.compact(
                    partition_filters=[("chunk", "in", list(chunks))],
                    commit_properties=CommitProperties(custom_metadata={"operationId": operation}),
                )
            )

        self._settle(operation, optimize)
        return int(metrics.get("numFilesRemoved", 0))

    def vacuum(self) -> None:
        """Remove the files that only older versions need, and those that a killed writer left over a day ago.

        Earlier versions can then no longer be read: that is what makes an erasure final.

        Raises:
            StoreError: the store failed.
        """
        with table_errors("vacuum the manifests"):
            self._table.vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False)
            hours = int(_ORPHAN_AGE.total_seconds() // 3600)
            self._table.vacuum(retention_hours=hours, dry_run=False, enforce_retention_duration=False, full=True)
            self._table.create_checkpoint()
            self._table.cleanup_metadata()


@contextlib.contextmanager
def table_errors(doing: str) -> Iterator[None]:
    """Turn what delta-rs and Polars raise into our errors; a file that is gone was vacuumed under the reader."""
    try:
        yield
    except CommitFailedError as error:
        raise ConflictError(f"cannot {doing}: another writer won: {reason(error)}") from error
    except (DeltaError, OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        text = str(error).lower()
        # A file that is gone was vacuumed after this version was opened.
        if isinstance(error, FileNotFoundError) or "not found" in text or "no such file" in text:
            raise VanishedFileError(f"cannot {doing}: a file is gone: {reason(error)}") from error
        raise StoreError(f"cannot {doing}: {reason(error)}") from error
