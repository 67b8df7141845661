"""What `make dev` hands to Dagster."""

import os
from pathlib import Path

import cluster
import dev
import pytest


class _Became(Exception):  # noqa: N818 - what ends the program, and no error
    pass


@pytest.fixture(autouse=True)
def _environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home, nothing to prepare, and no Dagster to become."""

    def become(*_: object) -> None:
        raise _Became

    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setenv("SUBJECT_DAGSTER_URL", "")
    monkeypatch.setattr(dev, "prepare", lambda *_: None)
    monkeypatch.setattr(os, "execv", become)
    monkeypatch.chdir(tmp_path)


def test_alerts_link_to_the_port_that_the_page_is_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """With PORT=, without it, and not where somebody says otherwise."""
    monkeypatch.setenv("PORT", "4321")
    with pytest.raises(_Became):
        dev.main()
    assert os.environ["SUBJECT_DAGSTER_URL"] == "http://127.0.0.1:4321"
    monkeypatch.setenv("SUBJECT_DAGSTER_URL", "https://dagster.example.com")
    with pytest.raises(_Became):
        dev.main()
    assert os.environ["SUBJECT_DAGSTER_URL"] == "https://dagster.example.com"
    monkeypatch.setenv("SUBJECT_DAGSTER_URL", "")
    monkeypatch.delenv("PORT")
    with pytest.raises(_Became):
        dev.main()
    assert os.environ["SUBJECT_DAGSTER_URL"] == "http://127.0.0.1:3000"


@pytest.mark.parametrize(
    ("said", "linked"), [("", "http://127.0.0.1:4321"), ("https://dagster.example.com", "https://dagster.example.com")]
)
def test_a_clusters_alerts_link_to_its_page(tmp_path: Path, said: str, linked: str) -> None:
    """As those of `make dev`."""
    (tmp_path / "home").mkdir()
    environment = cluster._environment(tmp_path, cluster.ROOT, 4321, {"SUBJECT_DAGSTER_URL": said})
    assert environment["SUBJECT_DAGSTER_URL"] == linked
