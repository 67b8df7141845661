"""What the examples beside this file share: a store of three workers, of whom one has withdrawn consent, and a policy.

Everything is made in a temporary folder and removed at the end. A service has its store, its key ring
(`subject-pipeline keys new FILE`) and its policy already, and calls only `SubjectGate.open(policy="gate.yaml")`.
"""

import datetime as dt
import json
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from subject_pipeline.audit.reading import show
from subject_pipeline.changes.evidence import ManifestEvidence
from subject_pipeline.decisions.decision import parse_decision
from subject_pipeline.gate import SubjectGate
from subject_pipeline.keys.ring import KEY_BYTES, KeyRing
from subject_pipeline.keys.ring_file import KeyRingFile, create_ring
from subject_pipeline.lifecycle.applying import Decisions
from subject_pipeline.registry.backfill import backfill
from subject_pipeline.store.datasets import DatasetDeclaration
from subject_pipeline.store.opened import SubjectStore

POLICY = """\
purposes:
  scheduling: {consent: {general_pii: [given]}, verticals: [general], statuses: [active], others: drop}
ids: {worker_id: WORKER-}
"""

WORKERS = {
    1: {"worker_id": 1, "name": "Ada", "shift": "early"},
    2: {"worker_id": 2, "name": "Bob", "shift": "late"},  # has withdrawn consent
    3: {"worker_id": 3, "name": "Cyd", "shift": "early"},
}


def read_worker(worker_id: int) -> dict[str, Any]:
    """Read the record of one worker."""
    return WORKERS[worker_id]


def list_workers() -> dict[str, Any]:
    """List all workers."""
    return {"records": list(WORKERS.values())}


def read_note(worker_id: int) -> str:
    """Read what the foreman noted about a worker."""
    return f"{worker_id} likes to work with Bob"


TOOLS = {"read_worker": "worker_id", "list_workers": (), "read_note": "worker_id"}
"""Whom a call of each tool is about: the argument that says it, or nobody in particular."""

CALLS: list[tuple[str, dict[str, Any]]] = [
    ("read_worker", {"worker_id": 1}),
    ("read_worker", {"worker_id": 2}),
    ("list_workers", {}),
    ("read_note", {"worker_id": 1}),
]


@contextmanager
def opened_gate() -> Iterator[SubjectGate]:
    """The gate of such a store; at the end, the rows of everybody are printed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = SubjectStore.at(str(folder / "store"), ring=KeyRingFile(folder / "ring.json"))
        create_ring(folder / "ring.json", KeyRing.new(secrets.token_bytes(KEY_BYTES), secrets.token_bytes(KEY_BYTES)))
        _register(store, folder / "workers.parquet")
        (folder / "gate.yaml").write_text(POLICY, encoding="utf-8")
        with SubjectGate.open(
            str(folder / "store"), policy=folder / "gate.yaml", key_ring=folder / "ring.json"
        ) as gate:
            yield gate
        for worker in WORKERS:
            for row in (stored["row"] for stored in show(store, f"WORKER-{worker}")):
                if not row["action"].startswith("manifest_"):
                    told = {name: row.get(name) for name in ("actor", "action", "purpose", "result", "reason")}
                    print(f"WORKER-{worker} {json.dumps(told)}")


def _register(store: SubjectStore, source: Path) -> None:
    """Give each worker a manifest, a vertical and consent; one of them withdraws it."""
    pl.DataFrame({"worker_id": list(WORKERS)}).write_parquet(source)
    declaration = DatasetDeclaration(
        name="workers", source=str(source), key_column="worker_id", candidate_id_prefix="WORKER-"
    )
    backfill(store, declaration, evidence=ManifestEvidence(store, "office"))
    orders: list[dict[str, Any]] = []
    for worker in WORKERS:
        orders += [
            {"candidate_id": f"WORKER-{worker}", "kind": "classified", "vertical": "general"},
            {"candidate_id": f"WORKER-{worker}", "kind": "consent_given", "scope": "general_pii", "version": "1"},
        ]
    orders.append({"candidate_id": "WORKER-2", "kind": "consent_withdrawn", "scope": "general_pii"})
    now = dt.datetime.now(dt.UTC)
    decisions = [
        parse_decision({
            "decision_id": f"order-{number}", "actor": "office",
            "ts": (now + dt.timedelta(milliseconds=number)).isoformat(), **order,
        })
        for number, order in enumerate(orders)
    ]  # fmt: skip
    Decisions(store, "office").apply(decisions)
