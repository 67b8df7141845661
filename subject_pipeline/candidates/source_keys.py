"""The key column of a source: its type, and its values as text; no other column is read.

One class, since all that it reads comes of the same footers and the same plan: batches, one key's rows, and quality.
"""

import itertools
from bisect import bisect_right
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

import obstore
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from subject_pipeline.candidates.held_stderr import HELD_STDERR
from subject_pipeline.candidates.source_files import SourceFile, SourceFiles
from subject_pipeline.errors import SourceError
from subject_pipeline.formats.shown_text import without_credentials
from subject_pipeline.objects.backends import open_backend
from subject_pipeline.objects.location import StoreLocation
from subject_pipeline.objects.remote_file import RemoteFile

BATCH_ROWS = 131_072
_FOOTERS_AT_ONCE = 16
_FOOTER_BYTES = 65_536

KeyKind = Literal["text", "uuid"]

KEY_SCHEMA = pl.Schema({"row": pl.UInt64, "key": pl.String})
"""One source row a row: its 0-based number over the whole source, and its key as text."""


@dataclass(frozen=True, slots=True)
class _Footer:
    file: SourceFile
    rows: int
    kind: KeyKind
    key_type: str
    scanned_with: str


@dataclass(frozen=True, slots=True)
class KeyQuality:
    """What is wrong with a source's keys.

    Attributes:
        null: rows without a key.
        repeated: rows whose key an earlier row has. Told by 64-bit hashes, so of ten million distinct keys two are
            taken for one with a probability of 3 in a million.
    """

    null: int
    repeated: int


class SourceKeys:
    """A source whose key column can form ids: checked when made, read when iterated.

    Attributes:
        total_rows: rows of the whole source, whatever the limit.
    """

    def __init__(self, source: SourceFiles, key_column: str) -> None:
        """Check every file's footer; no data is read.

        Raises:
            SourceError: a file is not parquet, lacks the column, or holds a type that cannot form ids.
        """
        self._source = source
        self._column = key_column
        with ThreadPoolExecutor(_FOOTERS_AT_ONCE) as pool:
            self._footers = list(pool.map(self._footer, source.files))
        self._starts = [0, *itertools.accumulate(footer.rows for footer in self._footers)]
        self.total_rows = self._starts[-1]

    @property
    def key_type(self) -> str:
        """The column's type, as Arrow names it; of a source whose files differ all of them, sorted."""
        return ", ".join(sorted({footer.key_type for footer in self._footers}))

    def quality(self, limit: int | None = None) -> KeyQuality:
        """Read the key column once, at most `limit` rows of it, and keep 8 bytes a row.

        Raises:
            SourceError: a file is damaged.
        """
        hashes, null, start = [], 0, 0
        for (kind, _), group in itertools.groupby(self._footers, _scanned_alike):
            files = list(group)
            left = None if limit is None else max(limit - start, 0)
            with _read_errors(self._source.uri):
                keys = self._plan(files, kind, start, left).select(
                    hash=pl.when(pl.col("key").is_not_null()).then(pl.col("key").hash())
                )
                found = keys.collect(engine="streaming")["hash"]
            null += found.null_count()
            hashes.append(found.drop_nulls())
            start += sum(footer.rows for footer in files)
        known = pl.concat(hashes) if hashes else pl.Series(dtype=pl.UInt64)
        return KeyQuality(null, known.len() - known.n_unique())

    def batches(self, limit: int | None = None) -> Generator[pl.DataFrame, None, None]:
        """The keys in source order, `KEY_SCHEMA`, about 131,072 rows a batch; reading stops at `limit` rows.

        While this is open, what is written to descriptor 2 is held back: close it, or read it to its end.

        Raises:
            SourceError: a file is damaged, or a key is null (named with row number and file).
        """
        start = 0
        for (kind, _), group in itertools.groupby(self._footers, _scanned_alike):
            files = list(group)
            left = None if limit is None else limit - start
            if left is not None and left <= 0:
                return
            yield from self._read(files, kind, start, left)
            start += sum(footer.rows for footer in files)

    def rows_of(self, key: str) -> Iterator[pl.DataFrame]:
        """The rows with one key, with all their columns: a frame of each file that has any.

        Raises:
            SourceError: a file is damaged.
        """
        options: Any = dict(self._source.options) or None
        for footer in self._footers:
            with _read_errors(self._source.uri):
                rows = pl.scan_parquet(footer.file.uri, glob=False, hive_partitioning=False, storage_options=options)
                found = rows.filter(_as_text(pl.col(self._column), footer.kind) == key).collect(engine="streaming")
            if not found.is_empty():
                yield found

    def _read(
        self, footers: list[_Footer], kind: KeyKind, start: int, limit: int | None
    ) -> Generator[pl.DataFrame, None, None]:
        there = sum(footer.rows for footer in footers)
        left = there if limit is None else min(limit, there)
        with _read_errors(self._source.uri):
            plan = self._plan(footers, kind, start, limit)
            for batch in plan.collect_batches(chunk_size=BATCH_ROWS, maintain_order=True, engine="streaming"):
                if batch["key"].null_count():
                    raise self._null_key(batch)
                left -= batch.height
                yield batch
            if left:
                # A panic in one of Polars' threads ends the stream as if the file were at its end.
                raise pl.exceptions.ComputeError(f"damaged parquet: {left:,} rows fewer than its footers say")

    def _plan(self, footers: list[_Footer], kind: KeyKind, start: int, limit: int | None) -> pl.LazyFrame:
        """The keys of files that are scanned together, `KEY_SCHEMA`."""
        paths = [footer.file.uri for footer in footers]
        index = f"row of {self._column}"  # another name than the column's
        options: Any = dict(self._source.options) or None
        dtype = pl.scan_parquet(paths[0], glob=False, storage_options=options).collect_schema()[self._column]
        # The schema is given, so that other columns may differ from file to file.
        return pl.scan_parquet(
            paths,
            schema={self._column: dtype},
            extra_columns="ignore",
            hive_partitioning=False,
            glob=False,
            n_rows=limit,
            row_index_name=index,
            row_index_offset=start,
            storage_options=options,
        ).select(row=pl.col(index).cast(pl.UInt64), key=_as_text(pl.col(self._column), kind))

    def _null_key(self, batch: pl.DataFrame) -> SourceError:
        row = int(batch.filter(pl.col("key").is_null())["row"][0])
        at = bisect_right(self._starts, row) - 1
        file = self._footers[at].file.uri
        return SourceError(
            f"null key in column {self._column!r} at row {row} of the source (row {row - self._starts[at]} of "
            f"{file}), counted from 0; nothing was written: every row needs a key"
        )

    def _footer(self, file: SourceFile) -> _Footer:
        try:
            with pq.ParquetFile(self._readable(file)) as parquet:
                schema, rows = parquet.schema_arrow, parquet.metadata.num_rows
                leaves = [parquet.schema.column(index) for index in range(len(parquet.schema.names))]
        except FileNotFoundError as error:
            raise SourceError(f"the source file {file.uri} is gone") from error
        except (pa.ArrowException, OSError, ValueError) as error:
            raise SourceError(f"cannot read the source file {file.uri}: {_first_line(error)}") from error
        if schema.names.count(self._column) != 1:
            there = ", ".join(schema.names) or "none"
            what = "more than one column" if self._column in schema.names else "no column"
            raise SourceError(f"{what} named {self._column!r} in {file.uri}; the columns there are: {there}")
        arrow_type = schema.field(self._column).type
        # By both: a leaf within a structure can have the path of a column whose name holds a dot.
        logical = next((leaf.logical_type.type for leaf in leaves if leaf.name == leaf.path == self._column), "NONE")
        kind = _key_kind(arrow_type, logical)
        if kind is None:
            raise SourceError(
                f"unsupported key column type: {_polars_name(arrow_type)} (Arrow {arrow_type}) of {self._column!r} in "
                f"{file.uri}; integers, strings and UUIDs can form ids"
            )
        # Files of one type are scanned together; categories may differ, so each such file is scanned alone.
        alone = file.uri if pa.types.is_dictionary(arrow_type) else ""
        return _Footer(file, rows, kind, str(arrow_type), f"{arrow_type} {alone}")

    def _readable(self, file: SourceFile) -> Any:  # noqa: ANN401 - pyarrow takes a path or a file-like object
        parts = urlsplit(file.uri)
        if "://" not in file.uri:
            return file.uri
        backend = open_backend(StoreLocation(f"{parts.scheme}://{parts.netloc}", self._source.options))
        return RemoteFile(obstore.open_reader(backend, parts.path.lstrip("/"), buffer_size=_FOOTER_BYTES))


def _scanned_alike(footer: _Footer) -> tuple[KeyKind, str]:
    return footer.kind, footer.scanned_with


def _key_kind(arrow_type: pa.DataType, logical: str) -> KeyKind | None:
    if pa.types.is_dictionary(arrow_type):
        return _key_kind(arrow_type.value_type, logical)
    if (
        pa.types.is_integer(arrow_type)
        or pa.types.is_string(arrow_type)
        or pa.types.is_large_string(arrow_type)
        or pa.types.is_string_view(arrow_type)
    ):
        return "text"
    # Polars reads a UUID as plain binary; only the parquet schema shows it.
    return "uuid" if logical == "UUID" else None


def _as_text(key: pl.Expr, kind: KeyKind) -> pl.Expr:
    if kind == "text":
        return key.cast(pl.String)
    digits = key.bin.encode("hex")
    ends = (0, 8, 12, 16, 20, 32)
    return pl.concat_str(
        [digits.str.slice(start, end - start) for start, end in itertools.pairwise(ends)], separator="-"
    )


def _polars_name(arrow_type: pa.DataType) -> str:
    try:
        return str(pl.Series(pa.array([], arrow_type)).dtype)
    except (pa.ArrowException, TypeError, ValueError, pl.exceptions.PolarsError):
        return str(arrow_type)


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return without_credentials(text.splitlines()[0]) if text else type(error).__name__


@contextmanager
def _read_errors(uri: str) -> Iterator[None]:
    """Turn what Polars raises on damaged files, a Rust panic included, into our error, and hold its output back."""
    try:
        with HELD_STDERR.hold():
            yield
    except pl.exceptions.PanicException as error:
        raise SourceError(f"cannot read the source {uri}: damaged parquet: {_first_line(error)}") from error
    except (pl.exceptions.PolarsError, OSError) as error:
        raise SourceError(f"cannot read the source {uri}: {_first_line(error)}") from error
