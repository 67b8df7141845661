"""What erasures cost: registration beside people who were erased, erasing in bulk, and the look before certificates.

    python benchmarks/erasures.py [--people N] [--erased PERCENT]

A person who was erased is looked for among all new ones, so the first registration of a source is timed: into a store
that erased nobody, and into one that erased some of its people. Each is done three times, in turn; the best counts.
"""

import argparse
import datetime as dt
import shutil
import time
from pathlib import Path

import polars as pl

from subject_pipeline.anchoring.checkpointing import write_checkpoint
from subject_pipeline.changes.evidence import ManifestEvidence
from subject_pipeline.keys.ring import KeyRing
from subject_pipeline.keys.ring_file import KeyRingFile, create_ring
from subject_pipeline.lifecycle.erasure.certificates import Certificates
from subject_pipeline.lifecycle.erasure.erasing import Erasures
from subject_pipeline.lifecycle.erasure.group import Order
from subject_pipeline.lifecycle.erasure.selecting import past_date
from subject_pipeline.registry.backfill import backfill
from subject_pipeline.registry.maintenance import compact
from subject_pipeline.store.datasets import DatasetDeclaration
from subject_pipeline.store.opened import SubjectStore

FOLDER = Path("/dev/shm/subject-pipeline-erasures")  # noqa: S108 - made and removed by one run
MUCH_LATER = dt.datetime.now(dt.UTC) + dt.timedelta(days=366 * 5)


class Trial:
    """One store, and the people of a source."""

    def __init__(self, name: str) -> None:
        folder = FOLDER / name
        create_ring(folder / "ring.json", KeyRing.new(bytes(range(32)), bytes(range(32, 64))))
        self.store = SubjectStore.at(str(folder / "store"), ring=KeyRingFile(folder / "ring.json"))

    def evidence(self) -> ManifestEvidence:
        """What records changes, as another process would open it."""
        return ManifestEvidence(self.store, "bench")

    def register(self, source: str) -> float:
        """Register every row of a source; the seconds."""
        dataset = DatasetDeclaration(
            name=source, source=str(FOLDER / f"{source}.parquet"), key_column="id", candidate_id_prefix="WORKER-"
        )
        started = time.perf_counter()
        report = backfill(self.store, dataset, limit=None, evidence=self.evidence())
        seconds = time.perf_counter() - started
        if report.counts.failed:
            raise SystemExit(f"{report.counts.failed} of {source} failed")
        return seconds

    def erase_due(self) -> tuple[int, float, float]:
        """Order and erase everybody; how many, the seconds to find them, and to erase them."""
        started = time.perf_counter()
        evidence = self.evidence()
        evidence.open()
        due = past_date(self.store, evidence, MUCH_LATER)
        found = time.perf_counter()
        erasures = Erasures(self.store, "bench")
        done = erasures.erase(due, Order("bench"))
        erasures.close()
        if (done.ordered, done.erased, done.complete) != (len(due), len(due), True):
            raise SystemExit(f"{done.erased} of {len(due)} erased")
        return len(due), found - started, time.perf_counter() - found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=1_000_000)
    parser.add_argument("--erased", type=float, default=1.0, help="percent of them")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    try:
        ids = pl.Series("id", [f"{number:08d}" for number in range(asked.people)])
        ids.to_frame().write_parquet(FOLDER / "all.parquet")
        ids.gather_every(round(100 / asked.erased)).to_frame().write_parquet(FOLDER / "some.parquet")
        plain, beside = [], []
        for turn in range(asked.rounds):
            plain.append(Trial(f"plain-{turn}").register("all"))
            trial = Trial(f"erased-{turn}")
            trial.register("some")
            count, looking, erasing = trial.erase_due()
            print(f"{count:,} due people found in {looking:.2f} s, ordered and erased in {erasing:.2f} s", flush=True)
            if turn == 0:
                _certify(trial)
            beside.append(trial.register("all"))
            print(f"registered: {plain[-1]:.2f} s, beside them {beside[-1]:.2f} s", flush=True)
        print(f"{asked.people:,} people, {asked.erased} % of them erased before: {min(beside) / min(plain):.2f} times")
    finally:
        shutil.rmtree(FOLDER, ignore_errors=True)


def _certify(trial: Trial) -> None:
    compact(trial.store, trial.evidence())
    write_checkpoint(trial.store)
    started = time.perf_counter()
    issued = Certificates(trial.store).issue()
    print(f"{issued.certificates:,} certificates issued after one look in {time.perf_counter() - started:.2f} s")
    started = time.perf_counter()
    pending = Certificates(trial.store).pending()
    print(f"{pending:,} are pending: counted in {time.perf_counter() - started:.2f} s")


if __name__ == "__main__":
    main()
