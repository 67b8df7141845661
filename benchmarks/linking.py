"""What linking costs: people of one dataset linked to a second, and the re-run that links nobody.

    python benchmarks/linking.py [--rows 500000] [--folder DIR] [--keep]

Re-runs with and without linking take turns in one process, so that a busy machine is busy for both; the medians and
their ratio are printed.
"""

import argparse
import shutil
import statistics
import time
from pathlib import Path

from subject_pipeline.changes.evidence import ManifestEvidence
from subject_pipeline.keys.ring import KeyRing
from subject_pipeline.keys.ring_file import KeyRingFile, create_ring
from subject_pipeline.registry.backfill import BackfillReport, backfill
from subject_pipeline.samples.people import sample_workers
from subject_pipeline.store.datasets import DatasetDeclaration
from subject_pipeline.store.opened import SubjectStore

RAM = Path("/dev/shm/subject-pipeline-linking")  # noqa: S108 - made and removed by one run
ROUNDS = 7


def bench(folder: Path, rows: int) -> None:
    """Measure, and print one line a figure."""
    source = folder / "people.parquet"
    sample_workers(rows, source)
    ring = folder / "ring.json"
    create_ring(ring, KeyRing.new(bytes(range(32)), bytes(range(32, 64))))
    store = SubjectStore.at(str(folder / "store"), ring=KeyRingFile(ring))
    workers = DatasetDeclaration(
        name="workers", source=str(source), key_column="worker_id", candidate_id_prefix="WORKER-"
    )
    drivers = workers.model_copy(update={"name": "drivers", "safe_views": ("drivers_public",)})

    def timed(dataset: DatasetDeclaration) -> tuple[float, BackfillReport]:
        started = time.perf_counter()
        report = backfill(store, dataset, limit=None, evidence=ManifestEvidence(store, "bench"))
        return time.perf_counter() - started, report

    print(f"registered: {timed(workers)[0]:.2f} s")
    seconds, report = timed(drivers)
    if report.counts.linked != rows:
        raise SystemExit(f"{report.counts.linked:,} of {rows:,} were linked")
    print(f"linked: {seconds:.2f} s")
    on, off = [], []
    for _ in range(ROUNDS):
        on.append(timed(drivers)[0])
        off.append(timed(drivers.model_copy(update={"link": False}))[0])
    again, without = statistics.median(on), statistics.median(off)
    print(f"again: {again:.2f} s; with link: false {without:.2f} s; ratio {again / without:.2f}")


def main() -> None:
    """Run it in a folder that is removed afterwards."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--folder", type=Path, default=RAM)
    parser.add_argument("--keep", action="store_true", help="leave the store there, for another version to be measured")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True)
    try:
        bench(arguments.folder, arguments.rows)
    finally:
        if not arguments.keep:
            shutil.rmtree(arguments.folder)


if __name__ == "__main__":
    main()
