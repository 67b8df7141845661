"""The inbox's sensor lets people be registered before it ingests events about them."""

import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster import DagsterRunStatus
from dagster._core.test_utils import create_run_for_test

from subject_pipeline.definitions import defs as load_definitions
from subject_pipeline.ingestion.inbox import EVENT_INBOX
from subject_pipeline.orchestration.resources import KeyRingResource, LayoutResource, StoreResource
from subject_pipeline.orchestration.sensors.inbox import inbox_sensor
from subject_pipeline.project.platform import Automation
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline_tests.helpers.instances import dagster_instance
from subject_pipeline_tests.helpers.ticks import Ticks
from subject_pipeline_tests.orchestration.sensors.test_inbox import taken_by

JOB, REGISTER = "ingest_access_events", "register_workers"
MANIFESTS = dg.AssetKey(["workers", "subject_manifests"])
MINUTES = 60.0


class Bench:
    """The inbox of the code location as it is loaded, and the sensor that watches it."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance) -> None:
        self.inbox = folder / "store" / "inbox"
        self.inbox.mkdir(parents=True)
        self.instance = instance
        self.ticks = Ticks(
            inbox_sensor("inbox_sensor", JOB, "audit_log", EVENT_INBOX, automation=Automation()),
            instance,
            {"store": StoreResource(url=str(folder / "store"), layout=LayoutResource()), "key_ring": KeyRingResource()},
            repository=load_definitions().get_repository_def(),
        )

    def drop(self, name: str) -> None:
        """Put a file into the inbox, and let the sensor have seen it once."""
        (self.inbox / name).write_text("{}\n", encoding="utf-8")
        assert self.ticks.tick() is None

    def registered(self) -> None:
        """Let Dagster know of people of the dataset."""
        self.instance.report_runless_asset_event(dg.AssetMaterialization(MANIFESTS, partition="chunk-00"))

    def taken(self) -> list[str]:
        """The files of the run that this tick asks for, which ends; none where it asks for none."""
        request = self.ticks.tick()
        if request is None:
            return []
        self.ticks.ended(self.ticks.launched(DagsterRunStatus.STARTED), DagsterRunStatus.SUCCESS)
        names = taken_by(request, SubjectStore.at(str(self.inbox.parent)))
        for name in names:
            (self.inbox / name).unlink()
        return names


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A bench with an empty inbox."""
    with dagster_instance() as instance:
        yield Bench(tmp_path, instance)


def later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let the sensor's clock be ahead."""
    monkeypatch.setattr(time, "time", lambda real=time.time: real() + seconds)


@pytest.mark.long
def test_events_wait_at_a_fresh_start_until_the_dataset_was_registered(bench: Bench) -> None:
    """The reason names the dataset and how long the wait may be; afterwards the file is taken at the next tick."""
    bench.drop("a.jsonl")
    assert bench.taken() == []
    assert "Waiting: workers was never registered" in bench.ticks.reason
    assert "until" in bench.ticks.reason
    assert bench.taken() == []
    bench.registered()
    assert bench.taken() == ["a.jsonl"]


def test_events_wait_while_a_dataset_is_being_registered(bench: Bench) -> None:
    """Anyone who launched the run; another dataset's job or none at all holds nothing up."""
    bench.registered()
    run = create_run_for_test(bench.instance, job_name=REGISTER, status=DagsterRunStatus.STARTED)
    bench.drop("a.jsonl")
    assert bench.taken() == []
    assert f"run {run.run_id[:8]} of {REGISTER} is started" in bench.ticks.reason
    bench.ticks.ended(run, DagsterRunStatus.SUCCESS)
    assert bench.taken() == ["a.jsonl"]
    create_run_for_test(bench.instance, job_name="maintain_store", status=DagsterRunStatus.STARTED)
    bench.drop("b.jsonl")
    assert bench.taken() == ["b.jsonl"]


def test_a_dataset_that_is_never_registered_holds_events_up_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events are evidence: after ten minutes they are taken all the same, and later ones at once."""
    bench.drop("a.jsonl")
    assert bench.taken() == []
    later(monkeypatch, 9 * MINUTES)
    assert bench.taken() == []
    later(monkeypatch, 11 * MINUTES)
    assert bench.taken() == ["a.jsonl"]
    bench.drop("b.jsonl")
    assert bench.taken() == ["b.jsonl"]


def test_a_registration_that_takes_long_holds_events_up_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that hangs as well; the next registration is waited for again."""
    bench.registered()
    run = create_run_for_test(bench.instance, job_name=REGISTER, status=DagsterRunStatus.STARTED)
    bench.drop("a.jsonl")
    assert bench.taken() == []
    later(monkeypatch, 11 * MINUTES)
    assert bench.taken() == ["a.jsonl"]
    bench.drop("b.jsonl")
    assert bench.taken() == ["b.jsonl"]
    bench.ticks.ended(run, DagsterRunStatus.FAILURE)
    create_run_for_test(bench.instance, job_name=REGISTER, status=DagsterRunStatus.STARTED)
    bench.drop("c.jsonl")
    assert bench.taken() == []


def test_a_file_that_changes_while_it_waits_is_looked_at_afresh(bench: Bench) -> None:
    """The wait does not take the place of the two looks."""
    bench.drop("a.jsonl")
    assert bench.taken() == []
    (bench.inbox / "a.jsonl").write_text("{}\n{}\n", encoding="utf-8")
    bench.registered()
    assert bench.taken() == []
    assert bench.taken() == ["a.jsonl"]
