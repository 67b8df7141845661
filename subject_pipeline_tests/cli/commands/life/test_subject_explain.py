from pathlib import Path

import pytest

from subject_pipeline_tests.cli.conftest import Run
from subject_pipeline_tests.helpers.lives import days_ago
from subject_pipeline_tests.helpers.recorded_lives import LivedStore


def test_explain(run: Run, lived: LivedStore) -> None:
    """Each date with its rule, in JSON and in words."""
    found = run("subjects", "explain", "0017", "--json")

    assert found.status == 0
    assert found.json["candidate_id"] == "0017"
    general = found.json["dates"]["general_pii"]
    assert (general["until"], general["policy"], general["row"]) == (days_ago(-1360), "4_year_default", "registration")
    words = run("subjects", "explain", "0017").out
    assert "general_pii: until" in words
    assert "4_year_default: 1460d from registered" in words
    assert "biometric: no date" in words


def test_what_no_rule_explains_says_so(run: Run, lived: LivedStore) -> None:
    """The import set another date; a hold keeps it."""
    words = run("subjects", "explain", "W-2").out
    assert "due and held; no rule explains it" in words
    assert "held: H-1 since" in words


def test_policies_that_changed_move_no_date(run: Run, lived: LivedStore) -> None:
    """The date stays, and the explanation says what the policy would give now."""
    Path("policies.yaml").write_text("policies: {4_year_default: {keep: 1y, from: registered}}")
    assert run("policies", "apply", "policies.yaml", "--json").json["dates_differ"] == 3
    general = run("subjects", "explain", "W-1", "--json").json["dates"]["general_pii"]
    assert (general["until"], general["explained"]) == (days_ago(-1360), False)
    assert general["would_be"] == days_ago(-265)


def test_errors(run: Run, lived: LivedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown id is status 1; policies that nobody can check are status 2."""
    assert run("subjects", "explain", "nobody").status == 1
    monkeypatch.delenv("SUBJECT_KEY_RING")
    assert run("subjects", "explain", "W-1").status == 0
    (Path("data") / "catalog" / "policies.json").write_text("{}")
    assert run("subjects", "explain", "W-1").status == 2
