import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from subject_pipeline_tests.helpers.receiver import Receiver, receiver
from subject_pipeline_tests.real.conftest import wait_until
from subject_pipeline_tests.real.dagster_stack import SELECTOR, DagsterStack, dagster_stack

pytestmark = pytest.mark.real

SENSORS = ("alert_on_failed_run", "alert_on_red_checks", "alert_again")
TICKS = """query($selector: SensorSelector!) { sensorOrError(sensorSelector: $selector) { __typename ... on Sensor {
  sensorState { status ticks(limit: 50) { status timestamp } } } } }"""
TAGS = "query($id: ID!) { runOrError(runId: $id) { ... on Run { tags { key value } } } }"


@dataclass
class Watched:
    """A folder to start stacks over, and who is told."""

    folder: Path
    inbox: Receiver

    def start(self) -> Any:
        """A stack over the same history each time."""
        return dagster_stack(self.folder, people=200, settings={"SUBJECT_ALERT_WEBHOOK": self.inbox.url})


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    """A receiver that outlives stacks."""
    with receiver() as inbox:
        yield Watched(tmp_path, inbox)


def ended_ticks(stack: DagsterStack, sensor: str) -> list[float]:
    """When a sensor's ended ticks began; none of them failed."""
    found = stack.ask(TICKS, selector={**SELECTOR, "sensorName": sensor})["sensorOrError"]
    assert found["__typename"] == "Sensor", found
    assert found["sensorState"]["status"] == "RUNNING"
    statuses = {tick["status"] for tick in found["sensorState"]["ticks"]}
    assert "FAILURE" not in statuses
    return [tick["timestamp"] for tick in found["sensorState"]["ticks"] if tick["status"] != "STARTED"]


def wait_for_ticks(stack: DagsterStack) -> None:
    """Wait until every sensor looked once more."""
    before = {sensor: max(ended_ticks(stack, sensor), default=0.0) for sensor in SENSORS}

    def looked() -> bool:
        return all(any(at > before[sensor] for at in ended_ticks(stack, sensor)) for sensor in SENSORS)

    wait_until(looked, 240, "a tick of each sensor")


def drop(stack: DagsterStack, name: str, *lines: str) -> None:
    """Put a file of events into the inbox."""
    path = stack.store_folder / "inbox" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def test_a_failed_run_and_a_red_check_are_told_once_and_never_again(watched: Watched) -> None:
    """Each posts one message; a green run none; after a restart of web server and daemon nothing is posted again."""
    event = {"candidate_id": "1", "event_id": "e", "ts": "2026-06-30T12:00:00Z", "actor": "a", "action": "view"}
    with watched.start() as stack:
        wait_for_ticks(stack)  # a sensor tells of what happens after its first look
        registered = stack.launch("register_workers", tags={"dagster/partition": "chunk-07"})
        assert stack.wait(registered) == "SUCCESS"
        drop(stack, "bad.jsonl", json.dumps(event), "CAND-JANE-DOE is no event")
        red = stack.launch("ingest_access_events")
        assert stack.wait(red) == "SUCCESS"
        (stack.project / "sample_data" / "workers.parquet").unlink()
        failed = stack.launch("register_workers", tags={"dagster/partition": "chunk-07"})
        assert stack.wait(failed) == "FAILURE"
        wait_until(lambda: len(watched.inbox.received) == 2, 120, "two alerts")
        wait_for_ticks(stack)
        assert len(watched.inbox.received) == 2
        tags = {tag["key"]: tag["value"] for tag in stack.ask(TAGS, id=failed)["runOrError"]["tags"]}
        assert tags["subject/alert"] == "delivered"

    told = {body["run"]: body for body in watched.inbox.received}
    assert told.keys() == {red, failed}
    assert (told[failed]["kind"], told[failed]["job"]) == ("run_failed", "register_workers")
    assert (told[failed]["asset"], told[failed]["partitions"]) == ("workers/candidate_chunks", "chunk-07")
    assert told[failed]["steps"][0]["error"] == "MissingSourceError"
    assert (told[red]["kind"], told[red]["asset"], told[red]["check"]) == (
        "checks_red",
        "audit_log",
        "nothing_rejected",
    )
    assert told[red]["severity"] == "error"
    assert told[red]["link"].endswith(f"/runs/{red}")
    assert "JANE" not in json.dumps(watched.inbox.received)
    secret = watched.inbox.url.rpartition("/")[2]
    logs = [path for path in watched.folder.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert [path for path in logs if secret.encode() in path.read_bytes()] == []

    with watched.start() as stack:
        wait_for_ticks(stack)
        assert len(watched.inbox.received) == 2
        again = stack.launch("register_workers", tags={"dagster/partition": "chunk-07"})
        assert stack.wait(again) == "FAILURE"
        wait_until(lambda: len(watched.inbox.received) == 3, 120, "the alert of a run after the restart")
        assert watched.inbox.received[-1]["run"] == again
