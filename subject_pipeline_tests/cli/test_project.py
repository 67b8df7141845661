"""Where the command line stands in a Dagster project, it works on the store that the project's YAML names."""

from pathlib import Path

import pytest

from subject_pipeline.store.opened import SubjectStore
from subject_pipeline_tests.cli.conftest import Run
from subject_pipeline_tests.project.test_reading import TYPE, project


@pytest.fixture
def at(tmp_path: Path) -> Path:
    """A project whose platform has a store of its own, of four chunks, and a key ring."""
    folder = tmp_path / "at"
    folder.mkdir()
    return project(folder, f"type: {TYPE}\nattributes:\n  store: subjects\n  chunks: 4\n  key_ring: ring.json\n")


def test_the_project_that_is_named_says_which_store_and_ring(run: Run, at: Path) -> None:
    """From any folder; the option may stand before the command or after it."""
    assert run("keys", "new", at / "ring.json").status == 0
    assert run("--project", at, "keys", "public").status == 0
    layout = SubjectStore.at(str(at / "subjects")).layout()
    assert layout is not None
    assert layout.chunk_count == 4
    assert run("subjects", "count", "--project", at).out.strip() == "0"


def test_the_project_that_is_stood_in_is_taken(run: Run, at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It wins over the environment, as it does for Dagster."""
    monkeypatch.setenv("SUBJECT_STORE_URL", str(at / "elsewhere"))
    monkeypatch.chdir(at / "src")
    assert run("sample", "workers", "--rows", "5", "--out", "people.parquet").status == 0
    assert run("datasets", "register", "p", "--source", "people.parquet", "--key-column", "worker_id").status == 0
    assert (at / "subjects" / "catalog").is_dir()
    assert not (at / "elsewhere").exists()


def test_a_store_that_is_named_wins(run: Run, at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The project's chunks are those of its own store."""
    SubjectStore.at(str(at / "other"), wanted_chunks=16).layout_or_create()
    monkeypatch.chdir(at)
    assert run("--store", at / "other", "subjects", "count").out.strip() == "0"


def test_a_store_that_is_named_needs_no_sound_project(run: Run, at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless a key is needed, which the project's ring has: then its YAML is refused."""
    SubjectStore.at(str(at / "other"), wanted_chunks=16).layout_or_create()
    (at / "src" / "mine" / "defs" / "platform" / "defs.yaml").write_text(f"type: {TYPE}\n  ]: [")
    monkeypatch.chdir(at)
    assert run("--store", at / "other", "subjects", "count").out.strip() == "0"
    refused = run("--store", at / "other", "audit", "verify", "--json")
    assert (refused.status, "cannot read" in refused.json["error"]) == (2, True)


def test_a_folder_without_a_project_is_refused(run: Run, tmp_path: Path) -> None:
    """A misspelt folder is not taken for "no project"."""
    refused = run("--project", tmp_path, "subjects", "count", "--json")
    assert refused.status == 2
    assert "dg scaffold defs subject_pipeline.components.SubjectPlatform" in refused.json["error"]


def test_a_wrong_platform_is_refused_with_its_line(run: Run, at: Path) -> None:
    """Nothing is written."""
    (at / "src" / "mine" / "defs" / "platform" / "defs.yaml").write_text(f"type: {TYPE}\nattributes:\n  chunks: x\n")
    refused = run("--project", at, "subjects", "count", "--json")
    assert refused.status == 2
    assert "defs.yaml:3: attributes.chunks" in refused.json["error"]
