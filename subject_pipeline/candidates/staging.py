"""Staging: a source's key column becomes candidates, in parts that hold whole chunks."""

import datetime as dt
import hashlib
import uuid
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from contextlib import closing

import polars as pl

from subject_pipeline.candidates import staged_parts
from subject_pipeline.candidates.candidates import candidates
from subject_pipeline.candidates.source_files import SourceFiles, find_source_files
from subject_pipeline.candidates.source_keys import SourceKeys
from subject_pipeline.candidates.staged import StagedCandidates, plan_groups
from subject_pipeline.errors import StagingError
from subject_pipeline.objects.protocol import ObjectStore
from subject_pipeline.store.chunks import ChunkLayout
from subject_pipeline.store.datasets import DatasetDeclaration
from subject_pipeline.store.opened import SubjectStore

SAMPLE_SIZE = 5
DEFAULT_CONCURRENCY = 32
ABANDONED_AFTER = dt.timedelta(hours=24)

Advance = Callable[[int, int], None]
"""Called with rows done, of how many."""

Keep = Callable[[pl.DataFrame], pl.DataFrame]
"""Gives those of some candidates, `CANDIDATE_SCHEMA`, who may be staged at all."""


def _everybody(candidates: pl.DataFrame) -> pl.DataFrame:
    return candidates


def stage(
    objects: ObjectStore,
    folder: str | None,
    declaration: DatasetDeclaration,
    layout: ChunkLayout,
    *,
    limit: int | None,
    concurrency: int = DEFAULT_CONCURRENCY,
    advance: Advance = lambda _done, _total: None,
    keep: Keep = _everybody,
) -> StagedCandidates:
    """Read a source once, streaming, and stage its candidates; if that fails, nothing is left behind.

    Args:
        objects: where to stage; a dry run gives a scratch store.
        folder: the prefix to stage below; None: `staging/<dataset>/<version of the source>/`.
        declaration: the dataset.
        layout: the store's chunks.
        limit: read at most so many rows; None: all.
        concurrency: at most so many parts are written at once.
        advance: called after each batch.
        keep: leaves out anyone who is suppressed.

    Raises:
        SourceError: the source cannot be read, or holds a key that cannot form an id.
        StoreError: a part could not be written.
    """
    source = find_source_files(declaration.source)
    keys = SourceKeys(source, declaration.key_column)
    wanted = keys.total_rows if limit is None else min(limit, keys.total_rows)
    version = _version(source, declaration, layout)
    folder = folder or staged_parts.folder_of(declaration.name, version)
    groups = plan_groups(wanted, layout.count)
    writer = staged_parts.PartWriter(objects, folder, groups, layout, concurrency=concurrency)
    scanned = suppressed = 0
    sample: list[str] = []
    try:
        with closing(keys.batches(limit)) as batches:
            for batch in batches:
                rows = keep(candidates(batch, declaration.candidate_id_prefix, layout))
                suppressed += batch.height - rows.height
                sample += rows["candidate_id"].head(SAMPLE_SIZE - len(sample)).to_list()
                writer.write(rows)
                scanned += batch.height
                advance(scanned, wanted)
        groups = writer.close()
    except BaseException:
        writer.discard()
        raise
    return StagedCandidates(
        dataset=declaration.name,
        source=declaration.source,
        key_column=declaration.key_column,
        candidate_id_prefix=declaration.candidate_id_prefix,
        safe_views=declaration.safe_views,
        link=declaration.link,
        version=version,
        source_version=source.version,
        key_type=keys.key_type,
        limit=limit,
        chunk_count=layout.count,
        rows_scanned=scanned,
        suppressed=suppressed,
        source_rows=keys.total_rows,
        staged_at=dt.datetime.now(dt.UTC),
        groups=groups,
        sample=tuple(sample),
    )


def stage_dataset(
    store: SubjectStore,
    declaration: DatasetDeclaration,
    *,
    limit: int | None,
    concurrency: int = DEFAULT_CONCURRENCY,
    keep: Keep = _everybody,
) -> StagedCandidates:
    """Stage a dataset's candidates in the store, register its declaration, and clean older stagings up.

    Args:
        store: where to stage.
        declaration: the dataset.
        limit: read at most so many rows; None: all.
        concurrency: at most so many parts are written at once.
        keep: leaves out anyone who is suppressed.

    Raises:
        SourceError: the source cannot be read; nothing was written, and what was staged before still counts.
        ConfigurationError: another chunk count is wanted than the store has.
        StoreError: the store failed.
    """
    layout = store.intended_chunks()
    before = current(store, declaration.name)
    staged = stage(store.objects, None, declaration, layout, limit=limit, concurrency=concurrency, keep=keep)
    # The layout comes first: of two first runs that want different counts, the second must not have replaced anything.
    store.layout_or_create().check_wanted(layout.count)
    store.register(declaration)
    staged_parts.write_record(store.objects, staged)
    clean_up(store, declaration.name, before.parts if before else frozenset())
    return staged


def current(store: SubjectStore, dataset: str) -> StagedCandidates | None:
    """What is staged for a dataset now; None for nothing, or a record that cannot be read.

    Raises:
        StoreError: the store failed.
    """
    try:
        return staged_parts.read_record(store.objects, dataset)
    except StagingError:
        return None


def version_now(store: SubjectStore, declaration: DatasetDeclaration) -> str:
    """The version that a staging would have now; the source's files are listed, and none is read.

    Raises:
        SourceError: nothing is there, or no parquet file.
        StoreError: the store failed.
    """
    return _version(find_source_files(declaration.source), declaration, store.intended_chunks())


def clean_up(store: SubjectStore, dataset: str, superseded: AbstractSet[str] = frozenset()) -> int:
    """Delete superseded parts, and what killed runs left over a day ago; returns how many objects.

    Raises:
        StoreError: the store failed.
    """
    staged = current(store, dataset)
    before = dt.datetime.now(dt.UTC) - ABANDONED_AFTER
    kept = staged.parts if staged else frozenset[str]()
    return staged_parts.remove_stale(store.objects, dataset, kept, superseded, before=before)


def retire(store: SubjectStore, dataset: str) -> int:
    """Remove a dataset's declaration and everything staged for it from the store; its subjects' manifests stay.

    If it is killed in between, the dataset is still registered, and a second call finishes the work.

    Returns:
        How many staged objects were deleted.

    Raises:
        DatasetError: the name is invalid, or no such dataset is registered.
        StoreError: the store failed.
    """
    store.catalog.check_registered(dataset)
    removed = staged_parts.remove(store.objects, staged_parts.root_of(dataset))
    store.catalog.retire(dataset)
    return removed


def private_folder(dataset: str) -> str:
    """A prefix that only one backfill of the command line uses."""
    return staged_parts.private_folder_of(dataset, uuid.uuid4().hex)


def _version(source: SourceFiles, declaration: DatasetDeclaration, layout: ChunkLayout) -> str:
    text = "\0".join((source.version, declaration.key_column, declaration.candidate_id_prefix, str(layout.count)))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
