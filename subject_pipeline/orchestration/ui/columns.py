"""What the Dagster UI shows of columns: the schema of what an asset reads or writes, and where its ids come from."""

from collections.abc import Mapping
from typing import Any

import dagster as dg
import polars as pl

from subject_pipeline.candidates.candidates import CANDIDATE_SCHEMA
from subject_pipeline.manifests.frames import TABLE_SCHEMA
from subject_pipeline.orchestration.lineage import CANDIDATES, SOURCE

SCHEMA, LINEAGE = "dagster/column_schema", "dagster/column_lineage"

_CANDIDATE = {
    "row": "0-based number of the row in the whole source",
    "chunk_index": "number of the chunk that the candidate falls into",
    "candidate_id": "the dataset's prefix and the key",
    "storage_key": "the id as it is spelt in the store; its hash says the chunk",
    "key_value": "the key as text",
}
_MANIFEST = {
    "chunk": "the chunk that the subject falls into; the table is partitioned by it",
    "storage_key": "the id as it is spelt in the store; no two subjects share one",
    "candidate_id": "whose manifest it is",
    "schema": "version of the manifest's form",
    "status": "active, restricted or erasure_ordered",
    "datasets": "the datasets that have the person, each with its key column and the person's key there",
    "vertical": "the line of business, which says which retention policy applies; unknown until it is classified",
    "consent": "to hold general and biometric personal data: status, version and times of each",
    "retention": "until when general and biometric data may be kept, by which policy",
    "safe_views": "names of views that are safe to show",
    "audit_log_path": "where the subject's chain is",
    "audit_log_chain_root": "kept free for the chain's root; null",
    "created_at": "when the manifest was made",
    "updated_at": "when it was last changed",
    "extra": "JSON of fields that decisions or a newer version added; null where there are none",
}


def source_columns(key_column: str) -> Mapping[str, Any]:
    """The one column of a source that is read."""
    about = "The person's key; no other column is read."
    return {SCHEMA: dg.TableSchema(columns=[dg.TableColumn(key_column, "integer, string or UUID", about)])}


def candidate_columns(dataset: str, key_column: str) -> Mapping[str, Any]:
    """The columns of staged candidates; their ids come from the source's key column."""
    key = dg.TableColumnDep(asset_key=dg.AssetKey([dataset, SOURCE]), column_name=key_column)
    deps = {name: [key] for name in ("candidate_id", "storage_key", "key_value")}
    return {SCHEMA: _schema(CANDIDATE_SCHEMA, _CANDIDATE), LINEAGE: dg.TableColumnLineage(deps_by_column=deps)}


def manifest_columns(dataset: str) -> Mapping[str, Any]:
    """The columns of the table of manifests; ids and references come from the dataset's staged candidates."""
    candidates = dg.AssetKey([dataset, CANDIDATES])
    deps = {
        name: [dg.TableColumnDep(asset_key=candidates, column_name=column)]
        for name, column in (
            ("candidate_id", "candidate_id"),
            ("storage_key", "storage_key"),
            ("datasets", "key_value"),
            ("chunk", "chunk_index"),
        )
    }
    return {SCHEMA: _schema(TABLE_SCHEMA, _MANIFEST), LINEAGE: dg.TableColumnLineage(deps_by_column=deps)}


def _schema(schema: pl.Schema, described: Mapping[str, str]) -> dg.TableSchema:
    return dg.TableSchema(
        columns=[
            dg.TableColumn(name, type=str(dtype).lower(), description=described[name]) for name, dtype in schema.items()
        ]
    )
