"""Traces: which objects of a store hold the id of somebody in clear. Every object but the log's segments is read.

What is read is decoded: parquet by its columns of text, JSON by its texts, JSON within texts too, compressed objects as
what was compressed, anything else by its lines. `matching.py` says what is a trace.

One pass serves all ids: it costs about as much as reading the store once, and a search of all texts for all ids
together (Aho-Corasick). A pass ends early once everyone it is for is found everywhere where no trace may be left.
"""

import contextlib
import datetime as dt
import gzip
import io
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

import orjson
import polars as pl
import pyarrow as pa

from subject_pipeline.formats.times import format_time
from subject_pipeline.lifecycle.erasure.matching import is_trace, json_in, strings_in, unescaped
from subject_pipeline.objects.protocol import ObjectInfo, ObjectStore
from subject_pipeline.store.layout import AUDIT, DEAD_LETTERS, FINDINGS, INBOX, RECEIPTS, REPORTS, STAGING, TABLE

_TEXTS = (INBOX, DEAD_LETTERS, FINDINGS, REPORTS)
REMAINING = (*_TEXTS, RECEIPTS)
"""Where traces may remain for a time, and are named: what came in, under which name, and what was written about it."""

_FIRST = (f"{TABLE}/", STAGING)
_IDS = {"candidate_id", "key_value"}
_OF_THE_ID = {"storage_key"}
"""Columns that say nothing which the id beside them does not say."""
_BATCH_BYTES = 32 << 20


@dataclass(slots=True)
class Traces:
    """What a look at a store found.

    Attributes:
        found: the keys of the objects that hold each id; of whom nothing was found, none.
        unread: objects that could not be decoded, so that they may hold any.
        objects: how many were read.
        listed: every object of the store at that time, by key.
        at: when the look began, RFC 3339.
    """

    found: dict[str, set[str]] = field(default_factory=dict)
    unread: set[str] = field(default_factory=set)
    objects: int = 0
    listed: dict[str, ObjectInfo] = field(default_factory=dict)
    at: str = ""

    @property
    def blocking(self) -> tuple[str, ...]:
        """The objects, sorted, that hold somebody's id where it may not remain, or may hold it."""
        keys = self.unread.union(*self.found.values())
        return tuple(sorted(key for key in keys if not key.startswith(REMAINING)))

    def remaining(self, candidate_id: str) -> list[str] | None:
        """The objects that hold an id, or may, where they may remain; None: others do."""
        keys = sorted(self.found.get(candidate_id, set()) | self.unread)
        return keys if all(key.startswith(REMAINING) for key in keys) else None


def look(objects: ObjectStore, candidate_ids: Collection[str]) -> Traces:
    """Read every object of a store but the log's segments, for traces of these people.

    Raises:
        StoreError: the store failed.
    """
    traces = Traces(at=format_time(dt.datetime.now(dt.UTC)))
    traces.listed = {item.key: item for item in objects.list("") if not item.key.startswith(AUDIT)}
    search = _Search(candidate_ids, traces)
    for key in sorted(traces.listed, key=lambda key: (not key.startswith(_FIRST), key)):
        data = objects.get(key)
        if data is not None:  # else it was deleted meanwhile
            traces.objects += 1
            search.take(key, data)
        if not search.clear:
            break
    search.finish()
    return traces


class _Search:
    """Searches texts for all ids at once, a batch of objects at a time: the automaton is made once a batch.

    Attributes:
        clear: those who were not found yet where no trace may be left.
    """

    def __init__(self, candidate_ids: Collection[str], traces: Traces) -> None:
        self.clear = set(candidate_ids)
        self._ids = pl.Series(list(candidate_ids), dtype=pl.String)
        self._traces = traces
        self._texts: list[pl.DataFrame] = []
        self._bytes = 0

    def take(self, key: str, data: bytes) -> None:
        """Look through an object, now or with the next batch; its key too, which may be somebody's name for it."""
        try:
            data = _decompressed(data)
            if data.startswith(b"PAR1"):
                self._table(key, pl.read_parquet(io.BytesIO(data)))
            else:
                self._text(key, data)
        except _UNREADABLE:
            self._traces.unread.add(key)
            if not key.startswith(REMAINING):
                self.clear.clear()
        self._later(key, pl.Series([key]), values=False)

    def finish(self) -> None:
        """Search what waits."""
        if not self._texts:
            return
        texts = pl.concat(self._texts)
        self._texts, self._bytes = [], 0
        hits = texts.filter(pl.col("text").str.contains_any(self._ids.implode()))
        named = hits.with_columns(ids=pl.col("text").str.extract_many(self._ids.implode(), overlapping=True))
        for key, text, is_value, ids in named.iter_rows():
            for one in set(ids):
                if is_trace(one, text, is_value=is_value, by_chance=key.startswith(_TEXTS)):
                    self._note(key, one)

    def _table(self, key: str, frame: pl.DataFrame) -> None:
        for name, column in _text_columns(frame):
            if name in _IDS:
                for one in column.filter(column.is_in(self._ids.implode())).unique():
                    self._note(key, one)
            elif name not in _OF_THE_ID:
                self._later(key, column.drop_nulls().unique(), values=True)

    def _text(self, key: str, data: bytes) -> None:
        if data[:1] in {b"{", b"["}:
            with contextlib.suppress(orjson.JSONDecodeError):
                self._later(key, pl.Series(list(strings_in(orjson.loads(data))), dtype=pl.String), values=True)
                return
        lines = data.decode(errors="replace").split("\n")
        self._later(key, pl.Series(lines, dtype=pl.String), values=False)
        escaped = [text for line in lines if "\\" in line for text in strings_in(json_in(line))]
        plain = [said for line in lines if "&" in line or '""' in line for said in unescaped(line)]
        self._later(key, pl.Series(escaped, dtype=pl.String), values=True)
        self._later(key, pl.Series(plain, dtype=pl.String), values=False)

    def _later(self, key: str, texts: pl.Series, *, values: bool) -> None:
        self._texts.append(texts.to_frame("text").select(pl.lit(key).alias("key"), "text", value=pl.lit(values)))
        self._bytes += int(texts.estimated_size())
        if self._bytes >= _BATCH_BYTES:
            self.finish()

    def _note(self, key: str, candidate_id: str) -> None:
        self._traces.found.setdefault(candidate_id, set()).add(key)
        if not key.startswith(REMAINING):
            self.clear.discard(candidate_id)


_UNREADABLE = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, EOFError, zlib.error, pa.ArrowInvalid)


def _decompressed(data: bytes) -> bytes:
    if data.startswith(b"\x28\xb5\x2f\xfd"):
        with pa.input_stream(pa.BufferReader(data), compression="zstd") as stream:
            return bytes(stream.read())
    return gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data


def _text_columns(frame: pl.DataFrame) -> Iterator[tuple[str, pl.Series]]:
    """Every column of text, those within structs and lists too, each with its own name."""
    for column in frame:
        yield from _leaves(column)


def _leaves(column: pl.Series) -> Iterator[tuple[str, pl.Series]]:
    if isinstance(column.dtype, pl.Struct):
        for part in column.struct.unnest():
            yield from _leaves(part)
    elif isinstance(column.dtype, (pl.List, pl.Array)):
        yield from _leaves(column.explode())
    elif column.dtype in {pl.String, pl.Categorical} or isinstance(column.dtype, pl.Enum):
        yield column.name, column.cast(pl.String)
    elif column.dtype == pl.Binary:
        texts = [value.decode(errors="replace") for value in column.drop_nulls().unique()]
        yield column.name, pl.Series(column.name, texts, dtype=pl.String)
