"""One version of the manifests' table: reads of it, and one write decided against it.

No candidate id ever enters Delta's log: operations join on a source frame instead of naming ids in a predicate.

It is longer than other files because what may be read, and by which rules, should be read in one place.
"""

import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import timedelta
from urllib.parse import unquote

import polars as pl
from deltalake import CommitProperties, DeltaTable, write_deltalake

from subject_pipeline.errors import (
    AmbiguousSubjectError,
)
from subject_pipeline.manifests.commits import Commits, table_errors
from subject_pipeline.manifests.frames import TABLE_SCHEMA
from subject_pipeline.manifests.inserting import Insertion
from subject_pipeline.manifests.live_files import LiveFile, live_files
from subject_pipeline.manifests.rows import (
    OTHER_CHUNK,
    PROBLEM,
    REFERS,
    RULES_LOOK_AT,
    STORED_IDS_SCHEMA,
    refers_to,
    told,
    with_problems,
)
from subject_pipeline.store.layout import TABLE
from subject_pipeline.store.opened import SubjectStore

CROWDED = 8
"""A chunk with more files than this is worth compacting."""

_REWRITTEN_ROWS = 250_000
"""Rows that one commit of a compaction holds in memory; a chunk that has more is rewritten alone."""

_CHUNK_OF_PATH = r"chunk=(chunk-[0-9a-f]+)[/\\][^/\\]*$"
_ORPHAN_AGE = timedelta(hours=24)


class Snapshot:
    """The table at one version. Reads are of this version; one write may follow, decided against it."""

    def __init__(self, table: DeltaTable, store: SubjectStore) -> None:
        folder = store.location.local_path
        self._table = table
        self._objects = store.objects
        self._commits = Commits(store)
        self._layout = store.catalog.chunks()
        self._folder = None if folder is None else folder / TABLE
        self._options = dict(store.location.options) or None
        self._base = table.table_uri.rstrip("/") if self._folder is None else str(self._folder)
        self._known = frozenset(self._layout.names)
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

    def stored_ids(self, chunks: Sequence[str], dataset: str | None = None) -> pl.DataFrame:
        """`STORED_IDS_SCHEMA` of every row in these chunks, with the rule that it breaks, if any.

        Args:
            chunks: whose rows.
            dataset: also say in a column `refers` whether the row's manifest refers to this dataset.

        Raises:
            AmbiguousSubjectError: the log names a file of these chunks that is none of the table's.
            ConflictError: a file was vacuumed under the reader; open the table again.
            StoreError: the store failed.
        """
        with table_errors("read the manifests"):
            if dataset is None:
                return self._judged(self.own_files(chunks), RULES_LOOK_AT).select(STORED_IDS_SCHEMA.names())
            found = self._judged(self.own_files(chunks), [*RULES_LOOK_AT, refers_to(dataset)])
            return found.select(*STORED_IDS_SCHEMA.names(), REFERS)

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

    def _judged(
        self, files: Sequence[LiveFile], columns: Sequence[str | pl.Expr] | None, *where: pl.Expr
    ) -> pl.DataFrame:
        """Rows of files with their problem, of all columns or of some."""
        wanted = list(columns or TABLE_SCHEMA)
        home = [file for file in files if not file.stray]
        nobody = pl.DataFrame(schema=TABLE_SCHEMA).select(wanted)
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
        Insertion(self._objects, self._commits, self._table).run(rows)

    def upsert(self, rows: pl.DataFrame) -> None:
        """Insert rows, or replace those with the same candidate id; otherwise as `insert`."""
        self._merge(rows, delete=False)

    def delete(self, ids: pl.DataFrame) -> None:
        """Delete the subjects named by columns `chunk`, `storage_key` and `candidate_id`; otherwise as `insert`."""
        self._merge(ids, delete=True)

    def _merge(self, rows: pl.DataFrame, *, delete: bool) -> None:
        # Every chunk of the rows is named: the commit then conflicts with none of other chunks, and no source row
        # can lie outside the chunks named, where it would be inserted a second time.
        chunks = rows["chunk"].unique().sort().to_list()
        operation = uuid.uuid4().hex
        merge = self._table.merge(
            rows,
            f"{_among('t.chunk', chunks)} AND t.chunk = s.chunk AND t.storage_key = s.storage_key",
            source_alias="s",
            target_alias="t",
            commit_properties=CommitProperties(custom_metadata={"operationId": operation}),
        )
        same = "t.candidate_id = s.candidate_id"
        if delete:
            merge = merge.when_matched_delete(same)
        else:
            merge = merge.when_not_matched_insert_all().when_matched_update_all(same)
        self._commits.settle(operation, self.version, merge.execute)

    def files(self) -> list[LiveFile]:
        """The live files, sorted by path.

        Raises:
            DeltaError: the log cannot be read; callers translate it.
        """
        if self._files is None:
            self._files = live_files(self._table, self._folder, self._known)
        return self._files

    def crowded(self, more_than: int = CROWDED) -> list[list[str]]:
        """The chunks that have more files than this, sorted, in groups that one commit rewrites in bounded memory."""
        with table_errors("list the manifests' files"):
            files = Counter(file.chunk for file in self.files())
        return self.bounded([chunk for chunk, count in files.items() if count > more_than], _REWRITTEN_ROWS)

    def bounded(self, chunks: Iterable[str], rows_at_most: int) -> list[list[str]]:
        """Chunks, sorted, in groups that hold at most so many rows, or one chunk's if those are more.

        Raises:
            StoreError: the store failed.
        """
        rows: Counter[str] = Counter()
        with table_errors("list the manifests' files"):
            for file in self.files():
                rows[file.chunk] += max(0, file.claimed)  # by the log's word, which costs memory where it lies
        groups: list[list[str]] = []
        held = 0
        for chunk in sorted(chunks):
            if not groups or held + rows[chunk] > rows_at_most:
                groups.append([])
                held = 0
            groups[-1].append(chunk)
            held += rows[chunk]
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
        operation = uuid.uuid4().hex
        properties = CommitProperties(custom_metadata={"operationId": operation})
        self._commits.settle(
            operation,
            self.version,
            lambda: write_deltalake(
                self._table, rows, mode="overwrite", predicate=_among("chunk", chunks), commit_properties=properties
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


def _among(column: str, chunks: Sequence[str]) -> str:
    """Names chunks and their range: delta-rs (1.6.6) asks no list of over 20 names whether a commit conflicts."""
    named = ", ".join(f"'{chunk}'" for chunk in chunks)
    return f"{column} BETWEEN '{min(chunks)}' AND '{max(chunks)}' AND {column} IN ({named})"
