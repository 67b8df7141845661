"""What `linked` does to a manifest: a reference to a dataset, and the dataset's safe views; pure, made by registration.

One manifest at a time by its JSON, or many by column where the columns hold all of them: both do the same.
"""

import datetime as dt
from typing import Any, NamedTuple

import polars as pl

from subject_pipeline.decisions.retention import Document
from subject_pipeline.decisions.transitions import is_ordered, is_restricted
from subject_pipeline.formats.times import format_time
from subject_pipeline.manifests.frames import TABLE_SCHEMA

KIND = "linked"
_RESERVED = ("restricted", "erasure_ordered")
"""Statuses under which a person's data is shown no more widely than before."""


class DatasetLink(NamedTuple):
    """A dataset as it links people.

    Attributes:
        safe_views: what is added to a manifest that lacks it, unless the person is restricted or to be erased.
    """

    name: str
    key_column: str
    safe_views: tuple[str, ...] = ()

    def reference(self, key_value: str) -> dict[str, str]:
        """What a manifest's `datasets` gains."""
        return {"name": self.name, "key_column": self.key_column, "key_value": key_value}

    def order(self, key_value: str) -> dict[str, Any]:
        """What a row of the log records as ordered."""
        return {"kind": KIND, "dataset": self.reference(key_value)}

    def is_in(self, document: Document) -> bool:
        """Whether a manifest refers to the dataset already, under whatever key."""
        return any(there["name"] == self.name for there in document["datasets"])

    def document(self, document: Document, key_value: str, updated_at: dt.datetime) -> Document:
        """The JSON of a manifest that does not refer to the dataset, after it is linked."""
        there = document["safe_views"]
        reserved = is_restricted(document) or is_ordered(document)
        views = [] if reserved else [view for view in dict.fromkeys(self.safe_views) if view not in there]
        return {
            **document,
            "updated_at": format_time(updated_at),
            "datasets": [*document["datasets"], self.reference(key_value)],
            "safe_views": [*there, *views],
        }

    def rows(self, rows: pl.DataFrame, updated_at: pl.Expr) -> pl.DataFrame:
        """Rows of manifests that do not refer to the dataset, after they are linked.

        Args:
            rows: `TABLE_SCHEMA` and `key_value`; each is a manifest, and its columns hold all of it.
            updated_at: the time of each.

        Returns:
            `TABLE_SCHEMA`.
        """
        names = pl.lit(self.name).alias("name"), pl.lit(self.key_column).alias("key_column")
        views = [
            pl.when(pl.col("status").is_in(_RESERVED) | pl.col("safe_views").list.contains(view))
            .then(_one_list())
            .otherwise(_one_list(view))
            for view in dict.fromkeys(self.safe_views)
        ]
        return rows.with_columns(
            datasets=pl.concat_list("datasets", pl.struct(*names, "key_value")),
            safe_views=pl.concat_list("safe_views", *views),
            updated_at=updated_at,
        ).select(TABLE_SCHEMA.names())


def _one_list(*values: str) -> pl.Expr:
    return pl.lit(pl.Series([list(values)], dtype=pl.List(pl.String))).first()
