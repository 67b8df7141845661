"""Alerts: what reports failed runs and red checks to people."""

import dagster as dg

from subject_pipeline.orchestration.sensors.alerts import alert_sensors


@dg.definitions
def alerts() -> dg.Definitions:
    """The sensors that post to `$SUBJECT_ALERT_WEBHOOK`."""
    return dg.Definitions(sensors=alert_sensors())
