from pathlib import Path

import orjson
import pytest

from subject_pipeline.domain.key_ring import KeyRing
from subject_pipeline.errors import SourceError
from subject_pipeline.storage.key_ring_file import KeyRingFile, create_ring
from subject_pipeline.use_cases.audit_log import AuditLog
from subject_pipeline.use_cases.inbox import ingest_inbox, waiting
from subject_pipeline.use_cases.store import SubjectStore
from subject_pipeline.use_cases.verification import verify


@pytest.fixture
def log(store: SubjectStore, tmp_path: Path) -> AuditLog:
    """An audit log whose store has an inbox."""
    (tmp_path / "store" / "inbox").mkdir(parents=True)
    create_ring(tmp_path / "ring.json", KeyRing.new(b"k" * 32, b"s" * 32))
    return AuditLog(store, KeyRingFile(tmp_path / "ring.json"))


def drop(log: AuditLog, name: str, *event_ids: str) -> None:
    """Put events about one subject into the inbox."""
    event = {"candidate_id": "W-1", "ts": "2026-01-02T03:04:05Z", "actor": "agent:x", "action": "view_profile"}
    lines = [orjson.dumps({**event, "event_id": event_id}) + b"\n" for event_id in event_ids]
    log.store.objects.replace(f"inbox/{name}", b"".join(lines))


def rows(log: AuditLog) -> int:
    """How many rows the log has, all of them whole."""
    found = verify(log.store, log.ring)
    assert found.broken == 0
    return found.rows


@pytest.mark.parametrize(
    "names", [(), ("a.parquet", "b.jsonl", "c.parquet", "d.jsonl")], ids=["whatever waits", "named"]
)
def test_files_that_cannot_be_read_stop_no_other(log: AuditLog, names: tuple[str, ...]) -> None:
    """All others are ingested and noted before the failure says how many were not, and why the first was not."""
    log.store.objects.replace("inbox/a.parquet", b"no parquet")
    drop(log, "b.jsonl", "1", "2")
    log.store.objects.replace("inbox/c.parquet", b"neither")
    drop(log, "d.jsonl", "3")
    with pytest.raises(SourceError, match=r"2 of 4 files were not ingested, all others are. First: .*a\.parquet"):
        ingest_inbox(log, names)
    assert rows(log) == 3
    assert [item.key for item in waiting(log.store.objects)] == ["inbox/a.parquet", "inbox/c.parquet"]


def test_a_named_file_that_is_gone_stops_no_other(log: AuditLog) -> None:
    """A file removed since it was named fails the run alone."""
    drop(log, "b.jsonl", "1")
    with pytest.raises(SourceError, match=r"cannot ingest 'gone\.jsonl'"):
        ingest_inbox(log, ["gone.jsonl", "b.jsonl"])
    assert rows(log) == 1
    assert not waiting(log.store.objects)
