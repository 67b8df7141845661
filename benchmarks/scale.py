"""`make bench-scale`: what ten times too few chunks cost, so that the count, fixed at creation, can be chosen well.

The same people and events go into two stores: one with about 10,000 subjects a chunk, one with ten times as many. Each
step is a process of its own; seconds do not count interpreter start and imports, peak memory is the whole process's.
"""

import argparse
import datetime as dt
import shutil
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from reports import RAM, Step, machine, start, tell, write_part

from subject_pipeline.anchoring.checkpointing import write_checkpoint
from subject_pipeline.audit.events import AccessEvent, parse_event
from subject_pipeline.audit.log import AuditLog
from subject_pipeline.changes.evidence import ManifestEvidence
from subject_pipeline.ingestion.event_files import local_file
from subject_pipeline.ingestion.ingesting import ingest
from subject_pipeline.keys.ring import KeyRing
from subject_pipeline.keys.ring_file import KeyRingFile, create_ring
from subject_pipeline.registry.backfill import backfill
from subject_pipeline.registry.maintenance import compact
from subject_pipeline.registry.subjects import SubjectRegistry
from subject_pipeline.samples.events import sample_events
from subject_pipeline.samples.people import sample_workers
from subject_pipeline.store.datasets import DatasetDeclaration
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline.verification.whole_store import verify

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).resolve()
COMFORTABLE = 10_000
SUBJECTS, EVENTS = 1_000_000, 1_000_000
ONE = "WORKER-100001"
REPEATS = 5

STEPS = {
    "register": "register all",
    "again": "register them again",
    "ingest": "ingest the events",
    "verify": "verify, full",
    "checkpoint": "first checkpoint",
    "few": "ingest 1 % more events",
    "incremental": "verify, incremental, after those",
    "next": "next checkpoint",
    "get": "`subjects get`, of one",
    "put": "change one manifest, announced",
    "append": "`audit append`, cold",
    "compact": "compact",
}


def step(name: str, folder: Path, chunks: int) -> None:
    """One step on a store, in this process."""
    store = SubjectStore.at(str(folder / f"store-{chunks}"), wanted_chunks=chunks)
    ring = KeyRingFile(folder / "ring.json")
    people = DatasetDeclaration(
        name="workers", source=str(folder / "workers.parquet"), key_column="worker_id", candidate_id_prefix="WORKER-"
    )
    registry = SubjectRegistry(store, ManifestEvidence(store, ring, "benchmark"))

    def change() -> None:
        manifest = registry.get(ONE)
        registry.put(manifest.model_copy(update={"vertical": f"v{uuid.uuid4().hex}"}))

    def register() -> None:
        store.register(people)
        backfill(store, people, limit=None)

    work: dict[str, Callable[[], object]] = {
        "register": register,
        "again": lambda: backfill(store, people, limit=None),
        "ingest": lambda: ingest(AuditLog(store, ring), [local_file(folder / "events.jsonl")]),
        "verify": lambda: verify(store, ring),
        "checkpoint": lambda: write_checkpoint(store, ring),
        "few": lambda: ingest(AuditLog(store, ring), [local_file(folder / "few.jsonl")]),
        "incremental": lambda: verify(store, ring, incremental=True),
        "next": lambda: write_checkpoint(store, ring),
        "get": lambda: registry.get(ONE),
        "put": change,
        "append": lambda: AuditLog(store, ring).append([_event()]),
        "compact": lambda: compact(store),
    }
    start()
    times = REPEATS if name in {"get", "put", "append"} else 1
    started = time.perf_counter()
    for _ in range(times):
        work[name]()
    tell(each_s=(time.perf_counter() - started) / times)


def _event() -> AccessEvent:
    fields = {"candidate_id": ONE, "event_id": uuid.uuid4().hex, "actor": "benchmark", "action": "view"}
    return parse_event({**fields, "ts": dt.datetime.now(dt.UTC).isoformat()})


def measure(folder: Path, subjects: int, events: int) -> list[str]:
    """The table: a row a step, both stores side by side."""
    create_ring(folder / "ring.json", KeyRing.new(b"k" * 32, b"s" * 32))
    sample_workers(subjects, folder / "workers.parquet")
    sample_events(events, folder / "events.jsonl", people=subjects)
    sample_events(events // 100, folder / "few.jsonl", people=subjects, seed=11)
    good = max(1, subjects // COMFORTABLE)
    few = max(1, good // 10)
    lines = [
        f"{subjects:,} subjects, {events:,} events: {good} chunks against {few}, ten times too few.",
        "",
        f"| step | {good} chunks, s | {few} chunks, s | times as long | peak MiB, {good} | peak MiB, {few} |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, words in STEPS.items():
        found = {
            chunks: Step(HERE, "--step", name, "--folder", folder, "--chunks", chunks).found() for chunks in (good, few)
        }
        right, wrong = found[good], found[few]
        lines.append(
            f"| {words} | {right['each_s']:.3f} | {wrong['each_s']:.3f} | {wrong['each_s'] / right['each_s']:.1f} | "
            f"{right['peak_mib']:,.0f} | {wrong['peak_mib']:,.0f} |"
        )
        print(lines[-1], flush=True)
    return lines


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=RAM if RAM.exists() else Path(tempfile.gettempdir()))
    parser.add_argument("--subjects", type=int, default=SUBJECTS)
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--chunks", type=int)
    parser.add_argument("--step", choices=STEPS)
    options = parser.parse_args()
    if options.step:
        step(options.step, options.folder, options.chunks)
        sys.exit(0)
    folder = options.folder / "subject-pipeline-scale"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        lines = measure(folder, options.subjects, options.events)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print("\n".join(lines))
    write_part("scale", [f"Measured {dt.datetime.now(dt.UTC):%Y-%m-%d} on {machine()}, in RAM.", "", *lines])


if __name__ == "__main__":
    main()
