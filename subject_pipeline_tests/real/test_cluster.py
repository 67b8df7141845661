"""Scale-out: two Celery workers, Postgres, Redis and an S3 server; a worker that dies costs a run, never a person."""

import os
import signal
from collections import Counter
from collections.abc import Iterator

import psutil
import pytest

from subject_pipeline.verification.whole_store import verify
from subject_pipeline_tests.real.cluster import WORKERS, RunningCluster, running_cluster
from subject_pipeline_tests.real.conftest import answers, wait_until
from subject_pipeline_tests.real.dagster_stack import ALL_PARTITIONS, ENDED, PARTITIONS

pytestmark = pytest.mark.real

PEOPLE, EVENTS, A_RUN = 50_000, 20_000, 4
MANIFESTS = "workers/subject_manifests"
PATIENCE = "60"
"""Seconds until a run that does not end counts as lost: the tag that a job of short runs may have."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[RunningCluster]:
    """One cluster for this module: starting one takes half a minute."""
    with running_cluster(PEOPLE, {"SUBJECT_PARTITIONS_PER_RUN": str(A_RUN)}) as running:
        yield running


def newest_sums(cluster: RunningCluster) -> Counter[str]:
    """The sums over the newest numbers of all partitions."""
    sums: Counter[str] = Counter()
    for numbers in cluster.stack.newest(MANIFESTS).values():
        sums.update({name: numbers[name] for name in ("attempted", "inserted", "skipped", "failed")})
    return sums


def test_a_backfill_is_spread_and_outlives_a_worker(cluster: RunningCluster) -> None:
    """Both workers do runs; one is killed amid a run; its partitions are run again, and everybody is there once."""
    stack = cluster.stack
    stack.succeed(stack.launch("register_workers", tags={"dagster/partition": PARTITIONS[0]}))
    tags = {"dagster/max_runtime": PATIENCE, "dagster/max_retries": "0"}
    backfill = cluster.backfill([MANIFESTS], PARTITIONS, tags)

    def succeeded() -> dict[str, int]:
        done = [run for run in cluster.runs_of(backfill) if run["status"] == "SUCCESS"]
        return {worker: len(runs) for worker, runs in cluster.workers_of(done).items()}

    wait_until(lambda: all(count >= 2 for count in succeeded().values()), 240, "runs by both workers")
    lost = cluster.kill_amid_a_run("worker-2", backfill, "workers__subject_manifests")
    assert stack.wait_for_backfill(backfill, 400) == "COMPLETED_FAILED"

    runs = cluster.runs_of(backfill)
    assert len(runs) == len(PARTITIONS) / A_RUN
    assert [run["runId"] for run in runs if run["status"] != "SUCCESS"] == [lost["runId"]]
    assert any("Exceeded maximum runtime" in message for message in cluster.messages(lost["runId"]))
    shares = {worker: len(taken) for worker, taken in cluster.workers_of(runs).items()}
    assert sum(shares.values()) == len(runs)  # each run was taken once
    assert min(shares.values()) >= 3, shares
    ends = {tag["key"]: tag["value"] for tag in lost["tags"]}
    start = PARTITIONS.index(ends["dagster/asset_partition_range_start"])
    lost_partitions = PARTITIONS[start : start + A_RUN]
    assert lost_partitions[-1] == ends["dagster/asset_partition_range_end"]
    recorded_before = {item["partition"] for item in stack.materializations(MANIFESTS)}

    again = stack.reexecute_backfill(backfill)
    assert stack.wait_for_backfill(again, 300) == "COMPLETED_SUCCESS"
    (redone,) = cluster.runs_of(again)
    every = stack.materializations(MANIFESTS)
    numbers_of = {item["partition"]: item["numbers"] for item in every if item["runId"] == redone["runId"]}
    assert sorted(numbers_of) == lost_partitions

    sums = newest_sums(cluster)
    assert sums["inserted"] + sums["skipped"] == sums["attempted"] == PEOPLE
    # What the lost run had committed without recording it, the next one found as already there: never doubled.
    unrecorded = sum(numbers["skipped"] for name, numbers in numbers_of.items() if name not in recorded_before)
    assert sum(item["numbers"]["inserted"] for item in every) + unrecorded == PEOPLE
    ids = cluster.ids()
    assert (len(ids), ids.n_unique()) == (PEOPLE, PEOPLE)


def test_the_killed_worker_is_replaced(cluster: RunningCluster) -> None:
    """The supervisor starts the worker again, and all parts have one environment."""
    wait_until(lambda: cluster.said("worker-2").count(" ready.") == 2, 60, "the new worker")
    homes = {}
    for worker in WORKERS:
        process = psutil.Process(cluster.group(worker))
        homes[worker] = {
            name: value
            for name, value in process.environ().items()
            if name.startswith(("DAGSTER_", "SUBJECT_", "AWS_", "PYTHONPATH"))
        }
    assert homes["worker-1"] == homes["worker-2"]
    assert {name: homes["worker-1"].get(name) for name in cluster.environment if name != "PATH"} == {
        name: value for name, value in cluster.environment.items() if name != "PATH"
    }


def test_verification_over_all_that_both_did_is_whole(cluster: RunningCluster) -> None:
    """Events ingested, everything verified, a checkpoint signed, by runs on the workers: green; and so says a third."""
    stack = cluster.stack
    stack.succeed(stack.launch("ingest_access_events"))
    stack.succeed(stack.launch("verify_checkpoint_and_report", tags=ALL_PARTITIONS))
    for asset in ("audit_log", "audit_verification", "audit_checkpoint", MANIFESTS):
        checks = stack.checks(asset)
        assert checks
        assert all(checks.values()), (asset, checks)
    verified = stack.newest("audit_verification")
    assert sorted(verified) == PARTITIONS
    report = verify(cluster.store)
    assert report.sound
    assert (report.subjects, report.rows) == (PEOPLE, EVENTS)


def test_a_run_whose_process_is_killed_is_run_again_by_itself(cluster: RunningCluster) -> None:
    """As where memory is short: Celery notices, monitoring fails the run, and a new one does the work."""
    stack = cluster.stack

    def killed_amid_a_run() -> bool:
        run = stack.launch("verify_checkpoint_and_report", tags=ALL_PARTITIONS)
        wait_until(lambda: stack.status(run) in {"STARTED", *ENDED}, 120, "the run's start", every=0.2)
        pid = cluster.pid_of(run)
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)  # a worker's process is there after its run, too
        if stack.status(run) != "STARTED":
            os.kill(pid, signal.SIGCONT)
            return False
        os.kill(pid, signal.SIGKILL)
        lost.append(run)
        return stack.wait(run) == "FAILURE"

    lost: list[str] = []
    wait_until(killed_amid_a_run, 240, "a run killed before its end")
    assert any("Detected run worker status" in message for message in cluster.messages(lost[-1]))

    def retries() -> list[str]:
        found = stack.runs(tags=[{"key": "dagster/parent_run_id", "value": lost[-1]}])
        return [run["runId"] for run in found]

    wait_until(lambda: bool(retries()), 120, "the run that replaces it")
    stack.succeed(retries()[0])
    checks = stack.checks("audit_verification")
    assert all(checks.values()), checks


def test_ctrl_c_stops_all_of_it(cluster: RunningCluster) -> None:
    """No process and no open port is left."""
    environment = cluster.environment
    assert len(cluster.processes()) > 6
    cluster.interrupt()
    wait_until(lambda: not cluster.processes(), 30, "the end of every process")
    assert not answers(cluster.stack.url)
    assert not answers(environment["AWS_ENDPOINT_URL"])
    assert not (cluster.state / "postgres" / "data" / "postmaster.pid").exists()
