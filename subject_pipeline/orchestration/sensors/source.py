"""The sensor of a dataset: a source that is new or changed is registered, once it is no longer being written."""

import datetime as dt
import hashlib
import time
from collections.abc import Sequence
from typing import Literal

import dagster as dg
from pydantic import Field

from subject_pipeline.candidates.source_files import SourceFiles, find_source_files
from subject_pipeline.errors import SubjectPipelineError
from subject_pipeline.orchestration.assets.source import observed, source_metadata
from subject_pipeline.orchestration.history.runs import (
    PastRun,
    latest_of,
    next_attempt,
    offer,
    past_runs,
    pause_before,
    run_in_progress,
)
from subject_pipeline.orchestration.privacy.failures import clear_ticks, said
from subject_pipeline.orchestration.resources import StoreResource
from subject_pipeline.orchestration.sensors.automation import all_partitions, sensor_status
from subject_pipeline.orchestration.sensors.cursors import Cursor
from subject_pipeline.project.platform import Automation
from subject_pipeline.store.datasets import DatasetDeclaration


class SourceCursor(Cursor):
    """What a source's sensor keeps between ticks.

    Attributes:
        seen: the version at the last tick; empty where there was none.
        done: the version that was registered last.
    """

    schema_: Literal["source_cursor.v1"] = Field(default="source_cursor.v1", alias="schema")
    seen: str = ""
    done: str = ""


def source_sensor(
    name: str,
    job: str,
    declaration: DatasetDeclaration,
    *,
    rows: int | None,
    partitions: Sequence[str],
    automation: Automation,
) -> dg.SensorDefinition:
    """The sensor that asks for one run of a dataset's job, over all partitions, for each version of its source.

    A version is taken once it was the same at two ticks. A run that failed is asked for again after a pause, until
    `attempts` have failed; one that was cancelled is not. Names, sizes and stamps are read, never a file.

    Args:
        name: the sensor's name.
        job: the job that registers the dataset.
        declaration: the dataset.
        rows: how many rows a run reads; None: all. Like key column and prefix, it is part of the version.
        partitions: all of the dataset's.
        automation: interval and attempts.
    """

    @dg.sensor(
        name=name,
        job_name=job,
        minimum_interval_seconds=automation.source_sensor_seconds,
        default_status=sensor_status(automation),
        description=f"Registers the subjects of {declaration.name} when its source is new or changed: names, sizes and "
        "times or e_tags of its files. Taken once unchanged over one tick; a failed run is tried "
        f"{automation.attempts} times.",
        tags={"dataset": declaration.name},
        metadata={"source": declaration.source},
    )
    @clear_ticks()
    def sense(  # noqa: PLR0911 - one return for each reason not to run
        context: dg.SensorEvaluationContext, store: StoreResource
    ) -> dg.SensorResult:
        cursor = SourceCursor.read(context.cursor)

        def skip(reason: str, **changed: str) -> dg.SensorResult:
            return dg.SensorResult(skip_reason=reason, cursor=cursor.model_copy(update=changed).write())

        try:
            found = find_source_files(declaration.source)
        except SubjectPipelineError as error:
            return skip(said(error, f"backfill --dataset {declaration.name} --dry-run"), seen="")
        version = _version(found, declaration, rows, store.url, len(partitions))
        if version == cursor.done:
            return skip("The source is as it was when it was last registered.", seen=version)
        if version != cursor.seen:
            return skip(
                f"{_size(found)}, new or changed since the last look: taken once it stays so over one look.",
                seen=version,
            )
        if going := run_in_progress(context.instance, job):
            return skip(f"Waiting: {going}.")
        past = latest_of(past_runs(context.instance, job, name), version)
        if any(run.status is dg.DagsterRunStatus.SUCCESS for run in past):
            return skip("The source is registered.", done=version)
        if reason := _not_now(past, automation, job, time.time()):
            return skip(reason)
        request = offer(
            job=job,
            sensor=name,
            version=version,
            attempt=next_attempt(context.instance, job, name, version),
            tags={**all_partitions(partitions), "dataset": declaration.name},
        )
        return dg.SensorResult(
            run_requests=[request],
            # From now on what was registered before is no longer the last.
            cursor=cursor.model_copy(update={"done": ""}).write(),
            asset_events=[] if past else [observed(declaration.name, found.version, source_metadata(found))],
        )

    return sense


def _version(found: SourceFiles, declaration: DatasetDeclaration, rows: int | None, store_url: str, chunks: int) -> str:
    """The source's version, a dash, and 8 digits of everything else that a run's work depends on."""
    text = "\0".join((declaration.key_column, declaration.candidate_id_prefix, str(rows), store_url, str(chunks)))
    return f"{found.version}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _not_now(past: list[PastRun], automation: Automation, job: str, now: float) -> str:
    """Why a version is not taken at this tick, although no run of it is going or succeeded; empty: it is taken."""
    if not past:
        return ""
    last, failed = past[0], len(past)
    if last.status is dg.DagsterRunStatus.CANCELED:
        return (
            f"Run {last.run_id[:8]} of this version was cancelled, so it is not asked for again: re-execute that run, "
            "or change the source."
        )
    if failed >= automation.attempts:
        return (
            f"{failed} runs of this version failed, so it is not asked for again. Fix what run {last.run_id[:8]} "
            f"says, then re-execute that run or launch {job} over all partitions; a changed source is taken by itself."
        )
    due = last.ended_at + pause_before(failed + 1, automation.source_sensor_seconds)
    if now < due:
        return f"Run {last.run_id[:8]} failed; asked for again after {_time(due)} ({failed} of {automation.attempts})."
    return ""


def _size(found: SourceFiles) -> str:
    size = sum(file.size for file in found.files)
    return f"{len(found.files):,} file{'s' if len(found.files) > 1 else ''} of {size:,} bytes"


def _time(seconds: float) -> str:
    return f"{dt.datetime.fromtimestamp(seconds, dt.UTC):%H:%M:%S} UTC"
