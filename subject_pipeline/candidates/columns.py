"""Storage keys and chunks by column: the rules of `store.ids` and `store.chunks` as Polars expressions.

A property test compares each expression with the function of one value.
"""

import polars as pl
import polars_hash as plh

from subject_pipeline.store.chunks import ChunkLayout
from subject_pipeline.store.ids import UNSAFE


def storage_key_expr(candidate_id: str) -> pl.Expr:
    """The storage key of each value in the column `candidate_id`."""
    return pl.col(candidate_id).str.replace_all(UNSAFE, "_")


def chunk_index_expr(layout: ChunkLayout, storage_key: str) -> pl.Expr:
    """The chunk's index (UInt32) of each value in the column `storage_key`."""
    return (key_hash_expr(storage_key) % layout.count).cast(pl.UInt32)


def key_hash_expr(storage_key: str) -> pl.Expr:
    """XXH64 (UInt64) of each value in the column `storage_key`."""
    return plh.col(storage_key).nchash.xxhash64(seed=0)


def differ(texts: pl.Series) -> bool:
    """True: no text is there twice. False: one may be.

    Texts that are alike have hashes that are alike; comparing hashes takes a fraction of the time that texts take.
    """
    return bool(hashes(texts).n_unique() == len(texts))


def hashes(texts: pl.Series) -> pl.Series:
    """A 64-bit hash of each text, for comparisons within this process; hashes that are alike prove nothing."""
    return texts.hash()


def chunk_name_expr(layout: ChunkLayout, index: str) -> pl.Expr:
    """The chunk's name for each index in the column `index`."""
    return pl.lit(pl.Series(layout.names)).gather(pl.col(index))
