"""Old runs go, and nothing that anything reads: no red turns green, no known checkpoint is forgotten."""

import datetime as dt
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import dagster as dg
import pytest
from dagster import DagsterRunStatus
from dagster._core.test_utils import create_run_for_test

from subject_pipeline.orchestration.history.partitions import PastPartitions, last_note
from subject_pipeline.orchestration.history.pruning import Pruned, prune
from subject_pipeline.orchestration.history.runs import OFFERED_BY, VERSION
from subject_pipeline.orchestration.sensors.alerts import STATE_TAG
from subject_pipeline_tests.helpers.dagster_home import instance_in
from subject_pipeline_tests.orchestration.assets.test_audit_assets import (
    CHECKPOINT,
    VERIFICATION,
    AuditBench,
    bench,
    red,
    tamper,
)

__all__ = ["bench"]


@pytest.fixture
def kept(bench: AuditBench, tmp_path: Path) -> Iterator[AuditBench]:
    """An audit bench whose Dagster has its records in files."""
    with instance_in(tmp_path / "home") as instance:
        bench.instance = instance
        yield bench


def pruned(bench: AuditBench, *, dry_run: bool = False) -> Pruned:
    """Prune whatever ended before now."""
    me = create_run_for_test(bench.instance, job_name="prune_history")
    return prune(bench.instance, me, dt.datetime.now(dt.UTC), dry_run=dry_run)


def known(bench: AuditBench) -> dict[str, Any]:
    """All that checks remember."""
    past = PastPartitions.of(bench.instance, VERIFICATION)
    keys = bench.defs.resolve_asset_graph().asset_check_keys
    checks = {key: bench.instance.get_latest_asset_check_evaluation_record(key) for key in keys}
    return {
        "red": past.red(*(f"problems/{name}" for name in ("chains_intact", "manifests_unchanged"))),
        "full": past.full,
        "numbers": past.numbers,
        "note": last_note(bench.instance, CHECKPOINT),
        "checks": {key: record.evaluation for key, record in checks.items() if record},
        "latest": {
            key: event and event.asset_materialization
            for key in bench.defs.resolve_asset_graph().get_all_asset_keys()
            for event in [bench.instance.get_latest_materialization_event(key)]
        },
    }


def rows(home: Path) -> dict[str, int]:
    """How many rows and bytes of events and runs there are, once files give back what they do not need."""
    found = {"events": 0, "runs": 0, "bytes": 0}
    for path in home.rglob("*.db"):
        with closing(sqlite3.connect(path)) as database:
            database.execute("vacuum")
            tables = {row[0] for row in database.execute("select name from sqlite_master where type = 'table'")}
            for table, name in (("event_logs", "events"), ("runs", "runs")):
                if table in tables:
                    found[name] += database.execute(f"select count(*) from {table}").fetchone()[0]  # noqa: S608
        found["bytes"] += path.stat().st_size
    return found


@pytest.mark.long
def test_what_is_red_stays_red_and_what_is_known_stays_known(kept: AuditBench, tmp_path: Path) -> None:
    """Runs over other partitions, a failed one and later checkpoints came since; the database is smaller after it."""
    kept.ingest()
    kept.verify()
    path = kept.segment_of("P-3")
    chunk = path.parent.name
    tamper(path, "P-3")
    kept.verify(chunks=(chunk, chunk), checkpoint=False)
    for other in kept.store.intended_chunks().names * 2:
        if other != chunk:
            kept.verify(chunks=(other, other), checkpoint=False)
    kept.verify("incremental", ("chunk-0", "chunk-0"))
    kept.ingest(["nowhere.jsonl"])
    before, size, runs = known(kept), rows(tmp_path / "home"), kept.instance.get_runs_count()
    assert before["red"] == [chunk]

    expected = pruned(kept, dry_run=True)
    assert kept.instance.get_runs_count() == runs + 1  # that of the test itself
    done = pruned(kept)
    assert done.deleted == expected.deleted >= 3
    assert done.kept["newest_record"] >= CHUNK_RUNS

    assert known(kept) == before
    after = rows(tmp_path / "home")
    assert after["runs"] == size["runs"] + 2 - done.deleted
    assert after["events"] < size["events"] * 0.8
    assert after["bytes"] < size["bytes"]
    assert pruned(kept).deleted == 0
    other = next(name for name in kept.store.intended_chunks().names if name != chunk)
    assert red(kept.verify(chunks=(other, other), checkpoint=False), VERIFICATION) == {"chains_intact"}


CHUNK_RUNS = 3
"""At least so many runs hold something newest above: of the red chunk, of the others, and the failed ingestion."""


@pytest.mark.long
@pytest.mark.parametrize(
    ("about", "why"),
    [
        ({"job_name": "maintain_store"}, "newest_of_job"),
        ({"job_name": "maintain_store", "tags": {STATE_TAG: "waiting"}}, "alert_not_delivered"),
        ({"job_name": "maintain_store", "tags": {OFFERED_BY: "s", VERSION: "v"}}, "sensor_counts_attempts"),
        ({"job_name": "maintain_store", "tags": {OFFERED_BY: "s", VERSION: "older"}}, None),
        ({"job_name": "maintain_store", "tags": {".dagster/repository": "__repository__@theirs"}}, "theirs"),
        ({"job_name": "maintain_store", "status": DagsterRunStatus.STARTED}, "going"),
    ],
)  # fmt: skip
def test_runs_that_something_reads_stay(bench: AuditBench, about: dict[str, Any], why: str | None) -> None:
    """An alert that is due, attempts that a sensor counts, a job's newest run, another team's, one that is going."""
    first = ended(bench, about)
    if why != "newest_of_job":
        ended(bench, {"job_name": about["job_name"], "tags": {OFFERED_BY: "s", VERSION: "v"}})
    done = pruned(bench)
    assert (bench.instance.get_run_by_id(first) is None) == (why is None)
    assert (why in done.kept) == (why not in {None, "theirs", "going"})
    assert bool(done.others) == (why == "theirs")


def ended(bench: AuditBench, about: dict[str, Any]) -> str:
    """A run as Dagster records one, that has ended if it does not say otherwise."""
    run = create_run_for_test(bench.instance, **{"status": DagsterRunStatus.STARTED, **about})
    if "status" not in about:
        event = dg.DagsterEvent(dg.DagsterEventType.RUN_SUCCESS.value, run.job_name, message="by a test")
        bench.instance.report_dagster_event(event, run_id=run.run_id)
    return str(run.run_id)


@pytest.mark.long
def test_the_job_looks_at_runs_older_than_thirty_days(bench: AuditBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is launched by hand, without config; what is younger is not touched."""
    bench.ingest()
    bench.ingest()

    def launched() -> dict[str, Any]:
        result = bench.defs.resolve_job_def("prune_history").execute_in_process(instance=bench.instance)
        (event,) = [one for one in result.all_node_events if one.is_successful_output]
        return {name: value.value for name, value in event.step_output_data.metadata.items()}

    assert launched()["deleted"] == 0
    later(monkeypatch, 31)
    assert launched()["deleted"] == 2, "the first ingestion, and the first run of this job"


def later(monkeypatch: pytest.MonkeyPatch, days: int) -> None:
    """Let the job's clock be ahead."""
    ahead = Mock(wraps=dt, UTC=dt.UTC)
    ahead.datetime.now.side_effect = lambda tz: dt.datetime.now(tz) + dt.timedelta(days=days)
    monkeypatch.setattr("subject_pipeline.orchestration.assets.history.dt", ahead)
