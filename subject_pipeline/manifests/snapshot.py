"""One version of the manifests' table: reads of it, and one write decided against it.

No candidate id ever enters Delta's log: operations join on a source frame instead of naming ids in a predicate.
"""

import contextlib
import os
import re
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote

import polars as pl
from deltalake import CommitProperties, DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError

from subject_pipeline.errors import (
    AmbiguousSubjectError,
    ConflictError,
    OutcomeUnknownError,
    StoreError,
    VanishedFileError,
)
from subject_pipeline.manifests.frames import TABLE_SCHEMA
from subject_pipeline.manifests.rows import (
    OTHER_CHUNK,
    PROBLEM,
    RULES_LOOK_AT,
    STORED_IDS_SCHEMA,
    told,
    with_problems,
)
from subject_pipeline.objects.durability import sync_file, sync_folders
from subject_pipeline.objects.remote import reason
from subject_pipeline.store.chunks import ChunkLayout

CROWDED = 8
"""A chunk with more files than this is worth compacting."""

_REWRITTEN_ROWS = 250_000
"""Rows that one commit of a compaction holds in memory; a chunk that has more is rewritten alone."""

_CHUNK_OF_PATH = r"chunk=(chunk-[0-9a-f]+)[/\\][^/\\]*$"
_PLACE = re.compile(r"chunk=(chunk-[0-9a-f]+)/([^/\\]+)")
_ORPHAN_AGE = timedelta(hours=24)


class Commit:
    """One landed commit: its version and the files it added, relative to the table."""

    __slots__ = ("added", "version")

    def __init__(self, version: int, added: tuple[str, ...]) -> None:
        self.version = version
        self.added = added


@dataclass(frozen=True, slots=True)
class LiveFile:
    """One file that a version of the table consists of.

    Attributes:
        path: relative to the table, as Delta's log has it: URL-encoded.
        chunk: its partition value; empty where it has none.
        stray: why no row of it may be believed; empty where its place is that of its partition value.
        inside: it lies in a chunk's folder of the table, so that it may be read at all.
        claimed: how many rows Delta's log says that it has; 0 where it does not. Nothing is decided by that.
    """

    path: str
    chunk: str
    stray: str = ""
    inside: bool = True
    claimed: int = 0


class Snapshot:
    """The table at one version. Reads are of this version; one write may follow, decided against it."""

    def __init__(
        self,
        table: DeltaTable,
        layout: ChunkLayout,
        commit_of: Callable[[str, int], Commit | None],
        folder: Path | None,
        options: dict[str, str] | None,
    ) -> None:
        self._table = table
        self._layout = layout
        self._commit_of = commit_of
        self._folder = folder
        self._options = options
        self._base = table.table_uri.rstrip("/") if folder is None else str(folder)
        self._known = frozenset(layout.names)
        self._files: list[LiveFile] | None = None
        self.version = table.version()

    def count(self) -> int:
        """How many rows the table's files hold; their footers are asked, not what Delta's log says of them.

        Raises:
            AmbiguousSubjectError: the log names a file that is none of the table's.
            StoreError: the store failed.
        """
        with table_errors("count the manifests"):
            files = self.own_files(None)
            return int(self._scan(files).select(pl.len()).collect().item()) if files else 0

    def stored_ids(self, chunks: Sequence[str]) -> pl.DataFrame:
        """`STORED_IDS_SCHEMA` of every row in these chunks, with the rule that it breaks, if any.

        Raises:
            AmbiguousSubjectError: the log names a file of these chunks that is none of the table's.
            ConflictError: a file was vacuumed under the reader; open the table again.
            StoreError: the store failed.
        """
        with table_errors("read the manifests"):
            return self._judged(self.own_files(chunks), list(RULES_LOOK_AT)).select(STORED_IDS_SCHEMA.names())

    def rows(
        self, chunks: Sequence[str] | None = None, columns: Sequence[str] | None = None, *where: pl.Expr
    ) -> pl.DataFrame:
        """Rows of the table, `TABLE_SCHEMA`, of all chunks or of some, of all columns or of some.

        Raises:
            AmbiguousSubjectError: one of them breaks a rule that every row keeps, so none is given.
            ConflictError: a file was vacuumed under the reader; open the table again.
            StoreError: the store failed.
        """
        wanted = list(columns or TABLE_SCHEMA)
        with table_errors("read the manifests"):
            found = self._judged(self.own_files(chunks), list(dict.fromkeys([*RULES_LOOK_AT, *wanted])), *where)
        if found[PROBLEM].null_count() < found.height:
            first = found.filter(pl.col(PROBLEM).is_not_null()).row(0, named=True)
            raise AmbiguousSubjectError(
                f"cannot read the manifest of {first['candidate_id']!r} in {first['chunk']}: "
                f"{told(first[PROBLEM])[1]}, which no writer of this program does; find out who wrote to subjects/, "
                "with `subject-pipeline audit verify`, and restore the table"
            )
        return found.select(wanted)

    def judged_rows(self, chunks: Sequence[str]) -> pl.DataFrame:
        """All rows that the table has for some chunks, `TABLE_SCHEMA` and `problem`: the rule that one breaks, if any.

        Of files that lie outside the table's own folders nothing is read: `strays` names them.

        Raises:
            ConflictError: a file was vacuumed under the reader; open the table again.
            StoreError: the store failed.
        """
        with table_errors("read the manifests"):
            return self._judged([file for file in self.files() if file.inside and file.chunk in chunks], None)

    def chunks_holding(self, candidate_ids: Sequence[str]) -> list[str]:
        """The chunks in which the table has a row of any of these ids, whether or not it belongs there.

        Raises:
            ConflictError: a file was vacuumed under the reader; open the table again.
            StoreError: the store failed.
        """
        theirs = pl.col("candidate_id").is_in(list(candidate_ids))
        with table_errors("look for the manifests"):
            files = [file for file in self.files() if file.inside and file.chunk in self._known]
            home = [file for file in files if not file.stray]
            found = set(self._scan(home, theirs).select("chunk").unique().collect()["chunk"]) if home else set()
            astray = [file for file in files if file.stray]
            found |= {file.chunk for file in astray if self._scan([file], theirs).select("chunk").collect().height}
        return sorted(found)

    def strays(self, chunk: str) -> list[LiveFile]:
        """Files that the log names for a chunk, or for none that there is, and that are not where they must be.

        Those of no chunk are the first chunk's.

        Raises:
            StoreError: the store failed.
        """
        with table_errors("list the manifests' files"):
            homeless = chunk == self._layout.names[0]
            return [
                file
                for file in self.files()
                if file.stray and (file.chunk == chunk or (homeless and file.chunk not in self._known))
            ]

    def own_files(self, chunks: Sequence[str] | None) -> list[LiveFile]:
        """The files of some chunks, or of all; each is where it must be.

        Raises:
            AmbiguousSubjectError: the log names one that is not.
            DeltaError: the log cannot be read; callers translate it.
        """
        files = [file for file in self.files() if chunks is None or file.chunk in set(chunks)]
        for file in files:
            if file.stray:
                raise AmbiguousSubjectError(
                    f"cannot read the manifests of {file.chunk!r}: {file.stray}: find out who wrote to "
                    "subjects/_delta_log/ with `subject-pipeline audit verify`, and restore the table"
                )
        return files

    def _judged(self, files: Sequence[LiveFile], columns: Sequence[str] | None, *where: pl.Expr) -> pl.DataFrame:
        """Rows of files with their problem, of all columns or of some."""
        wanted = list(columns or TABLE_SCHEMA)
        home = [file for file in files if not file.stray]
        nobody = pl.DataFrame(schema={name: TABLE_SCHEMA[name] for name in wanted})
        sound = self._scan(home, *where).select(wanted).collect() if home else nobody
        found = [with_problems(sound, self._layout)]
        for file in files:
            if file.stray:
                rows = self._scan([file], *where).with_columns(chunk=pl.lit(file.chunk)).select(wanted).collect()
                judged = with_problems(rows, self._layout)
                found.append(judged.with_columns(pl.col(PROBLEM).fill_null(OTHER_CHUNK)))
        return pl.concat(found)

    def _scan(self, files: Sequence[LiveFile], *where: pl.Expr) -> pl.LazyFrame:
        # Not scan_delta: it reads no table below a folder whose name a URL must encode, or has `=` in it.
        plan = pl.scan_parquet(
            [f"{self._base}/{unquote(file.path)}" for file in files],
            hive_partitioning=False,
            glob=False,
            include_file_paths="chunk",
            storage_options=self._options,
        )
        return plan.with_columns(pl.col("chunk").str.extract(_CHUNK_OF_PATH)).filter(*where)

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

    def files(self) -> list[LiveFile]:
        """The live files, sorted by path.

        Raises:
            DeltaError: the log cannot be read; callers translate it.
        """
        if self._files is None:
            actions = pl.DataFrame(self._table.get_add_actions(flatten=True))
            columns = ("path", "partition.chunk", "num_records")
            named = [] if actions.is_empty() else actions.select(columns).rows()
            self._files = [
                replace(self._live(path, chunk or ""), claimed=rows or 0)
                for path, chunk, rows in sorted(named, key=str)
            ]
        return self._files

    def _live(self, path: str, chunk: str) -> LiveFile:
        place = _PLACE.fullmatch(unquote(path))
        if place is None or place[2].startswith("."):
            stray = f"Delta's log names the file {path!r}, which lies in no chunk's folder"
            return LiveFile(path, chunk, stray, inside=False)
        if self._folder is not None:
            file = self._folder / unquote(path)
            if (
                file.is_symlink()
                or os.path.realpath(file.parent) != os.path.realpath(self._folder) + f"/{file.parent.name}"
            ):
                stray = f"the file {path!r} of the table is a link, or lies behind one"
                return LiveFile(path, chunk, stray, inside=False)
        if place[1] != chunk or chunk not in self._known:
            return LiveFile(path, chunk, f"Delta's log says that the file {path!r} holds the chunk {chunk!r}")
        return LiveFile(path, chunk)

    def crowded(self, more_than: int = CROWDED) -> list[list[str]]:
        """The chunks that have more files than this, sorted, in groups that one commit rewrites in bounded memory."""
        with table_errors("list the manifests' files"):
            files = Counter(file.chunk for file in self.files())
            rows: Counter[str] = Counter()
            for file in self.files():
                rows[file.chunk] += file.claimed
        groups: list[list[str]] = []
        room = 0
        for chunk in sorted(chunk for chunk, count in files.items() if count > more_than):
            room -= rows[chunk]
            if room < 0:
                groups.append([])
                room = _REWRITTEN_ROWS - rows[chunk]
            groups[-1].append(chunk)
        return groups

    def compact(self, chunks: Sequence[str]) -> int:
        """Rewrite the files of these chunks into one each, rows as they are; returns how many files went.

        Not by delta-rs's OPTIMIZE: of two at once (1.6.6) both commit, whatever their retries, and every row is there
        twice. Replacing a partition conflicts with any other commit to it, as a merge does.

        Raises:
            AmbiguousSubjectError: the log names a file that is none of the table's; it is neither taken nor removed.
            ConflictError: another writer committed to these chunks meanwhile; nothing was written.
            StoreError: the store failed.
        """
        with table_errors("compact the manifests"):
            self.own_files(None)
            files = self.own_files(chunks)
            if not files:
                return 0
            rows = self._scan(files).collect()
        named = ", ".join(f"'{chunk}'" for chunk in chunks)
        operation = uuid.uuid4().hex
        properties = CommitProperties(custom_metadata={"operationId": operation})
        self._settle(
            operation,
            lambda: write_deltalake(
                self._table, rows, mode="overwrite", predicate=f"chunk IN ({named})", commit_properties=properties
            ),
        )
        return len(files)

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
