"""Freshness: what notices that verifications and checkpoints have stopped."""

from collections.abc import Sequence

import dagster as dg

from subject_pipeline.orchestration.freshness_checks import checkpoint_check, full_verification_check
from subject_pipeline.orchestration.sensors.automation import schedule_of
from subject_pipeline.project.platform import Automation


def freshness(automation: Automation, partitions: Sequence[str]) -> dg.Definitions:
    """Two checks, a job that evaluates only them, and its schedule.

    They are also evaluated at the end of every run that materializes their assets, so that none stays red after it.
    """
    checks = [full_verification_check(partitions, automation), checkpoint_check(automation)]
    job = dg.define_asset_job(
        "check_freshness",
        selection=dg.AssetSelection.checks(*checks),
        executor_def=dg.in_process_executor,
        description="Check whether the last full verification and the last checkpoint are recent. Reads Dagster's own "
        "records, verifies nothing and writes nothing. Needs no config.",
        tags={"subject/job": "freshness"},
    )
    schedule = schedule_of(
        "daily_freshness_check",
        job.name,
        automation.daily_freshness_check,
        automation=automation,
        description="Checks whether verifications and checkpoints still happen, so that their absence turns red too.",
    )
    return dg.Definitions(asset_checks=checks, jobs=[job], schedules=[schedule])
