"""Everything that a platform brings: what belongs to no dataset, and the resources that every dataset uses."""

from collections.abc import Sequence

import dagster as dg

from subject_pipeline.orchestration.assets.audit import audit
from subject_pipeline.orchestration.assets.compliance import compliance
from subject_pipeline.orchestration.assets.history import prune_history
from subject_pipeline.orchestration.assets.lifecycle import lifecycle
from subject_pipeline.orchestration.assets.maintenance import maintain_store
from subject_pipeline.orchestration.automation import automation, freshness
from subject_pipeline.orchestration.resources import KeyRingResource, LayoutResource, StoreResource
from subject_pipeline.orchestration.sensors.alerts import alert_sensors
from subject_pipeline.project.platform import PlatformSettings


def platform_definitions(platform: PlatformSettings, manifests: Sequence[dg.AssetKey]) -> dg.Definitions:
    """The shared assets, checks, jobs, schedules, sensors and resources.

    Args:
        platform: the settings; its paths are located.
        manifests: each dataset's asset of manifests. They are upstream of the verification: nothing is loaded along
            such an edge and nothing launched by it; it is what the graph shows.
    """
    layout = LayoutResource.of(platform)
    partitions = layout.partitions()
    names = partitions.get_partition_keys()
    shared = dg.Definitions(
        jobs=[maintain_store, prune_history],
        sensors=alert_sensors(platform.alerts, automation=platform.automation.enabled),
        resources={
            "store": StoreResource.of(platform, layout),
            "layout": layout,
            "key_ring": KeyRingResource(path=platform.key_ring),
        },
    )
    return dg.Definitions.merge(
        audit(partitions, manifests, platform.owners, platform.store),
        lifecycle(platform.owners, platform.store, platform.policies),
        compliance(platform),
        automation(platform.automation, names),
        freshness(platform.automation, names),
        shared,
    )
