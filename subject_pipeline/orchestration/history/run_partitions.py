"""Which partitions a run is about."""

from collections.abc import Sequence

import dagster as dg


def partitions_of(context: dg.AssetExecutionContext) -> Sequence[str]:
    """The partitions that were selected for a run, in their order.

    Raises:
        Failure: none were, for example by a launch from the command line without a partition or range.
    """
    if not context.has_partition_key_range and not context.has_partition_key:
        raise dg.Failure(
            "No partitions were selected. Select all in the launch's dialog, or give the run the tags "
            "dagster/asset_partition_range_start and dagster/asset_partition_range_end."
        )
    selected: Sequence[str] = context.partition_keys
    return selected
