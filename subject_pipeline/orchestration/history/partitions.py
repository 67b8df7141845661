"""What earlier runs recorded of an asset: which partitions were last red, and the last checkpoint's note."""

import datetime as dt
from collections.abc import Mapping
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
        ids: the number of each partition's record in the event log.
    """

    numbers: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    full: Mapping[str, dt.datetime] = field(default_factory=dict)
    ids: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(
        cls, instance: DagsterInstance, asset: dg.AssetKey, before: "PastPartitions | None" = None
    ) -> "PastPartitions":
        """Look up an asset's partitions in the event log: one record each, however many runs there were.

        Args:
            instance: where it was recorded.
            asset: the asset's key.
            before: what was looked up before; only records that are not in it are read.
        """
        return cls(*_looked_up(instance, asset, before or cls()))

    def number(self, partition: str, name: str) -> int:
        """One number of a partition; 0 where nothing was recorded."""
        return self.numbers.get(partition, {}).get(name, 0)

    def red(self, *names: str) -> list[str]:
        """The partitions in which any of these numbers was not zero, sorted."""
        return sorted(
            partition for partition, numbers in self.numbers.items() if any(numbers.get(name) for name in names)
        )


def partition_numbers(instance: DagsterInstance, asset: dg.AssetKey) -> Mapping[str, Mapping[str, int]]:
    """The whole numbers of each partition's last materialization, by partition and name, for what judges nothing."""
    numbers, _, _ = _looked_up(instance, asset, PastPartitions())
    return numbers


def _looked_up(
    instance: DagsterInstance, asset: dg.AssetKey, known: PastPartitions
) -> tuple[dict[str, Mapping[str, int]], dict[str, dt.datetime], dict[str, int]]:
    ids = dict(instance.get_latest_storage_id_by_partition(asset, DagsterEventType.ASSET_MATERIALIZATION))
    numbers = {name: known.numbers[name] for name, at in ids.items() if known.ids.get(name) == at}
    full = {name: when for name, when in known.full.items() if name in numbers}
    unread = [at for name, at in ids.items() if name not in numbers]
    for start in range(0, len(unread), _PAGE):
        page = unread[start : start + _PAGE]
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
    return numbers, full, ids


def _full(metadata: Mapping[str, dg.MetadataValue], recorded: float) -> dt.datetime | None:
    """When a partition was last verified in full; for a record from before that was noted, by what its run did."""
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
