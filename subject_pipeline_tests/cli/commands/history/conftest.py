from pathlib import Path

import pytest

from subject_pipeline_tests.cli.conftest import Run
from subject_pipeline_tests.conftest import KEY_COLUMN, Parquet


@pytest.fixture
def filled(run: Run, parquet: Parquet, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command line over a store with three subjects and a key ring."""
    assert run("keys", "new", workplace / "ring.json").status == 0
    monkeypatch.setenv("SUBJECT_KEY_RING", str(workplace / "ring.json"))
    monkeypatch.setenv("SUBJECT_ACTOR", "ada")
    source = parquet(["A", "CAND/1", "ß"])
    assert run("datasets", "register", "people", "--source", source, "--key-column", KEY_COLUMN).status == 0
    assert run("backfill", "--dataset", "people").status == 0
    return run
