"""What a staging holds: candidates of one version of a source, in parts that hold whole chunks."""

import datetime as dt
from itertools import pairwise
from math import ceil

from pydantic import BaseModel, ConfigDict, Field

from subject_pipeline.errors import StagingError
from subject_pipeline.store.datasets import DatasetDeclaration

ROWS_PER_GROUP = 320_000
"""A group is registered by one MERGE; this many rows keep it under half a GiB."""


class ChunkGroup(BaseModel):
    """A run of whole chunks, `first` to `last` by index, and the parts that hold its candidates."""

    model_config = ConfigDict(frozen=True)

    first: int
    last: int
    rows: int = 0
    parts: tuple[str, ...] = ()


class StagedCandidates(BaseModel):
    """The record of a staging: what was read, under which options, and where it is.

    Attributes:
        version: changes with the source's files, the key column, the prefix or the layout.
        source_version: changes with the source's files alone; empty in a record of before it was kept.
        link: people who have a manifest already get a reference to this dataset.
        key_type: the key column's type, as Arrow names it; empty where it was not kept.
        limit: at most so many rows were read; None: all.
        rows_scanned: rows that were read, repeated ones too.
        suppressed: how many of them were left out, since their people were erased.
        source_rows: rows that the source has.
        sample: the first five candidate ids. Not stored, so that erasing an id need not look here.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    schema_: str = Field(default="subject_staging.v1", alias="schema")
    dataset: str
    source: str
    key_column: str
    candidate_id_prefix: str
    safe_views: tuple[str, ...]
    link: bool = True
    version: str
    source_version: str = ""
    key_type: str = ""
    limit: int | None
    chunk_count: int
    rows_scanned: int
    suppressed: int = 0
    source_rows: int
    staged_at: dt.datetime
    groups: tuple[ChunkGroup, ...]
    sample: tuple[str, ...] = Field(default=(), exclude=True)

    @property
    def parts(self) -> frozenset[str]:
        """The keys of all parts."""
        return frozenset(part for group in self.groups for part in group.parts)

    @property
    def is_whole(self) -> bool:
        """Whether every row of the source was read."""
        return self.rows_scanned == self.source_rows

    def check_options(self, limit: int | None, declared: DatasetDeclaration | None = None) -> None:
        """Refuse a staging that was made with other options, or of another declaration.

        Raises:
            StagingError: both limits, or the declaration that changed, are named.
        """
        for what in ("source", "key_column", "candidate_id_prefix", "safe_views", "link"):
            then, now = getattr(self, what), getattr(declared or self, what)
            if then != now:
                raise StagingError(
                    f"dataset {self.dataset!r} was staged with {what} {then!r}, but is declared with {now!r} now: "
                    "materialize its candidate_chunks first"
                )
        if limit != self.limit:
            raise StagingError(
                f"dataset {self.dataset!r} is staged with {describe_limit(self.limit)}, but this run asks for "
                f"{describe_limit(limit)}: materialize its candidate_chunks with the same options first"
            )


def describe_limit(limit: int | None) -> str:
    """A limit in words."""
    return "all rows" if limit is None else f"a limit of {limit:,} rows"


def plan_groups(rows: int, chunk_count: int) -> tuple[ChunkGroup, ...]:
    """Groups of whole chunks, of about equal size, so that a MERGE of each fits in memory."""
    wanted = min(chunk_count, max(1, ceil(rows / ROWS_PER_GROUP)))
    edges = [chunk_count * index // wanted for index in range(wanted + 1)]
    return tuple(ChunkGroup(first=first, last=after - 1) for first, after in pairwise(edges))
