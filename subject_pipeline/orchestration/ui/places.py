"""Where an asset's data is, as the Dagster UI links it."""

from collections.abc import Sequence

import dagster as dg

from subject_pipeline.objects.location import StoreLocation
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
