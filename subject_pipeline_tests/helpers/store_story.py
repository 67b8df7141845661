"""What a store goes through, told once for every kind of store: people, events, races, erasure, proof, tampering."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path

import polars as pl

from subject_pipeline.anchoring.checkpointing import write_checkpoint
from subject_pipeline.audit.events import AccessEvent, parse_event
from subject_pipeline.audit.log import AuditLog
from subject_pipeline.audit.reading import show
from subject_pipeline.changes.evidence import ManifestEvidence
from subject_pipeline.doctor import diagnose
from subject_pipeline.ingestion.event_files import local_file
from subject_pipeline.ingestion.ingesting import ingest
from subject_pipeline.keys.ring import KeyRing
from subject_pipeline.keys.ring_file import KeyRingFile, create_ring
from subject_pipeline.registry.backfill import backfill
from subject_pipeline.registry.maintenance import compact
from subject_pipeline.registry.subjects import SubjectRegistry
from subject_pipeline.samples.events import sample_events
from subject_pipeline.store.datasets import DatasetDeclaration
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline.verification.whole_store import verify
from subject_pipeline_tests.helpers.forked import running

PEOPLE, EVENTS, CHUNKS = 300, 400, 4


def store_at(url: str, ring: KeyRingFile | None = None) -> SubjectStore:
    """The store, opened again as another process would."""
    return SubjectStore.at(url, wanted_chunks=CHUNKS, ring=ring)


def append_all(url: str, ring: str, writer: str) -> None:
    """20 events about one subject, one by one."""
    log = AuditLog(store_at(url, KeyRingFile(Path(ring))))
    for number in range(20):
        log.append([_event("P-7", f"{writer}-{number}")])


def _appending(pipe: Connection, url: str, ring: str, writer: str) -> None:
    append_all(url, ring, writer)
    pipe.send("done")


def _event(candidate_id: str, event_id: str) -> AccessEvent:
    fields = {"candidate_id": candidate_id, "event_id": event_id, "actor": "a", "action": "view"}
    return parse_event({**fields, "ts": "2026-06-30T12:00:00Z"})


def story(url: str, folder: Path, tamper: Callable[[SubjectStore, str], None]) -> None:
    """Everything, in the order in which it happens to a store; each step holds what it did.

    Args:
        url: an empty store.
        folder: for the source and the keys.
        tamper: changes one object behind the store's back.
    """
    create_ring(folder / "ring.json", KeyRing.new(b"k" * 32, b"s" * 32))
    ring = KeyRingFile(folder / "ring.json")
    store = store_at(url, ring)
    ids = [f"P-{number}" for number in range(PEOPLE)]
    pl.DataFrame({"id": [*ids, "P_1"]}).write_parquet(folder / "people.parquet")
    people = DatasetDeclaration(name="people", source=str(folder / "people.parquet"), key_column="id")
    store.register(people)
    assert "problem" not in {one.level for one in diagnose(store)}

    # Register, from two writers at once: everybody once.
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda _: backfill(store_at(url), people, limit=None), range(2)))
    assert sum(one.counts.inserted for one in done) == PEOPLE + 1
    assert {one.counts.attempted for one in done} == {PEOPLE + 1}

    # Collide: the first keeps the storage key.
    pl.DataFrame({"id": [*ids, "P_1", "P/1"]}).write_parquet(folder / "people.parquet")
    collided = backfill(store_at(url), people, limit=None)
    assert (collided.counts.inserted, collided.counts.failed) == (0, 1)
    assert collided.failures[0].candidate_id == "P/1"

    # Ingest, twice, and append from two processes and a thread at once.
    sample_events(EVENTS, folder / "events.jsonl", people=PEOPLE)
    file = local_file(folder / "events.jsonl")
    assert ingest(AuditLog(store), [file]).appended == EVENTS
    assert ingest(AuditLog(store_at(url, ring)), [file]).already_present == EVENTS
    writer = (url, str(folder / "ring.json"))
    with running(_appending, *writer, "a") as (_, first), running(_appending, *writer, "b") as (_, second):
        append_all(url, str(folder / "ring.json"), "c")
        assert [pipe.poll(120) and pipe.recv() for pipe in (first, second)] == ["done", "done"]
    rows = show(store, "P-7")
    assert [row["row"]["seq"] for row in rows] == list(range(60))

    # Delete, announced; then nothing of it is left in the table.
    SubjectRegistry(store, ManifestEvidence(store, "dpo")).delete("P-9")
    compact(store)
    assert SubjectRegistry(store_at(url)).count() == PEOPLE

    # Verify, anchor, verify what is new: nothing.
    assert verify(store_at(url, ring)).sound
    written = write_checkpoint(store_at(url, ring))
    assert written.written is not None
    again = verify(store_at(url, ring), incremental=True, known_notes=[written.written.note])
    assert (again.sound, again.rows) == (True, 0)

    # Tamper: found by both, and named.
    layout = store.layout()
    assert layout is not None
    tamper(store, f"audit/{layout.chunks.chunk_of('P-7')}/000000000000.jsonl")
    for incremental in (False, True):
        found = verify(store_at(url, ring), incremental=incremental)
        assert not found.sound
        assert found.broken_logs


def flip(store: SubjectStore, key: str) -> None:
    """Change one letter of the last line of an object."""
    data = store.objects.get(key)
    assert data is not None
    at = data.rindex(b'"actor":"') + len(b'"actor":"')
    store.objects.replace(key, data[:at] + (b"x" if data[at : at + 1] != b"x" else b"y") + data[at + 1 :])
