"""One process of the tests with several: says that it is ready, waits for a word, backfills, and gives its counts."""

from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from subject_pipeline.candidates import staged
from subject_pipeline.changes.evidence import ManifestEvidence
from subject_pipeline.keys.ring_file import KeyRingFile
from subject_pipeline.registry.backfill import backfill
from subject_pipeline.store.datasets import DatasetDeclaration
from subject_pipeline.store.opened import SubjectStore


def backfill_when_told(pipe: Connection, asked: dict[str, Any]) -> None:
    """Asked for are `store`, `source`, `key_column`; if wanted, `chunks` and the others below."""
    staged.ROWS_PER_GROUP = asked.get("rows_per_group", staged.ROWS_PER_GROUP)
    ring = KeyRingFile(Path(asked["ring"]) if "ring" in asked else None)
    store = SubjectStore.at(asked["store"], wanted_chunks=asked.get("chunks"), ring=ring)
    people = DatasetDeclaration(name="people", source=asked["source"], key_column=asked["key_column"])
    pipe.send("ready")
    pipe.recv()
    report = backfill(store, people, limit=asked.get("limit"), evidence=ManifestEvidence(store, "tester"))
    failures = [(failure.candidate_id, failure.reason) for failure in report.failures]
    pipe.send({**asdict(report.counts), "failures": failures, "elapsed_s": report.elapsed_s})
