"""From nothing to a refused answer and its proof, in a temporary folder, offline.

    python docs/gate/first_refusal.py

Three people are registered. One gives their consent and withdraws it; the agent's next call about them is refused, the
refusal is in their chain, and a proof of it holds without the store and the keys.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import polars as pl

from subject_pipeline.gate import DeniedError, SubjectGate

PROGRAM = Path(__file__).parents[1] / "verify_proof.py"
POLICY = """\
purposes:
  scheduling: {consent: {general_pii: [given]}, verticals: [general], statuses: [active], others: drop}
ids: {worker_id: WORKER-, candidate_id: ""}
max_age: 0s
"""
WHO = "WORKER-1"


def subject_pipeline(*arguments: str) -> str:
    """What a command of the project prints."""
    command = [sys.executable, "-m", "subject_pipeline.cli.main", *arguments]
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout


def read_worker() -> dict[str, Any]:
    """The tool: its database knows the person's key, not the id."""
    return {"worker_id": 1, "shift": "early"}


def main() -> None:
    """Register, decide, ask, prove."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SUBJECT_STORE_URL"] = f"{folder}/store"
        os.environ["SUBJECT_KEY_RING"] = f"{folder}/ring.json"
        subject_pipeline("keys", "new", f"{folder}/ring.json")
        pl.DataFrame({"worker_id": ["1", "2", "3"]}).write_parquet(f"{folder}/workers.parquet")
        key = ["--key-column", "worker_id", "--candidate-id-prefix", "WORKER-"]
        subject_pipeline("datasets", "register", "workers", "--source", f"{folder}/workers.parquet", *key)
        subject_pipeline("backfill", "--dataset", "workers", "--all")
        subject_pipeline("subjects", "consent", WHO, "--give", "general_pii", "--version", "2026-01")
        subject_pipeline("subjects", "classify", WHO, "--vertical", "general")
        Path(folder, "gate.yaml").write_text(POLICY, encoding="utf-8")

        with SubjectGate.open(policy=f"{folder}/gate.yaml", actor="agent:7") as gate:
            told: dict[str, Any] = {"subjects": [WHO], "purpose": "scheduling"}
            print("shown:", gate.guard("read_worker", read_worker, **told))
            subject_pipeline("subjects", "consent", WHO, "--withdraw", "general_pii", "--reason", "by letter")
            try:
                gate.guard("read_worker", read_worker, **told)
            except DeniedError as denied:
                print("refused:", denied.reasons)

        subject_pipeline("audit", "checkpoint")
        subject_pipeline("audit", "prove", WHO, "--rows", "--out", f"{folder}/proof.json")
        line = subject_pipeline("keys", "public").splitlines()[0]
        command = [sys.executable, PROGRAM, f"{folder}/proof.json", line]
        print(subprocess.run(command, capture_output=True, check=True, text=True).stdout, end="")


if __name__ == "__main__":
    main()
