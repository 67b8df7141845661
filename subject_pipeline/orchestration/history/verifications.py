"""What Dagster's event log says of earlier verifications, for a compliance report."""

from collections.abc import Sequence

import dagster as dg
from dagster import DagsterInstance

from subject_pipeline.orchestration.history.partitions import PastPartitions
from subject_pipeline.orchestration.verified_chunks import RED_NUMBERS
from subject_pipeline.reports.numbers import VerificationHistory


def verification_history(
    instance: DagsterInstance, verification: dg.AssetKey, partitions: Sequence[str]
) -> VerificationHistory:
    """Since when every partition was fully verified, and which were red when last verified.

    Args:
        instance: where it was recorded; one record a partition is read.
        verification: the asset's key.
        partitions: those that the store has.
    """
    past = PastPartitions.of(instance, verification)
    never = [name for name in partitions if name not in past.full]
    since = None if never else min((past.full[name] for name in partitions), default=None)
    return VerificationHistory(since, sorted(never), past.red(*RED_NUMBERS))
