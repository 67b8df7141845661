"""What earlier runs recorded of an asset: which partitions were last red, and the last checkpoint's note."""

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import dagster as dg
from dagster import DagsterEventType, DagsterInstance

FULL_VERIFICATION = "full_verification"
"""Metadata of a verification's partition: when it was last read whole. Each incremental one carries it on, so that the
last materialization of each partition is all that has to be looked up."""

_PAGE = 500


@dataclass(frozen=True, slots=True)
class PastPartitions:
    """What each partition's last materialization recorded.

    Attributes:
        numbers: its whole numbers, by partition and name.
        full: when each partition was last verified in full, UTC; those that never were are left out.
    """

    numbers: Mapping[str, Mapping[str, int]]
    full: Mapping[str, dt.datetime] = field(default_factory=dict)

    @classmethod
    def of(cls, instance: DagsterInstance, asset: dg.AssetKey) -> "PastPartitions":
        """Look up an asset's partitions in the event log: one record each, however many runs there were.

        Args:
            instance: where it was recorded.
            asset: the asset's key.
        """
        latest = list(
            instance.get_latest_storage_id_by_partition(asset, DagsterEventType.ASSET_MATERIALIZATION).values()
        )
        numbers: dict[str, dict[str, int]] = {}
        full: dict[str, dt.datetime] = {}
        for start in range(0, len(latest), _PAGE):
            page = latest[start : start + _PAGE]
            wanted = dg.AssetRecordsFilter(asset_key=asset, storage_ids=page)
            for record in instance.fetch_materializations(wanted, limit=len(page)).records:
                materialization = record.event_log_entry.asset_materialization
                if materialization is None or materialization.partition is None:
                    continue
                numbers[materialization.partition] = {
                    name: value.value
                    for name, value in materialization.metadata.items()
                    if isinstance(value, dg.IntMetadataValue) and isinstance(value.value, int)
                }
                when = _full(materialization.metadata, record.timestamp)
                if when is not None:
                    full[materialization.partition] = when
        return cls(numbers, full)

    def without(self, partitions: Iterable[str]) -> "PastPartitions":
        """The same but for these partitions: those that a run materializes itself."""
        left_out = set(partitions)
        return PastPartitions({name: one for name, one in self.numbers.items() if name not in left_out}, self.full)

    def red(self, *names: str) -> list[str]:
        """The partitions in which any of these numbers was not zero, sorted."""
        return sorted(
            partition for partition, numbers in self.numbers.items() if any(numbers.get(name) for name in names)
        )


def _full(metadata: Mapping[str, dg.MetadataValue], recorded: float) -> dt.datetime | None:
    """When a partition was last verified in full; of one recorded before that was noted, by what its run did."""
    noted = metadata.get(FULL_VERIFICATION)
    if isinstance(noted, dg.TimestampMetadataValue):
        return dt.datetime.fromtimestamp(noted.value, dt.UTC)
    mode, unread = metadata.get("mode"), metadata.get("problems/nothing_unreadable")
    whole = mode is not None and mode.value == "full" and not (unread is not None and unread.value)
    return dt.datetime.fromtimestamp(recorded, dt.UTC) if whole else None


def last_note(instance: DagsterInstance, checkpoint: dg.AssetKey) -> list[str]:
    """The signed note of the last checkpoint that this Dagster instance recorded; empty where there is none.

    It is in another trust domain than the store: a store rolled back together with its checkpoints does not have it.
    """
    event = instance.get_latest_materialization_event(checkpoint)
    materialization = event.asset_materialization if event else None
    note = materialization.metadata.get("note") if materialization else None
    return [str(note.value)] if note is not None else []
