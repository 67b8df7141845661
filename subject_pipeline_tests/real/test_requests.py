import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from subject_pipeline.anchoring.checkpointing import write_checkpoint
from subject_pipeline.audit.events import parse_event
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
from subject_pipeline.verification.whole_store import verify
from subject_pipeline_tests.real.s3_proxy import Counted, make_bucket, s3_server

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Counted]:
    """An S3 server whose requests are counted."""
    with s3_server(tmp_path_factory.mktemp("s3")) as started, pytest.MonkeyPatch.context() as patch:
        for name, value in started.environment.items():
            patch.setenv(name, value)
        yield started


def costs(proxy: Counted, folder: Path, bucket: str, *, chunks: int, people: int) -> dict[str, Counter[str]]:
    """What each operation asks of a bucket, by kind of request."""
    folder.mkdir()
    url = f"{make_bucket(proxy, bucket)}/store"
    create_ring(folder / "ring.json", KeyRing.new(b"k" * 32, b"s" * 32))
    ring = KeyRingFile(folder / "ring.json")
    sample_workers(people, folder / "workers.parquet")
    sample_events(2 * people, folder / "events.jsonl", people=people)
    declared = DatasetDeclaration(
        name="workers",
        source=str(folder / "workers.parquet"),
        key_column="worker_id",
        candidate_id_prefix="WORKER-",
    )
    found: dict[str, Counter[str]] = {}

    def store() -> SubjectStore:
        return SubjectStore.at(url, wanted_chunks=chunks, ring=ring)

    def count(name: str, run: Callable[[], object]) -> None:
        proxy.reset()
        run()
        found[name] = Counter(proxy.counts)

    store().register(declared)
    count("register", lambda: backfill(store(), declared, limit=None))
    count("again", lambda: backfill(store(), declared, limit=None))
    count("ingest", lambda: ingest(AuditLog(store()), [local_file(folder / "events.jsonl")]))
    count("full", lambda: verify(store()))
    write_checkpoint(store())
    count("unchanged", lambda: verify(store(), incremental=True))
    warm = AuditLog(store())
    for number in range(2):
        fields = {"candidate_id": "WORKER-100001", "event_id": f"e-{number}", "actor": "a", "action": "view"}
        event = parse_event({**fields, "ts": dt.datetime.now(dt.UTC).isoformat()})
        count("append", partial(warm.append, [event]))
    return found


def test_what_a_bucket_is_asked_for_follows_the_chunks_and_never_the_subjects(proxy: Counted, tmp_path: Path) -> None:
    """Four times the people cost the same requests; a registration writes at most thrice a chunk; the rest is O(1)."""
    few = costs(proxy, tmp_path / "few", "few", chunks=8, people=2_000)
    many = costs(proxy, tmp_path / "many", "many", chunks=8, people=8_000)
    wide = costs(proxy, tmp_path / "wide", "wide", chunks=32, people=8_000)
    for name, counts in many.items():
        assert counts.total() <= few[name].total() * 1.2 + 8, name  # no request of a subject's own
    for found, chunks in ((many, 8), (wide, 32)):
        assert found["register"]["PUT"] <= 3 * chunks
        assert found["again"]["PUT"] <= 3
        assert found["full"].total() <= 4 * chunks + 16  # a segment, two table files, what is one for all
    assert wide["unchanged"].total() <= many["unchanged"].total() + 2 <= 20  # LIST and what is one for all
    assert many["append"] == {"PUT": 1}
