import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from subject_pipeline.audit.events import parse_event
from subject_pipeline.audit.log import AuditLog
from subject_pipeline.errors import SourceError
from subject_pipeline.ingestion import event_files, ingesting, line_files
from subject_pipeline.ingestion.inbox import EVENT_INBOX, ingest_inbox
from subject_pipeline.ingestion.waiting import receipt_key
from subject_pipeline.keys.ring import KeyRing
from subject_pipeline.keys.ring_file import KeyRingFile, create_ring
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline.verification.whole_store import verify


@pytest.fixture
def log(store: SubjectStore, tmp_path: Path) -> AuditLog:
    """An audit log whose store has an inbox."""
    (tmp_path / "store" / "inbox").mkdir(parents=True)
    create_ring(tmp_path / "ring.json", KeyRing.new(b"k" * 32, b"s" * 32))
    return AuditLog(store.with_ring(KeyRingFile(tmp_path / "ring.json")))


def drop(log: AuditLog, name: str, *event_ids: str) -> None:
    """Put events about one subject into the inbox."""
    event = {"candidate_id": "W-1", "ts": "2026-01-02T03:04:05Z", "actor": "agent:x", "action": "view_profile"}
    lines = [orjson.dumps({**event, "event_id": event_id}) + b"\n" for event_id in event_ids]
    log.store.objects.replace(f"inbox/{name}", b"".join(lines))


def rows(log: AuditLog) -> int:
    """How many rows the log has, all of them whole."""
    found = verify(log.store)
    assert found.broken == 0
    return found.rows


@pytest.mark.long
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
    assert [item.key for item in EVENT_INBOX.waiting(log.store.without_ring())] == [
        "inbox/a.parquet",
        "inbox/c.parquet",
    ]


def test_a_named_file_that_is_gone_stops_no_other(log: AuditLog) -> None:
    """A file removed since it was named fails the run alone."""
    drop(log, "b.jsonl", "1")
    with pytest.raises(SourceError, match=r"cannot take 'gone\.jsonl'"):
        ingest_inbox(log, ["gone.jsonl", "b.jsonl"])
    assert rows(log) == 1
    assert not EVENT_INBOX.waiting(log.store.without_ring())


class PanicException(BaseException):
    """What a Rust library's panic is in Python: no `Exception`."""


@pytest.mark.parametrize(
    "error",
    [OverflowError("x"), MemoryError(), RecursionError(), ValueError("secret"), OSError(5, "I/O"), PanicException("x")],
    ids=lambda error: type(error).__name__,
)
def test_whatever_reading_a_file_raises_is_its_own(
    log: AuditLog, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """The others are ingested, the file is named, and nothing of it is quoted."""

    def lines(file: Any) -> Iterator[Any]:
        if b"poison" in file.read():
            raise error
        file.seek(0)
        yield from real(file)

    real = line_files.json_lines
    monkeypatch.setattr(event_files, "json_lines", lines)
    drop(log, "a.jsonl", "poison")
    drop(log, "b.jsonl", "1")
    with pytest.raises(SourceError, match=r"cannot read inbox/a\.jsonl: ") as caught:
        ingest_inbox(log)
    assert "secret" not in str(caught.value)
    assert rows(log) == 1


@pytest.mark.parametrize("error", [OverflowError(), RecursionError(), KeyError("secret")])
def test_whatever_parsing_a_line_raises_rejects_that_line(
    log: AuditLog, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """The lines after it are ingested."""

    def parse(value: Any) -> Any:
        if value["event_id"] == "poison":
            raise error
        return real(value)

    real = parse_event
    monkeypatch.setattr(ingesting, "parse_event", parse)
    drop(log, "a.jsonl", "poison", "1")
    report = ingest_inbox(log)
    assert (report.appended, report.rejected) == (1, 1)
    assert report.rejections[0].reason == f"cannot be examined ({type(error).__name__})"


@pytest.mark.long
def test_a_time_beyond_all_calendars_stops_nothing(log: AuditLog) -> None:
    """The year 300000 in a parquet file costs its row."""
    file = io.BytesIO()
    times = pa.array([0, 9_404_532_000_000], pa.timestamp("s", "UTC"))
    names = {name: ["1", "2"] for name in ("event_id", "candidate_id", "actor", "action")}
    pq.write_table(pa.table({**names, "ts": times}), file)
    log.store.objects.replace("inbox/a.parquet", file.getvalue())
    drop(log, "b.jsonl", "1")
    report = ingest_inbox(log)
    assert (report.appended, report.rejected) == (2, 1)
    assert not EVENT_INBOX.waiting(log.store, log.layout.log_id)


def test_a_name_that_is_no_text_stops_nothing(log: AuditLog, tmp_path: Path) -> None:
    """It is left where it is."""
    drop(log, "b.jsonl", "1")
    Path(os.fsdecode(os.fsencode(tmp_path / "store" / "inbox") + b"/\xff.jsonl")).write_bytes(b"{}")
    assert ingest_inbox(log).appended == 1
    assert not EVENT_INBOX.waiting(log.store.without_ring())


def _no_receipt(_data: bytes) -> bytes:
    return b"{}"


def _flipped(data: bytes) -> bytes:
    return data.replace(b'"appended":1', b'"appended":2')


def _of_another_key(data: bytes) -> bytes:
    return data.replace(data.partition(b'"key_id":"')[2][:16], b"0" * 16)


@pytest.mark.parametrize("change", [_no_receipt, _flipped, _of_another_key, lambda _: b"", lambda _: b"[" * 9_999])
def test_a_receipt_that_is_not_ours_is_ignored(log: AuditLog, change: Callable[[bytes], bytes]) -> None:
    """The file waits again, and ingesting it again writes a receipt and nothing else."""
    drop(log, "a.jsonl", "1")
    assert ingest_inbox(log).appended == 1
    assert not ingest_inbox(log).files
    (key,) = [item.key for item in log.store.objects.list("catalog/ingested/")]
    data = log.store.objects.get(key)
    assert data is not None
    log.store.objects.replace(key, change(data))
    assert EVENT_INBOX.waiting(log.store, log.layout.log_id)
    assert not EVENT_INBOX.waiting(log.store.without_ring())
    again = ingest_inbox(log)
    assert (again.files, again.appended, again.already_present) == (1, 0, 1)
    assert log.store.objects.get(key) is not None
    assert not EVENT_INBOX.waiting(log.store, log.layout.log_id)


def test_a_receipt_speaks_of_one_file_in_one_log(log: AuditLog) -> None:
    """A sound receipt of another file, or of another log, is none of this file."""
    drop(log, "a.jsonl", "1")
    ingest_inbox(log)
    (receipt,) = log.store.objects.list("catalog/ingested/")
    drop(log, "b.jsonl", "2")
    (other,) = EVENT_INBOX.waiting(log.store.without_ring())
    data = log.store.objects.get(receipt.key)
    assert data is not None
    log.store.objects.replace(receipt_key(other), data)
    assert [item.key for item in EVENT_INBOX.waiting(log.store, log.layout.log_id)] == ["inbox/b.jsonl"]
    assert len(EVENT_INBOX.waiting(log.store, "ab" * 16)) == 2
    assert len(EVENT_INBOX.waiting(log.store, None)) == 2
    assert EVENT_INBOX.waiting(log.store.without_ring()) == []


def test_receipts_are_read_once_and_of_waiting_files_alone(log: AuditLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look at the inbox costs two listings, however many receipts there are."""
    for name in ("a.jsonl", "b.jsonl"):
        drop(log, name, name)
    ingest_inbox(log)
    log.store.objects.delete("inbox/a.jsonl")
    read: list[str] = []
    real = type(log.store.objects).get
    monkeypatch.setattr(type(log.store.objects), "get", lambda self, key: (read.append(key), real(self, key))[1])
    for _ in range(3):
        assert not EVENT_INBOX.waiting(log.store, log.layout.log_id)
    assert len([key for key in read if key.startswith("catalog/ingested/")]) == 1
