"""What runs by itself, and whether it does: the platform's automation."""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from subject_pipeline.orchestration.history.runs import run_in_progress
from subject_pipeline.project.platform import Automation


def sensor_status(automation: Automation) -> dg.DefaultSensorStatus:
    """What a sensor does until somebody switches it in the UI."""
    return dg.DefaultSensorStatus.RUNNING if automation.enabled else dg.DefaultSensorStatus.STOPPED


def schedule_status(automation: Automation) -> dg.DefaultScheduleStatus:
    """What a schedule does until somebody switches it in the UI."""
    return dg.DefaultScheduleStatus.RUNNING if automation.enabled else dg.DefaultScheduleStatus.STOPPED


def all_partitions(partitions: Sequence[str]) -> dict[str, str]:
    """The tags that make one run cover all of these partitions."""
    return {"dagster/asset_partition_range_start": partitions[0], "dagster/asset_partition_range_end": partitions[-1]}


def schedule_of(
    name: str,
    job: str,
    cron: str,
    *,
    automation: Automation,
    description: str,
    tags: Mapping[str, str] | None = None,
    run_config: Mapping[str, Any] | None = None,
) -> dg.ScheduleDefinition:
    """A schedule that never has two runs of its job at once: while one is going, its tick is skipped and says so."""

    @dg.schedule(
        name=name,
        job_name=job,
        cron_schedule=cron,
        execution_timezone=automation.timezone,
        default_status=schedule_status(automation),
        description=description,
    )
    def scheduled(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        if going := run_in_progress(context.instance, job):
            return dg.SkipReason(f"Skipped: {going}, at the next time of {name}.")
        return dg.RunRequest(tags=dict(tags or {}), run_config=run_config)

    return scheduled
