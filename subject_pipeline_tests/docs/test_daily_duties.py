"""Every command of the page of daily duties does what the page says, on a store of sample people."""

import csv
import re
import shlex
from pathlib import Path

import polars as pl
import pytest

from subject_pipeline_tests.cli.conftest import Run, run, workplace

__all__ = ["run", "workplace"]
PAGE = Path(__file__).parents[2] / "docs" / "daily_duties.md"
COMMANDS = re.findall(r"^    subject-pipeline (.*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)


def decided(path: Path) -> None:
    """Fill in a review: the first consents are given, the others wait."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    for row in rows[:3]:
        row.update(kind="consent_given", version="2026-01")
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, rows[0].keys(), delimiter=";")
        writer.writeheader()
        writer.writerows(rows)


def test_every_command_of_the_page_does_what_it_says(
    run: Run, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the page's order; nothing is ever due at first, and what an old table brings back is tried elsewhere."""
    run("keys", "new", "ring.json")
    monkeypatch.setenv("SUBJECT_KEY_RING", str(workplace / "ring.json"))
    people = pl.DataFrame({"worker_id": [str(100_000 + number) for number in range(12)]})
    people.write_parquet("workers.parquet")
    people.head(5).write_parquet("contractors.parquet")
    people.rename({"worker_id": "person"}).head(10).write_parquet("renamed.parquet")
    dataset = ["workers", "--source", "workers.parquet", "--key-column", "worker_id"]
    run("datasets", "register", *dataset, "--candidate-id-prefix", "WORKER-")
    assert run("backfill", "--dataset", "workers", "--all").status == 0
    assert len(COMMANDS) == 21
    said = {}
    for command in COMMANDS:
        if command.startswith("decisions apply"):
            decided(workplace / "pending.csv")
        done = run(*shlex.split(command), "--json")
        assert done.status == 0, f"{command}: {done.err}"
        said[command.partition(" --reason")[0]] = done.json
    assert said["decisions apply pending.csv"]["applied"] == 3
    assert said["decisions apply pending.csv"]["undecided"] >= 8
    assert said["subjects erase WORKER-100003"]["erased"] == 1
    assert said["subjects list --due"]["count"] == said["subjects erase --due"]["erased"] == 0
    assert said["backfill --dataset contractors --all"]["linked"] == 4
    assert said["backfill --dataset workers --all"]["suppressed"] == 1
    assert said["backfill --dataset workers --all"]["vanished"] == 2
    assert said["reviews export vanished --dataset workers --out vanished.csv"]["count"] == 2
    assert said["subjects erase --again certificate.jsonl"]["erased"] == 0, "nobody came back"
    assert (workplace / "dossier" / "index.html").is_file()
