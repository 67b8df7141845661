"""What the Dagster UI shows of an asset's data: where it is, its columns, and where its ids come from."""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
import polars as pl

from subject_pipeline.candidates.candidates import CANDIDATE_SCHEMA
from subject_pipeline.manifests.frames import TABLE_SCHEMA
from subject_pipeline.objects.location import StoreLocation
from subject_pipeline.orchestration.lineage import CANDIDATES, SOURCE
from subject_pipeline.store.layout import (
    AUDIT,
    CHECKPOINTS,
    DECISIONS_INBOX,
    ERASURES,
    INBOX,
    REPORTS,
    STAGING,
    TABLE,
)

URI = "dagster/uri"
SCHEMA, LINEAGE = "dagster/column_schema", "dagster/column_lineage"

_PLACES = {
    "inbox_event_files": INBOX,
    "inbox_decision_files": DECISIONS_INBOX,
    "audit_log": AUDIT,
    "decisions": AUDIT,
    "audit_verification": AUDIT,
    "audit_checkpoint": CHECKPOINTS,
    "erasures": ERASURES,
    "subject_reviews": f"{TABLE}/",
    "compliance_report": REPORTS,
}


def placed(
    assets: Sequence[dg.AssetsDefinition | dg.AssetSpec], store: str
) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    """Assets that belong to no dataset, each with where in a store its data is."""

    def mapped(spec: dg.AssetSpec) -> dg.AssetSpec:
        return spec.merge_attributes(metadata=place(store, _PLACES[spec.key.to_user_string()]))

    return [mapped(one) if isinstance(one, dg.AssetSpec) else one.map_asset_specs(mapped) for one in assets]


def place(store: str, key: str) -> dict[str, dg.MetadataValue]:
    """The metadata that says where something is: a store's path or URL, and what is below it."""
    return {URI: dg.MetadataValue.url(StoreLocation.parse(store).child(key))}


def candidates_place(store: str, dataset: str) -> dict[str, dg.MetadataValue]:
    """Where a dataset's staged candidates are."""
    return place(store, f"{STAGING}{dataset}/")


def manifests_place(store: str) -> dict[str, dg.MetadataValue]:
    """Where the table of manifests is."""
    return place(store, f"{TABLE}/")


def source_place(source: str) -> dict[str, dg.MetadataValue]:
    """Where a dataset's source is; a pattern stays one."""
    return {URI: dg.MetadataValue.url(source if "://" in source else f"file://{source}")}


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
