import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from subject_pipeline_tests.cli.conftest import Run

_READ: dict[str, Callable[[Path], pl.DataFrame]] = {
    ".csv": pl.read_csv,
    ".parquet": pl.read_parquet,
    ".jsonl": pl.read_ndjson,
}
ACCESSES = [
    ("A", "view", "ada", "support", "2026-06-30T12:00:00Z"),
    ("A", "view", "bob", "support", "2026-07-01T12:00:00Z"),
    ("A", "edit", "ada", None, "2026-07-02T12:00:00Z"),
    ("ß", "view", "=cmd()", "support", "2026-07-02T13:00:00Z"),
    ("ß", "view", "ada", "billing", "2026-07-03T13:00:00Z"),
]


@pytest.fixture
def accessed(filled: Run) -> Run:
    """The command line over a store with five accesses to two of its subjects, and a deletion of a third."""
    for who, action, actor, purpose, ts in ACCESSES:
        why = ["--purpose", purpose] if purpose else []
        assert filled("audit", "append", who, "--action", action, "--actor", actor, "--ts", ts, *why).status == 0
    assert filled("subjects", "delete", "CAND/1").status == 0
    return filled


def found(run: Run, *options: str) -> list[tuple[str, str]]:
    """Who was accessed when, by a search."""
    ran = run("audit", "search", *options, "--json")
    assert ran.status == 0
    assert ran.json["matched"] == len(ran.json["rows"])
    return [(row["candidate_id"], row["ts"][:10]) for row in ran.json["rows"]]


@pytest.mark.long
def test_rows_are_found_by_each_option(accessed: Run) -> None:
    """Options narrow each other; `--since` takes its time in, `--until` does not."""
    assert len(found(accessed)) == 6
    assert found(accessed, "--subject", "A") == [("A", "2026-06-30"), ("A", "2026-07-01"), ("A", "2026-07-02")]
    assert found(accessed, "--subject", "A", "--actor", "ada", "--action", "view") == [("A", "2026-06-30")]
    assert found(accessed, "--purpose", "billing") == [("ß", "2026-07-03")]
    assert len(found(accessed, "--action", "manifest_deleted", "--result", "success")) == 1
    bounds = ["--since", "2026-07-01T12:00:00Z", "--until", "2026-07-02T13:00:00Z"]
    assert sorted(found(accessed, *bounds)) == [("A", "2026-07-01"), ("A", "2026-07-02")]
    assert found(accessed, "--subject", "nobody") == []


def test_accesses_to_one_person_by_who_and_what_for(accessed: Run) -> None:
    """What HIPAA 164.528 asks for: the most frequent first, an empty text where there was no purpose."""
    ran = accessed("audit", "search", "--subject", "A", "--by", "actor,purpose", "--json")
    assert ran.json["counts"] == [
        {"actor": "ada", "purpose": "", "rows": 1},
        {"actor": "ada", "purpose": "support", "rows": 1},
        {"actor": "bob", "purpose": "support", "rows": 1},
    ]
    by_subject = accessed("audit", "search", "--action", "view", "--by", "subject,month", "--json").json["counts"]
    assert by_subject[0] == {"subject": "ß", "month": "2026-07", "rows": 2}
    words = accessed("audit", "search", "--subject", "A", "--by", "actor").out
    assert words.splitlines() == ["actor  rows", "ada    2", "bob    1", "3 rows match"]


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_rows_go_to_a_file(accessed: Run, workplace: Path, suffix: str) -> None:
    """All rows in one table; no spreadsheet takes a cell of the CSV for a formula."""
    out = workplace / f"rows{suffix}"
    ran = accessed("audit", "search", "--purpose", "support", "--out", out, "--json")
    assert ran.json == {"matched": 3, "unreadable": 0, "lost": [], "out": str(out)}
    read = _READ[suffix]
    rows = read(out)
    assert sorted(rows["candidate_id"]) == ["A", "A", "ß"]
    assert min(rows["actor"]) == ("'=cmd()" if suffix == ".csv" else "=cmd()")
    counts = workplace / f"counts{suffix}"
    assert accessed("audit", "search", "--by", "action", "--out", counts).status == 0
    assert dict(read(counts).iter_rows()) == {"view": 4, "edit": 1, "manifest_deleted": 1}


def test_wrong_calls_write_nothing(accessed: Run, workplace: Path) -> None:
    """An unknown column, result or kind of file is exit status 2."""
    assert accessed("audit", "search", "--by", "nonce").status == 2
    assert accessed("audit", "search", "--result", "maybe").status == 2
    assert accessed("audit", "search", "--out", workplace / "rows.xlsx").status == 2
    assert not list(workplace.glob("rows*"))


def test_what_cannot_be_read_is_said(accessed: Run, workplace: Path) -> None:
    """A segment that is gone and a line that is no row are counted, exit status 1; all else is found."""
    first, *_ = sorted((workplace / "data" / "audit").rglob("*0.jsonl"))
    lines = first.read_bytes().splitlines()
    row = json.loads(lines[1])["row"]
    first.write_bytes(b"\n".join([lines[0], b"{}", *lines[2:], b""]))
    ran = accessed("audit", "search", "--json")
    assert (ran.status, ran.json["unreadable"], ran.json["lost"]) == (1, 1, [])
    assert row["event_id"] not in {one["event_id"] for one in ran.json["rows"]}
    chunk = next(folder for folder in (workplace / "data" / "audit").iterdir() if len(list(folder.iterdir())) > 1)
    min(chunk.iterdir()).unlink()
    ran = accessed("audit", "search", "--json")
    assert ran.status == 1
    assert ran.json["lost"] == [f"audit/{chunk.name}/000000000000.jsonl: it is gone"]
