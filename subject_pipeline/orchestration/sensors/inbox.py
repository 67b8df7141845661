"""The sensor of an inbox: files that are new are taken, many in one run, once they are no longer written."""

import datetime as dt
import hashlib
import time
from collections.abc import Mapping, Sequence
from typing import Literal

import dagster as dg
from pydantic import BaseModel, ConfigDict, Field

from subject_pipeline.errors import SubjectPipelineError
from subject_pipeline.ingestion.waiting import Inbox, file_digest
from subject_pipeline.objects.protocol import ObjectInfo
from subject_pipeline.orchestration.history.runs import (
    going_run,
    next_attempt,
    offer,
    past_runs,
    pause_before,
    run_in_progress,
)
from subject_pipeline.orchestration.lineage import DATASET, MANIFESTS
from subject_pipeline.orchestration.privacy.failures import clear_ticks, said
from subject_pipeline.orchestration.resources import KeyRingResource, StoreResource
from subject_pipeline.orchestration.sensors.automation import sensor_status
from subject_pipeline.orchestration.sensors.cursors import Cursor
from subject_pipeline.project.platform import Automation

DIGESTS = (
    "What the sensor of the inbox sets: of the files that wait, those with one of these digests of name, size and tag, "
    "so that no run names a file. Empty: all that wait."
)
"""Of the option of a job whose runs a sensor of an inbox asks for."""

_PATIENCE_S = 600
"""Events are evidence: they do not wait longer than this for a registration."""

_REMEMBERED = 1_000


class Failure(BaseModel):
    """How often a run left a file behind, and when the last of them ended (seconds since 1970)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    runs: int = Field(ge=1)
    at: float


class Offered(BaseModel):
    """The set of files of the last run that was asked for, each by its digest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    attempt: int
    files: tuple[str, ...]


class InboxCursor(Cursor):
    """What the inbox's sensor keeps between ticks. A file is known by a digest of its name, size and stamp.

    Attributes:
        seen: files that were looked at in the last tick, and may be taken in this.
        failed: files that runs left behind.
        offered: the last run, until it has ended.
        waited: since when files wait for each registration that is due or under way (seconds since 1970).
    """

    schema_: Literal["inbox_cursor.v1"] = Field(default="inbox_cursor.v1", alias="schema")
    seen: tuple[str, ...] = ()
    failed: Mapping[str, Failure] = Field(default_factory=dict)
    offered: Offered | None = None
    waited: Mapping[str, float] = Field(default_factory=dict)


def inbox_sensor(name: str, job: str, asset: str, inbox: Inbox, *, automation: Automation) -> dg.SensorDefinition:
    """The sensor that asks for one run for all files that are new, at most `inbox_files_per_run`.

    A file is taken once it was the same at two ticks. One that a run left behind, because it cannot be read, is
    tried again after a pause, after the others; after `attempts` runs it is left aside until it is changed.

    Where sensors and events start together, people are registered first: files wait, ten minutes at most, while a
    dataset of the code location was never registered or is being registered. Otherwise every fresh start would warn of
    events about people who are registered a minute later.

    Args:
        name: the sensor's name.
        job: the job that takes the files.
        asset: the asset of the job, whose config takes their digests: a file's name may name a person.
        inbox: where the files are.
        automation: interval, attempts and files a run.
    """

    @dg.sensor(
        name=name,
        job_name=job,
        minimum_interval_seconds=automation.inbox_sensor_seconds,
        default_status=sensor_status(automation),
        description=f"Takes {inbox.content} that are new below {inbox.below} of the store, at most "
        f"{automation.inbox_files_per_run} in a run, each once unchanged over one tick. A file that runs leave behind "
        f"is tried {automation.attempts} times, and does not stop the others.",
    )
    @clear_ticks()
    def sense(context: dg.SensorEvaluationContext, store: StoreResource, key_ring: KeyRingResource) -> dg.SensorResult:
        cursor = InboxCursor.read(context.cursor)
        if going := run_in_progress(context.instance, job):
            return dg.SensorResult(skip_reason=f"Waiting: {going}.", cursor=cursor.write())
        try:
            opened = store.open(key_ring)
            layout = opened.layout()
            found = inbox.waiting(opened, layout.log_id if layout else None)
            files = {_digest(item, store.url): item for item in found}
        except SubjectPipelineError as error:
            unseen = cursor.model_copy(update={"seen": ()})
            return dg.SensorResult(skip_reason=said(error), cursor=unseen.write())
        now = time.time()
        failed = _settled(context.instance, job, name, cursor, files, attempts=automation.attempts, now=now)
        due = _due(files, failed, automation, now)
        looked_at = due[: 2 * automation.inbox_files_per_run]
        seen = set(cursor.seen)
        taken = [digest for digest in looked_at if digest in seen][: automation.inbox_files_per_run]
        after = InboxCursor(
            seen=tuple(digest for digest in looked_at if digest not in taken), failed=failed, waited=cursor.waited
        )
        aside = _aside(files, failed, automation.attempts, job)
        if not taken:
            why = _why_none(inbox.content, files, due, failed, automation)
            return dg.SensorResult(skip_reason=why + aside, cursor=after.write())
        registering = _registering(context.repository_def, context.instance)
        waited = {key: cursor.waited.get(key, now) for key in registering}
        if ends := {key: since + _PATIENCE_S for key, since in waited.items() if now < since + _PATIENCE_S}:
            why = "; ".join(registering[key] for key in ends)
            until = dt.datetime.fromtimestamp(max(ends.values()), dt.UTC)
            return dg.SensorResult(
                skip_reason=f"Waiting: {why}. {len(taken):,} {inbox.content} may be about people whom that registers, "
                f"and are taken after it, but wait no longer than until {until:%H:%M:%S} UTC.{aside}",
                cursor=after.model_copy(update={"seen": tuple(looked_at), "waited": waited}).write(),
            )
        if aside:
            context.log.warning(aside.strip())
        version = hashlib.sha256("\n".join(sorted(taken)).encode()).hexdigest()[:16]
        attempt = next_attempt(context.instance, job, name, version)
        offered = Offered(version=version, attempt=attempt, files=tuple(taken))
        request = offer(
            job=job,
            sensor=name,
            version=version,
            attempt=attempt,
            run_config={"ops": {asset: {"config": {"digests": [file_digest(files[digest]) for digest in taken]}}}},
        )
        return dg.SensorResult(
            run_requests=[request], cursor=after.model_copy(update={"offered": offered, "waited": waited}).write()
        )

    return sense


def _registering(repository: dg.RepositoryDefinition | None, instance: dg.DagsterInstance) -> dict[str, str]:
    """A description of each dataset's registration that never happened, or is under way."""
    if repository is None:
        return {}
    found = {}
    for key in repository.asset_graph.get_all_asset_keys():
        if key.path[-1] == MANIFESTS and instance.get_latest_materialization_event(key) is None:
            found[key.to_user_string()] = f"{key.path[0]} was never registered"
    for job in repository.get_all_jobs():
        if DATASET in job.tags and (run := going_run(instance, job.name)) is not None:
            found[run.run_id] = f"run {run.run_id[:8]} of {job.name} is {run.status.value.lower().replace('_', ' ')}"
    return found


def _settled(
    instance: dg.DagsterInstance,
    job: str,
    sensor: str,
    cursor: InboxCursor,
    files: Mapping[str, ObjectInfo],
    *,
    attempts: int,
    now: float,
) -> dict[str, Failure]:
    """The failures of files that still wait, with those of the run that has ended since.

    A run that ended and left a file behind failed at it, whatever its status says. The files of a cancelled run are
    left aside at once, since somebody decided so. A run that Dagster never started, or no longer knows, does not count.
    """
    failed = {digest: failure for digest, failure in cursor.failed.items() if digest in files}
    offered = cursor.offered
    runs = past_runs(instance, job, sensor, offered.version) if offered else []
    run = next((one for one in runs if offered and one.attempt == offered.attempt), None)
    if offered is None or run is None:
        return failed
    for digest in offered.files:
        if digest in files:
            before = failed.pop(digest, None)
            count = attempts if run.status is dg.DagsterRunStatus.CANCELED else (before.runs if before else 0) + 1
            failed[digest] = Failure(runs=count, at=run.ended_at or now)
    # A cursor is stored with every tick; if there are more unreadable files than this, the oldest may be tried again.
    return dict(list(failed.items())[-_REMEMBERED:])


def _due(
    files: Mapping[str, ObjectInfo], failed: Mapping[str, Failure], automation: Automation, now: float
) -> list[str]:
    """The files that a run may take now, by name; those that failed before come last."""

    def ready(digest: str) -> bool:
        failure = failed.get(digest)
        if failure is None:
            return True
        pause = pause_before(failure.runs + 1, automation.inbox_sensor_seconds)
        return failure.runs < automation.attempts and now >= failure.at + pause

    return sorted(
        filter(ready, files), key=lambda digest: (failed[digest].runs if digest in failed else 0, files[digest].key)
    )


def _why_none(
    content: str,
    files: Mapping[str, ObjectInfo],
    due: Sequence[str],
    failed: Mapping[str, Failure],
    automation: Automation,
) -> str:
    if due:
        return f"{len(due):,} {content} are new or changed since the last look: taken once they stay so over one."
    pausing = sum(1 for digest in files if digest in failed and failed[digest].runs < automation.attempts)
    if pausing:
        return f"{pausing:,} {content} that a run left behind are tried again after a pause."
    return f"No {content} that are new wait in the inbox."


def _aside(files: Mapping[str, ObjectInfo], failed: Mapping[str, Failure], attempts: int, job: str) -> str:
    left = sum(1 for digest, failure in failed.items() if digest in files and failure.runs >= attempts)
    if not left:
        return ""
    return (
        f" {left:,} are left aside after {attempts} failed runs, or a cancelled one; such a run's failure says how to "
        f"print which. Fix or remove them; a changed file is taken by itself, an unchanged one by launching {job}."
    )


def _digest(item: ObjectInfo, store_url: str) -> str:
    return hashlib.sha256(f"{store_url}\0{item.key}\0{item.size}\0{item.tag}".encode()).hexdigest()[:12]
