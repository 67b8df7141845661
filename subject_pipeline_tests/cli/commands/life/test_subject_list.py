import json
from pathlib import Path

import polars as pl
import pytest

from subject_pipeline_tests.cli.conftest import Run
from subject_pipeline_tests.helpers.recorded_lives import LivedStore


def test_ids(run: Run, lived: LivedStore) -> None:
    """One a line, or in one object with what the conditions look at."""
    assert set(run("subjects", "list").out.splitlines()) == {"W-1", "W-2", "0017"}
    assert run("subjects", "list", "--held", "--due").out == "W-2\n"
    found = run("subjects", "list", "--consent", "general_pii=given", "--json").json
    assert found["count"] == 1
    assert found["subjects"][0]["candidate_id"] == "0017"
    assert found["subjects"][0]["status"] == "active"
    nobody = run("subjects", "list", "--status", "restricted", "--json")
    assert (nobody.status, nobody.json) == (0, {"count": 0, "subjects": []})


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_a_file(run: Run, lived: LivedStore, ending: str) -> None:
    """The same rows, in the form that its name says."""
    ran = run("subjects", "list", "--dataset", "people", "--out", f"ids.{ending}", "--json")

    assert (ran.status, ran.json) == (0, {"out": f"ids.{ending}", "count": 3})
    found = {
        "jsonl": pl.scan_ndjson("ids.jsonl"),
        "csv": pl.scan_csv("ids.csv", schema_overrides={"candidate_id": pl.String}),
        "parquet": pl.scan_parquet("ids.parquet"),
    }[ending].collect()
    assert set(found["candidate_id"]) == {"W-1", "W-2", "0017"}


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        (("--status", "gone"), "active, erasure_ordered, restricted"),
        (("--vertical", "health"), "general, healthcare, unknown"),
        (("--dataset", "peple"), "people"),
        (("--consent", "pii=given"), "general_pii, biometric"),
        (("--consent", "biometric=granted"), "destroyed, given, never_collected, refused, withdrawn"),
        (("--out", "ids.xlsx"), ".jsonl, .csv, .parquet"),
    ],
)
def test_wrong_words_are_refused_with_those_that_there_are(
    run: Run, lived: LivedStore, condition: tuple[str, str], words: str
) -> None:
    """Exit status 2, and no file."""
    ran = run("subjects", "list", "--out", "ids.csv", *condition, "--json")
    assert ran.status == 2
    assert words in ran.json["error"]
    assert not list(Path().glob("*ids*"))


def test_a_declared_vertical_may_have_nobody(run: Run, lived: LivedStore) -> None:
    """The policies say which there are."""
    Path("policies.yaml").write_text("verticals: [general, childcare]")
    assert run("policies", "apply", "policies.yaml").status == 0
    assert run("subjects", "list", "--vertical", "childcare", "--json").json["count"] == 0
    assert run("subjects", "list", "--vertical", "healthcare").status == 2


def test_a_mistyped_store_is_no_empty_list(run: Run) -> None:
    """Nothing was ever written there."""
    assert run("subjects", "list").status == 2
    assert run("subjects", "list", "--json").json["error"].startswith("no subject store at")


def test_the_list_needs_no_key_ring(run: Run, lived: LivedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads the table alone."""
    monkeypatch.delenv("SUBJECT_KEY_RING")
    assert json.loads(run("subjects", "list", "--vertical", "unknown", "--json").out)["count"] == 3
