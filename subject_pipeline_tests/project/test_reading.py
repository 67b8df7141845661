"""The command line reads the platform that Dagster loads, and without Dagster."""

import subprocess
import sys
from pathlib import Path

import pytest

from subject_pipeline.errors import ConfigurationError
from subject_pipeline.project.finding import project_around
from subject_pipeline.project.reading import Project, read_project

TYPE = "subject_pipeline.components.SubjectPlatform"


def project(folder: Path, yaml: str, *, configuration: str = "[tool.dg.project]\nroot_module = 'mine'\n") -> Path:
    """A Dagster project whose defs folder holds one file."""
    (folder / "pyproject.toml").write_text(configuration, encoding="utf-8")
    file = folder / "src" / "mine" / "defs" / "platform" / "defs.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(yaml, encoding="utf-8")
    return folder


def read(folder: Path) -> Project | None:
    """The project that a folder lies in."""
    around = project_around(folder)
    return read_project(*around) if around else None


def test_the_platform_of_the_nearest_project_is_found(tmp_path: Path) -> None:
    """From any folder in it; relative paths count from the project's folder."""
    top = project(tmp_path, f"type: {TYPE}\nattributes:\n  store: subjects\n  chunks: 4\n")
    found = read(top / "src" / "mine")
    assert found is not None
    assert found.platform.store == str(tmp_path / "subjects")
    assert found.platform.chunks == 4
    assert found.file.name == "defs.yaml"


@pytest.mark.parametrize("template", ["{{ env.STORE }}", "{{ env('STORE', 'x') }}", "{{ env.STORE or 'x' }}"])
def test_values_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, template: str) -> None:
    """In each form that Dagster knows."""
    monkeypatch.setenv("STORE", "s3://bucket")
    found = read(
        project(tmp_path, f'type: {TYPE}\nattributes:\n  store: "{template}"\n  key_ring: "{{{{ env.NO }}}}"\n')
    )
    assert found is not None
    assert found.platform.store == "s3://bucket"
    assert found.platform.key_ring is None


def test_options_get_the_values_of_their_variables(tmp_path: Path) -> None:
    """The one that is not set is named."""
    yaml = f'type: {TYPE}\nattributes:\n  store_options:\n    aws_secret_access_key: "{{{{ env.SECRET }}}}"\n'
    found = read(project(tmp_path, yaml))
    assert found is not None
    assert found.store_options({"SECRET": "s"}) == {"aws_secret_access_key": "s"}
    with pytest.raises(ConfigurationError, match="needs the variable SECRET"):
        found.store_options({})


@pytest.mark.parametrize(
    ("attributes", "place"),
    [
        ("  stoer: x", r"defs.yaml:3: attributes.stoer"),
        ("  chunks: 4\n  automation:\n    timezone: Mars", r"defs.yaml:5: attributes.automation.timezone: Value error"),
        ('  store: "{{ context.x }}"', r"defs.yaml:3: attributes.store: the command line reads"),
        ("  store: [", r"cannot read \S+defs.yaml"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_line(tmp_path: Path, attributes: str, place: str) -> None:
    """As Dagster does."""
    with pytest.raises(ConfigurationError, match=place):
        read(project(tmp_path, f"type: {TYPE}\nattributes:\n{attributes}\n"))


def test_two_platforms_are_refused_with_their_files(tmp_path: Path) -> None:
    """Which of them is meant cannot be known."""
    with pytest.raises(ConfigurationError, match=r"2 YAML documents .*platform/defs.yaml, \S+platform/defs.yaml"):
        read(project(tmp_path, f"type: {TYPE}\n---\ntype: {TYPE}\n"))


def test_other_peoples_projects_are_none_of_ours(tmp_path: Path) -> None:
    """A project without a platform, and a folder that is in none."""
    assert read(project(tmp_path, "type: dagster.DefsFolderComponent\n")) is None
    assert project_around(Path("/")) is None


def test_a_project_may_say_where_its_definitions_are(tmp_path: Path) -> None:
    """In `dg.toml` as well."""
    top = project(tmp_path, f"type: {TYPE}\n", configuration="[project]\nname = 'x'\n")
    assert read(top) is None
    (top / "dg.toml").write_text("[project]\nroot_module = 'm'\ndefs_module = 'mine.defs'\n", encoding="utf-8")
    assert read(top) is not None


@pytest.mark.long
def test_reading_loads_neither_dagster_nor_jinja() -> None:
    """Starting up imports only what the command needs."""
    look = (
        "import sys; from subject_pipeline.project import reading; "
        "print({'dagster', 'jinja2', 'polars'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True).stdout == "set()\n"
