import json
import os
import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from subject_pipeline.use_cases.registry import SubjectRegistry
from subject_pipeline.use_cases.sample import sample_workers
from subject_pipeline.use_cases.store import SubjectStore
from subject_pipeline_tests.real.conftest import BIN, ROOT, answers, free_port, running, wait_until

pytestmark = pytest.mark.real

PEOPLE = 3_000
SELECTOR = {"repositoryLocationName": "subject_pipeline", "repositoryName": "__repository__"}
MANIFESTS = {"path": ["workers", "subject_manifests"]}

LAUNCH = """mutation($params: ExecutionParams!) { launchPipelineExecution(executionParams: $params) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
  ... on RunConfigValidationInvalid { errors { message } } } }"""
BACKFILL = """mutation($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
  __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
RUN = "query($id: ID!) { runOrError(runId: $id) { __typename ... on Run { status } } }"
PARTITIONS = """query($key: AssetKeyInput!) { assetOrError(assetKey: $key) { ... on Asset {
  assetMaterializations { partition runId metadataEntries { label ... on IntMetadataEntry { intValue } } } } } }"""
CHECKS = """query($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
  assetChecksOrError { ... on AssetChecks { checks { name executionForLatestMaterialization { status
  evaluation { success } } } } } } } }"""


class Server:
    """GraphQL as the web page speaks it."""

    def __init__(self, url: str) -> None:
        self.url = url

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

    def partitions(self) -> dict[str, dict[str, int]]:
        """The newest numbers of each partition of the manifests."""
        found: dict[str, dict[str, int]] = {}
        for item in self.ask(PARTITIONS, key=MANIFESTS)["assetOrError"]["assetMaterializations"]:
            counts = {entry["label"]: entry["intValue"] for entry in item["metadataEntries"] if "intValue" in entry}
            found.setdefault(item["partition"], counts)
        return found


@pytest.fixture(scope="module")
def store_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server's store is."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, store_folder: Path) -> Iterator[Server]:
    """A web server and a daemon as `make dev` starts them, with a history and a store of their own."""
    source = ROOT / "sample_data" / "workers.parquet"
    kept = source.read_bytes() if source.exists() else None
    sample_workers(PEOPLE, source)
    home = tmp_path_factory.mktemp("home")
    shutil.copy(ROOT / "dagster.yaml", home)
    port = free_port()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("SUBJECT_")},
        "DAGSTER_HOME": str(home),
        "DAGSTER_COMPUTE_LOGS": str(home / "compute_logs"),
        "SUBJECT_STORE_URL": str(store_folder),
    }
    command = [BIN / "dagster", "dev", "-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(port)]
    url = f"http://127.0.0.1:{port}"
    try:
        with running(command, home / "log", environment):
            wait_until(lambda: answers(f"{url}/server_info"), 120, "the web server")
            yield Server(url)
    finally:
        if kept is None:
            source.unlink()
        else:
            source.write_bytes(kept)


def test_launch_one_partition_then_all_from_the_page(server: Server, store_folder: Path) -> None:
    """A launched run registers one partition; a backfill of all partitions is one run and skips what is there."""
    registry = SubjectRegistry(SubjectStore.at(str(store_folder)))
    launched = server.ask(
        LAUNCH,
        params={
            "selector": {
                **SELECTOR,
                "jobName": "register_workers",
            },
            "executionMetadata": {"tags": [{"key": "dagster/partition", "value": "chunk-07"}]},
        },
    )["launchPipelineExecution"]
    assert launched["__typename"] == "LaunchRunSuccess", launched
    run = launched["run"]["runId"]
    wait_until(
        lambda: server.ask(RUN, id=run)["runOrError"]["status"] in {"SUCCESS", "FAILURE", "CANCELED"}, 120, "the run"
    )
    assert server.ask(RUN, id=run)["runOrError"]["status"] == "SUCCESS"
    first = server.partitions()
    assert set(first) == {"chunk-07"}
    assert registry.count() == first["chunk-07"]["inserted"] > 0

    names = [f"chunk-{index:02x}" for index in range(64)]
    filled = server.ask(
        BACKFILL,
        params={
            "assetSelection": [MANIFESTS],
            "partitionNames": names,
        },
    )["launchPartitionBackfill"]
    assert filled["__typename"] == "LaunchBackfillSuccess", filled
    wait_until(lambda: len(server.partitions()) == 64, 180, "64 materialized partitions")
    every = server.partitions()
    assert sum(counts["attempted"] for counts in every.values()) == PEOPLE
    assert every["chunk-07"]["inserted"] == 0
    assert every["chunk-07"]["skipped"] == first["chunk-07"]["inserted"]
    assert registry.count() == PEOPLE
    runs = {
        item["runId"]
        for item in server.ask(PARTITIONS, key=MANIFESTS)["assetOrError"]["assetMaterializations"]
        if item["runId"] != run
    }
    assert len(runs) == 1

    def checked() -> bool:
        checks = server.ask(CHECKS, key=MANIFESTS)["assetNodeOrError"]["assetChecksOrError"]["checks"]
        return len(checks) == 3 and all(
            check["executionForLatestMaterialization"]
            and check["executionForLatestMaterialization"]["evaluation"]["success"]
            for check in checks
        )

    wait_until(checked, 60, "three green checks")
