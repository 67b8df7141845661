"""The names of a dataset's assets, by which the platform's find them, and whose the platform's are."""

from collections.abc import Sequence

import dagster as dg

SOURCE = "source"
CANDIDATES = "candidate_chunks"
MANIFESTS = "subject_manifests"
DATASET = "dataset"
"""Tag of everything that one dataset's YAML declares."""

VERIFICATION_POOL = "subject_verification"
"""Pool of what verifies, signs and reports: one run at a time, where the instance gives pools a limit."""


def owned(
    assets: Sequence[dg.AssetsDefinition | dg.AssetSpec], owners: Sequence[str]
) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    """The assets, which belong to no dataset, with these owners."""

    def mapped(spec: dg.AssetSpec) -> dg.AssetSpec:
        return spec.replace_attributes(owners=list(owners))

    return [mapped(one) if isinstance(one, dg.AssetSpec) else one.map_asset_specs(mapped) for one in assets]


def downstream_by_chunk(asset: dg.AssetsDefinition, manifests: Sequence[dg.AssetKey]) -> dg.AssetsDefinition:
    """The asset, with every dataset's manifests upstream of it, partition by partition.

    They are added to an asset that is made already. As `deps` of its decorator they would be inputs whose versions
    Dagster takes over a run's whole range, so that a run over other partitions, which changed nothing, would leave
    everything downstream stale (measured at 1.13.27).
    """
    by_chunk = [dg.AssetDep(key, partition_mapping=dg.IdentityPartitionMapping()) for key in manifests]
    return asset.map_asset_specs(lambda spec: spec.replace_attributes(deps=[*spec.deps, *by_chunk]))
