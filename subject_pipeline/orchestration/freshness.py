"""Freshness: what notices that verifications and checkpoints have stopped."""

import dagster as dg

from subject_pipeline.operations import Operations
from subject_pipeline.orchestration.freshness_checks import checkpoint_check, full_verification_check
from subject_pipeline.orchestration.resources import LayoutResource
from subject_pipeline.orchestration.sensors.automation import schedule_of


def freshness() -> dg.Definitions:
    """Two checks, a job that evaluates only them, and its schedule.

    They are also evaluated at the end of every run that materializes their assets, so that none stays red after it.
    """
    operations = Operations.read()
    partitions = LayoutResource.from_environment().partitions().get_partition_keys()
    checks = [full_verification_check(partitions, operations), checkpoint_check(operations)]
    job = dg.define_asset_job(
        "check_freshness",
        selection=dg.AssetSelection.checks(*checks),
        description="Check whether the last full verification and the last checkpoint are recent. Reads Dagster's own "
        "records, verifies nothing and writes nothing. Needs no config.",
        tags={"subject/job": "freshness"},
    )
    schedule = schedule_of(
        "daily_freshness_check",
        job.name,
        operations.daily_freshness_check,
        operations=operations,
        description="Checks whether verifications and checkpoints still happen, so that their absence turns red too.",
    )
    return dg.Definitions(asset_checks=checks, jobs=[job], schedules=[schedule])
