import json
from pathlib import Path
from typing import Any

import pytest

from subject_pipeline.registry.imports import importing
from subject_pipeline_tests.cli.conftest import Run
from subject_pipeline_tests.conftest import KEY_COLUMN, Parquet

_FIELDS = [
    "schema",
    "candidate_id",
    "created_at",
    "updated_at",
    "status",
    "vertical",
    "consent",
    "retention",
    "datasets",
    "safe_views",
    "audit_log_path",
    "audit_log_chain_root",
]


@pytest.fixture
def filled(run: Run, parquet: Parquet) -> Run:
    """The command line over a store with subjects."""
    run("datasets", "register", "people", "--source", parquet(["A", "CAND/1", "ß"]), "--key-column", KEY_COLUMN)
    assert run("backfill", "--dataset", "people").status == 0
    return run


def test_count(filled: Run) -> None:
    """The count is one number."""
    assert filled("subjects", "count", "--json").json == {"count": 3}
    assert filled("subjects", "count").out == "3\n"


def test_get_prints_the_manifest(filled: Run) -> None:
    """The manifest is JSON with its fields in order, with or without --json; --json puts it on one line."""
    words, one_line = filled("subjects", "get", "ß"), filled("subjects", "get", "ß", "--json")

    assert (words.status, one_line.status) == (0, 0)
    assert json.loads(words.out) == one_line.json
    assert list(one_line.json) == list(json.loads(words.out)) == _FIELDS
    assert list(one_line.json["consent"]) == ["general_pii", "biometric"]
    assert list(one_line.json["consent"]["general_pii"]) == ["status", "version", "given_at", "withdrawn_at"]
    assert one_line.json["candidate_id"] == "ß"
    assert "ß" in one_line.out
    assert one_line.json["created_at"].endswith("Z")


@pytest.mark.parametrize("command", ["get", "delete"])
@pytest.mark.parametrize("unknown", ["CAND_1", "nobody", ""])
def test_an_unknown_id_is_status_1(filled: Run, command: str, unknown: str) -> None:
    """An id that no subject has is named on standard error; ids are compared whole."""
    ran = filled("subjects", command, unknown)

    assert (ran.status, ran.out) == (1, "")
    assert repr(unknown) in ran.err
    assert filled("subjects", command, unknown, "--json").json == {"error": f"no subject has the id {unknown!r}"}
    assert filled("subjects", "count", "--json").json == {"count": 3}


def test_delete_then_compact(filled: Run) -> None:
    """A deleted subject is unknown; people are told what makes it final, and compact does that."""
    deleted = filled("subjects", "delete", "CAND/1", "--json")

    assert deleted.status == 0
    assert deleted.json == {"candidate_id": "CAND/1", "deleted": True, "staged_parts_rewritten": 0}
    assert "compact" in deleted.err
    assert filled("subjects", "get", "CAND/1").status == 1
    assert filled("subjects", "delete", "CAND/1").status == 1

    compacted = filled("subjects", "compact", "--json")
    assert compacted.status == 0
    sizes = ["files_before", "files_after", "bytes_before", "bytes_after", "staged_removed"]
    assert list(compacted.json) == [*sizes, "settled", "unexplained"]
    assert filled("subjects", "count", "--json").json == {"count": 2}
    assert "files" in filled("subjects", "compact").out


def test_an_id_that_looks_like_an_option(filled: Run, parquet: Parquet) -> None:
    """An id that starts with a dash is got after `--`."""
    filled("datasets", "register", "odd", "--source", parquet(["--odd"], "odd.parquet"), "--key-column", KEY_COLUMN)
    filled("backfill", "--dataset", "odd")

    assert json.loads(filled("subjects", "get", "--", "--odd").out)["candidate_id"] == "--odd"


def test_export_then_import(filled: Run, workplace: Path) -> None:
    """What is exported is imported into another store."""
    exported = filled("subjects", "export", "--out", "out.jsonl", "--json")
    assert (exported.status, exported.json) == (0, {"out": "out.jsonl", "count": 3})
    assert (workplace / "out.jsonl").read_text().count("\n") == 3

    imported = filled("--store", "other", "subjects", "import", "out.jsonl", "--json")
    assert imported.status == 0
    assert list(imported.json) == [
        "manifests",
        "inserted",
        "replaced",
        "unchanged",
        "failed",
        "failures",
        "elapsed_s",
    ]
    assert (imported.json["manifests"], imported.json["inserted"]) == (3, 3)
    assert "3 unchanged" in filled("--store", "other", "subjects", "import", "out.jsonl").out
    assert filled("--store", "other", "subjects", "count", "--json").json == {"count": 3}


def test_a_bad_line_is_status_1(filled: Run, workplace: Path) -> None:
    """A line that is no manifest is named as file:line, the others are imported, and the status is 1."""
    filled("subjects", "export", "--out", "out.jsonl")
    with (workplace / "out.jsonl").open("a") as file:
        file.write("{\n" * 25)

    ran = filled("--store", "other", "subjects", "import", "out.jsonl", "--json")

    assert ran.status == 1
    assert (ran.json["inserted"], ran.json["failed"], len(ran.json["failures"])) == (3, 25, 25)
    assert list(ran.json["failures"][0]) == ["where", "candidate_id", "reason"]
    assert ran.json["failures"][0]["where"] == "out.jsonl:4"
    assert ran.err.count("failed: out.jsonl:") == 20
    assert "... and 5 more" in ran.err


@pytest.mark.parametrize(
    "call",
    [
        ("subjects", "import", "missing.jsonl"),
        ("subjects", "import", "missing"),
        ("subjects", "import", "."),
        ("subjects", "export", "--out", "out.csv"),
        ("subjects", "export", "--out", "missing/out.jsonl"),
        ("subjects", "export", "--out", "in-the-way/out.jsonl"),
        ("subjects", "export"),
        ("subjects", "import"),
        ("subjects", "get"),
        ("subjects", "unheard-of"),
        ("sample", "workers", "--rows", "-1", "--out", "people.parquet"),
        ("sample", "workers", "--rows", "5", "--out", "in-the-way/people.parquet"),
    ],
)
def test_a_wrong_call_is_status_2(run: Run, workplace: Path, call: tuple[str, ...]) -> None:
    """What cannot be read or written, and what no command understands, is status 2 with words for people."""
    (workplace / "in-the-way").write_text("a file, no folder")

    ran = run(*call)

    assert (ran.status, ran.out) == (2, "")
    assert ran.err
    assert [path.name for path in workplace.iterdir()] == ["in-the-way"]


def test_sample_workers(run: Run, workplace: Path) -> None:
    """The sample command writes people and says how many."""
    ran = run("sample", "workers", "--rows", 10, "--out", "people.parquet", "--json")

    size = (workplace / "people.parquet").stat().st_size
    assert (ran.status, ran.json) == (0, {"rows": 10, "out": "people.parquet", "bytes": size, "seed": 7})
    assert "10 people" in run("sample", "workers", "--rows", 10, "--out", "people.parquet").out


def test_words_of_another_system_are_refused_and_translated(filled: Run, workplace: Path) -> None:
    """Unknown words fail with those there are; `--map` translates; one that means nothing is a wrong call."""
    filled("subjects", "export", "--out", "out.jsonl")
    text = (workplace / "out.jsonl").read_text().replace('"pending_backfill_review"', '"granted"')
    (workplace / "out.jsonl").write_text(text)
    call = ("--store", "other", "subjects", "import", "out.jsonl", "--json")

    refused = filled(*call)
    assert (refused.status, refused.json["failed"], refused.json["inserted"]) == (1, 3, 0)
    assert "pending_backfill_review, given, refused, withdrawn" in refused.json["failures"][0]["reason"]
    wrong = filled(*call, "--map", "granted=gvien")
    assert wrong.status == 2
    assert "given" in wrong.json["error"]
    assert filled(*call, "--map", "granted=given", "--map", "x=refused").json["inserted"] == 3
    found = filled("--store", "other", "subjects", "get", "ß", "--json").json
    assert found["consent"]["general_pii"]["status"] == "given"


def test_an_interrupted_import_says_what_it_has_done(
    filled: Run, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Status 130, the counts as one object, and how to go on."""
    filled("subjects", "export", "--out", "out.jsonl")
    real = importing._import_batch

    def interrupted(*arguments: Any) -> None:
        real(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(importing, "_import_batch", interrupted)
    monkeypatch.setattr(importing, "_BATCH", 1)
    ran = filled("--store", "other", "subjects", "import", "out.jsonl", "--json")

    assert (ran.status, ran.json["inserted"]) == (130, 1)
    assert "interrupted" in ran.err
    assert "run the same command again" in ran.err
