"""What others install: the wheel, not editable, in an environment and a folder of its own."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Installed:
    """An environment that holds the wheel, and an empty folder to work in."""

    wheel: Path
    python: Path
    folder: Path

    def run(self, *command: str | Path) -> str:
        """Run one of the environment's own programs in the folder, without any setting; what it printed."""
        done = subprocess.run(
            [self.python.with_name(str(command[0])), *command[1:]],
            cwd=self.folder,
            env={"PATH": os.defpath, "HOME": str(self.folder)},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel of what git keeps, installed beside the dependencies that these tests run with.

    Their folder is named in a `.pth` file: what lies in it is imported, its own `.pth` files are not read, and so the
    editable installation of the clone is not seen.
    """
    top = tmp_path_factory.mktemp("wheel")
    clone, folder = top / "clone", top / "elsewhere"
    folder.mkdir()
    for name in tracked(""):
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, clone / name)
    build: list[str | Path] = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", top]
    subprocess.run(build, cwd=clone, check=True, capture_output=True)
    (wheel,) = top.glob("*.whl")
    venv.create(top / "venv", symlinks=True)
    python = top / "venv" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python)]
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "-q", wheel], check=True, capture_output=True)
    (site,) = (top / "venv" / "lib").glob("python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    return Installed(wheel, python, folder)


def tracked(below: str) -> list[str]:
    """The files below a folder of the project that git keeps or would keep."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", below or "."]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return sorted(name for name in listed.split("\0") if name and (ROOT / name).is_file())


@pytest.mark.long
def test_the_wheel_holds_the_package_its_data_and_its_licence_and_nothing_else(installed: Installed) -> None:
    """Templates, styles, YAML and `py.typed` are in it; tests, scripts and benchmarks are not."""
    names = zipfile.ZipFile(installed.wheel).namelist()
    assert sorted(name for name in names if ".dist-info/" not in name) == tracked("subject_pipeline")
    assert {Path(name).suffix for name in names} >= {".css", ".j2", ".yaml", ".typed"}
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


@pytest.mark.real
def test_the_command_line_registers_people_from_the_wheel(installed: Installed) -> None:
    """The code that runs is the wheel's, in a folder that has no project."""
    where = installed.run("python", "-c", "import subject_pipeline.errors as e; print(e.__file__)").strip()
    assert Path(where).is_relative_to(installed.python.parents[1])
    assert "backfill" in installed.run("subject-pipeline", "--help")
    installed.run("subject-pipeline", "sample", "workers", "--rows", "50", "--out", "people.parquet")
    source = ("--source", "people.parquet", "--key-column", "worker_id")
    installed.run("subject-pipeline", "datasets", "register", "people", *source)
    installed.run("subject-pipeline", "backfill", "--dataset", "people", "--all")
    assert installed.run("subject-pipeline", "subjects", "count").strip() == "50"


@pytest.mark.real
def test_dagster_loads_the_code_location_from_the_wheel(installed: Installed) -> None:
    """No `pyproject.toml` lies above it, which is where `dg` would read which folder holds the definitions."""
    said = installed.run("python", "-m", "dagster", "definitions", "validate", "-m", "subject_pipeline.definitions")
    assert "All code locations passed validation" in said


@pytest.mark.long
def test_an_installed_package_says_what_it_is(installed: Installed) -> None:
    """The licence and the components are found by name, as pip and `dg` look for them."""
    look = "import importlib.metadata as m; print(m.metadata('subject-pipeline')['License-Expression'])"
    assert installed.run("python", "-c", look).strip() == project()["license"]
    find = "import importlib.metadata as m; print(*m.entry_points(group='dagster_dg_cli.registry_modules'))"
    assert "subject_pipeline.components" in installed.run("python", "-c", find)


def project() -> dict[str, Any]:
    """What `pyproject.toml` says of the project."""
    found: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return found
