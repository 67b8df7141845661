"""What runs by itself where the platform's automation is enabled: the inboxes' sensors and the schedules.

Each dataset brings the sensor of its own source.
"""

from collections.abc import Sequence

import dagster as dg

from subject_pipeline.ingestion.inbox import EVENT_INBOX
from subject_pipeline.lifecycle.decision_inbox import DECISION_INBOX
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
