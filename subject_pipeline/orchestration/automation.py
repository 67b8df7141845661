"""What runs by itself where the platform's automation is enabled: the inboxes' sensors and the schedules.

With them the checks that notice when verifications and checkpoints have stopped. Each dataset brings the sensor of its
own source.
"""

from collections.abc import Sequence

import dagster as dg

from subject_pipeline.ingestion.inbox import EVENT_INBOX
from subject_pipeline.lifecycle.decision_inbox import DECISION_INBOX
from subject_pipeline.orchestration.freshness_checks import checkpoint_check, full_verification_check
from subject_pipeline.orchestration.sensors.automation import all_partitions, schedule_of
from subject_pipeline.orchestration.sensors.inbox import inbox_sensor
from subject_pipeline.project.platform import Automation

_VERIFY = "verify_checkpoint_and_report"


def automation(settings: Automation, partitions: Sequence[str]) -> dg.Definitions:
    """The inboxes' sensors, two verifications, erasures and the maintenance."""
    everything = all_partitions(partitions)

    def verification(name: str, cron: str, mode: str, description: str) -> dg.ScheduleDefinition:
        return schedule_of(
            name,
            _VERIFY,
            cron,
            automation=settings,
            description=description,
            tags={**everything, "subject/mode": mode},
            run_config={"ops": {"audit_verification": {"config": {"mode": mode}}}},
        )

    return dg.Definitions(
        sensors=[
            inbox_sensor(
                "ingest_new_event_files", "ingest_access_events", "audit_log", EVENT_INBOX, automation=settings
            ),
            inbox_sensor(
                "apply_new_decision_files", "apply_decisions", "decisions", DECISION_INBOX, automation=settings
            ),
        ],
        schedules=[
            verification(
                "nightly_verification",
                settings.nightly_verification,
                "incremental",
                "Verifies what changed since the last checkpoint, signs the next, and reports. One run over all "
                "partitions.",
            ),
            verification(
                "weekly_verification",
                settings.weekly_verification,
                "full",
                "Reads and verifies everything, signs a checkpoint, and reports. One run over all partitions.",
            ),
            schedule_of(
                "daily_erasures",
                "carry_out_erasures",
                settings.daily_erasures,
                automation=settings,
                description="Erases everybody whose erasure is ordered and whom no hold keeps.",
            ),
            schedule_of(
                "weekly_maintenance",
                "maintain_store",
                settings.weekly_maintenance,
                automation=settings,
                description="Compacts and vacuums the table of manifests and cleans up stagings.",
            ),
        ],
    )


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
