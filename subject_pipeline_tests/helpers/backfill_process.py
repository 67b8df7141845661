"""One process of the tests with several: says that it is ready, waits for a line, backfills, and prints its counts."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

from subject_pipeline.candidates import staged
from subject_pipeline.changes.evidence import ManifestEvidence
from subject_pipeline.keys.ring_file import KeyRingFile
from subject_pipeline.registry.backfill import backfill
from subject_pipeline.store.datasets import DatasetDeclaration
from subject_pipeline.store.opened import SubjectStore


def main() -> None:
    """The one argument is JSON: `store`, `source`, `key_column`; if wanted, `chunks` and the others below."""
    asked = json.loads(sys.argv[1])
    staged.ROWS_PER_GROUP = asked.get("rows_per_group", staged.ROWS_PER_GROUP)
    store = SubjectStore.at(asked["store"], wanted_chunks=asked.get("chunks"))
    people = DatasetDeclaration(name="people", source=asked["source"], key_column=asked["key_column"])
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    ring = Path(asked["ring"]) if "ring" in asked else None
    report = backfill(
        store, people, limit=asked.get("limit"), evidence=ManifestEvidence(store, KeyRingFile(ring), "tester")
    )
    told = {
        **asdict(report.counts),
        "failures": [(failure.candidate_id, failure.reason) for failure in report.failures],
        "elapsed_s": report.elapsed_s,
    }
    sys.stdout.write(f"{json.dumps(told)}\n")


if __name__ == "__main__":
    main()
