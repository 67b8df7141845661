"""Staged candidates: parquet parts below `staging/<dataset>/`, each holding whole chunks, and the record of them.

Writing, reading and removing parts stand in one file, longer than others: they share the names of the parts.
"""

import contextlib
import datetime as dt
import io
import re
import uuid
from collections.abc import Callable, Collection, Iterator
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor

import polars as pl
from pydantic import ValidationError

from subject_pipeline.candidates.candidates import CANDIDATE_SCHEMA
from subject_pipeline.candidates.staged import ChunkGroup, StagedCandidates
from subject_pipeline.errors import StagingError, StoreError
from subject_pipeline.objects.protocol import ObjectStore
from subject_pipeline.store.chunks import ChunkLayout
from subject_pipeline.store.ids import storage_key
from subject_pipeline.store.layout import STAGING

_BUFFERED_ROWS = 1_500_000
_PART = re.compile(r"(?P<first>chunk-[0-9a-f]+)\.\.(?P<last>chunk-[0-9a-f]+)\.[^/]+\.parquet$")


class PartWriter:
    """Sorts candidates into the parts of their groups, with a bounded number of rows in memory."""

    def __init__(
        self,
        objects: ObjectStore,
        folder: str,
        groups: tuple[ChunkGroup, ...],
        layout: ChunkLayout,
        *,
        concurrency: int,
    ) -> None:
        self._objects = objects
        self._folder = folder
        self._attempt = uuid.uuid4().hex[:12]
        self._groups = list(groups)
        self._layout = layout
        self._concurrency = concurrency
        self._buffers: list[list[pl.DataFrame]] = [[] for _ in groups]
        self._buffered = 0
        self._flushes = 0
        self._group_of = pl.DataFrame(
            {
                "chunk_index": pl.int_range(layout.count, dtype=pl.UInt32, eager=True),
                "group": pl.Series(
                    [at for at, group in enumerate(groups) for _ in range(group.first, group.last + 1)],
                    dtype=pl.UInt32,
                ),
            }
        )["group"]

    def write(self, candidates: pl.DataFrame) -> None:
        """Take candidates, `CANDIDATE_SCHEMA`, in source order.

        Raises:
            StoreError: a part could not be written.
        """
        if len(self._groups) == 1:
            self._buffers[0].append(candidates)
        else:
            keyed = candidates.with_columns(group=pl.lit(self._group_of).gather(pl.col("chunk_index")))
            for (at,), rows in keyed.partition_by("group", as_dict=True, include_key=False).items():
                self._buffers[int(at)].append(rows)
        self._buffered += candidates.height
        if self._buffered >= _BUFFERED_ROWS:
            self._flush()

    def close(self) -> tuple[ChunkGroup, ...]:
        """Write what is left; returns the groups with their rows and parts.

        Raises:
            StoreError: a part could not be written.
        """
        self._flush()
        return tuple(self._groups)

    def discard(self) -> None:
        """Delete every part written so far, as far as the store allows it."""
        with contextlib.suppress(StoreError):
            for part in (part for group in self._groups for part in group.parts):
                self._objects.delete(part)

    def _flush(self) -> None:
        with ThreadPoolExecutor(self._concurrency) as pool:
            list(pool.map(self._flush_group, range(len(self._groups))))
        self._buffered = 0
        self._flushes += 1

    def _flush_group(self, at: int) -> None:
        frames, self._buffers[at] = self._buffers[at], []
        if not frames:
            return
        rows = pl.concat(frames)
        group = self._groups[at]
        names = self._layout.names
        key = f"{self._folder}{names[group.first]}..{names[group.last]}.{self._flushes:04d}.{self._attempt}.parquet"
        self._objects.replace(key, _encode(rows))
        self._groups[at] = group.model_copy(update={"rows": group.rows + rows.height, "parts": (*group.parts, key)})


def read_group(objects: ObjectStore, group: ChunkGroup, chunks: list[int] | None = None) -> pl.DataFrame:
    """The staged candidates of a group, `CANDIDATE_SCHEMA`, of all its chunks or of some (by index).

    Raises:
        StagingError: a part is gone, as happens when the dataset was staged again meanwhile.
        StoreError: the store failed.
    """
    frames = [_decode(objects, part) for part in group.parts]
    rows = pl.concat(frames) if frames else pl.DataFrame(schema=CANDIDATE_SCHEMA)
    if chunks is None:
        return rows
    return rows.filter(pl.col("chunk_index").is_in(pl.Series(chunks, dtype=pl.UInt32).implode()))


def write_record(objects: ObjectStore, staged: StagedCandidates) -> None:
    """Make a staging the one that its dataset's manifests are registered from.

    Raises:
        StoreError: the store failed; what was staged before still counts.
    """
    objects.replace(_record_key(staged.dataset), staged.model_dump_json(by_alias=True, indent=2).encode() + b"\n")


def read_record(objects: ObjectStore, dataset: str) -> StagedCandidates:
    """The record of a dataset's staging.

    Raises:
        StagingError: nothing is staged, or the record is damaged.
        StoreError: the store failed.
    """
    data = objects.get(_record_key(dataset))
    if data is None:
        raise StagingError(f"nothing is staged for dataset {dataset!r}: materialize its candidate_chunks first")
    try:
        return StagedCandidates.model_validate_json(data)
    except ValidationError as error:
        raise StagingError(
            f"the staging record of dataset {dataset!r} is damaged: materialize its candidate_chunks again"
        ) from error


def remove(objects: ObjectStore, prefix: str) -> int:
    """Delete the staged objects below a prefix; returns how many there were.

    Raises:
        StoreError: the store failed.
    """
    keys = [item.key for item in objects.list(prefix)]
    for key in keys:
        objects.delete(key)
    return len(keys)


def remove_stale(
    objects: ObjectStore, dataset: str, kept: AbstractSet[str], superseded: AbstractSet[str], *, before: dt.datetime
) -> int:
    """Delete what a dataset's staging no longer needs; what another run is staging at this moment stays.

    Args:
        objects: the store.
        dataset: the dataset's name.
        kept: parts that the current record names.
        superseded: parts that the record before it named; they are deleted whatever their age.
        before: everything else that was written before this time was left by a killed run, and is deleted.

    Returns:
        How many objects were deleted.

    Raises:
        StoreError: the store failed.
    """
    gone = [
        item.key
        for item in objects.list(root_of(dataset))
        if item.key not in kept
        and item.key != _record_key(dataset)
        and (item.key in superseded or item.modified < before)
    ]
    for key in gone:
        objects.delete(key)
    return len(gone)


def forget(objects: ObjectStore, layout: ChunkLayout, candidate_ids: Collection[str]) -> int:
    """Take candidates out of everything staged, so that no re-run brings them back; returns the parts rewritten.

    Raises:
        StoreError: the store failed.
    """
    chunks = {layout.chunk_of(storage_key(candidate_id)) for candidate_id in candidate_ids}
    theirs = pl.col("candidate_id").is_in(list(candidate_ids))
    return keep(objects, lambda rows: rows.filter(~theirs), chunks)


def keep(
    objects: ObjectStore, kept: Callable[[pl.DataFrame], pl.DataFrame], chunks: Collection[str] | None = None
) -> int:
    """Rewrite every staged part of which not all is to be kept; returns how many.

    Args:
        objects: where they are.
        kept: gives what is kept of some candidates, `CANDIDATE_SCHEMA`.
        chunks: look at parts alone that hold any of these; None: at all.

    Raises:
        StoreError: the store failed.
    """
    rewritten = 0
    for key in _parts_of(objects, chunks):
        try:
            rows = _decode(objects, key)
        except StagingError:
            if objects.get(key) is None:
                continue  # its dataset was staged again meanwhile
            raise
        left = kept(rows)
        if left.height < rows.height:
            objects.replace(key, _encode(left))
            rewritten += 1
    return rewritten


def _parts_of(objects: ObjectStore, chunks: Collection[str] | None) -> Iterator[str]:
    for item in objects.list(STAGING):
        if _PART.search(item.key) and (chunks is None or any(may_hold(item.key, chunk) for chunk in chunks)):
            yield item.key


def may_hold(key: str, chunk: str) -> bool:
    """Whether a key is that of a part that has room for a chunk's candidates."""
    part = _PART.search(key)
    # Names of one layout have equal length, so they sort as their indices do.
    return part is not None and part["first"] <= chunk <= part["last"]


def root_of(dataset: str) -> str:
    """The prefix below which everything of a dataset is staged."""
    return f"{STAGING}{dataset}/"


def folder_of(dataset: str, version: str) -> str:
    """The prefix below which a version of a dataset is staged."""
    return f"{root_of(dataset)}{version}/"


def private_folder_of(dataset: str, name: str) -> str:
    """The prefix below which one backfill of the command line stages, and no other."""
    return f"{root_of(dataset)}backfill-{name}/"


def datasets_staged(objects: ObjectStore) -> list[str]:
    """The names of the datasets that have anything staged, sorted.

    Raises:
        StoreError: the store failed.
    """
    return sorted({item.key.removeprefix(STAGING).split("/")[0] for item in objects.list(STAGING)})


def _record_key(dataset: str) -> str:
    return f"{root_of(dataset)}staged.json"


def _encode(rows: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    rows.write_parquet(buffer, compression="zstd", compression_level=1, statistics=False)
    return buffer.getvalue()


def _decode(objects: ObjectStore, key: str) -> pl.DataFrame:
    data = objects.get(key)
    if data is None:
        raise StagingError(f"the staged part {key} is gone: the dataset was staged again meanwhile; run again")
    try:
        return pl.read_parquet(io.BytesIO(data)).select(CANDIDATE_SCHEMA.names())
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise StagingError(f"the staged part {key} is damaged: materialize candidate_chunks again") from error
