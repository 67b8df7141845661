"""What sensors and schedules know of earlier runs: Dagster's own records, so that nothing is lost with a cursor."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

import dagster as dg
from dagster import DagsterInstance, DagsterRunStatus, RunsFilter

OFFERED_BY = "subject/offered_by"
"""Tag: the sensor that asked for the run. Dagster copies tags to a re-execution, so that counts as well."""

VERSION = "subject/version"
"""Tag: what the run works on, as the sensor saw it."""

ATTEMPT = "subject/attempt"
"""Tag: how often this version was tried, this time included."""

_ENDED = {DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED}
_GOING = [status for status in DagsterRunStatus if status not in _ENDED]
_LOOKED_AT = 100


def going_run(instance: DagsterInstance, job: str) -> dg.DagsterRun | None:
    """The newest run of a job that is queued or running, however it was launched."""
    records = instance.get_run_records(RunsFilter(job_name=job, statuses=_GOING), limit=1)
    return records[0].dagster_run if records else None


@dataclass(frozen=True, slots=True)
class PastRun:
    """One run that a sensor asked for.

    Attributes:
        ended_at: seconds since 1970; 0 while it has not ended.
    """

    run_id: str
    version: str
    attempt: int
    status: DagsterRunStatus
    ended_at: float


def run_in_progress(instance: DagsterInstance, job: str) -> str | None:
    """Why nothing new of a job should start now: a run of it is queued or running, however it was launched."""
    run = going_run(instance, job)
    if run is None:
        return None
    return f"run {run.run_id[:8]} of {job} is {run.status.value.lower().replace('_', ' ')}; asked again after it"


def past_runs(instance: DagsterInstance, job: str, sensor: str, version: str | None = None) -> list[PastRun]:
    """The newest 100 runs that a sensor asked for, newest first; only those of a version, if one is given."""
    tags = {OFFERED_BY: sensor} | ({VERSION: version} if version else {})
    records = instance.get_run_records(RunsFilter(job_name=job, tags=tags), limit=_LOOKED_AT)
    return [
        PastRun(
            record.dagster_run.run_id,
            record.dagster_run.tags.get(VERSION, ""),
            _number(record.dagster_run.tags.get(ATTEMPT, "")),
            record.dagster_run.status,
            record.end_time or 0.0,
        )
        for record in records
    ]


def latest_of(runs: Sequence[PastRun], version: str) -> list[PastRun]:
    """The runs of a version that no run of another version followed, newest first."""
    return list(takewhile(lambda run: run.version == version, runs))


def next_attempt(instance: DagsterInstance, job: str, sensor: str, version: str) -> int:
    """A number that no run of this version has yet: a `run_key` that was used is never run again."""
    return 1 + max((run.attempt for run in past_runs(instance, job, sensor, version)), default=0)


def offer(
    *,
    job: str,
    sensor: str,
    version: str,
    attempt: int,
    tags: dict[str, str] | None = None,
    run_config: dict[str, object] | None = None,
) -> dg.RunRequest:
    """A request for a run of a version, which Dagster grants once for each attempt."""
    return dg.RunRequest(
        run_key=f"{version}:{attempt}",
        job_name=job,
        run_config=run_config,
        tags={**(tags or {}), OFFERED_BY: sensor, VERSION: version, ATTEMPT: str(attempt)},
    )


def pause_before(attempt: int, interval: float) -> float:
    """Seconds between a failed run and the next: four ticks, then 16, 64: an outage outlasts three quick ones."""
    return float(interval * 4 ** (attempt - 1))


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0
