"""The policies that a platform's YAML names: put in force before decisions are applied by them."""

from collections.abc import Sequence
from pathlib import Path

import dagster as dg

from subject_pipeline.decisions.stored_policies import read_policies_file, store_policies
from subject_pipeline.lifecycle.applying_policies import effect_of
from subject_pipeline.orchestration.privacy.failures import clear_failures
from subject_pipeline.orchestration.provenance import provenance
from subject_pipeline.orchestration.resources import KeyRingResource, StoreResource

POLICIES = dg.AssetKey("policies")


def policies_asset(file: Path, owners: Sequence[str]) -> dg.AssetsDefinition:
    """The asset of the policies in force.

    Raises:
        PolicyError: the file cannot be read, or declares something that no policy can say.
    """
    read_policies_file(file)  # what is wrong in it is found out when definitions load, not at night

    @dg.asset(
        key=POLICIES,
        group_name="lifecycle",
        kinds={"yaml"},
        owners=list(owners),
        tags={"subject/stage": "decisions"},
        code_version="1",
        metadata={"uri": str(file)},
        description="One document: how long data is kept, which verticals there are, and what takes four eyes, as the "
        "file says that the platform's YAML names. Putting it in force moves no date by itself: a decision does.",
    )
    def policies(store: StoreResource, key_ring: KeyRingResource) -> dg.MaterializeResult:
        with clear_failures():
            opened, declared = store.open(key_ring), read_policies_file(file)
            effect = effect_of(opened, declared)
            changed = store_policies(opened, declared)
        numbers = {
            "changed": changed,
            "subjects": effect.subjects,
            "dates_differ": effect.dates_differ,
            "undeclared": effect.undeclared,
        }
        return dg.MaterializeResult(
            metadata={**numbers, "sha256": declared.sha256, **provenance(opened)},
            data_version=dg.DataVersion(declared.sha256),
        )

    return policies
