"""What runs by itself when `SUBJECT_AUTOMATION=on`: the inboxes' sensors and the schedules.

Each dataset brings the sensor of its own source; times and numbers are in `operations.yaml`.
"""

import dagster as dg

from subject_pipeline.ingestion.inbox import EVENT_INBOX
from subject_pipeline.lifecycle.decision_inbox import DECISION_INBOX
from subject_pipeline.operations import Operations
from subject_pipeline.orchestration.resources import LayoutResource
from subject_pipeline.orchestration.sensors.automation import all_partitions, schedule_of
from subject_pipeline.orchestration.sensors.inbox import inbox_sensor

_VERIFY = "verify_checkpoint_and_report"


def automation() -> dg.Definitions:
    """The inboxes' sensors, two verifications, erasures and the maintenance."""
    operations = Operations.read()
    everything = all_partitions(LayoutResource.from_environment().partitions().get_partition_keys())

    def verification(name: str, cron: str, mode: str, description: str) -> dg.ScheduleDefinition:
        return schedule_of(
            name,
            _VERIFY,
            cron,
            operations=operations,
            description=description,
            tags={**everything, "subject/mode": mode},
            run_config={"ops": {"audit_verification": {"config": {"mode": mode}}}},
        )

    return dg.Definitions(
        sensors=[
            inbox_sensor(
                "ingest_new_event_files", "ingest_access_events", "audit_log", EVENT_INBOX, operations=operations
            ),
            inbox_sensor(
                "apply_new_decision_files", "apply_decisions", "decisions", DECISION_INBOX, operations=operations
            ),
        ],
        schedules=[
            verification(
                "nightly_verification",
                operations.nightly_verification,
                "incremental",
                "Verifies what changed since the last checkpoint, signs the next, and reports. One run over all "
                "partitions.",
            ),
            verification(
                "weekly_verification",
                operations.weekly_verification,
                "full",
                "Reads and verifies everything, signs a checkpoint, and reports. One run over all partitions.",
            ),
            schedule_of(
                "daily_erasures",
                "carry_out_erasures",
                operations.daily_erasures,
                operations=operations,
                description="Erases everybody whose erasure is ordered and whom no hold keeps.",
            ),
            schedule_of(
                "weekly_maintenance",
                "maintain_store",
                operations.weekly_maintenance,
                operations=operations,
                description="Compacts and vacuums the table of manifests and cleans up stagings.",
            ),
        ],
    )
