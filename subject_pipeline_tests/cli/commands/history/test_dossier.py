from pathlib import Path

import pytest

from subject_pipeline_tests.cli.conftest import Run


@pytest.mark.long
def test_a_dossier_by_command(filled: Run, workplace: Path) -> None:
    """Its files are named; a folder that is there is exit status 2, an unknown person 1, a source that is gone 1."""
    ran = filled("subjects", "dossier", "CAND/1", "--out", "asked", "--json")
    assert ran.status == 0
    assert ran.json == {
        "candidate_id": "CAND/1",
        "out": "asked",
        "files": [
            "accesses.csv", "datasets/people.csv", "datasets/people.json", "history.json", "index.html",
            "manifest.json",
        ],
        "retired": [],
        "unread": [],
        "proof": False,
    }  # fmt: skip
    assert "there is no proof in it" in ran.err
    assert (workplace / "asked" / "index.html").is_file()
    assert filled("subjects", "dossier", "CAND/1", "--out", "asked").status == 2
    assert filled("subjects", "dossier", "nobody", "--out", "other").status == 1
    assert filled("audit", "checkpoint").status == 0
    ran = filled("subjects", "dossier", "A", "--out", "more", "--json")
    assert ran.json["proof"]
    assert "--no-proof" in ran.err
    (workplace.parent / "people.parquet").unlink()
    ran = filled("subjects", "dossier", "A", "--out", "unread", "--actors", "--json")
    assert (ran.status, ran.json["unread"]) == (1, ["people"])
    assert filled("subjects", "dossier", "A", "--out", "none", "--no-source", "--json").json["unread"] == []


def test_it_needs_the_key_ring(filled: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The access could not be recorded without."""
    monkeypatch.delenv("SUBJECT_KEY_RING")
    assert filled("subjects", "dossier", "A", "--out", "asked").status == 2
