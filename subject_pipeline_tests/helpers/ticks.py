"""Sensors ticked by hand: each tick gets the cursor of the last, and the runs that a test says there are."""

from dataclasses import dataclass, field
from typing import Any

import dagster as dg
from dagster import DagsterRunStatus
from dagster._core.test_utils import create_run_for_test


@dataclass
class Ticks:
    """A sensor, its instance and its cursor.

    Attributes:
        resources: what its function takes, by name.
        repository: what else the code location holds; None: nothing.
        requests: every run that it asked for.
    """

    sensor: dg.SensorDefinition
    instance: dg.DagsterInstance
    resources: dict[str, Any]
    cursor: str | None = None
    repository: dg.RepositoryDefinition | None = None
    requests: list[dg.RunRequest] = field(default_factory=list)
    reason: str = ""
    events: list[Any] = field(default_factory=list)

    def tick(self) -> dg.RunRequest | None:
        """One tick; the run that it asked for, with why there is none in `reason`."""
        with dg.build_sensor_context(
            instance=self.instance,
            cursor=self.cursor,
            sensor_name=self.sensor.name,
            resources=self.resources,
            repository_def=self.repository,
        ) as context:
            result = self.sensor.evaluate_tick(context)
        self.cursor = result.cursor
        self.reason = result.skip_message or ""
        self.events = list(result.asset_events)
        asked = list(result.run_requests or ())
        assert len(asked) <= 1
        self.requests += asked
        return asked[0] if asked else None

    def launched(self, status: DagsterRunStatus) -> dg.DagsterRun:
        """The last request's run, as Dagster would record it."""
        request = self.requests[-1]
        keys = [one.run_key for one in self.requests]
        assert len(keys) == len(set(keys)), "Dagster never runs a run_key twice"
        run: dg.DagsterRun = create_run_for_test(
            self.instance, job_name=self.job, status=status, tags={**request.tags, "dagster/run_key": keys[-1]}
        )
        return run

    def ended(self, run: dg.DagsterRun, status: DagsterRunStatus) -> None:
        """Let a run end."""
        kind = {
            DagsterRunStatus.SUCCESS: dg.DagsterEventType.RUN_SUCCESS,
            DagsterRunStatus.FAILURE: dg.DagsterEventType.RUN_FAILURE,
            DagsterRunStatus.CANCELED: dg.DagsterEventType.RUN_CANCELED,
        }[status]
        event = dg.DagsterEvent(event_type_value=kind.value, job_name=run.job_name, message="by a test")
        self.instance.report_dagster_event(event, run_id=run.run_id)

    def taken(self, status: DagsterRunStatus) -> dg.RunRequest:
        """Tick until a run is asked for, and let it end so."""
        request = self.tick() or self.tick()
        assert request is not None, self.reason
        self.ended(self.launched(DagsterRunStatus.STARTED), status)
        return request

    @property
    def job(self) -> str:
        """The job that the sensor launches."""
        return str(self.sensor.job_name)
