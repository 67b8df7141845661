"""The rules that every row of the manifests' table keeps; one that breaks any is not a manifest.

Others can write to the table too, so every reader asks the same questions of each row:

1. its id is there, and can become a subject's.
2. its storage key is the one that its id gives.
3. it is in the chunk that its storage key hashes to; the file that holds it says the same chunk in its path and in
   its partition value.
4. no other row of the chunk has its storage key, and so none has its id.
"""

from collections.abc import Mapping

import polars as pl

from subject_pipeline.candidates.columns import chunk_index_expr, chunk_name_expr, differ, storage_key_expr
from subject_pipeline.store.chunks import ChunkLayout
from subject_pipeline.store.ids import MAX_STORAGE_KEY_BYTES

PROBLEM = "problem"
"""The column that says which rule a row breaks; null where it keeps all of them."""

RULES_LOOK_AT = ("chunk", "storage_key", "candidate_id")
"""The columns that `with_problems` reads."""

REFERS = "refers"
"""The column that says whether a row's manifest refers to the dataset that was asked for."""

NO_ID, BAD_ID, OTHER_KEY, OTHER_CHUNK, REPEATED = "no_id", "bad_id", "other_key", "other_chunk", "repeated"

_TOLD: Mapping[str, tuple[str, str]] = {
    NO_ID: ("misplaced", "a row of the table has no id"),
    BAD_ID: ("misplaced", "its id cannot become a subject's"),
    OTHER_KEY: ("misplaced", "its storage key is not the one that its id gives"),
    OTHER_CHUNK: ("misplaced", "it is not in the chunk that its id belongs to"),
    REPEATED: ("duplicate", "the table has more than one row of its id or storage key"),
}


def with_problems(rows: pl.DataFrame, layout: ChunkLayout) -> pl.DataFrame:
    """The rows with one more column, `problem`: which rule each breaks, the first that it does; null: none.

    Args:
        rows: columns `chunk` (as the table says it), `storage_key`, `candidate_id` and any others; every row of the
            storage keys that it has.
        layout: the store's chunks.
    """
    key = pl.col("_derived")
    judged = (
        rows.lazy()
        .with_columns(_derived=storage_key_expr("candidate_id"))
        .with_columns(_index=chunk_index_expr(layout, "_derived"))
        .with_columns(_home=chunk_name_expr(layout, "_index"))
        .with_columns(
            pl.when(pl.col("candidate_id").fill_null("") == "")
            .then(pl.lit(NO_ID))
            .when(key.str.len_bytes() > MAX_STORAGE_KEY_BYTES)
            .then(pl.lit(BAD_ID))
            .when(key.ne_missing(pl.col("storage_key")))
            .then(pl.lit(OTHER_KEY))
            .when(pl.col("_home").ne_missing(pl.col("chunk")))
            .then(pl.lit(OTHER_CHUNK))
            .alias(PROBLEM)
        )
        .drop("_derived", "_index", "_home")
        .collect()
    )
    if differ(judged["storage_key"]):
        return judged
    return judged.with_columns(
        pl.when(pl.col(PROBLEM).is_null() & pl.struct(PROBLEM, "storage_key").is_duplicated())
        .then(pl.lit(REPEATED))
        .otherwise(pl.col(PROBLEM))
        .alias(PROBLEM)
    )


def refers_to(dataset: str) -> pl.Expr:
    """Whether each row's manifest refers to a dataset."""
    names = pl.element().struct.field("name")
    return pl.col("datasets").list.eval(names == dataset).list.any().fill_null(value=False).alias(REFERS)


def told(problem: str) -> tuple[str, str]:
    """A problem as a verdict's kind and in words."""
    return _TOLD[problem]


STORED_IDS_SCHEMA = pl.Schema({"storage_key": pl.String, "candidate_id": pl.String, PROBLEM: pl.String})
"""One stored subject a row, and the rule that this row breaks, if any."""
