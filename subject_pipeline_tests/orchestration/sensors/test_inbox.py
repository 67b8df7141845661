import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster import DagsterRunStatus

from subject_pipeline.ingestion.inbox import EVENT_INBOX
from subject_pipeline.ingestion.waiting import file_digest, receipt_key
from subject_pipeline.keys.ring import KeyRing
from subject_pipeline.keys.ring_file import create_ring
from subject_pipeline.orchestration.resources import KeyRingResource, LayoutResource, StoreResource
from subject_pipeline.orchestration.sensors.inbox import inbox_sensor
from subject_pipeline.project.platform import Automation
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline_tests.helpers.instances import dagster_instance
from subject_pipeline_tests.helpers.ticks import Ticks

JOB = "ingest_access_events"
HOUR = 3600.0
A_RUN = 4


def taken_by(request: dg.RunRequest, store: SubjectStore) -> list[str]:
    """The files that a run will take; its config names none of them."""
    config = request.run_config["ops"]["audit_log"]["config"]
    assert list(config) == ["digests"]
    there = {file_digest(item): item.key.removeprefix("inbox/") for item in store.objects.list("inbox/")}
    assert not any(name in str(request) for name in there.values())
    return [there[digest] for digest in config["digests"]]


class Bench:
    """An inbox and the sensor that watches it, which takes four files a run."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance) -> None:
        self.store = SubjectStore.at(str(folder / "store"))
        self.inbox = folder / "store" / "inbox"
        self.inbox.mkdir(parents=True)
        automation = Automation(inbox_files_per_run=A_RUN)
        sensor = inbox_sensor("inbox_sensor", JOB, "audit_log", EVENT_INBOX, automation=automation)
        resource = StoreResource(url=str(folder / "store"), layout=LayoutResource())
        self.ticks = Ticks(sensor, instance, {"store": resource, "key_ring": KeyRingResource()})

    def drop(self, *names: str, text: str = "{}\n") -> None:
        """Put files into the inbox."""
        for name in names:
            (self.inbox / name).write_text(text, encoding="utf-8")

    def run(self, status: DagsterRunStatus, *, but: tuple[str, ...] = ()) -> list[str]:
        """Tick until a run is asked for, and let it ingest all of its files but some; the files."""
        request = self.ticks.tick() or self.ticks.tick()
        assert request is not None, self.ticks.reason
        run = self.ticks.launched(DagsterRunStatus.STARTED)
        names = taken_by(request, self.store)
        for item in EVENT_INBOX.waiting(self.store):
            name = item.key.removeprefix("inbox/")
            if name in names and name not in but:
                self.store.objects.replace(receipt_key(item), b"{}")
        self.ticks.ended(run, status)
        return names


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A bench with an empty inbox."""
    with dagster_instance() as instance:
        yield Bench(tmp_path, instance)


def later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let the sensor's clock be ahead."""
    monkeypatch.setattr(time, "time", lambda real=time.time: real() + seconds)


def test_new_files_are_one_run_once_they_were_the_same_at_two_ticks(bench: Bench) -> None:
    """The run's config has their digests and no name; nothing is asked for while nothing is new."""
    assert bench.ticks.tick() is None
    assert bench.ticks.reason == "No event files that are new wait in the inbox."
    bench.drop("a.jsonl", "b.jsonl", ".unfinished.jsonl", "notes.txt")
    assert bench.ticks.tick() is None
    assert bench.run(DagsterRunStatus.SUCCESS) == ["a.jsonl", "b.jsonl"]
    assert [bench.ticks.tick() for _ in range(3)] == [None] * 3
    bench.drop("c.jsonl")
    assert bench.run(DagsterRunStatus.SUCCESS) == ["c.jsonl"]


def test_a_file_that_is_being_written_is_left_and_stops_no_other(bench: Bench) -> None:
    """It is taken in a later run, once it stays the same."""
    bench.drop("a.jsonl", "growing.jsonl")
    bench.ticks.tick()
    bench.drop("growing.jsonl", text="{}\n{}\n")
    assert bench.run(DagsterRunStatus.SUCCESS) == ["a.jsonl"]
    bench.drop("growing.jsonl", text="{}\n{}\n{}\n")
    assert bench.ticks.tick() is None
    assert bench.run(DagsterRunStatus.SUCCESS) == ["growing.jsonl"]


def test_a_run_takes_so_many_files_and_the_next_go_on(bench: Bench) -> None:
    """A backlog is worked off in the order of names, one run at a time, each file once."""
    names = [f"{number:02d}.jsonl" for number in range(10)]
    bench.drop(*names)
    taken = [bench.run(DagsterRunStatus.SUCCESS) for _ in range(3)]
    assert taken == [names[:4], names[4:8], names[8:]]
    assert bench.ticks.tick() is None


def test_nothing_is_asked_for_while_a_run_is_going(bench: Bench) -> None:
    """By the sensor or by hand, one ingestion at a time."""
    bench.drop("a.jsonl")
    bench.ticks.tick()
    bench.ticks.tick()
    bench.drop("b.jsonl")
    run = bench.ticks.launched(DagsterRunStatus.STARTED)
    for _ in range(3):
        assert bench.ticks.tick() is None
        assert f"Waiting: run {run.run_id[:8]} of {JOB} is started" in bench.ticks.reason


@pytest.mark.long
def test_a_poisonous_file_is_tried_three_times_and_stops_no_other(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others are taken before it; then it is left aside with its name until it changes."""
    bench.drop("a-poison.jsonl", "b.jsonl")
    assert bench.run(DagsterRunStatus.FAILURE, but=("a-poison.jsonl",)) == ["a-poison.jsonl", "b.jsonl"]
    assert bench.ticks.tick() is None
    assert "tried again after a pause" in bench.ticks.reason
    bench.drop("c.jsonl")
    assert bench.run(DagsterRunStatus.SUCCESS) == ["c.jsonl"]
    later(monkeypatch, HOUR)
    bench.drop("d.jsonl")
    bench.ticks.tick()
    assert bench.run(DagsterRunStatus.FAILURE, but=("a-poison.jsonl",)) == ["d.jsonl", "a-poison.jsonl"]
    later(monkeypatch, 2 * HOUR)
    assert bench.run(DagsterRunStatus.FAILURE, but=("a-poison.jsonl",)) == ["a-poison.jsonl"]
    later(monkeypatch, 100 * HOUR)
    for _ in range(3):
        assert bench.ticks.tick() is None
        assert "1 are left aside after 3 failed runs, or a cancelled one" in bench.ticks.reason
        assert "poison" not in bench.ticks.reason
    bench.drop("a-poison.jsonl", text="repaired, and longer\n")
    assert bench.run(DagsterRunStatus.SUCCESS) == ["a-poison.jsonl"]
    bench.ticks.tick()
    assert "left aside" not in bench.ticks.reason


def test_a_failure_of_everything_is_bounded_too(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a key ring no file gets in: three runs, and not three for each file."""
    names = tuple(f"{number}.jsonl" for number in range(A_RUN))
    bench.drop(*names)
    for attempt in range(3):
        later(monkeypatch, attempt * HOUR)
        assert bench.run(DagsterRunStatus.FAILURE, but=names) == list(names)
    later(monkeypatch, 100 * HOUR)
    assert [bench.ticks.tick() for _ in range(3)] == [None] * 3
    assert [request.run_key for request in bench.ticks.requests] == [
        f"{bench.ticks.requests[0].tags['subject/version']}:{attempt}" for attempt in (1, 2, 3)
    ]


def test_the_files_of_a_cancelled_run_are_left_aside(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody decided so; they are named, and others are taken."""
    bench.drop("a.jsonl")
    bench.run(DagsterRunStatus.CANCELED, but=("a.jsonl",))
    later(monkeypatch, HOUR)
    assert bench.ticks.tick() is None
    assert "1 are left aside" in bench.ticks.reason
    bench.drop("b.jsonl")
    assert bench.run(DagsterRunStatus.SUCCESS) == ["b.jsonl"]


@pytest.mark.parametrize("cursor", ["", "nonsense", '{"schema": "inbox_cursor.v9"}', '{"seen": 7}', "[]"])
def test_a_damaged_cursor_counts_as_none(bench: Bench, cursor: str) -> None:
    """Nothing that was ingested runs again, and what waits is taken with a run_key that was never used."""
    bench.drop("a.jsonl", "b.jsonl")
    bench.run(DagsterRunStatus.FAILURE, but=("b.jsonl",))
    bench.drop("a2.jsonl")
    bench.run(DagsterRunStatus.SUCCESS)
    bench.ticks.cursor = cursor
    assert bench.run(DagsterRunStatus.SUCCESS) == ["b.jsonl"]
    bench.ticks.cursor = cursor
    assert [bench.ticks.tick() for _ in range(3)] == [None] * 3
    assert json.loads(str(bench.ticks.cursor))["schema"] == "inbox_cursor.v1"


def test_a_run_that_never_came_to_be_counts_for_nothing(bench: Bench) -> None:
    """Where the daemon dies before it creates the run, the files are offered again at once."""
    bench.drop("a.jsonl")
    bench.ticks.tick()
    assert bench.ticks.tick() is not None
    bench.ticks.requests.clear()
    assert bench.run(DagsterRunStatus.SUCCESS) == ["a.jsonl"]


def test_a_store_that_cannot_be_read_is_a_reason(bench: Bench) -> None:
    """No error each tick, and what was seen before is looked at afresh."""
    bench.drop("a.jsonl")
    bench.ticks.tick()
    bench.inbox.rename(bench.inbox.with_name("kept"))
    bench.inbox.write_text("not a folder", encoding="utf-8")
    assert bench.ticks.tick() is None
    bench.inbox.unlink()
    bench.inbox.with_name("kept").rename(bench.inbox)
    assert bench.run(DagsterRunStatus.SUCCESS) == ["a.jsonl"]


def test_an_inbox_of_1_000_files_costs_one_stat_a_file_and_a_small_cursor(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many wait, the cursor holds no more than two runs' files."""
    for number in range(1_000):
        (bench.inbox / f"{number:05d}.jsonl").write_bytes(b"{}\n")
    looked_at = 0
    real = os.stat

    def counting(*args: object, **keywords: object) -> os.stat_result:
        nonlocal looked_at
        looked_at += 1
        return real(*args, **keywords)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(os, "stat", counting)
        bench.ticks.tick()
    assert 1_000 <= looked_at < 1_020
    assert "1,000 event files are new" in bench.ticks.reason
    assert len(str(bench.ticks.cursor)) < 1_000
    assert len(bench.run(DagsterRunStatus.SUCCESS)) == A_RUN


def test_a_forged_receipt_does_not_silence_the_sensor(bench: Bench, tmp_path: Path) -> None:
    """With the key ring at hand, a file is offered although somebody else says that it was ingested."""
    create_ring(tmp_path / "ring.json", KeyRing.new(b"k" * 32, b"s" * 32))
    bench.ticks.resources["key_ring"] = KeyRingResource(path=str(tmp_path / "ring.json"))
    bench.drop("a.jsonl")
    (item,) = EVENT_INBOX.waiting(bench.store.without_ring())
    bench.store.objects.replace(receipt_key(item), b"{}")
    assert not EVENT_INBOX.waiting(bench.store.without_ring())
    request = bench.ticks.tick() or bench.ticks.tick()
    assert request is not None
    assert taken_by(request, bench.store) == ["a.jsonl"]
