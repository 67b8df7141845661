"""Candidates: one source row's identity, made by column from its key value."""

from typing import Literal

import polars as pl

from subject_pipeline.candidates.columns import chunk_index_expr, differ, storage_key_expr
from subject_pipeline.store.chunks import ChunkLayout
from subject_pipeline.store.ids import MAX_STORAGE_KEY_BYTES, refusal

CANDIDATE_SCHEMA = pl.Schema(
    {
        "row": pl.UInt64,
        "chunk_index": pl.UInt32,
        "candidate_id": pl.String,
        "storage_key": pl.String,
        "key_value": pl.String,
    }
)
"""One candidate a row: its 0-based row number over the whole source, its chunk, its id, its storage key and its key
value as text."""

REFUSAL_SCHEMA = pl.Schema(
    {"chunk_index": pl.UInt32, "candidate_id": pl.String, "kind": pl.String, "reason": pl.String}
)
"""One candidate a row that did not become a subject, counted in the chunk that its storage key hashes to. `kind` is
`refused`, `collision`, `not_written` or `unknown` (it is not known whether it was written)."""


def candidates(keys: pl.DataFrame, prefix: str, layout: ChunkLayout) -> pl.DataFrame:
    """Candidates of source keys.

    Args:
        keys: columns `row` (UInt64) and `key` (String, no null).
        prefix: the dataset's candidate id prefix.
        layout: the store's chunks.

    Returns:
        `CANDIDATE_SCHEMA`, in the order of `keys`, nothing refused or dropped yet.
    """
    return (
        keys.lazy()
        .select("row", candidate_id=pl.lit(prefix) + pl.col("key"), key_value="key")
        .with_columns(storage_key=storage_key_expr("candidate_id"))
        .with_columns(chunk_index=chunk_index_expr(layout, "storage_key"))
        .select(CANDIDATE_SCHEMA.names())
        .collect()
    )


def distinct(staged: pl.DataFrame) -> pl.DataFrame:
    """The first row of each candidate id, in source order, so that a repeated row is attempted once."""
    in_order = staged if staged["row"].is_sorted() else staged.sort("row")
    if differ(in_order["candidate_id"]):
        return in_order
    return in_order.unique("candidate_id", keep="first", maintain_order=True)


def split_refused(staged: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Distinct candidates, divided into those that may become subjects and those that may not.

    Returns:
        (`CANDIDATE_SCHEMA`, `REFUSAL_SCHEMA`); together they have one row per row of `staged`.
    """
    bad = (pl.col("key_value") == "") | (pl.col("storage_key").str.len_bytes() > MAX_STORAGE_KEY_BYTES)
    refused = staged.filter(bad)
    reasons = [
        f"{refusal(candidate, key)} (source row {row}, counted from 0)"
        for row, candidate, key in refused.select("row", "candidate_id", "key_value").iter_rows()
    ]
    return staged.filter(~bad), refusals(refused, "refused", pl.Series(reasons, dtype=pl.String))


def refusals(
    of: pl.DataFrame, kind: Literal["refused", "collision", "not_written", "unknown"], reason: pl.Series | str
) -> pl.DataFrame:
    """`REFUSAL_SCHEMA` of candidates, with one reason for all or one for each."""
    reasons = pl.lit(reason) if isinstance(reason, str) else reason
    return of.select("chunk_index", "candidate_id", kind=pl.lit(kind), reason=reasons)
