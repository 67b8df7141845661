"""A web server and a daemon as `make dev` starts them, over a project folder, a history and a store of their own."""

import json
import os
import shutil
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from subject_pipeline.domain.key_ring import KeyRing
from subject_pipeline.storage.key_ring_file import KeyRingFile, create_ring
from subject_pipeline.use_cases.sample import sample_workers
from subject_pipeline.use_cases.store import SubjectStore
from subject_pipeline_tests.real.conftest import BIN, ROOT, answers, free_port, running, wait_until

SELECTOR = {"repositoryLocationName": "subject_pipeline", "repositoryName": "__repository__"}
ENDED = {"SUCCESS", "FAILURE", "CANCELED"}

LAUNCH = """mutation($params: ExecutionParams!) { launchPipelineExecution(executionParams: $params) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
  ... on RunConfigValidationInvalid { errors { message } } } }"""
BACKFILL = """mutation($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
  __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
RUN = "query($id: ID!) { runOrError(runId: $id) { __typename ... on Run { status } } }"
RUNS = """query($filter: RunsFilter) { runsOrError(filter: $filter, limit: 200) { ... on Runs { results {
  runId jobName status tags { key value } } } } }"""
MATERIALIZATIONS = """query($key: AssetKeyInput!) { assetOrError(assetKey: $key) { ... on Asset {
  assetMaterializations { partition runId metadataEntries { label ... on IntMetadataEntry { intValue }
  ... on TextMetadataEntry { text } } } } } }"""
CHECKS = """query($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
  assetChecksOrError { ... on AssetChecks { checks { name executionForLatestMaterialization { status
  evaluation { success severity description } } } } } } } }"""


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
        return SubjectStore.at(str(self.store_folder))

    @property
    def ring(self) -> KeyRingFile:
        """Its key ring."""
        return KeyRingFile(self.key_ring)

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
            LAUNCH,
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
        filled = self.ask(BACKFILL, params={"assetSelection": keys, "partitionNames": list(partitions)})
        started = filled["launchPartitionBackfill"]
        assert started["__typename"] == "LaunchBackfillSuccess", started
        backfill_id: str = started["backfillId"]
        return backfill_id

    def status(self, run_id: str) -> str:
        """A run's status."""
        status: str = self.ask(RUN, id=run_id)["runOrError"]["status"]
        return status

    def wait(self, run_id: str, seconds: float = 180) -> str:
        """Wait until a run has ended; its status."""
        wait_until(lambda: self.status(run_id) in ENDED, seconds, f"run {run_id}")
        return self.status(run_id)

    def runs(self, **filters: Any) -> list[dict[str, Any]]:
        """The runs that a filter (`pipelineName`, `tags`, `statuses`) takes, newest first."""
        found: list[dict[str, Any]] = self.ask(RUNS, filter=filters)["runsOrError"]["results"]
        return found

    def materializations(self, asset: str) -> list[dict[str, Any]]:
        """An asset's materializations, newest first: `partition`, `runId` and its `numbers` and `texts` by label."""
        items = self.ask(MATERIALIZATIONS, key={"path": asset.split("/")})["assetOrError"]["assetMaterializations"]
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

    def checks(self, asset: str) -> dict[str, bool | None]:
        """Each check's last outcome; None where it has none yet."""
        checks = self.ask(CHECKS, key={"path": asset.split("/")})["assetNodeOrError"]["assetChecksOrError"]["checks"]
        found: dict[str, bool | None] = {}
        for check in checks:
            execution = check["executionForLatestMaterialization"]
            evaluation = execution and execution["evaluation"]
            found[check["name"]] = evaluation["success"] if evaluation else None
        return found


def copy_project(folder: Path, people: int) -> Path:
    """A copy of what Dagster loads, with a sample dataset of so many people, which a test may change."""
    project = folder / "project"
    shutil.copytree(
        ROOT / "subject_pipeline", project / "subject_pipeline", ignore=shutil.ignore_patterns("__pycache__")
    )
    for name in ("pyproject.toml", "workspace.yaml", "dagster.yaml"):
        shutil.copy(ROOT / name, project)
    sample_workers(people, project / "sample_data" / "workers.parquet")
    return project


@contextmanager
def dagster_stack(
    folder: Path, *, project: Path | None = None, people: int = 3_000, settings: Mapping[str, str] | None = None
) -> Iterator[DagsterStack]:
    """Start a stack below a folder, and stop it; started again over the same folder it goes on with its history.

    Args:
        folder: where home, store, key ring and project are.
        project: a project made by `copy_project`; None: one is made, or the one of an earlier start is used.
        people: how many people the sample dataset has.
        settings: further environment variables.
    """
    made = folder / "project"
    project = project or (made if made.exists() else copy_project(folder, people))
    home, store_folder, key_ring = folder / "home", folder / "store", folder / "ring.json"
    home.mkdir(exist_ok=True)
    shutil.copy(project / "dagster.yaml", home)
    if not key_ring.exists():
        create_ring(key_ring, KeyRing.new(b"k" * 32, b"s" * 32))
    port = free_port()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("SUBJECT_", "DAGSTER_"))},
        "DAGSTER_HOME": str(home),
        "DAGSTER_COMPUTE_LOGS": str(home / "compute_logs"),
        "PYTHONPATH": str(project),
        "SUBJECT_STORE_URL": str(store_folder),
        "SUBJECT_KEY_RING": str(key_ring),
        **(settings or {}),
    }
    command = [BIN / "dagster", "dev", "-w", project / "workspace.yaml", "-h", "127.0.0.1", "-p", str(port)]
    url = f"http://127.0.0.1:{port}"
    with running(command, home / "log", environment, cwd=project):
        wait_until(lambda: answers(f"{url}/server_info"), 180, "the web server")
        yield DagsterStack(project, home, store_folder, key_ring, url)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DagsterStack]:
    """A stack for one module's tests."""
    with dagster_stack(tmp_path_factory.mktemp("stack")) as started:
        yield started
