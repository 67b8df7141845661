from pathlib import Path

import polars as pl
import pytest

from subject_pipeline_tests.cli.conftest import Run

COMMANDS = (
    ("audit", "append", "P-1", "--action", "view"),
    ("audit", "checkpoint"),
    ("audit", "ingest", "events.jsonl"),
    ("audit", "prove", "P-1", "--out", "proof.json"),
    ("audit", "show", "P-1"),
    ("audit", "verify"),
    ("audit", "verify", "--incremental"),
    ("backfill", "--dataset", "people"),
    ("rebuild",),
    ("report",),
    ("subjects", "compact"),
    ("subjects", "count"),
    ("subjects", "delete", "P-1"),
    ("subjects", "get", "P-1"),
)


@pytest.fixture
def laid_out(run: Run, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The layout of a store that has a manifest, a row and a checkpoint."""
    pl.DataFrame({"id": ["P-1"]}).write_parquet(workplace / "people.parquet")
    event = '{"event_id":"e","candidate_id":"P-1","ts":"2026-06-30T12:00:00Z","actor":"a","action":"view"}\n'
    (workplace / "events.jsonl").write_text(event, encoding="utf-8")
    monkeypatch.setenv("SUBJECT_KEY_RING", "ring.json")
    monkeypatch.setenv("SUBJECT_CHUNKS", "4")
    for command in (
        ("keys", "new", "ring.json"),
        ("datasets", "register", "people", "--source", "people.parquet", "--key-column", "id"),
        ("backfill", "--dataset", "people"),
        ("audit", "append", "P-1", "--action", "view"),
        ("audit", "checkpoint"),
    ):
        assert run(*command).status == 0
    return workplace / "data" / "catalog" / "layout.json"


def test_a_store_whose_layout_is_gone_is_neither_read_nor_written(run: Run, laid_out: Path) -> None:
    """Every command says so with exit status 2, and nobody lays the store out again; with it back, all is as it was."""
    text = laid_out.read_bytes()
    laid_out.unlink()
    before = sorted(laid_out.parents[1].rglob("*"))
    for command in COMMANDS:
        ran = run(*command)
        assert (ran.status, command) == (2, command), ran.err
        assert "catalog/layout.json is gone" in ran.err, command
        assert "restore it" in ran.err
    assert sorted(laid_out.parents[1].rglob("*")) == before

    laid_out.write_bytes(text)
    assert run("audit", "verify").status == 0


def test_doctor_tells_that_the_layout_is_gone(run: Run, laid_out: Path) -> None:
    """As the one thing that is wrong."""
    laid_out.unlink()
    ran = run("doctor", "--json")
    assert ran.status != 0
    (wrong,) = [one for one in ran.json["findings"] if one["level"] == "problem"]
    assert wrong["name"] == "layout"
    assert "catalog/layout.json is gone" in wrong["detail"]
