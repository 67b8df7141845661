import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "gate"
ROWS = [
    ("WORKER-1", "read_worker", "success"),
    ("WORKER-1", "list_workers", "success"),
    ("WORKER-2", "read_worker", "consent_withdrawn"),
    ("WORKER-2", "list_workers", "consent_withdrawn"),
    ("WORKER-3", "list_workers", "success"),
]


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "more"),
    [("fastmcp", [("WORKER-3", "worker://{worker_id}", "success")]), ("langchain", []), ("openai_agents", [])],
)
def test_an_example_runs_as_it_says(tmp_path: Path, name: str, more: list[tuple[str, str, str]]) -> None:
    """Offline and with no setting at all it prints each answer and everybody's rows, and leaves nothing behind."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SUBJECT_", "OPENAI_"))}
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9")  # nobody answers there
    done = subprocess.run(
        [sys.executable, FOLDER / f"{name}_example.py"],
        capture_output=True,
        check=False,
        cwd=tmp_path,
        env=kept | proxies | {"TMPDIR": str(tmp_path)},
        text=True,
        timeout=180,
    )

    assert done.returncode == 0, done.stderr
    answers = dict(line.split(" -> ") for line in done.stdout.splitlines() if " -> " in line)
    assert "Ada" in answers["read_worker{'worker_id': 1}"]
    assert answers["read_worker{'worker_id': 2}"] == "read_worker is denied: consent_withdrawn"
    assert [one["name"] for one in json.loads(answers["list_workers{}"])["records"]] == ["Ada", "Cyd"]
    assert answers["read_note{'worker_id': 1}"] == "nothing of read_note is released"
    assert "Bob" not in done.stdout + done.stderr
    rows = [line.split(" ", 1) for line in done.stdout.splitlines() if line.startswith("WORKER-")]
    told = [(who, json.loads(row)) for who, row in rows]
    found, wanted = [(who, row["action"], row["reason"] or row["result"]) for who, row in told], ROWS + more
    if name != "fastmcp":  # an agent calls its tools at once: which of them is recorded first is not said
        found, wanted = sorted(found), sorted(wanted)
    assert found == wanted
    assert {(row["actor"], row["purpose"]) for _, row in told} == {("agent:7", "scheduling")}
    assert list(tmp_path.iterdir()) == []
