import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from subject_pipeline.ingestion.inbox import EVENT_INBOX
from subject_pipeline.registry.subjects import SubjectRegistry
from subject_pipeline.samples.events import sample_events
from subject_pipeline.samples.people import sample_workers
from subject_pipeline.verification.whole_store import verify
from subject_pipeline_tests.real.conftest import wait_until
from subject_pipeline_tests.real.dagster_stack import (
    ENDED,
    PARTITIONS,
    SELECTOR,
    DagsterStack,
    copy_project,
    dagster_stack,
)

pytestmark = pytest.mark.real

PEOPLE, EVENTS = 500, 300
SOURCE_SENSOR, INBOX_SENSOR = "register_workers_when_changed", "ingest_new_event_files"
MANIFESTS = "workers/subject_manifests"
TICKS = """query($sensor: SensorSelector!) { sensorOrError(sensorSelector: $sensor) { ... on Sensor { sensorState {
  status ticks(limit: 60) { timestamp status skipReason error { message } } } } } }"""
SETTINGS = {"source_sensor_seconds": 1, "inbox_sensor_seconds": 1, "attempts": 2}


@contextmanager
def automated(folder: Path, **settings: Any) -> Iterator[DagsterStack]:
    """A stack in which sensors and schedules run, with short intervals; started again it goes on."""
    project = folder / "project"
    if not project.exists():
        copy_project(folder, PEOPLE)
        (project / "sample_data" / "workers.parquet").unlink()
    file = project / "subject_pipeline" / "defs" / "platform" / "defs.yaml"
    platform = yaml.safe_load(file.read_text(encoding="utf-8"))
    platform["attributes"]["automation"] |= {**SETTINGS, **settings}
    file.write_text(yaml.safe_dump(platform), encoding="utf-8")
    with dagster_stack(folder, settings={"SUBJECT_AUTOMATION": "on"}) as stack:
        yield stack


def offered(stack: DagsterStack, sensor: str) -> list[dict[str, Any]]:
    """The runs that a sensor asked for, oldest first."""
    return stack.runs(tags=[{"key": "subject/offered_by", "value": sensor}])[::-1]


def ended(stack: DagsterStack, sensor: str, count: int) -> list[str]:
    """Wait until a sensor's runs are so many and have ended; their statuses, oldest first."""

    def done() -> bool:
        runs = offered(stack, sensor)
        return len(runs) >= count and all(run["status"] in ENDED for run in runs)

    wait_until(done, 180, f"{count} runs of {sensor}")
    return [run["status"] for run in offered(stack, sensor)]


def ticks(stack: DagsterStack, sensor: str) -> list[dict[str, Any]]:
    """A sensor's newest ticks, newest first."""
    state = stack.ask(TICKS, sensor={**SELECTOR, "sensorName": sensor})["sensorOrError"]["sensorState"]
    assert state["status"] == "RUNNING"
    found: list[dict[str, Any]] = state["ticks"]
    return found


def quiet(stack: DagsterStack, sensor: str, reason: str) -> None:
    """Wait until a sensor has skipped three ticks on end from now, for a reason, without an error."""
    began = time.time()

    def skipped() -> bool:
        latest = [tick for tick in ticks(stack, sensor) if tick["timestamp"] > began and tick["status"] != "STARTED"]
        assert all(tick["error"] is None for tick in latest), latest
        return len(latest) >= 3 and all(reason in (tick["skipReason"] or "") for tick in latest[:3])

    wait_until(skipped, 120, f"three skipped ticks of {sensor} that say {reason!r}")


def test_what_is_new_is_taken_by_itself_once_and_never_again(tmp_path: Path) -> None:
    """A source and events run when they come and when they change; after a restart nothing runs but the schedule."""
    source = tmp_path / "project" / "sample_data" / "workers.parquet"
    inbox = tmp_path / "store" / "inbox"
    with automated(tmp_path) as stack:
        registry = SubjectRegistry(stack.store)
        quiet(stack, SOURCE_SENSOR, "workers.parquet does not exist")

        sample_workers(PEOPLE, source)
        assert ended(stack, SOURCE_SENSOR, 1) == ["SUCCESS"]
        assert registry.count() == PEOPLE
        materialized = stack.materializations(MANIFESTS)
        assert len(materialized) == len(PARTITIONS)
        assert len({item["runId"] for item in materialized}) == 1

        sample_workers(PEOPLE + 50, source)
        assert ended(stack, SOURCE_SENSOR, 2) == ["SUCCESS", "SUCCESS"]
        assert registry.count() == PEOPLE + 50
        assert sum(counts["inserted"] for counts in stack.newest(MANIFESTS).values()) == 50
        quiet(stack, SOURCE_SENSOR, "as it was when it was last registered")

        inbox.mkdir()
        (inbox / "a-poison.parquet").write_bytes(b"no parquet")
        sample_events(EVENTS, inbox / "events.jsonl", people=PEOPLE)
        quiet(stack, INBOX_SENSOR, "1 are left aside after 2 failed runs")
        assert set(ended(stack, INBOX_SENSOR, 2)) <= {"SUCCESS", "FAILURE"}
        assert [run["status"] for run in offered(stack, INBOX_SENSOR)].count("FAILURE") == 2
        assert [item.key for item in EVENT_INBOX.waiting(stack.store.without_ring())] == ["inbox/a-poison.parquet"]
        sample_events(EVENTS, inbox / "more.jsonl", people=PEOPLE)
        assert ended(stack, INBOX_SENSOR, 3)[-1] == "SUCCESS", [
            stack.failures(run["runId"]) for run in offered(stack, INBOX_SENSOR)
        ]
        runs_before = [
            (run["runId"], run["status"]) for name in (SOURCE_SENSOR, INBOX_SENSOR) for run in offered(stack, name)
        ]

    with automated(tmp_path, nightly_verification="* * * * *") as stack:
        nightly = [{"key": "dagster/schedule_name", "value": "nightly_verification"}]

        def verified() -> list[str]:
            return [run["runId"] for run in stack.runs(tags=nightly) if run["status"] == "SUCCESS"]

        wait_until(lambda: bool(verified()), 180, "a run of the schedule")
        run_id = verified()[-1]
        verification = [item for item in stack.materializations("audit_verification") if item["runId"] == run_id]
        assert len({item["partition"] for item in verification}) == len(verification) == len(PARTITIONS)
        assert run_id in {item["runId"] for item in stack.materializations("audit_checkpoint")}

        quiet(stack, SOURCE_SENSOR, "as it was when it was last registered")
        quiet(stack, INBOX_SENSOR, "1 are left aside after 2 failed runs")
        assert runs_before == [
            (run["runId"], run["status"]) for name in (SOURCE_SENSOR, INBOX_SENSOR) for run in offered(stack, name)
        ]
        report = verify(stack.store)
        # Two files of the same events, one of them beside a poisonous file that made its run fail.
        assert (report.rows, report.broken) == (EVENTS, 0)
