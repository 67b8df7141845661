"""`make cluster` for tests, with a state folder, a project and a port of its own, spoken to as a user does."""

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import psutil
import pytest
from postgres_server import binaries

from subject_pipeline.keys.ring_file import KeyRingFile
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline_tests.real import queries
from subject_pipeline_tests.real.conftest import ROOT, free_port, wait_until
from subject_pipeline_tests.real.dagster_stack import CHUNKS, DagsterStack, copy_project
from subject_pipeline_tests.real.postgres import need, reachable_folder

WORKERS = ("worker-1", "worker-2")
TASK = "dagster-celery/task_id"
_ENGINE_EVENTS = """query($id: ID!) { logsForRun(runId: $id, limit: 5000) { ... on EventConnection { events {
  ... on MessageEvent { message } } } } }"""


@dataclass(frozen=True)
class RunningCluster:
    """A cluster that `make cluster` started.

    Attributes:
        stack: its web server, spoken to as the page does.
        state: the folder of all that it writes.
        make: the process of `make`, the leader of its group.
    """

    stack: DagsterStack
    state: Path
    make: subprocess.Popen[bytes]

    @property
    def environment(self) -> dict[str, str]:
        """What the workers and the daemon got, from the file that a shell sources."""
        text = (self.state / "environment").read_text(encoding="utf-8")
        return dict(re.findall(r"^export (\w+)='?(.*?)'?$", text, re.MULTILINE))

    @property
    def store(self) -> SubjectStore:
        """The store in the bucket."""
        ring = KeyRingFile(self.state / "key_ring.json")
        return SubjectStore.at(self.environment["SUBJECT_STORE_URL"], ring=ring)

    def said(self, part: str) -> str:
        """A part's log."""
        return (self.state / "logs" / f"{part}.log").read_text(encoding="utf-8", errors="replace")

    def group(self, worker: str) -> int:
        """A worker's process group: what a machine is to the others, gone at once or not at all."""
        group: int = json.loads((self.state / "processes.json").read_text(encoding="utf-8"))[worker]
        return group

    def ids(self) -> pl.Series:
        """The ids in the Delta table, read by Polars itself, not by what is tested."""
        options = {name: value for name, value in self.environment.items() if name.startswith("AWS_")}
        url = f"{self.environment['SUBJECT_STORE_URL']}/subjects"
        return pl.read_delta(url, storage_options=options, columns=["candidate_id"])["candidate_id"]

    def backfill(self, assets: list[str], partitions: list[str], tags: Mapping[str, str]) -> str:
        """Launch a backfill whose runs have these tags; its id."""
        started = self.stack.ask(
            queries.BACKFILL,
            params={
                "assetSelection": [{"path": asset.split("/")} for asset in assets],
                "partitionNames": partitions,
                "tags": [{"key": key, "value": value} for key, value in tags.items()],
            },
        )["launchPartitionBackfill"]
        assert started["__typename"] == "LaunchBackfillSuccess", started
        backfill: str = started["backfillId"]
        return backfill

    def runs_of(self, backfill: str) -> list[dict[str, Any]]:
        """A backfill's runs, each with its `task` at Celery, None as long as it has none."""
        runs = self.stack.runs(tags=[{"key": "dagster/backfill", "value": backfill}])
        for run in runs:
            run["task"] = next((tag["value"] for tag in run["tags"] if tag["key"] == TASK), None)
        return runs

    def tasks(self, worker: str, outcome: str = "received") -> set[str]:
        """The tasks that a worker's own log says it received, or `succeeded` in."""
        return set(re.findall(rf"Task execute_job\[([0-9a-f-]+)\] {outcome}", self.said(worker)))

    def workers_of(self, runs: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
        """Which worker took which runs."""
        tasks = {worker: self.tasks(worker) for worker in WORKERS}
        return {worker: [run for run in runs if run["task"] in tasks[worker]] for worker in WORKERS}

    def messages(self, run_id: str) -> list[str]:
        """All that a run's log says."""
        events = self.stack.ask(_ENGINE_EVENTS, id=run_id)["logsForRun"]["events"]
        return [event["message"] for event in events if event.get("message")]

    def pid_of(self, run_id: str) -> int | None:
        """The process that does a run; None as long as there is none."""
        found = re.search(r"Started process for run \(pid: (\d+)\)", "\n".join(self.messages(run_id)))
        return int(found[1]) if found else None

    def kill_amid_a_run(self, worker: str, backfill: str, step: str) -> dict[str, Any]:
        """SIGKILL a worker with all its processes while it is amid a step of a backfill's run; that run.

        It is frozen first and looked at: it is not killed unless it is within the step and has recorded none of its
        partitions. (A run that is lost after it recorded all of them counts as failed, and its partitions as done.)
        """
        held: list[dict[str, Any]] = []

        def amid_the_step(run: dict[str, Any]) -> bool:
            said = "\n".join(self.messages(run["runId"]))
            return f'Started execution of step "{step}"' in said and "Materialized value" not in said

        def frozen_amid_a_run() -> bool:
            group = self.group(worker)
            os.killpg(group, signal.SIGSTOP)
            unfinished = self.tasks(worker) - self.tasks(worker, "succeeded")
            held[:] = [
                run for run in self.runs_of(backfill) if run["task"] in unfinished and run["status"] == "STARTED"
            ]
            held[:] = [run for run in held if amid_the_step(run)]
            if not held:
                os.killpg(group, signal.SIGCONT)
            return bool(held)

        wait_until(frozen_amid_a_run, 120, f"{worker} to be amid a run", every=0.2)
        os.killpg(self.group(worker), signal.SIGKILL)
        assert len(held) == 1
        return held[0]

    def processes(self) -> list[psutil.Process]:
        """All processes of the cluster that still are there: those with its folder in environment or command line."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                mine = process.environ().get("DAGSTER_HOME") == str(self.state / "home")
                if process.status() != psutil.STATUS_ZOMBIE and (
                    mine or str(self.state) in " ".join(process.cmdline())
                ):
                    found.append(process)
        return found

    def interrupt(self) -> None:
        """Ctrl-C, as a terminal sends it."""
        with suppress(ProcessLookupError):
            os.killpg(self.make.pid, signal.SIGINT)
        self.make.wait(180)


@contextmanager
def running_cluster(people: int, settings: Mapping[str, str]) -> Iterator[RunningCluster]:
    """`make cluster`, over a copy of the project with so many people; skipped where a part is not installed."""
    need(lambda: binaries() is not None, "Postgres", "postgres")
    need(lambda: shutil.which("redis-server") is not None, "Redis", "redis")
    with ExitStack() as parts:
        folder = parts.enter_context(reachable_folder())
        project = copy_project(folder, people)
        shutil.copytree(ROOT / "deploy", project / "deploy")
        state, port = folder / "state", free_port()
        clean = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("SUBJECT_", "DAGSTER_", "AWS_", "MAKE"))
        }
        environment = {
            **clean,
            "PORT": str(port),
            "CLUSTER_STATE": str(state),
            "CLUSTER_PROJECT": str(project),
            "SUBJECT_CHUNKS": str(CHUNKS),
            **settings,
        }
        output = parts.enter_context((folder / "output").open("wb"))
        make = subprocess.Popen(
            ["make", "cluster"],
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        stack = DagsterStack(
            project, state / "home", state / "no_local_store", state / "key_ring.json", f"http://127.0.0.1:{port}"
        )
        running = RunningCluster(stack, state, make)
        parts.callback(running.interrupt)

        def said() -> str:
            return (folder / "output").read_text(encoding="utf-8", errors="replace")

        wait_until(lambda: "Ctrl-C stops" in said() or make.poll() is not None, 240, "the cluster")
        if make.poll() is not None:
            pytest.fail(f"make cluster ended: {said()}")
        wait_until(stack.is_ready, 120, "the daemons' heartbeats")
        patch = parts.enter_context(pytest.MonkeyPatch.context())
        for name, value in running.environment.items():
            if name.startswith("AWS_"):
                patch.setenv(name, value)
        yield running
