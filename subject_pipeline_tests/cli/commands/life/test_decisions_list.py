import csv
import json
from pathlib import Path

import polars as pl
import pytest

from subject_pipeline.decisions.decision import Kind
from subject_pipeline.keys.ring_file import KeyRingFile
from subject_pipeline_tests.cli.conftest import Run
from subject_pipeline_tests.conftest import Prepared, listing
from subject_pipeline_tests.helpers.lives import days_ago, life
from subject_pipeline_tests.helpers.recorded_lives import LivedStore


def _three_things_decided(folder: Path) -> None:
    found = LivedStore.in_folder(folder)
    found.put(life("W-1"), life("=2"))
    found.decide(Kind.INTERACTION, "W-1", ts=days_ago(3))
    found.decide(Kind.HOLD_PLACED, "=2", hold_id="H-1", reason="case 7")
    found.registry.delete("W-1")


@pytest.fixture
def lived(
    tmp_path: Path, workplace: Path, ring: KeyRingFile, prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> LivedStore:
    """The store of the working folder, in which three things were decided about two people."""
    assert ring.path is not None
    monkeypatch.setenv("SUBJECT_KEY_RING", str(ring.path))
    prepared(_three_things_decided, tmp_path)
    (tmp_path / "store").rename(workplace / "data")
    return LivedStore.at(workplace / "data", ring, decided=2)


@pytest.mark.long
def test_lines(run: Run, lived: LivedStore) -> None:
    """One object a line, or one object with all of them; nothing is written."""
    before = listing(Path("data"))
    lines = [json.loads(line) for line in run("decisions", "list").out.splitlines()]
    found = run("decisions", "list", "--json")

    assert found.status == 0
    assert found.json == {"count": 3, "decisions": lines}
    assert sorted((one["candidate_id"], one["seq"], one["kind"]) for one in lines) == [
        ("=2", 0, "hold_placed"),
        ("W-1", 0, "interaction"),
        ("W-1", 1, "deleted"),
    ]
    assert listing(Path("data")) == before


def test_conditions(run: Run, lived: LivedStore) -> None:
    """By subject, by kind, and by the time of recording in whatever zone it is given."""
    assert run("decisions", "list", "--subject", "W-1", "--json").json["count"] == 2
    (held,) = run("decisions", "list", "--kind", "hold_placed", "--json").json["decisions"]
    assert (held["hold_id"], held["reason"], held["actor"]) == ("H-1", "case 7", "dpo")
    assert run("decisions", "list", "--since", "2020-01-01T00:00:00+02:00", "--json").json["count"] == 3
    assert run("decisions", "list", "--since", "2999-01-01T00:00:00Z", "--json").json["count"] == 0


def test_files(run: Run, lived: LivedStore) -> None:
    """By their endings; a formula in CSV is none."""
    for name in ("out.jsonl", "out.csv", "out.parquet"):
        assert run("decisions", "list", "--out", name, "--json").json == {"out": name, "count": 3}
    lines = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert lines == run("decisions", "list", "--json").json["decisions"]
    assert pl.read_parquet("out.parquet")["candidate_id"].to_list() == [one["candidate_id"] for one in lines]
    with Path("out.csv").open(newline="") as file:
        assert {row["candidate_id"] for row in csv.DictReader(file)} == {"W-1", "'=2"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--kind", "erased_twice"), "consent_given"),
        (("--since", "yesterday"), "--since"),
        (("--since", "2026-01-01T00:00:00"), "--since"),
        (("--out", "out.txt"), ".jsonl, .csv, .parquet"),
    ],
)
def test_wrong_calls(run: Run, lived: LivedStore, arguments: tuple[str, str], words: str) -> None:
    """Exit status 2, with what there is."""
    ran = run("decisions", "list", *arguments, "--json")
    assert ran.status == 2
    assert words in ran.json["error"]


def test_nobody_and_nothing(run: Run, lived: LivedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """An id that nobody has is status 1; without the ring nothing can be believed."""
    assert run("decisions", "list", "--subject", "nobody").status == 1
    lived.put(life("new"))
    assert run("decisions", "list", "--subject", "new", "--json").json == {"count": 0, "decisions": []}
    assert run("decisions", "list", "--store", "other").status == 2
    monkeypatch.delenv("SUBJECT_KEY_RING")
    assert run("decisions", "list").status == 2
