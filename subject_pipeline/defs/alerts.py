"""Alerts: what tells people of failed runs and red checks."""

import dagster as dg

from subject_pipeline.components.alert_sensors import alert_sensors


@dg.definitions
def alerts() -> dg.Definitions:
    """The sensors that post to `$SUBJECT_ALERT_WEBHOOK`."""
    return dg.Definitions(sensors=alert_sensors())
