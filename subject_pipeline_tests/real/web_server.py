"""What tests say to a running web server and daemon, in GraphQL as the web page speaks it."""

import json
import os
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from subject_pipeline.keys.ring_file import KeyRingFile
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline_tests.real import queries
from subject_pipeline_tests.real.conftest import wait_until

SELECTOR = {"repositoryLocationName": "subject_pipeline", "repositoryName": "__repository__"}
ENDED = {"SUCCESS", "FAILURE", "CANCELED"}
BACKFILL_ENDED = {"COMPLETED", "COMPLETED_SUCCESS", "COMPLETED_FAILED", "CANCELED", "FAILED"}
CHUNKS = 64 if "SCREENSHOTS" in os.environ else 32
"""Each partition makes every run longer; the pictures show as many as a store has by itself."""

PARTITIONS = [f"chunk-{index:02x}" for index in range(CHUNKS)]
ALL_PARTITIONS = {
    "dagster/asset_partition_range_start": PARTITIONS[0],
    "dagster/asset_partition_range_end": PARTITIONS[-1],
}


@dataclass(frozen=True)
class DagsterStack:
    """A running web server and daemon, spoken to in GraphQL as the web page speaks it.

    Attributes:
        project: a copy of the project's folder: datasets and settings in it may be changed before the start.
        url: the web server's address.
    """

    project: Path
    home: Path
    store_folder: Path
    key_ring: Path
    url: str

    @property
    def store(self) -> SubjectStore:
        """The store that the assets work on."""
        return SubjectStore.at(str(self.store_folder), ring=KeyRingFile(self.key_ring))

    def ask(self, query: str, **variables: Any) -> Any:
        """One query's `data`."""
        request = urllib.request.Request(  # noqa: S310 - our own server on loopback
            f"{self.url}/graphql",
            json.dumps({"query": query, "variables": variables}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
            answer = json.load(response)
        assert "errors" not in answer, answer
        return answer["data"]

    def launch(
        self, job: str, *, config: Mapping[str, Any] | None = None, tags: Mapping[str, str] | None = None
    ) -> str:
        """Launch a job; its run id."""
        launched = self.ask(
            queries.LAUNCH,
            params={
                "selector": {**SELECTOR, "jobName": job},
                "runConfigData": dict(config or {}),
                "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in (tags or {}).items()]},
            },
        )["launchPipelineExecution"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        run_id: str = launched["run"]["runId"]
        return run_id

    def backfill(self, assets: Sequence[str], partitions: Sequence[str]) -> str:
        """Launch a backfill of assets (`workers/subject_manifests`) over partitions; its id."""
        keys = [{"path": asset.split("/")} for asset in assets]
        filled = self.ask(queries.BACKFILL, params={"assetSelection": keys, "partitionNames": list(partitions)})
        started = filled["launchPartitionBackfill"]
        assert started["__typename"] == "LaunchBackfillSuccess", started
        backfill_id: str = started["backfillId"]
        return backfill_id

    def cancel_backfill(self, backfill_id: str) -> None:
        """Cancel a backfill and terminate what it has queued or running.

        The daemon alone would do the latter at its next tick, up to 30 seconds and so a dozen short runs later.
        """
        answer = self.ask(queries.CANCEL_BACKFILL, id=backfill_id)["cancelPartitionBackfill"]
        assert answer["__typename"] == "CancelBackfillSuccess", answer
        runs = self.runs(tags=[{"key": "dagster/backfill", "value": backfill_id}])
        unfinished = [run["runId"] for run in runs if run["status"] not in ENDED]
        terminated = self.ask(queries.TERMINATE, ids=unfinished)["terminateRuns"]
        assert terminated["__typename"] == "TerminateRunsResult", terminated

    def wait_for_backfill(self, backfill_id: str, seconds: float = 300) -> str:
        """Wait until a backfill and its runs have ended; its status."""

        def status() -> str:
            found: str = self.ask(queries.BACKFILL_STATUS, id=backfill_id)["partitionBackfillOrError"]["status"]
            return found

        wait_until(lambda: status() in BACKFILL_ENDED, seconds, f"backfill {backfill_id}")
        runs = self.runs(tags=[{"key": "dagster/backfill", "value": backfill_id}])
        wait_until(lambda: all(self.status(run["runId"]) in ENDED for run in runs), 120, f"{backfill_id}'s runs")
        return status()

    def wait_for_runs_of(self, backfill_id: str, count: int = 1, seconds: float = 300) -> list[str]:
        """Wait until a backfill's runs have ended, which is up to a daemon's tick earlier than it; their statuses."""
        tag = {"key": "dagster/backfill", "value": backfill_id}

        def statuses() -> list[str]:
            return [run["status"] for run in self.runs(tags=[tag])]

        wait_until(
            lambda: len(found := statuses()) >= count and ENDED.issuperset(found),
            seconds,
            f"{count} runs of backfill {backfill_id}",
        )
        return statuses()

    def reexecute(self, run_id: str) -> str:
        """Re-execute a run from its failure, as the page's button does; the new run's id."""
        params = {"parentRunId": run_id, "strategy": "FROM_FAILURE"}
        answer = self.ask(queries.REEXECUTE, params=params)["launchRunReexecution"]
        assert answer["__typename"] == "LaunchRunSuccess", answer
        new: str = answer["run"]["runId"]
        return new

    def reexecute_backfill(self, backfill_id: str) -> str:
        """Re-execute a backfill from failure, which does what is not done of it; the new backfill's id."""
        params = {"parentRunId": backfill_id, "strategy": "FROM_FAILURE"}
        answer = self.ask(queries.REEXECUTE_BACKFILL, params=params)["reexecutePartitionBackfill"]
        assert answer["__typename"] == "LaunchBackfillSuccess", answer
        new: str = answer["backfillId"]
        return new

    def failures(self, run_id: str) -> list[str]:
        """What a run says of its failed steps, and of its own failure."""
        events = self.ask(queries.FAILURES, id=run_id)["logsForRun"]["events"]
        return [event["error"]["message"] if "error" in event else event["message"] for event in events if event]

    def status(self, run_id: str) -> str:
        """A run's status."""
        status: str = self.ask(queries.RUN, id=run_id)["runOrError"]["status"]
        return status

    def wait(self, run_id: str, seconds: float = 180) -> str:
        """Wait until a run has ended; its status."""
        wait_until(lambda: self.status(run_id) in ENDED, seconds, f"run {run_id}")
        return self.status(run_id)

    def succeed(self, run_id: str, seconds: float = 180) -> None:
        """Wait for a run; the test fails with the run's own words if it does not succeed."""
        if (status := self.wait(run_id, seconds)) != "SUCCESS":
            pytest.fail(f"run {run_id} ended as {status}: {self.failures(run_id)}")

    def runs(self, **filters: Any) -> list[dict[str, Any]]:
        """The runs that a filter (`pipelineName`, `tags`, `statuses`) takes, newest first."""
        found: list[dict[str, Any]] = self.ask(queries.RUNS, filter=filters)["runsOrError"]["results"]
        return found

    def materializations(self, asset: str) -> list[dict[str, Any]]:
        """An asset's materializations, newest first: `partition`, `runId` and its `numbers` and `texts` by label."""
        items = self.ask(queries.MATERIALIZATIONS, key={"path": asset.split("/")})["assetOrError"][
            "assetMaterializations"
        ]
        return [
            {
                "partition": item["partition"],
                "runId": item["runId"],
                "numbers": {e["label"]: e["intValue"] for e in item["metadataEntries"] if "intValue" in e},
                "texts": {e["label"]: e["text"] for e in item["metadataEntries"] if "text" in e},
            }
            for item in items
        ]

    def newest(self, asset: str) -> dict[str, dict[str, int]]:
        """The newest numbers of each partition of an asset."""
        found: dict[str, dict[str, int]] = {}
        for item in self.materializations(asset):
            found.setdefault(item["partition"], item["numbers"])
        return found

    def evaluations(self, asset: str) -> dict[str, dict[str, Any] | None]:
        """Each check's last evaluation: `success`, `severity`, `description`, `listed`; None where it has none."""
        checks = self.ask(queries.CHECKS, key={"path": asset.split("/")})["assetNodeOrError"]["assetChecksOrError"][
            "checks"
        ]
        found: dict[str, dict[str, Any] | None] = {}
        for check in checks:
            execution = check["executionForLatestMaterialization"]
            evaluation = execution and execution["evaluation"]
            if evaluation:
                texts = {e["label"]: e["text"] for e in evaluation["metadataEntries"] if "text" in e}
                evaluation["listed"] = texts.get("listed")
            found[check["name"]] = evaluation
        return found

    def checks(self, asset: str) -> dict[str, bool | None]:
        """Each check's last outcome; None where it has none yet."""
        return {
            name: evaluation["success"] if evaluation else None for name, evaluation in self.evaluations(asset).items()
        }

    def is_ready(self) -> bool:
        """Whether the code location is loaded and every daemon has a heartbeat; it fails where loading failed."""
        try:
            answer = self.ask(queries.READY)
        except (OSError, AssertionError):
            return False
        entries = answer["workspaceOrError"].get("locationEntries") or []
        loaded = [entry["locationOrLoadError"] or {} for entry in entries]
        if broken := [entry["message"] for entry in loaded if entry.get("__typename") == "PythonError"]:
            pytest.fail(f"the code location does not load: {broken[0]}")
        daemons = answer["instance"]["daemonHealth"]["allDaemonStatuses"]
        return (
            bool(loaded)
            and all(entry.get("__typename") == "RepositoryLocation" for entry in loaded)
            and all(daemon["healthy"] for daemon in daemons if daemon["required"])
        )
