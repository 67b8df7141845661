"""What earlier runs recorded of an asset: which partitions were last red, and the last checkpoint's note."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import dagster as dg
from dagster import DagsterEventType, DagsterInstance


@dataclass(frozen=True, slots=True)
class PastPartitions:
    """The numbers that each partition's last materialization recorded."""

    numbers: Mapping[str, Mapping[str, int]]

    @classmethod
    def of(cls, instance: DagsterInstance, asset: dg.AssetKey, *, but: Iterable[str] = ()) -> "PastPartitions":
        """Look up an asset's partitions in the event log.

        Args:
            instance: where it was recorded.
            asset: the asset's key.
            but: partitions to leave out: those that this run materializes itself.
        """
        left_out = set(but)
        latest = instance.event_log_storage.get_latest_storage_id_by_partition(
            asset, DagsterEventType.ASSET_MATERIALIZATION
        )
        wanted = {partition: at for partition, at in latest.items() if partition not in left_out}
        if not wanted:
            return cls({})
        records = instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=asset, storage_ids=list(wanted.values())), limit=len(wanted)
        ).records
        found: dict[str, dict[str, int]] = {}
        for record in records:
            materialization = record.event_log_entry.asset_materialization
            if materialization is not None and materialization.partition is not None:
                found[materialization.partition] = {
                    name: value.value
                    for name, value in materialization.metadata.items()
                    if isinstance(value, dg.IntMetadataValue) and isinstance(value.value, int)
                }
        return cls(found)

    def red(self, *names: str) -> list[str]:
        """The partitions in which any of these numbers was not zero, sorted."""
        return sorted(
            partition for partition, numbers in self.numbers.items() if any(numbers.get(name) for name in names)
        )


def last_note(instance: DagsterInstance, checkpoint: dg.AssetKey) -> list[str]:
    """The signed note of the last checkpoint that this Dagster instance recorded; empty where there is none.

    It is in another trust domain than the store: a store rolled back together with its checkpoints does not have it.
    """
    event = instance.get_latest_materialization_event(checkpoint)
    materialization = event.asset_materialization if event else None
    note = materialization.metadata.get("note") if materialization else None
    return [str(note.value)] if note is not None else []
