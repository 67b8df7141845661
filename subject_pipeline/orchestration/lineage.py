"""Connects assets that do not know each other: datasets are YAML files, and the audit's assets name none of them."""

import warnings
from collections.abc import Sequence

import dagster as dg

SOURCE = "source"
CANDIDATES = "candidate_chunks"
MANIFESTS = "subject_manifests"
DATASET = "dataset"
"""Tag of everything that one dataset's YAML declares."""

VERIFICATION = dg.AssetKey("audit_verification")


def connected(definitions: dg.Definitions, owners: Sequence[str]) -> dg.Definitions:
    """The definitions with every dataset's manifests upstream of the verification, chunk by chunk.

    Nothing is loaded along such an edge and nothing is launched by it: it is what the graph shows and what "materialize
    upstream" follows. Assets that belong to no dataset get the owners, unless they name their own.

    Args:
        definitions: all of the code location's.
        owners: of the shared assets.
    """
    manifests = [
        dg.AssetDep(spec.key, partition_mapping=dg.IdentityPartitionMapping())
        for spec in definitions.resolve_all_asset_specs()
        if DATASET in spec.tags and spec.key.path[-1] == MANIFESTS
    ]

    def mapped(spec: dg.AssetSpec) -> dg.AssetSpec:
        if DATASET not in spec.tags and not spec.owners and owners:
            spec = spec.replace_attributes(owners=list(owners))
        if spec.key == VERIFICATION:
            spec = spec.replace_attributes(deps=[*spec.deps, *manifests])
        return spec

    with warnings.catch_warnings():
        # The release is pinned; its only public way to add a dependency afterwards still calls itself a preview.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return definitions.map_resolved_asset_specs(func=mapped)
