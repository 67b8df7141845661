"""Commands that decide about people, and files of decisions."""

import json
from pathlib import Path
from typing import Any

import pytest

from subject_pipeline_tests.cli.conftest import Run
from subject_pipeline_tests.conftest import KEY_COLUMN, Parquet
from subject_pipeline_tests.helpers.decisions import line


@pytest.fixture
def ran(run: Run, workplace: Path, parquet: Parquet, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A store of two people, with a key ring."""
    run("keys", "new", "ring.json")
    monkeypatch.setenv("SUBJECT_KEY_RING", str(workplace / "ring.json"))
    monkeypatch.setenv("SUBJECT_ACTOR", "dpo")
    run("datasets", "register", "people", "--source", parquet(["A", "B"]), "--key-column", KEY_COLUMN)
    assert run("backfill", "--dataset", "people").status == 0
    return run


@pytest.mark.long
@pytest.mark.parametrize(
    ("arguments", "field", "value"),
    [
        (["consent", "A", "--give", "general_pii", "--version", "2"], "consent.general_pii.status", "given"),
        (["consent", "A", "--refuse", "general_pii"], "consent.general_pii.status", "refused"),
        (["consent", "A", "--give", "biometric", "--version", "2", "--until", "2029-01-01T00:00:00Z"],
         "consent.biometric.retention_until", "2029-01-01T00:00:00.000000Z"),
        (["classify", "A", "--vertical", "healthcare"], "vertical", "healthcare"),
        (["restrict", "A", "--reason", "asked to"], "status", "restricted"),
    ],
)  # fmt: skip
def test_a_command_is_a_decision(ran: Run, arguments: list[str], field: str, value: str) -> None:
    """It is recorded with who decided, and the manifest has it."""
    done = ran("subjects", *arguments, "--json")
    assert (done.status, done.json["applied"], done.json["rejections"]) == (0, 1, [])
    found: Any = ran("subjects", "get", "A", "--json").json
    for name in field.split("."):
        found = found[name]
    assert found == value
    (row,) = ran("audit", "show", "A", "--json").json["rows"]
    assert (row["row"]["actor"], row["row"]["decision"]["decision_id"]) == ("dpo", done.json["decision_ids"][0])


@pytest.mark.long
def test_holds_are_placed_and_released_and_restrictions_lifted(ran: Run) -> None:
    """Each has a command for the way back."""
    for arguments in [("hold", "A", "--hold-id", "c-1"), ("restrict", "A"), ("unrestrict", "A")]:
        assert ran("subjects", *arguments).status == 0
    assert ran("subjects", "get", "A", "--json").json["holds"][0]["hold_id"] == "c-1"
    assert ran("subjects", "release", "A", "--hold-id", "c-1", "--actor", "counsel").status == 0
    assert "holds" not in ran("subjects", "get", "A", "--json").json


def test_a_refusal_says_what_is_allowed_and_leaves_no_dead_letter(ran: Run, workplace: Path) -> None:
    """Exit 1, in words and in JSON."""
    done = ran("subjects", "consent", "A", "--withdraw", "general_pii")
    assert done.status == 1
    assert "--refuse" in done.err
    assert not (workplace / "data" / "dead_letters").exists()
    assert ran("subjects", "restrict", "NOBODY", "--json").json["rejections"] == [
        {"candidate_id": "NOBODY", "reason": "unknown subject: no manifest carries this id"}
    ]
    assert ran("subjects", "readmit", "A", "--reason", "x").status == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["consent", "A"],
        ["consent", "A", "--give", "general_pii", "--refuse", "general_pii"],
        ["consent", "A", "--give", "general_pii"],
        ["consent", "A", "--give", "everything", "--version", "2"],
        ["restrict"],
        ["restrict", "A", "--file", "ids.txt"],
        ["restrict", "--file", "missing.txt"],
        ["restrict", "A", "--reason", "x" * 201],
        ["restrict", "A", "--ts", "yesterday"],
        ["readmit", "A"],
        ["hold", "A"],
    ],
)
def test_a_wrong_call_writes_nothing(ran: Run, arguments: list[str]) -> None:
    """Exit 2."""
    assert ran("subjects", *arguments).status == 2
    assert ran("audit", "show", "A", "--json").json["rows"] == []


@pytest.mark.long
def test_a_file_names_whom_it_is_about(ran: Run, workplace: Path) -> None:
    """Those for whom it is refused are named, the others are done; run again, it changes nothing."""
    (workplace / "ids.txt").write_text("A\nNOBODY\nB\n")
    done = ran("subjects", "restrict", "--file", "ids.txt", "--json").json
    assert (done["decisions"], done["applied"], done["rejected"]) == (3, 2, 1)
    again = ran("subjects", "restrict", "--file", "ids.txt", "--json")
    assert (again.status, again.json["applied"], again.json["rejected"]) == (1, 0, 3)
    known = ran("subjects", "unrestrict", "--file", "ids.txt", "--decision-id", "mine", "--json").json
    assert ran("subjects", "unrestrict", "A", "--decision-id", "mine", "--json").status == 1
    assert known["applied"] == 2


def test_a_dry_run_writes_nothing(ran: Run) -> None:
    """It says what would be."""
    assert ran("subjects", "restrict", "A", "--dry-run", "--json").json["applied"] == 1
    assert ran("audit", "show", "A", "--json").json["rows"] == []


def test_no_decision_without_a_key_ring(ran: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 2, in words."""
    monkeypatch.delenv("SUBJECT_KEY_RING")
    done = ran("subjects", "restrict", "A")
    assert (done.status, "SUBJECT_KEY_RING" in done.err) == (2, True)
    assert ran("--store", "elsewhere", "subjects", "restrict", "A").status == 2


@pytest.mark.long
def test_a_file_of_decisions_is_applied_once(ran: Run, workplace: Path) -> None:
    """Every line is counted; what is rejected is named, with a dead letter, exit 1."""
    lines = [line("restricted", "A"), line("restricted", "B"), {**line("restricted", "B"), "kind": ""}]
    (workplace / "d.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in [*lines, line("restricted", "C")]))
    tried = ran("decisions", "apply", "d.jsonl", "--dry-run", "--json")
    assert (tried.status, tried.json["applied"], tried.json["dead_letters"]) == (1, 2, [])
    done = ran("decisions", "apply", "d.jsonl", "--json")
    numbers = [
        done.json[name] for name in ("files", "decisions", "applied", "already_applied", "rejected", "undecided")
    ]
    assert (done.status, numbers) == (1, [1, 3, 2, 0, 1, 1])
    assert done.json["rejections"][0]["line"] == 4
    assert len(done.json["dead_letters"]) == 1
    again = ran("decisions", "apply", "d.jsonl")
    assert "0 applied, 2 applied before, 1 rejected; 1 drafts undecided" in again.out
    assert ran("decisions", "apply", "missing.jsonl").status == 2
    assert ran("decisions", "apply", "d.txt").status == 2
    assert ran("audit", "verify").status == 0
