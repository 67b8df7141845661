"""What earlier stagings recorded: who was gone from the source when all of its rows were last read."""

from collections.abc import Iterable

import dagster as dg
from dagster import DagsterInstance

from subject_pipeline.orchestration.lineage import CANDIDATES
from subject_pipeline.orchestration.ui.reconciliation import SUBJECTS, VANISHED
from subject_pipeline.registry.vanished import Reconciliation

_PAGE = 100


def last_reconciliation(instance: DagsterInstance, candidates: dg.AssetKey) -> Reconciliation | None:
    """What the last staging that read all rows has found; None: there was none.

    It is looked for among all stagings, so that one that reads a few rows makes nothing green.
    """
    cursor: str | None = None
    while True:
        page = instance.fetch_materializations(candidates, limit=_PAGE, cursor=cursor)
        for record in page.records:
            materialization = record.event_log_entry.asset_materialization
            if materialization is None:
                continue
            subjects, gone = (materialization.metadata.get(name) for name in (SUBJECTS, VANISHED))
            if isinstance(subjects, dg.IntMetadataValue) and isinstance(gone, dg.IntMetadataValue):
                return Reconciliation(subjects.value or 0, gone.value or 0)
        if not page.has_more:
            return None
        cursor = page.cursor


def vanished_by_dataset(instance: DagsterInstance, datasets: Iterable[str]) -> dict[str, int]:
    """How many were gone from each dataset's source; one of which all rows were never read is left out."""
    found = {name: last_reconciliation(instance, dg.AssetKey([name, CANDIDATES])) for name in datasets}
    return {name: last.vanished for name, last in found.items() if last is not None}
