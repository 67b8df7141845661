"""What runs by itself, and whether it does: `$SUBJECT_AUTOMATION`."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from subject_pipeline.operations import Operations
from subject_pipeline.orchestration.history.runs import run_in_progress
from subject_pipeline.settings import Settings


def sensor_status() -> dg.DefaultSensorStatus:
    """What a sensor does until somebody switches it in the UI.

    Raises:
        ConfigurationError: `$SUBJECT_AUTOMATION` is neither on nor off.
    """
    on = Settings.read(os.environ).automation
    return dg.DefaultSensorStatus.RUNNING if on else dg.DefaultSensorStatus.STOPPED


def schedule_status() -> dg.DefaultScheduleStatus:
    """What a schedule does until somebody switches it in the UI.

    Raises:
        ConfigurationError: `$SUBJECT_AUTOMATION` is neither on nor off.
    """
    on = Settings.read(os.environ).automation
    return dg.DefaultScheduleStatus.RUNNING if on else dg.DefaultScheduleStatus.STOPPED


def all_partitions(partitions: Sequence[str]) -> dict[str, str]:
    """The tags that make one run cover all of these partitions."""
    return {"dagster/asset_partition_range_start": partitions[0], "dagster/asset_partition_range_end": partitions[-1]}


def schedule_of(
    name: str,
    job: str,
    cron: str,
    *,
    operations: Operations,
    description: str,
    tags: Mapping[str, str] | None = None,
    run_config: Mapping[str, Any] | None = None,
) -> dg.ScheduleDefinition:
    """A schedule that never has two runs of its job at once: while one is going, its tick is skipped and says so."""

    @dg.schedule(
        name=name,
        job_name=job,
        cron_schedule=cron,
        execution_timezone=operations.timezone,
        default_status=schedule_status(),
        description=description,
    )
    def scheduled(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        if going := run_in_progress(context.instance, job):
            return dg.SkipReason(f"Skipped: {going}, at the next time of {name}.")
        return dg.RunRequest(tags=dict(tags or {}), run_config=run_config)

    return scheduled
