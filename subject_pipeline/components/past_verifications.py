"""What Dagster's event log knows of earlier verifications: when each partition was last fully verified."""

import datetime as dt
from collections.abc import Sequence

import dagster as dg
from dagster import DagsterInstance

from subject_pipeline.components.audit_metadata import CHECKS, EVERY_SUBJECT_REGISTERED
from subject_pipeline.components.past_partitions import PastPartitions
from subject_pipeline.domain.compliance import VerificationHistory

PROBLEMS = tuple(f"problems/{name}" for name in CHECKS if name != EVERY_SUBJECT_REGISTERED)
_PAGE = 1_000
_LOOK_BACK = dt.timedelta(days=60)


def verification_history(
    instance: DagsterInstance, verification: dg.AssetKey, partitions: Sequence[str], now: dt.datetime
) -> VerificationHistory:
    """When every partition was last fully verified, and which were red when last looked at.

    The event log is read backwards until each partition was found, 60 days at most: an older one counts as none.

    Args:
        instance: where it was recorded.
        verification: the asset's key.
        partitions: those that the store has.
        now: the time to look back from.
    """
    missing, oldest = set(partitions), None
    records = dg.AssetRecordsFilter(asset_key=verification, after_timestamp=(now - _LOOK_BACK).timestamp())
    cursor = None
    while missing:
        page = instance.fetch_materializations(records, limit=_PAGE, cursor=cursor)
        for record in page.records:
            materialization = record.event_log_entry.asset_materialization
            mode = materialization.metadata.get("mode") if materialization else None
            if materialization is None or mode is None or mode.value != "full":
                continue
            if materialization.partition in missing:
                missing.remove(materialization.partition)
                oldest = record.timestamp if oldest is None else min(oldest, record.timestamp)
        if not page.has_more:
            break
        cursor = page.cursor
    since = dt.datetime.fromtimestamp(oldest, dt.UTC) if oldest is not None and not missing else None
    red = PastPartitions.of(instance, verification).red(*PROBLEMS)
    return VerificationHistory(since, sorted(missing), red)
