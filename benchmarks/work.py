"""What the benchmarks have this pipeline do to a store, a step each, and the sample people and events for it."""

from collections.abc import Callable
from pathlib import Path

from steps import Found

from subject_pipeline.anchoring.checkpointing import write_checkpoint
from subject_pipeline.audit.events import AccessEvent, parse_event
from subject_pipeline.audit.log import AuditLog
from subject_pipeline.ingestion.event_files import local_file
from subject_pipeline.ingestion.ingesting import ingest
from subject_pipeline.keys.ring import KeyRing
from subject_pipeline.keys.ring_file import KeyRingFile, create_ring
from subject_pipeline.registry.backfill import backfill
from subject_pipeline.samples.events import sample_events
from subject_pipeline.samples.people import sample_workers
from subject_pipeline.store.datasets import DatasetDeclaration
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline.verification.by_processes import verify_by_processes
from subject_pipeline.verification.whole_store import verify

KEY = bytes(range(32))


def ring_in(folder: Path) -> KeyRingFile:
    """The folder's key ring, made at first use."""
    path = folder / "ring.json"
    if not path.exists():
        create_ring(path, KeyRing.new(KEY, KEY))
    return KeyRingFile(path)


def store_in(folder: Path, chunks: int | None = None) -> SubjectStore:
    """The folder's store, with its keys."""
    return SubjectStore.at(str(folder / "store"), wanted_chunks=chunks, ring=ring_in(folder))


def people_in(folder: Path, people: int) -> str:
    """So many sample people, written at first use; the file's path. Making them takes memory: not for a step."""
    path = folder / f"workers-{people}.parquet"
    if not path.exists():
        sample_workers(people, path)
    return str(path)


def dataset_of(source: str) -> DatasetDeclaration:
    """A file of sample people as a dataset."""
    return DatasetDeclaration(name="workers", source=source, key_column="worker_id", candidate_id_prefix="WORKER-")


def events_in(folder: Path, rows: int, *, people: int, seed: int = 7) -> str:
    """So many sample events, written at first use; the file's path."""
    path = folder / f"events-{rows}-{people}-{seed}.jsonl"
    if not path.exists():
        sample_events(rows, path, people=people, seed=seed)
    return str(path)


def one_event(at: int, people: int = 1_000) -> AccessEvent:
    """An event as a gateway makes it, all in one month."""
    second, microsecond = divmod(at, 1_000_000)
    return parse_event(
        {
            "event_id": f"ev-{at}",
            "candidate_id": f"WORKER-{100_001 + at % people}",
            "ts": f"2026-06-{1 + second % 28:02d}T12:00:00.{microsecond:06d}Z",
            "actor": "agent:matcher",
            "action": "view_profile",
            "payload": {"status": 200, "rows": 1},
            "dataset": "workers",
            "trace_id": f"{at:032x}",
        }
    )


def register_step(folder: Path, source: str, chunks: int) -> Callable[[], Found]:
    """Registers all people of a file."""
    dataset = dataset_of(source)
    store = store_in(folder, chunks)
    store.register(dataset)
    return lambda: {"inserted": backfill(store, dataset, limit=None).counts.inserted}


def ingest_step(folder: Path, files: list[str], chunks: int, processes: int = 1) -> Callable[[], Found]:
    """Ingests files of events."""
    log = AuditLog(store_in(folder, chunks))

    def work() -> Found:
        report = ingest(log, [local_file(Path(path)) for path in files], processes=processes)
        return {"rows": report.appended, "rejected": report.rejected, "results": report.results}

    return work


def verify_all_step(folder: Path, processes: int) -> Callable[[], Found]:
    """Verifies everything, as `audit verify` does."""
    store = store_in(folder)

    def work() -> Found:
        report = verify_by_processes(store, processes=processes)
        if not report.sound:
            raise SystemExit("the store is not sound: the figures would mean nothing")
        return {"rows": report.rows}

    return work


def verify_step(folder: Path, part: tuple[int, int] | None = None, *, incremental: bool = False) -> Callable[[], Found]:
    """Verifies all chunks, or those from one number to another."""
    store = store_in(folder)
    layout = store.layout()
    chunks = layout.chunks.names[slice(*part)] if layout and part else None

    def work() -> Found:
        report = verify(store, chunks=chunks, incremental=incremental)
        if not report.sound:
            raise SystemExit("the store is not sound: the figures would mean nothing")
        return {"rows": report.rows, "subjects": report.subjects}

    return work


def checkpoint_step(folder: Path) -> Callable[[], Found]:
    """Writes a checkpoint, with the verification that it rests on."""
    store = store_in(folder)

    def work() -> Found:
        report = write_checkpoint(store)
        if report.written is None or report.carried:
            raise SystemExit("no whole checkpoint was written: the figures would mean nothing")
        return {"entries": report.entries}

    return work
