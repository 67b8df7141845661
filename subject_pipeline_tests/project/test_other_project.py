"""Another Dagster project, made by Dagster's own command: the wheel is installed, and two YAML files are written."""

import os
import subprocess
import sys
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from subject_pipeline.registry.subjects import SubjectRegistry
from subject_pipeline.samples.events import sample_events
from subject_pipeline.samples.people import sample_workers
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline_tests.project.test_wheel import Installed, installed
from subject_pipeline_tests.real.conftest import free_port, running, wait_until
from subject_pipeline_tests.real.web_server import DagsterStack

__all__ = ["installed"]

pytestmark = pytest.mark.real

PEOPLE = 60
COMPONENT = "subject_pipeline.components"
RANGE = ("--partition-range", "chunk-0...chunk-3")
ASSETS = """query { assetsOrError { ... on AssetConnection { nodes { key { path } } } } }"""


@dataclass(frozen=True)
class Shop:
    """The project, and the environment that holds the wheel and whatever its bounds allow."""

    bin: Path
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def call(self, *command: str) -> tuple[int, str]:
        """One of the environment's programs, run in the project's folder: its status, and what it said."""
        done = subprocess.run(
            [self.bin / command[0], *command[1:]],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        return done.returncode, done.stdout + done.stderr

    def run(self, *command: str) -> str:
        """The same, of a command that must succeed."""
        status, said = self.call(*command)
        assert status == 0, said
        return said

    def yaml(self, name: str) -> Path:
        """The YAML of a component."""
        return self.folder / "src" / "shop" / "defs" / name / "defs.yaml"


@pytest.fixture(scope="module")
def shop(installed: Installed, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A project that was scaffolded, with a platform and two datasets; nothing was typed but commands.

    Dagster is the newest that the wheel's bounds allow, whatever `constraints.txt` says.
    """
    top = tmp_path_factory.mktemp("other")
    venv.create(top / "venv", symlinks=True)
    binaries = top / "venv" / "bin"
    pip: list[str | Path] = [sys.executable, "-m", "pip", "--python", binaries / "python", "install", "-q"]
    subprocess.run([*pip, installed.wheel, "dagster-dg-cli", "create-dagster"], check=True, capture_output=True)
    folder = top / "shop"
    environment = {"PATH": os.pathsep.join((str(binaries), os.defpath)), "HOME": str(top)}
    made = Shop(binaries, top, environment)
    made.run("create-dagster", "project", "shop", "--no-uv-sync")
    home = folder / ".dagster_home"
    home.mkdir()
    environment |= {"PYTHONPATH": str(folder / "src"), "DAGSTER_HOME": str(home), "SUBJECT_CHUNKS": "4"}
    environment["SUBJECT_KEY_RING"] = "ring.json"
    shop = Shop(binaries, folder, environment)
    shop.run("dg", "scaffold", "defs", f"{COMPONENT}.SubjectPlatform", "platform")
    for name in ("workers", "drivers"):
        sample_workers(PEOPLE, folder / f"{name}.parquet")
        shop.run(
            "dg", "scaffold", "defs", f"{COMPONENT}.SubjectDataset", name,
            "--source", f"{name}.parquet", "--key-column", "worker_id", "--candidate-id-prefix", f"{name}-",
        )  # fmt: skip
    return shop


def test_the_components_are_listed_and_the_yaml_is_right(shop: Shop) -> None:
    """`dg list components`, `dg check yaml`, `dg check defs` and `dg list defs`, with what was scaffolded."""
    listed = shop.run("dg", "list", "components", "--json")
    assert f"{COMPONENT}.SubjectPlatform" in listed
    assert f"{COMPONENT}.SubjectDataset" in listed
    assert "validated successfully" in shop.run("dg", "check", "yaml")
    assert "All definitions loaded successfully" in shop.run("dg", "check", "defs")
    definitions = shop.run("dg", "list", "defs", "--json")
    assert all(f"{name}/subject_manifests" in definitions for name in ("workers", "drivers"))
    assert "audit_verification" in definitions


@contextmanager
def misspelt(file: Path, right: str, wrong: str) -> Iterator[int]:
    """A word of a file is written wrongly; its line, counted from 1."""
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace(right, wrong), encoding="utf-8")
    try:
        yield text[: text.index(right)].count("\n") + 1
    finally:
        file.write_text(text, encoding="utf-8")


@pytest.mark.parametrize("name", ["workers", "drivers"])
@pytest.mark.parametrize(("right", "wrong"), [("key_column", "key_colum"), ("all: true", "all: perhaps")])
def test_what_is_wrong_in_one_of_two_datasets_is_named_with_its_line(
    shop: Shop, name: str, right: str, wrong: str
) -> None:
    """By `dg check yaml` of the file, and by `dg check defs` of them all; the other dataset hides nothing."""
    with misspelt(shop.yaml(name), right, wrong) as line:
        for command in (("check", "yaml", str(shop.yaml(name).parent)), ("check", "defs")):
            status, said = shop.call("dg", *command)
            assert status != 0
            assert f"{name}/defs.yaml:{line}" in said, said
            assert wrong.partition(":")[0] in said


def test_a_project_registers_verifies_and_reports(shop: Shop) -> None:
    """Backfills are launched by `dg launch`; the command line, in the project, works on the same store."""
    shop.run("subject-pipeline", "keys", "new", "ring.json")
    for name in ("workers", "drivers"):
        shop.run("dg", "launch", "--job", f"register_{name}", *RANGE)
    sample_events(40, shop.folder / "data" / "inbox" / "events.jsonl", people=PEOPLE)
    shop.run("dg", "launch", "--job", "ingest_access_events")
    shop.run("dg", "launch", "--job", "verify_checkpoint_and_report", *RANGE)

    store = SubjectStore.at(str(shop.folder / "data"))
    assert SubjectRegistry(store).count() == 2 * PEOPLE
    assert shop.run("subject-pipeline", "subjects", "count").strip() == str(2 * PEOPLE)
    assert '"rows": 40' in shop.run("subject-pipeline", "audit", "verify", "--json")
    assert any(key.endswith("report.html") for key in _keys(store, "reports/"))
    assert _keys(store, "checkpoints/")
    assert "checkpoint 0 is" in shop.run("subject-pipeline", "doctor")


def test_the_web_server_shows_the_project(shop: Shop) -> None:
    """It loads the code location, and answers for its assets."""
    port = free_port()
    command: list[str | Path] = [shop.bin / "dg", "dev", "--port", str(port)]
    log = shop.folder / "log"
    with running(command, log, shop.environment, cwd=shop.folder):
        url = f"http://127.0.0.1:{port}"
        server = DagsterStack(shop.folder, shop.folder, shop.folder / "data", shop.folder / "ring.json", url)
        wait_until(server.is_ready, 180, f"the web server: see {log}")
        assert {"workers/subject_manifests", "audit_verification", "compliance_report"} <= _assets(server)


def _assets(server: DagsterStack) -> set[str]:
    nodes: Sequence[Any] = server.ask(ASSETS)["assetsOrError"]["nodes"]
    return {"/".join(node["key"]["path"]) for node in nodes}


def _keys(store: SubjectStore, below: str) -> list[str]:
    return [item.key for item in store.objects.list(below)]
