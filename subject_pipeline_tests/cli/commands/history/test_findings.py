from pathlib import Path

import polars as pl
import pytest

from subject_pipeline.cli.shell import Shell
from subject_pipeline_tests.cli.conftest import Run
from subject_pipeline_tests.helpers.decided import decide

FOREVER = "2099-01-01T00:00:00Z"


def restrict(run: Run, who: str) -> None:
    """Use of one subject's data is restricted, and yet they are accessed."""
    shell = Shell()
    decide(shell.open_store(), who, "restricted", "2026-06-30T12:00:00Z")
    assert run("audit", "append", who, "--action", "view", "--ts", FOREVER, "--purpose", "sales").status == 0


@pytest.mark.long
def test_a_verification_counts_and_lists_without_failing(filled: Run, workplace: Path) -> None:
    """Exit status 0; the list is in the store, once however often it is found, and `findings show` prints it."""
    assert filled("audit", "verify", "--json").json["questionable"] == 0
    assert not (workplace / "data" / "findings").exists()
    restrict(filled, "A")
    ran = filled("audit", "verify", "--json")
    assert (ran.status, ran.json["questionable"]) == (0, 1)
    path = ran.json["findings"]
    assert filled("audit", "checkpoint", "--json").json["verification"]["findings"] == path
    assert [one.name for one in (workplace / "data" / "findings").iterdir()] == [Path(path).name]
    assert f"findings show {path}" in filled("audit", "verify").out

    shown = filled("findings", "show", path, "--json").json
    assert (shown["path"], shown["count"]) == (path, 1)
    (one,) = shown["findings"]
    assert {name: one[name] for name in ("kind", "candidate_id", "seq", "purpose", "restriction")} == {
        "kind": "questionable", "candidate_id": "A", "seq": 1, "purpose": "sales", "restriction": "restricted",
    }  # fmt: skip
    assert '"candidate_id": "A"' in filled("findings", "show", Path(path).name).out


def test_public_verification_counts_and_writes_nothing(filled: Run, workplace: Path) -> None:
    """Who has the public line alone may not be able to write."""
    restrict(filled, "A")
    line = filled("keys", "public", "--json").json["verifier"]
    assert filled("audit", "checkpoint").status == 0
    for path in (workplace / "data" / "findings").iterdir():
        path.unlink()
    ran = filled("audit", "verify", "--verifier-key", line, "--json")
    assert (ran.status, ran.json["questionable"], "findings" in ran.json) == (0, 1, False)
    assert not list((workplace / "data" / "findings").iterdir())


def test_no_such_list(filled: Run, workplace: Path) -> None:
    """Exit status 1, in words; another check's parquet list is printed too."""
    ran = filled("findings", "show", "findings/nothing.jsonl")
    assert ran.status == 1
    assert "no findings are at 'findings/nothing.jsonl'" in ran.err
    folder = workplace / "data" / "findings"
    folder.mkdir()
    pl.DataFrame({"candidate_id": ["A"]}).write_parquet(folder / "list.parquet")
    assert filled("findings", "show", "list.parquet", "--json").json["findings"] == [{"candidate_id": "A"}]
    (folder / "broken.jsonl").write_bytes(b"{")
    assert filled("findings", "show", "broken.jsonl").status == 1
