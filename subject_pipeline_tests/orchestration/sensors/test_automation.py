import re
import traceback
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster import DagsterRunStatus
from dagster._core.test_utils import create_run_for_test
from dagster.components.core.component_tree import ComponentTreeException

from subject_pipeline.definitions import defs as load_definitions
from subject_pipeline.registry.backfill import backfill
from subject_pipeline.samples.people import sample_workers
from subject_pipeline.store.datasets import DatasetDeclaration
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline_tests.conftest import Prepared, listing
from subject_pipeline_tests.helpers.projects import definitions_of

SENSORS = {"register_workers_when_changed", "ingest_new_event_files", "apply_new_decision_files"}
SCHEDULES = {"nightly_verification", "weekly_verification", "weekly_maintenance", "daily_erasures"}
VERIFY = "verify_checkpoint_and_report"


def _instance_in(folder: Path) -> AbstractContextManager[dg.DagsterInstance]:
    return dg.instance_for_test(temp_dir=str(folder))


def _new_instance(folder: Path) -> None:
    with _instance_in(folder):
        """Its databases are laid out."""


@pytest.fixture
def instance(tmp_path_factory: pytest.TempPathFactory, prepared: Prepared) -> Iterator[dg.DagsterInstance]:
    """A Dagster instance with files, since a schedule looks its instance up by reference."""
    folder = tmp_path_factory.mktemp("dagster")
    prepared(_new_instance, folder)
    with _instance_in(folder) as made:
        yield made


def evaluated(name: str, instance: dg.DagsterInstance) -> dg.RunRequest | str:
    """What a schedule's tick asks for, or why it asks for nothing."""
    definitions = load_definitions()
    schedule = definitions.resolve_schedule_def(name)
    with dg.build_schedule_context(instance=instance) as context:
        result = schedule.evaluate_tick(context)
    return result.run_requests[0] if result.run_requests else str(result.skip_message)


@pytest.mark.parametrize(("switch", "status"), [("", "STOPPED"), ("off", "STOPPED"), ("on", "RUNNING")])
def test_one_switch_turns_everything_on(switch: str, status: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every sensor and schedule of ours runs where SUBJECT_AUTOMATION=on, and none otherwise."""
    monkeypatch.setenv("SUBJECT_AUTOMATION", switch)
    repository = load_definitions().get_repository_def()
    sensors = {sensor.name: sensor.default_status.value for sensor in repository.sensor_defs}
    schedules = {schedule.name: schedule.default_status.value for schedule in repository.schedule_defs}
    assert {sensors[name] for name in SENSORS} == {status}
    assert {schedules[name] for name in SCHEDULES} == {status}


def test_a_switch_that_is_neither_on_nor_off_is_refused_when_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt switch does not leave everything silently off; the file's line is named."""
    monkeypatch.setenv("SUBJECT_AUTOMATION", "onn")
    with pytest.raises(ComponentTreeException) as refused:
        load_definitions()
    words = "".join(traceback.format_exception(refused.value))
    assert re.search(r"platform/defs.yaml:\d+ - attributes.automation.enabled", words)
    assert "automation.enabled: Input should be a valid boolean" in words


def test_schedules_have_the_times_and_zone_of_the_platform(tmp_path: Path) -> None:
    """Crons and time zone come from the YAML."""
    crons = {name: f"{minute} 3 * * *" for minute, name in enumerate(sorted(SCHEDULES))}
    automation = {"timezone": "Europe/Berlin", **crons}
    with definitions_of({"store": str(tmp_path), "automation": automation}) as definitions:
        repository = definitions.get_repository_def()
    for name in SCHEDULES:
        schedule = repository.get_schedule_def(name)
        assert schedule.cron_schedule == crons[name]
        assert schedule.execution_timezone == "Europe/Berlin"


@pytest.mark.long
@pytest.mark.parametrize(("name", "mode"), [("nightly_verification", "incremental"), ("weekly_verification", "full")])
def test_a_verification_is_one_run_over_all_partitions(name: str, mode: str, instance: dg.DagsterInstance) -> None:
    """Its range is the whole of the partitions, and its config says how much is read."""
    request = evaluated(name, instance)
    assert isinstance(request, dg.RunRequest)
    assert request.tags["dagster/asset_partition_range_start"] == "chunk-00"
    assert request.tags["dagster/asset_partition_range_end"] == "chunk-3f"
    assert request.run_config == {"ops": {"audit_verification": {"config": {"mode": mode}}}}


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "job"),
    [("nightly_verification", VERIFY), ("weekly_verification", VERIFY), ("weekly_maintenance", "maintain_store")],
)
def test_a_schedule_waits_while_a_run_of_its_job_is_going(name: str, job: str, instance: dg.DagsterInstance) -> None:
    """Its tick is skipped with the run named; a run that has ended holds nothing up."""
    run = create_run_for_test(instance, job_name=job, status=DagsterRunStatus.STARTED)
    skipped = evaluated(name, instance)
    assert isinstance(skipped, str)
    assert f"run {run.run_id[:8]} of {job} is started" in skipped
    instance.report_run_failed(run)
    assert isinstance(evaluated(name, instance), dg.RunRequest)


@pytest.mark.parametrize(
    ("attributes", "complaint"),
    [
        ({"owners": ["nobody"]}, "Invalid owner 'nobody'"),
        ({"automation": {"weekly_maintenance": "often"}}, "invalid cron schedule 'often' for schedule 'weekly_maint"),
        ({"automation": {"timezone": "Mars/Olympus"}}, "is no IANA time zone"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_name(attributes: dict[str, Any], complaint: str) -> None:
    """Definitions with a bad owner, schedule or time zone do not load."""
    with (
        pytest.raises((dg.DagsterInvalidDefinitionError, ComponentTreeException)) as refused,
        definitions_of(attributes),
    ):
        """Nothing is there to be loaded."""
    assert complaint in "".join(traceback.format_exception(refused.value))


def test_lineage_runs_from_the_files_to_the_checkpoint_chunk_by_chunk() -> None:
    """Every edge is there, and partitions map one to one."""
    graph = load_definitions().resolve_asset_graph()

    def upstream(*path: str) -> set[str]:
        return {key.to_user_string() for key in graph.get(dg.AssetKey(list(path))).parent_keys}

    assert upstream("workers", "candidate_chunks") == {"workers/source"}
    assert upstream("workers", "subject_manifests") == {"workers/candidate_chunks"}
    assert upstream("audit_log") == {"inbox_event_files"}
    assert upstream("audit_verification") == {"audit_log", "workers/subject_manifests"}
    assert upstream("audit_checkpoint") == {"audit_verification"}
    verification = graph.get(dg.AssetKey("audit_verification"))
    mapping = verification.partition_mappings[dg.AssetKey(["workers", "subject_manifests"])]
    assert isinstance(mapping, dg.IdentityPartitionMapping)
    source = graph.get(dg.AssetKey(["workers", "source"]))
    assert source.is_observable
    assert not source.is_materializable
    assert source.metadata["uri"].endswith("sample_data/workers.parquet")


def test_shared_assets_have_the_owners_of_the_platform(tmp_path: Path) -> None:
    """A dataset's assets keep its own owners; all else belongs to whom the platform's YAML names."""
    people = {"name": "people", "source": "people.parquet", "key_column": "id"}
    with definitions_of({"store": str(tmp_path), "owners": ["team:privacy"]}, people) as definitions:
        graph = definitions.resolve_asset_graph()
    shared = {key for key in graph.get_all_asset_keys() if key.path[0] != "people"}
    assert len(shared) == 9
    assert all(graph.get(key).owners == ["team:privacy"] for key in shared)
    assert graph.get(dg.AssetKey(["people", "subject_manifests"])).owners == []


def test_every_job_says_what_it_does_and_needs_no_config() -> None:
    """Each has a description, tags and metadata, and an empty config is valid."""
    definitions = load_definitions()
    for name in ("register_workers", "ingest_access_events", VERIFY, "maintain_store"):
        job = definitions.resolve_job_def(name)
        assert "eeds no config" in str(job.description)
        assert job.tags
        assert job.metadata
        assert dg.validate_run_config(job, {})


@pytest.mark.long
def test_maintenance_reports_on_op_and_manifests(
    instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its numbers are on the run, and on the manifests of datasets that Dagster knows; others get no asset."""
    monkeypatch.setenv("SUBJECT_STORE_URL", str(tmp_path / "store"))
    store = SubjectStore.at(str(tmp_path / "store"), wanted_chunks=64)
    for number, name in enumerate(("workers", "by_hand")):
        source = tmp_path / f"{name}.parquet"
        sample_workers(50 * (number + 1), source)
        declaration = DatasetDeclaration(
            name=name, source=str(source), key_column="worker_id", candidate_id_prefix=name
        )
        store.register(declaration)
        backfill(store, declaration)
    manifests = dg.AssetKey(["workers", "subject_manifests"])
    instance.report_runless_asset_event(dg.AssetMaterialization(manifests, partition="chunk-00"))

    result = load_definitions().resolve_job_def("maintain_store").execute_in_process(instance=instance)

    assert result.success
    (observed,) = result.get_asset_observation_events()
    assert observed.asset_observation_data.asset_observation.asset_key == manifests
    numbers: dict[str, Any] = {
        name: value.value for name, value in observed.asset_observation_data.asset_observation.metadata.items()
    }
    assert numbers["files_before"] > numbers["files_after"] > 0
    assert numbers["bytes_freed"] == numbers["bytes_before"] - numbers["bytes_after"]
    (output,) = [event for event in result.all_node_events if event.is_successful_output]
    assert numbers.items() <= {name: value.value for name, value in output.step_output_data.metadata.items()}.items()


@pytest.mark.long
def test_maintaining_an_unused_store_creates_nothing(
    instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A schedule over a store that was never written does no harm."""
    monkeypatch.setenv("SUBJECT_STORE_URL", str(tmp_path / "store"))
    result = load_definitions().resolve_job_def("maintain_store").execute_in_process(instance=instance)
    assert result.success
    assert listing(tmp_path) == {}
