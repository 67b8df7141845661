"""What a newcomer types first: in a fresh clone, without `DAGSTER_HOME` or any other setting."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from subject_pipeline import definitions
from subject_pipeline.definitions import defs as load_definitions
from subject_pipeline.registry.subjects import SubjectRegistry
from subject_pipeline.samples.people import sample_workers
from subject_pipeline.store.opened import SubjectStore

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
CONFIGURATIONS = (
    "dagster.yaml",
    "deploy/dagster.postgres.yaml",
    "deploy/celery/dagster.yaml",
    "deploy/kubernetes/values.yaml",
)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what git keeps."""
    folder = tmp_path_factory.mktemp("clone")
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


def run(clone: Path, *command: str, **settings: str) -> str:
    """Run a command there with a clean environment; what it said."""
    environment = {"PATH": os.pathsep.join((str(BIN), os.defpath)), "HOME": str(clone / "home")}
    done = subprocess.run(
        [BIN / command[0], *command[1:]],
        check=False,
        cwd=clone,
        env={**environment, "PYTHONPATH": str(clone), **settings},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


@pytest.mark.real
@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("dg check defs", "All definitions loaded successfully"),
        ("dg list defs", "audit_verification"),
        ("dagster definitions validate", "All code locations passed validation"),
    ],
)
def test_definitions_are_checked_listed_and_validated_in_a_fresh_clone(clone: Path, command: str, said: str) -> None:
    """All three load the project's own `dagster.yaml`, which names no variable."""
    before = sorted(path.name for path in clone.iterdir())
    assert said in run(clone, *command.split())
    assert sorted(path.name for path in clone.iterdir() if path.name != "home") == [n for n in before if n != "home"]


def test_the_projects_dagster_yaml_names_no_variable(clone: Path, tmp_path: Path) -> None:
    """An instance opens with it where nothing is set, and keeps its history where `DAGSTER_HOME` is."""
    shutil.copy(clone / "dagster.yaml", tmp_path)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert not instance.telemetry_enabled
        assert instance.get_run_records() == []
    assert Path(instance.root_directory) == tmp_path


@pytest.mark.real  # what such a run does is tested in process: components/test_subject_dataset.py
def test_a_job_is_launched_over_a_range_from_the_command_line(clone: Path, tmp_path: Path) -> None:
    """`dg launch --job ... --partition-range` stages and registers in one run; Dagster asks all assets to allow it."""
    sample_workers(40, clone / "sample_data" / "workers.parquet")
    settings = {"SUBJECT_STORE_URL": str(tmp_path / "store"), "SUBJECT_CHUNKS": "4"}
    run(clone, "dg", "launch", "--job", "register_workers", "--partition-range", "chunk-0...chunk-3", **settings)
    assert SubjectRegistry(SubjectStore.at(str(tmp_path / "store"))).count() == 40


def test_relative_sources_count_from_the_working_directory_where_there_is_no_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a clone they count from the clone, wherever Dagster is started."""

    def source() -> Path:
        graph = load_definitions().resolve_asset_graph()
        return Path(graph.get(dg.AssetKey(["workers", "source"])).metadata["uri"])

    monkeypatch.chdir(tmp_path)
    assert source() == ROOT / "sample_data" / "workers.parquet"
    monkeypatch.setattr(definitions, "CLONE", tmp_path / "site-packages")
    assert source() == tmp_path / "sample_data" / "workers.parquet"


def test_pools_are_configured_where_they_are_used_and_nowhere_else() -> None:
    """A limit that nothing is held to is a promise that nobody keeps."""
    repository = load_definitions().get_repository_def()
    used = {pool for job in repository.get_all_jobs() for node in job.all_node_defs for pool in node.pools}

    def configured(name: str) -> bool:
        values: dict[str, Any] = yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))
        return "pools" in values["concurrency"]

    assert {name for name in CONFIGURATIONS if configured(name)} == (set(CONFIGURATIONS) if used else set())
