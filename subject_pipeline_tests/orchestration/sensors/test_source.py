import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster import DagsterRunStatus

from subject_pipeline.orchestration.resources import LayoutResource, StoreResource
from subject_pipeline.orchestration.sensors.source import source_sensor
from subject_pipeline.project.platform import Automation
from subject_pipeline.store.datasets import DatasetDeclaration
from subject_pipeline_tests.helpers.instances import dagster_instance
from subject_pipeline_tests.helpers.ticks import Ticks

JOB = "register_people"
HOUR = 3600.0


class Bench:
    """A source, the sensor that watches it, and a clock."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance) -> None:
        self.source = folder / "people.parquet"
        self.store = StoreResource(url=str(folder / "store"), layout=LayoutResource(chunk_count=64))
        self.instance = instance
        self.ticks = self.restarted()

    def restarted(self, *, source: str | None = None, rows: int | None = None) -> Ticks:
        """The sensor of a new process, without a cursor."""
        declaration = DatasetDeclaration(name="people", source=source or str(self.source), key_column="id")
        sensor = source_sensor(
            "people_sensor",
            JOB,
            declaration,
            rows=rows,
            partitions=self.store.layout.partitions().get_partition_keys(),
            automation=Automation(),
        )
        return Ticks(sensor, self.instance, {"store": self.store})

    def write(self, data: bytes) -> None:
        """Write the source; a second write never has the first one's time."""
        self.source.parent.mkdir(parents=True, exist_ok=True)
        self.source.write_bytes(data)
        self.stamps = getattr(self, "stamps", 1_000) + 1
        os.utime(self.source, (self.stamps, self.stamps))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A bench with a source."""
    with dagster_instance() as instance:
        made = Bench(tmp_path, instance)
        made.write(b"one")
        yield made


def later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let the sensor's clock be ahead."""
    monkeypatch.setattr(time, "time", lambda real=time.time: real() + seconds)


def test_a_source_is_taken_once_it_was_the_same_at_two_ticks(bench: Bench) -> None:
    """One run over all partitions, whose run_key and tags hold the version; the source's asset is observed."""
    ticks = bench.ticks
    assert ticks.tick() is None
    assert "taken once it stays so over one look" in ticks.reason
    request = ticks.tick()
    assert request is not None
    assert request.job_name == JOB
    assert request.tags["dagster/asset_partition_range_start"] == "chunk-00"
    assert request.tags["dagster/asset_partition_range_end"] == "chunk-3f"
    assert request.run_key == f"{request.tags['subject/version']}:1"
    (observed,) = ticks.events
    assert observed.asset_key == dg.AssetKey(["people", "source"])
    assert observed.metadata["files"].value == 1
    assert observed.metadata["bytes"].value == 3


def test_a_source_that_is_being_written_is_not_taken(bench: Bench) -> None:
    """As long as size or time differ from the last tick's, there is no run."""
    ticks = bench.ticks
    for size in range(1, 6):
        bench.write(b"x" * size)
        assert ticks.tick() is None
    assert ticks.tick() is not None


def test_an_unchanged_source_never_runs_again_and_a_changed_one_does(bench: Bench) -> None:
    """Once it is registered every further tick skips; a change runs once more, and so does a change back."""
    ticks = bench.ticks
    first = ticks.taken(DagsterRunStatus.SUCCESS)
    for _ in range(3):
        assert ticks.tick() is None
    bench.write(b"two")
    second = ticks.taken(DagsterRunStatus.SUCCESS)
    assert second.run_key != first.run_key
    os.utime(bench.source, (1_001, 1_001))
    bench.source.write_bytes(b"one")
    os.utime(bench.source, (1_001, 1_001))
    third = ticks.taken(DagsterRunStatus.SUCCESS)
    assert third.tags["subject/version"] == first.tags["subject/version"]
    assert third.run_key == f"{first.tags['subject/version']}:2"
    assert ticks.tick() is None


def test_nothing_is_offered_while_a_run_is_going(bench: Bench) -> None:
    """Waiting or running, by the sensor or by hand: the tick waits and names the run."""
    ticks = bench.ticks
    ticks.tick()
    ticks.tick()
    run = ticks.launched(DagsterRunStatus.NOT_STARTED)
    assert ticks.tick() is None
    assert f"run {run.run_id[:8]} of {JOB} is not started" in ticks.reason
    bench.write(b"changed meanwhile")
    ticks.tick()
    assert ticks.tick() is None
    bench.ticks.ended(run, DagsterRunStatus.SUCCESS)
    assert ticks.tick() is not None


def test_a_failed_run_is_offered_again_after_a_pause_at_most_three_times(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time with its own run_key; after the third a reason says how to go on, and only a change helps."""
    ticks = bench.ticks
    first = ticks.taken(DagsterRunStatus.FAILURE)
    assert ticks.tick() is None
    assert "asked for again after" in ticks.reason
    for attempt in (2, 3):
        later(monkeypatch, HOUR)
        again = ticks.tick()
        assert again is not None, ticks.reason
        assert again.run_key == f"{first.tags['subject/version']}:{attempt}"
        assert not ticks.events
        ticks.ended(ticks.launched(DagsterRunStatus.STARTED), DagsterRunStatus.FAILURE)
    later(monkeypatch, 100 * HOUR)
    assert ticks.tick() is None
    assert "3 runs of this version failed" in ticks.reason
    assert f"launch {JOB} over all partitions" in ticks.reason
    ticks.cursor = None
    assert (ticks.tick(), ticks.tick()) == (None, None)
    bench.write(b"repaired")
    assert ticks.taken(DagsterRunStatus.SUCCESS).tags["subject/version"] != first.tags["subject/version"]


def test_a_re_execution_that_succeeds_settles_a_version(bench: Bench) -> None:
    """Dagster copies the tags of a run that is re-executed by hand, so the sensor learns that the work is done."""
    ticks = bench.ticks
    ticks.taken(DagsterRunStatus.FAILURE)
    ticks.ended(ticks.launched(DagsterRunStatus.STARTED), DagsterRunStatus.SUCCESS)
    assert ticks.tick() is None
    assert ticks.reason == "The source is registered."


def test_a_cancelled_run_is_not_offered_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody decided so; the reason says how to go on."""
    ticks = bench.ticks
    ticks.taken(DagsterRunStatus.CANCELED)
    later(monkeypatch, HOUR)
    assert ticks.tick() is None
    assert "cancelled" in ticks.reason
    assert "re-execute that run" in ticks.reason


@pytest.mark.parametrize(
    "cursor", ["", "nonsense", "{}", '{"schema": "source_cursor.v9", "seen": "x"}', '{"seen": 7}', "[1]", "null"]
)
def test_a_damaged_cursor_counts_as_none(bench: Bench, cursor: str) -> None:
    """What was registered is known from the runs, so nothing runs twice for a lost cursor."""
    ticks = bench.ticks
    ticks.taken(DagsterRunStatus.SUCCESS)
    ticks.cursor = cursor
    assert [ticks.tick() for _ in range(3)] == [None, None, None]
    assert json.loads(ticks.cursor)["schema"] == "source_cursor.v1"


def test_a_restart_goes_on_with_the_cursor(bench: Bench) -> None:
    """A sensor of a new process with the old cursor neither looks twice nor runs twice."""
    ticks = bench.ticks
    ticks.tick()
    again = bench.restarted()
    again.cursor = ticks.cursor
    again.taken(DagsterRunStatus.SUCCESS)
    again.tick()
    once_more = bench.restarted()
    once_more.cursor = again.cursor
    assert once_more.tick() is None


def test_another_declaration_or_store_is_other_work(bench: Bench, tmp_path: Path) -> None:
    """The same files run again where more rows are wanted, or the store is another."""
    ticks = bench.ticks
    ticks.taken(DagsterRunStatus.SUCCESS)
    limited = bench.restarted(rows=1_000)
    limited.cursor = ticks.cursor
    limited.taken(DagsterRunStatus.SUCCESS)
    moved = bench.restarted(rows=1_000)
    moved.cursor = limited.cursor
    moved.resources = {"store": StoreResource(url=str(tmp_path / "new"), layout=LayoutResource(chunk_count=64))}
    moved.taken(DagsterRunStatus.SUCCESS)


def test_a_missing_or_empty_source_is_a_reason_and_no_error(bench: Bench) -> None:
    """It says what is missing, at every tick, and a source that comes back is looked at afresh."""
    ticks = bench.ticks
    ticks.tick()
    bench.source.unlink()
    for _ in range(2):
        assert ticks.tick() is None
        assert "people.parquet does not exist" in ticks.reason
    bench.write(b"")
    assert ticks.tick() is None
    assert "0 bytes" in ticks.reason
    bench.write(b"here again")
    assert ticks.tick() is None
    assert ticks.tick() is not None


@pytest.mark.long
def test_a_store_that_refuses_is_a_reason_without_its_secret(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unreachable bucket skips with the reason; credentials are in neither reason nor cursor."""
    for name, value in {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "sesame-open-up",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    ticks = bench.restarted(source="s3://nowhere/people/")
    assert ticks.tick() is None
    assert "cannot list the source s3://nowhere/people/" in ticks.reason
    assert "sesame" not in ticks.reason + str(ticks.cursor)


@pytest.mark.long
def test_a_folder_of_1_000_files_costs_one_stat_a_file(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tick opens no file and looks at each once; one file more is a change, and the cursor stays small."""
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(1_000):
        (folder / f"{number:05d}.parquet").write_bytes(b"x")
    ticks = bench.restarted(source=str(folder))
    looked_at = 0
    real = os.stat

    def counting(*args: object, **keywords: object) -> os.stat_result:
        nonlocal looked_at
        looked_at += 1
        return real(*args, **keywords)  # type: ignore[arg-type]

    def refused(self: Path, *_: object, **__: object) -> None:
        pytest.fail(f"{self} was opened")

    with monkeypatch.context() as patched:
        patched.setattr(os, "stat", counting)
        patched.setattr(Path, "open", refused)
        ticks.tick()
    assert 1_000 <= looked_at < 1_020
    assert len(ticks.cursor or "") < 200
    ticks.taken(DagsterRunStatus.SUCCESS)
    assert ticks.tick() is None
    (folder / "1000.parquet").write_bytes(b"x")
    assert "1,001 files" in (ticks.tick() or ticks.reason)
    assert ticks.tick() is not None
