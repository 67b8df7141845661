import csv
from pathlib import Path

import polars as pl
import pytest

from subject_pipeline.decisions.decision import Kind, candidate_check
from subject_pipeline.lifecycle.lists.drafts import DRAFT_SCHEMA
from subject_pipeline_tests.cli.conftest import Run
from subject_pipeline_tests.conftest import KEY_COLUMN, Parquet
from subject_pipeline_tests.helpers.lives import life
from subject_pipeline_tests.helpers.recorded_lives import LivedStore


def drafts(path: str = "out.csv") -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with Path(path).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("pending_consent", {"W-1", "W-2"}), ("retention_due", {"W-2"}), ("held", {"W-2"}), ("ordered", set())],
)
def test_a_review_names_whoever_waits(run: Run, lived: LivedStore, kind: str, expected: set[str]) -> None:
    """As drafts that nobody has decided yet, given by anyone who exports."""
    ran = run("reviews", "export", kind, "--out", "out.csv", "--json")

    assert (ran.status, ran.json) == (0, {"kind": kind, "out": "out.csv", "count": len(expected)})
    found = drafts()
    assert {one["candidate_id"] for one in found} == expected
    for one in found:
        assert list(one) == list(DRAFT_SCHEMA)
        assert (one["kind"], one["actor"]) == ("", "ada")
        assert one["candidate_check"] == candidate_check(one["candidate_id"])
    assert len({one["decision_id"] for one in found}) == len(found)


def test_parquet_has_the_same_columns(run: Run, lived: LivedStore) -> None:
    """All of them text."""
    assert run("reviews", "export", "held", "--out", "out.parquet").status == 0
    assert pl.read_parquet("out.parquet").schema == DRAFT_SCHEMA


def test_filters(run: Run, lived: LivedStore) -> None:
    """By dataset, vertical and age."""
    pending = ("reviews", "export", "pending_consent", "--out", "out.csv")
    lived.decide(Kind.CLASSIFIED, "W-1", vertical="healthcare")
    for filters, count in [
        (("--vertical", "healthcare"), 1),
        (("--vertical", "general"), 0),
        (("--dataset", "people"), 2),
        (("--older-than", "90d"), 2),
        (("--older-than", "99999d"), 0),
    ]:
        assert run(*pending, *filters, "--json").json["count"] == count


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("everything", "--out", "out.csv"), "pending_consent"),
        (("held", "--out", "out.xlsx"), ".csv, .parquet"),
        (("held", "--out", "out.csv", "--older-than", "soon"), "90d"),
        (("held", "--out", "out.csv", "--vertical", "health"), "healthcare"),
        (("held", "--out", "out.csv", "--dataset", "peple"), "people"),
        (("vanished", "--out", "out.csv", "--dataset", "peple"), "not registered"),
        (("held", "--out", "no/such/folder.csv"), "cannot write"),
    ],
)
def test_a_wrong_call_writes_nothing(run: Run, lived: LivedStore, arguments: tuple[str, ...], words: str) -> None:
    """Exit status 2, with the words that there are."""
    ran = run("reviews", "export", *arguments, "--json")
    assert ran.status == 2
    assert words in ran.json["error"]
    assert not list(Path().glob("*out*"))


@pytest.mark.long
def test_whoever_is_gone_from_a_source(run: Run, lived: LivedStore, parquet: Parquet) -> None:
    """The source is read as a whole; the others, and subjects of other datasets, are left alone."""
    for name, keys in (("first", ["A", "B", "C"]), ("second", ["C", "D"])):
        source = parquet(keys, f"{name}.parquet")
        assert run("datasets", "register", name, "--source", source, "--key-column", KEY_COLUMN).status == 0
        assert run("backfill", "--dataset", name, "--all").status == 0
    parquet(["A"], "first.parquet")
    parquet([], "second.parquet")

    assert run("reviews", "export", "vanished", "--out", "out.csv", "--dataset", "first").status == 0
    assert {one["candidate_id"] for one in drafts()} >= {"B"}
    assert run("reviews", "export", "vanished", "--out", "out.csv").status == 0
    found = {(one["candidate_id"], one["about_gone_from"]) for one in drafts()}
    assert found >= {("B", "first"), ("C", "first"), ("D", "second")}
    assert not any(one in {"A", "W-1"} for one, _ in found)


@pytest.mark.long
def test_a_review_comes_back_as_decisions(run: Run, lived: LivedStore) -> None:
    """Through a spreadsheet: one is decided, one is not, and one whose id lost its zeros is refused."""
    lived.put(life("=1+1"))
    lived.put(life("007"))
    assert run("reviews", "export", "pending_consent", "--out", "out.csv").status == 0
    rows = {one["candidate_id"]: one for one in drafts()}
    rows["'=1+1"].update(kind="consent_refused")
    rows["007"].update(candidate_id="7", kind="consent_refused")
    with Path("decided.csv").open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, list(DRAFT_SCHEMA), delimiter=";", quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows(rows.values())

    for applied, already in ((1, 0), (0, 1)):
        found = run("decisions", "apply", "decided.csv", "--json")
        assert found.status == 1
        counts = {name: found.json[name] for name in ("applied", "already_applied", "rejected", "undecided")}
        assert counts == {"applied": applied, "already_applied": already, "rejected": 1, "undecided": 2}
        assert "candidate_check" in found.json["rejections"][0]["reason"]
    assert lived.document("=1+1")["consent"]["general_pii"]["status"] == "refused"
    assert lived.document("007")["consent"]["general_pii"]["status"] == "pending_backfill_review"
