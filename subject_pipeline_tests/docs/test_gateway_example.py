import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "docs" / "gateway_example.py"


@pytest.mark.long
def test_the_example_runs_as_it_says(tmp_path: Path) -> None:
    """With no setting at all it prints five answers and the rows of both people, and leaves nothing behind."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SUBJECT_")}
    done = subprocess.run(
        [sys.executable, SCRIPT],
        capture_output=True,
        check=False,
        cwd=tmp_path,
        env=kept | {"TMPDIR": str(tmp_path)},
        text=True,
        timeout=120,
    )

    assert (done.returncode, done.stderr) == (0, "")
    answers, *people = done.stdout.split("\n\n")
    assert [line.partition("{")[0] for line in answers.splitlines()] == [
        *("find_workers", "read_salary", "read_worker", "read_shift", "read_notes")
    ]
    rows = {lines.split("\n")[0]: list(map(json.loads, lines.split("\n")[1:])) for lines in map(str.strip, people)}
    assert {who: [(row["action"], row["result"], row["seq"]) for row in found] for who, found in rows.items()} == {
        "WORKER-1": [("find_workers", "success", 0), ("read_salary", "denied", 1), ("read_shift", "success", 2)],
        "WORKER-2": [("find_workers", "success", 0), ("read_worker", "error", 1), ("read_shift", "success", 2)],
    }
    assert "the answer of read_notes is withheld" in answers
    assert "likes to work" not in answers
    assert "Ada" in answers
    assert "Ada" not in "".join(people)
    assert list(tmp_path.iterdir()) == []
