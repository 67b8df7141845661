"""What earlier stagings recorded: who was gone from the source when all of its rows were last read."""

from collections.abc import Iterable, Iterator

import dagster as dg
from dagster import DagsterEventType, DagsterInstance

from subject_pipeline.orchestration.lineage import CANDIDATES
from subject_pipeline.orchestration.ui.reconciliation import SUBJECTS, VANISHED
from subject_pipeline.registry.vanished import Reconciliation

_PAGE = 100
_RECORDS = 500


def last_reconciliation(instance: DagsterInstance, candidates: dg.AssetKey) -> Reconciliation | None:
    """What the last staging that read all rows has found; None: there was none.

    It is looked for among all stagings, so that one that reads a few rows makes nothing green.
    """
    return next((found for _, found in _reconciliations(instance, candidates)), None)


def last_reconciled_run(instance: DagsterInstance, candidates: dg.AssetKey) -> str | None:
    """The run of the last staging that read all rows; None: there was none."""
    return next((run_id for run_id, _ in _reconciliations(instance, candidates)), None)


def _reconciliations(instance: DagsterInstance, candidates: dg.AssetKey) -> Iterator[tuple[str, Reconciliation]]:
    """The stagings that read all rows, the last first: the run, and what it found."""
    cursor: str | None = None
    while True:
        page = instance.fetch_materializations(candidates, limit=_PAGE, cursor=cursor)
        for record in page.records:
            materialization = record.event_log_entry.asset_materialization
            if materialization is None:
                continue
            subjects, gone = (materialization.metadata.get(name) for name in (SUBJECTS, VANISHED))
            if isinstance(subjects, dg.IntMetadataValue) and isinstance(gone, dg.IntMetadataValue):
                yield record.run_id, Reconciliation(subjects.value or 0, gone.value or 0)
        if not page.has_more:
            return
        cursor = page.cursor


def stagings_of_partitions(
    instance: DagsterInstance, manifests: dg.AssetKey, candidates: dg.AssetKey
) -> dict[str, str]:
    """Which staging each partition was last registered from, by the data version that Dagster noted of it."""
    tag = f"dagster/input_data_version/{candidates.to_user_string()}"
    ids = list(instance.get_latest_storage_id_by_partition(manifests, DagsterEventType.ASSET_MATERIALIZATION).values())
    found = {}
    for start in range(0, len(ids), _RECORDS):
        page = ids[start : start + _RECORDS]
        wanted = dg.AssetRecordsFilter(asset_key=manifests, storage_ids=page)
        for record in instance.fetch_materializations(wanted, limit=len(page)).records:
            made = record.event_log_entry.asset_materialization
            if made is not None and made.partition is not None and made.tags and tag in made.tags:
                found[made.partition] = made.tags[tag]
    return found


def vanished_by_dataset(instance: DagsterInstance, datasets: Iterable[str]) -> dict[str, int]:
    """How many were gone from each dataset's source; one of which all rows were never read is left out."""
    found = {name: last_reconciliation(instance, dg.AssetKey([name, CANDIDATES])) for name in datasets}
    return {name: last.vanished for name, last in found.items() if last is not None}
