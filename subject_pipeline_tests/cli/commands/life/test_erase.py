"""`subjects erase`, and what `subjects delete` is not."""

from pathlib import Path

import polars as pl
import pytest

from subject_pipeline_tests.cli.conftest import Run
from subject_pipeline_tests.conftest import KEY_COLUMN, Parquet

NOBODY = {"already": [], "held": [], "unknown": [], "refused": [], "dry_run": False}


@pytest.fixture
def ran(run: Run, workplace: Path, parquet: Parquet, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A store of three people, with a key ring."""
    run("keys", "new", "ring.json")
    monkeypatch.setenv("SUBJECT_KEY_RING", str(workplace / "ring.json"))
    monkeypatch.setenv("SUBJECT_ACTOR", "dpo")
    run("datasets", "register", "people", "--source", parquet(["A", "B", "C"]), "--key-column", KEY_COLUMN)
    assert run("backfill", "--dataset", "people").status == 0
    return run


@pytest.mark.long
def test_people_are_erased_by_id_and_by_file(ran: Run, workplace: Path) -> None:
    """Ordered and erased are numbers, the others lists; the actor and the reason are in the rows."""
    done = ran("subjects", "erase", "A", "--reason", "asked for it", "--actor", "officer", "--json")
    assert done.status == 0
    assert done.json | NOBODY == done.json | {"ordered": 1, "erased": 1}
    assert ran("subjects", "get", "A").status == 1
    rows = [line["row"] for line in ran("audit", "show", "A", "--json").json["rows"]]
    assert [(row["actor"], row["decision"]["kind"], row["decision"]["reason"]) for row in rows] == [
        ("officer", "erasure_ordered", "asked for it"),
        ("officer", "erased", "asked for it"),
    ]

    pl.DataFrame({"candidate_id": ["A", "B"]}).write_parquet(workplace / "some.parquet")
    done = ran("subjects", "erase", "--file", "some.parquet", "--json")
    assert (done.status, done.json["erased"], done.json["already"]) == (0, 1, ["A"])


@pytest.mark.long
def test_held_unknown_and_refused_people_are_named(ran: Run) -> None:
    """Exit 1; the order of anyone who is held stands, and is carried out once the hold is released."""
    ran("subjects", "hold", "B", "--hold-id", "case-7")
    done = ran("subjects", "erase", "B", "nobody", "--json")
    assert done.status == 1
    assert (done.json["held"], done.json["unknown"], done.json["ordered"]) == (["B"], ["nobody"], 1)
    assert "held" in done.err

    assert ran("subjects", "erase", "--ordered", "--json").json["held"] == ["B"]
    assert ran("subjects", "release", "B", "--hold-id", "case-7").status == 0
    assert ran("subjects", "erase", "--ordered", "--dry-run", "--json").json["erased"] == 1
    done = ran("subjects", "erase", "--ordered", "--json")
    assert (done.status, done.json["erased"], done.json["ordered"]) == (0, 1, 0)
    assert ran("subjects", "erase", "--due", "--json").json["erased"] == 0


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["A", "--due"],
        ["--ordered", "--due"],
        ["A", "--file", "x"],
        ["--file", "missing"],
        ["A", "--reason", "x" * 201],
        ["A", "--evidence", "no URI"],
        ["A", "--actor", " "],
    ],
)
def test_a_call_that_says_nothing_clear_is_refused(ran: Run, arguments: list[str]) -> None:
    """Exit 2, and nothing was written."""
    assert ran("subjects", "erase", *arguments).status == 2
    assert ran("subjects", "count", "--json").json == {"count": 3}
    assert ran("audit", "show", "A", "--json").json["rows"] == []


def test_no_ring_is_a_wrong_call(ran: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """An erasure is a row of the log, so the command needs its keys."""
    monkeypatch.delenv("SUBJECT_KEY_RING")
    assert ran("subjects", "erase", "A").status == 2


@pytest.mark.long
def test_a_deletion_suppresses_nothing_and_refuses_whoever_is_held(ran: Run) -> None:
    """It says so; the held person stays as they were."""
    ran("subjects", "hold", "B", "--hold-id", "case-7")
    refused = ran("subjects", "delete", "B")
    assert refused.status == 1
    assert "case-7" in refused.err
    assert ran("subjects", "get", "B").status == 0

    done = ran("subjects", "delete", "A")
    assert done.status == 0
    assert "erase" in done.err
    assert ran("backfill", "--dataset", "people", "--json").json["inserted"] == 1
