"""Dagster's own Python client, and the GraphQL client below it, do all of it without the page."""

from typing import Any
from urllib.parse import urlsplit

import pytest
from dagster import DagsterRunStatus
from dagster_graphql import DagsterGraphQLClient, DagsterGraphQLClientError
from gql import Client, gql
from gql.transport.requests import RequestsHTTPTransport

from subject_pipeline.registry.subjects import SubjectRegistry
from subject_pipeline.samples.events import sample_events
from subject_pipeline_tests.real.conftest import wait_until
from subject_pipeline_tests.real.dagster_stack import ALL_PARTITIONS, PARTITIONS, SELECTOR, DagsterStack
from subject_pipeline_tests.real.shared_stack import stack

__all__ = ["stack"]

pytestmark = [
    pytest.mark.real,
    # dagster-graphql's own call of gql.
    pytest.mark.filterwarnings("ignore:Using variable_values and operation_name:DeprecationWarning"),
]

EVENTS = 500
ENDED = {DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED}
REPOSITORIES = """{ repositoriesOrError { ... on RepositoryConnection { nodes { name location { name }
  jobs { name description isAssetJob partitionKeysOrError { ... on PartitionKeys { partitionKeys } } } } } } }"""
ASSETS = """{ assetNodes { assetKey { path } groupName description isMaterializable
  assetChecksOrError { ... on AssetChecks { checks { name description } } } } }"""
ASSET = """query($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
  assetMaterializations { partition runId metadataEntries { label ... on IntMetadataEntry { intRepr }
    ... on TextMetadataEntry { text } ... on TableMetadataEntry { table { records schema { columns { name } } } } } }
  assetChecksOrError { ... on AssetChecks { checks { name executionForLatestMaterialization { runId
    evaluation { success metadataEntries { label ... on IntMetadataEntry { intRepr }
      ... on TextMetadataEntry { text }
      ... on TableMetadataEntry { table { records schema { columns { name } } } } } } } } } } } } }"""


@pytest.fixture(scope="module")
def client(stack: DagsterStack) -> DagsterGraphQLClient:
    """`dagster_graphql`'s client."""
    address = urlsplit(stack.url)
    assert address.hostname
    return DagsterGraphQLClient(address.hostname, port_number=address.port)


def query(stack: DagsterStack, text: str, **variables: Any) -> dict[str, Any]:
    """A query by the `gql` package, which holds it against the server's own schema first."""
    with Client(
        transport=RequestsHTTPTransport(url=f"{stack.url}/graphql"), fetch_schema_from_transport=True
    ) as session:
        request = gql(text)
        request.variable_values = variables
        return dict(session.execute(request))


def jobs(stack: DagsterStack) -> dict[str, dict[str, Any]]:
    """The code location's own jobs by name."""
    (repository,) = query(stack, REPOSITORIES)["repositoriesOrError"]["nodes"]
    assert (repository["location"]["name"], repository["name"]) == (
        SELECTOR["repositoryLocationName"],
        SELECTOR["repositoryName"],
    )
    return {job["name"]: job for job in repository["jobs"] if not job["name"].startswith("__")}


def run(client: DagsterGraphQLClient, job: str, **options: Any) -> str:
    """Submit a job and wait; its run id."""
    run_id: str = client.submit_job_execution(job, **options)
    wait_until(lambda: client.get_run_status(run_id) in ENDED, 180, f"{job}")
    assert client.get_run_status(run_id) is DagsterRunStatus.SUCCESS, job
    return run_id


def seen(stack: DagsterStack, asset: str) -> dict[str, Any]:
    """An asset's materializations and checks."""
    found: dict[str, Any] = query(stack, ASSET, key={"path": asset.split("/")})["assetNodeOrError"]
    return found


def number(entries: list[dict[str, Any]], label: str) -> int:
    """One number of a list of metadata."""
    return next(int(entry["intRepr"]) for entry in entries if entry["label"] == label)


def test_the_repository_lists_what_there_is_and_describes_it(stack: DagsterStack) -> None:
    """Every job and every asset that can be materialized says what it is, and every check what it means."""
    found = jobs(stack)
    assert {"register_workers", "register_drivers", "ingest_access_events"} <= set(found)
    assert [name for name, job in found.items() if not job["description"]] == []
    nodes = [node for node in query(stack, ASSETS)["assetNodes"] if node["isMaterializable"]]
    assert ["workers", "subject_manifests"] in [node["assetKey"]["path"] for node in nodes]
    assert [node["assetKey"]["path"] for node in nodes if not (node["description"] and node["groupName"])] == []
    checks = [check for node in nodes for check in node["assetChecksOrError"].get("checks", [])]
    assert len(checks) >= 10
    assert [check["name"] for check in checks if not check["description"]] == []


def test_an_unknown_job_and_unusable_options_are_refused(client: DagsterGraphQLClient) -> None:
    """The client's own error, before anything runs."""
    with pytest.raises(DagsterGraphQLClientError, match="JobNotFoundError"):
        client.submit_job_execution("register_nobody")
    with pytest.raises(DagsterGraphQLClientError, match="RunConfigValidationInvalid"):
        client.submit_job_execution("ingest_access_events", run_config={"ops": {"audit_log": {"config": {"files": 3}}}})


def test_each_job_is_launched_and_its_numbers_and_checks_read(
    stack: DagsterStack, client: DagsterGraphQLClient
) -> None:
    """Register people, ingest events, and every other job of the repository: done, with numbers that agree."""
    found = jobs(stack)
    run(client, "register_workers", tags=ALL_PARTITIONS)
    manifests = seen(stack, "workers/subject_manifests")
    newest = {item["partition"]: item["metadataEntries"] for item in reversed(manifests["assetMaterializations"])}
    assert sorted(newest) == PARTITIONS
    people = sum(number(entries, "attempted") for entries in newest.values())
    assert people == 3_000
    assert SubjectRegistry(stack.store).count() >= people
    # What the dataset's page shows without a click: Dagster's overview takes the newest materialization.
    page = {entry["label"]: entry.get("text") for entry in manifests["assetMaterializations"][0]["metadataEntries"]}
    assert f"{people:,} people, {people:,} of them new in this run; source version " in str(page["dataset"])
    assert str(page["dataset"]).endswith("; current: yes; red: nothing")
    assert all(
        check["executionForLatestMaterialization"]["evaluation"]["success"]
        for check in manifests["assetChecksOrError"]["checks"]
    )

    inbox = stack.store_folder / "inbox"
    inbox.mkdir(exist_ok=True)
    sample_events(EVENTS, inbox / "client.jsonl")
    ingested = run(client, "ingest_access_events")
    log = seen(stack, "audit_log")["assetMaterializations"][0]
    assert log["runId"] == ingested
    assert number(log["metadataEntries"], "appended") == EVENTS

    registrations = {name for name in found if name.startswith("register_")}
    others = sorted(found.keys() - registrations - {"ingest_access_events"}, key=lambda name: (name[0] != "v", name))
    assert any(name.startswith("verify") for name in others)
    for name in others:
        partitioned = bool(found[name]["partitionKeysOrError"].get("partitionKeys"))
        run(client, name, tags=ALL_PARTITIONS if partitioned else {})

    verification = seen(stack, "audit_verification")
    assert {item["partition"] for item in verification["assetMaterializations"]} == set(PARTITIONS)
    checks = {check["name"]: check for check in verification["assetChecksOrError"]["checks"]}
    entries = checks["chains_intact"]["executionForLatestMaterialization"]["evaluation"]["metadataEntries"]
    assert number(entries, "verified_rows") == EVENTS
    assert number(entries, "broken") == 0
    assert next(entry["text"] for entry in entries if entry["label"] == "listed") == "none"
    evaluated = [check["executionForLatestMaterialization"] for check in verification["assetChecksOrError"]["checks"]]
    assert all(one["evaluation"]["success"] for one in evaluated if one)
    assert len([one for one in evaluated if one]) >= 5
    checkpoint = seen(stack, "audit_checkpoint")["assetMaterializations"][0]["metadataEntries"]
    note = next(entry["text"] for entry in checkpoint if entry["label"] == "note")
    assert note.startswith("subject-pipeline/")
    assert number(checkpoint, "rows_read") == EVENTS
