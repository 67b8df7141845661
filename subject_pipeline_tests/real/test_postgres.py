"""Postgres as Dagster's storage: whatever Dagster is asked for is in it, and is read back from it."""

import datetime as dt
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import psycopg2
import pytest
from postgres_server import PostgresServer

from subject_pipeline.anchoring.checkpointing import write_checkpoint
from subject_pipeline.orchestration.history.partitions import last_note
from subject_pipeline.orchestration.history.pruning import prune
from subject_pipeline.samples.events import sample_events
from subject_pipeline_tests.real.conftest import ROOT, wait_until
from subject_pipeline_tests.real.dagster_stack import (
    ALL_PARTITIONS,
    PARTITIONS,
    DagsterStack,
    copy_project,
    dagster_stack,
)
from subject_pipeline_tests.real.postgres import running_postgres

pytestmark = pytest.mark.real

PEOPLE, EVENTS = 2_000, 1_000
SENSOR = "ingest_new_event_files"


@dataclass(frozen=True)
class OnPostgres:
    """A stack, and the server that its history is in."""

    stack: DagsterStack
    server: PostgresServer

    def rows(self, query: str, *values: str) -> list[tuple[object, ...]]:
        """What Postgres itself says."""
        given = self.server.environment
        connection = psycopg2.connect(
            host=given["DAGSTER_PG_HOST"],
            port=given["DAGSTER_PG_PORT"],
            user=given["DAGSTER_PG_USER"],
            password=given["DAGSTER_PG_PASSWORD"],
            dbname=given["DAGSTER_PG_DB"],
        )
        try:
            with connection.cursor() as cursor:
                cursor.execute(query, values)
                return list(cursor.fetchall())
        finally:
            connection.close()


@pytest.fixture(scope="module")
def on_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnPostgres]:
    """Web server and daemon whose instance is `deploy/dagster.postgres.yaml`, sensors on."""
    folder = tmp_path_factory.mktemp("on_postgres")
    project = copy_project(folder, PEOPLE)
    shutil.copy(ROOT / "deploy" / "dagster.postgres.yaml", project / "dagster.yaml")
    with running_postgres() as server:
        settings = {**server.environment, "SUBJECT_PARTITIONS_PER_RUN": str(len(PARTITIONS) // 4)}
        with dagster_stack(folder, project=project, settings=settings) as stack:
            yield OnPostgres(stack, server)


def test_a_backfill_and_its_runs_are_in_postgres(on_postgres: OnPostgres) -> None:
    """All partitions in four runs: exact numbers, all of it in Postgres and none of it in files."""
    stack = on_postgres.stack
    stack.succeed(stack.launch("register_workers", tags={"dagster/partition": "chunk-00"}))
    backfill = stack.backfill(["workers/subject_manifests"], PARTITIONS)
    assert stack.wait_for_backfill(backfill) == "COMPLETED_SUCCESS"
    numbers = stack.newest("workers/subject_manifests")
    assert sorted(numbers) == PARTITIONS
    assert sum(one["inserted"] + one["skipped"] for one in numbers.values()) == PEOPLE
    every = [item["numbers"] for item in stack.materializations("workers/subject_manifests")]
    assert sum(one["inserted"] for one in every) == PEOPLE
    ended = on_postgres.rows(
        "select r.status, count(*) from runs r join run_tags t on t.run_id = r.run_id "
        "where t.key = 'dagster/backfill' and t.value = %s group by 1",
        backfill,
    )
    assert ended == [("SUCCESS", 4)]
    assert on_postgres.rows("select status from bulk_actions") == [("COMPLETED_SUCCESS",)]
    assert not list(stack.home.rglob("*.db"))


def test_a_sensors_ticks_are_in_postgres(on_postgres: OnPostgres, tmp_path: Path) -> None:
    """A sensor that is switched on in the page sees a new file, and its tick and the tick's run are recorded."""
    stack = on_postgres.stack
    sample_events(EVENTS, tmp_path / "events.jsonl", people=PEOPLE)
    (stack.store_folder / "inbox").mkdir(parents=True)
    shutil.move(tmp_path / "events.jsonl", stack.store_folder / "inbox" / "events.jsonl")
    selector = {
        "repositoryLocationName": "subject_pipeline",
        "repositoryName": "__repository__",
        "sensorName": SENSOR,
    }
    started = stack.ask(
        "mutation($s: SensorSelector!) { startSensor(sensorSelector: $s) { __typename ... on Sensor { name } } }",
        s=selector,
    )["startSensor"]
    assert started["__typename"] == "Sensor", started

    def asked() -> bool:
        return on_postgres.rows("select count(*) from job_ticks where status = 'SUCCESS'") != [(0,)]

    wait_until(asked, 180, "a tick that asks for a run")
    wait_until(lambda: bool(stack.runs(pipelineName="ingest_access_events")), 60, "the tick's run")
    stack.succeed(stack.runs(pipelineName="ingest_access_events")[0]["runId"])
    assert stack.materializations("audit_log")[0]["numbers"]["appended"] == EVENTS


def test_old_runs_go_from_postgres_and_what_is_known_stays(
    on_postgres: OnPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two verifications the first goes with its events; each partition's numbers and the last note are as before."""
    stack = on_postgres.stack
    runs = []
    for _ in range(2):
        runs.append(stack.launch("verify_checkpoint_and_report", tags=ALL_PARTITIONS))
        stack.succeed(runs[-1])
    for name, value in {**on_postgres.server.environment, "DAGSTER_COMPUTE_LOGS": str(stack.home / "logs")}.items():
        monkeypatch.setenv(name, value)
    numbers = stack.newest("audit_verification")

    def events(run: str) -> int:
        (count,) = on_postgres.rows("select count(*) from event_logs where run_id = %s", run)[0]
        assert isinstance(count, int)
        return count

    assert min(map(events, runs)) > len(PARTITIONS)
    with dg.DagsterInstance.from_config(str(stack.home)) as instance:
        newest = instance.get_latest_materialization_event(dg.AssetKey("audit_checkpoint"))
        assert newest is not None
        (gone,) = set(runs) - {newest.run_id}
        me = instance.get_run_by_id(newest.run_id)
        assert me is not None
        notes = last_note(instance, dg.AssetKey("audit_checkpoint"))
        assert prune(instance, me, dt.datetime.now(dt.UTC), dry_run=False).deleted >= 1
        assert last_note(instance, dg.AssetKey("audit_checkpoint")) == notes
    assert (events(gone), events(newest.run_id) > len(PARTITIONS)) == (0, True)
    assert stack.newest("audit_verification") == numbers
    assert all(stack.checks("audit_verification").values())


def test_a_checkpoints_note_is_read_back_from_postgres(
    on_postgres: OnPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event log in Postgres vouches for a checkpoint that the store has lost."""
    stack = on_postgres.stack
    stack.succeed(stack.launch("verify_checkpoint_and_report", tags=ALL_PARTITIONS))
    for name, value in {**on_postgres.server.environment, "DAGSTER_COMPUTE_LOGS": str(stack.home / "logs")}.items():
        monkeypatch.setenv(name, value)
    with dg.DagsterInstance.from_config(str(stack.home)) as instance:
        notes = last_note(instance, dg.AssetKey("audit_checkpoint"))
    assert len(notes) == 1
    newest = max((stack.store_folder / "checkpoints").glob("*/note"))
    assert newest.read_text(encoding="utf-8") == notes[0]

    shutil.rmtree(stack.store_folder / "checkpoints")
    failed = stack.launch("verify_checkpoint_and_report", tags=ALL_PARTITIONS)
    assert stack.wait(failed) == "FAILURE"
    assert write_checkpoint(stack.store, known_notes=notes).written is None
