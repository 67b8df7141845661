import datetime as dt
import gc
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import polars as pl
import pytest
from obstore.store import MemoryStore

from subject_pipeline.audit.log import AuditLog
from subject_pipeline.audit.reading import show
from subject_pipeline.audit.stored_segments import AuditSegments
from subject_pipeline.errors import SourceError, StoreError
from subject_pipeline.ingestion import event_files, ingesting, line_files
from subject_pipeline.ingestion.appending.by_chunk import InThisProcess
from subject_pipeline.ingestion.event_files import local_file
from subject_pipeline.ingestion.ingest_report import IngestReport, Placed
from subject_pipeline.ingestion.ingesting import ingest
from subject_pipeline.ingestion.line_files import LineFile
from subject_pipeline.keys.ring import KeyRing
from subject_pipeline.keys.ring_file import KeyRingFile, create_ring
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline.verification.whole_store import verify
from subject_pipeline_tests.helpers.audit_stores import HookedMemory, event_ids, failing, with_objects


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    """The log of an empty store."""
    create_ring(tmp_path / "ring.json", KeyRing.new(b"k" * 32, b"s" * 32))
    return AuditLog(SubjectStore.at(str(tmp_path / "store"), wanted_chunks=4, ring=KeyRingFile(tmp_path / "ring.json")))


def _event(number: int, **fields: Any) -> dict[str, Any]:
    event = {"event_id": f"e-{number}", "candidate_id": f"P-{number % 7}", "ts": "2026-06-30T12:00:00Z"}
    return {**event, "actor": "a", "action": "view", **fields}


def _lines(path: Path, *lines: bytes | dict[str, Any]) -> LineFile:
    path.write_bytes(b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines))
    return local_file(path)


def _counts(report: IngestReport) -> tuple[int, int, int]:
    assert report.events == report.appended + report.already_present + report.rejected
    return report.appended, report.already_present, report.rejected


@pytest.mark.long
def test_parquet_events_are_those_of_json_lines(log: AuditLog, tmp_path: Path) -> None:
    """The same events in either format are the same rows, optional columns, lists and payload text included."""
    wanted = [
        _event(0, payload={"status": 403}, fields=["name"], purpose="matching"),
        _event(1, result="not_found", trace_id="t-1"),
    ]
    _lines(tmp_path / "e.jsonl", *wanted)
    texts = ("event_id", "candidate_id", "actor", "action", "payload", "purpose", "result", "trace_id")
    schema: dict[str, Any] = dict.fromkeys(texts, pl.String)
    schema |= {"ts": pl.Datetime("us", "UTC"), "fields": pl.List(pl.String)}
    rows = [
        {**event, "ts": dt.datetime(2026, 6, 30, 12, tzinfo=dt.UTC), "payload": json.dumps(event.get("payload"))
         if "payload" in event else None} for event in wanted
    ]  # fmt: skip
    pl.DataFrame(rows, schema=schema).write_parquet(tmp_path / "e.parquet")
    assert _counts(ingest(log, [local_file(tmp_path / "e.parquet")])) == (2, 0, 0)
    assert _counts(ingest(log, [local_file(tmp_path / "e.jsonl")])) == (0, 2, 0)
    (row,) = show(log.store, "P-0")
    assert (row["row"]["result"], row["row"]["fields"], row["row"]["purpose"]) == ("denied", ["name"], "matching")
    (row,) = show(log.store, "P-1")
    assert (row["row"]["result"], row["row"]["trace_id"], "payload_sha256" in row["row"]) == ("not_found", "t-1", False)


def test_a_parquet_time_without_a_zone_is_rejected(log: AuditLog, tmp_path: Path) -> None:
    """What moment it means nobody knows."""
    event = {**_event(0), "ts": dt.datetime(2026, 6, 30, 12)}  # noqa: DTZ001 - the point
    pl.DataFrame([event]).write_parquet(tmp_path / "e.parquet")
    report = ingest(log, [local_file(tmp_path / "e.parquet")])
    assert _counts(report) == (0, 0, 1)
    assert (report.rejections[0].line, report.rejections[0].reason) == (1, "ts: has no time zone")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"nonsense", "not JSON"),
        (b"[]", "not a JSON object"),
        (b"\xff\xfe", "not JSON"),
        (b'{"event_id":"e"}', "candidate_id: missing"),
        (b"[" * 5_000, "not JSON"),
        (json.dumps(_event(0, action="manifest_updated")).encode(), "action: manifest_"),
        (json.dumps(_event(0, result="fine")).encode(), "result: must be one of"),
        (json.dumps(_event(0, payload={"n": 2**60})).encode(), "payload: "),
        (json.dumps(_event(0, ts="2026-06-30")).encode(), "ts: must be RFC 3339"),
        (json.dumps(_event(0, candidate_id="x" * 201)).encode(), "candidate_id: storage key"),
    ],
)
def test_a_bad_line_is_rejected_and_stops_nothing(log: AuditLog, tmp_path: Path, line: bytes, reason: str) -> None:
    """Its place and reason are told; what stands before and after it is appended."""
    report = ingest(log, [_lines(tmp_path / "e.jsonl", _event(1), line, _event(2))])
    assert _counts(report) == (2, 0, 1)
    (rejection,) = report.rejections
    assert rejection.line == 2
    assert rejection.reason.startswith(reason)


def test_a_line_too_long_is_rejected_without_being_read(
    log: AuditLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line beyond the limit is skipped to its end."""
    monkeypatch.setattr(line_files, "MAX_LINE", 1_000)
    report = ingest(log, [_lines(tmp_path / "e.jsonl", _event(1), b"x" * 5_000, _event(2))])
    assert _counts(report) == (2, 0, 1)
    assert [(one.line, one.reason) for one in report.rejections] == [(2, "longer than 1,000 bytes")]


@pytest.mark.parametrize("content", [b"", b"\n\n", b" \r\n"])
def test_a_file_without_events_is_none(log: AuditLog, tmp_path: Path, content: bytes) -> None:
    """Blank lines are no events."""
    assert _counts(ingest(log, [_lines(tmp_path / "e.jsonl", content)])) == (0, 0, 0)


def test_a_file_that_is_not_what_its_name_says_is_refused(log: AuditLog, tmp_path: Path) -> None:
    """Not parquet, another ending, a folder, nothing there."""
    (tmp_path / "e.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(SourceError, match="not parquet"):
        ingest(log, [local_file(tmp_path / "e.parquet")])
    for name in ("e.csv", "nowhere.jsonl", "store"):
        with pytest.raises(SourceError):
            local_file(tmp_path / name)


def test_the_same_file_twice_in_one_call_is_once(log: AuditLog, tmp_path: Path) -> None:
    """Events are what they are, not where they stand."""
    file = _lines(tmp_path / "e.jsonl", *(_event(number) for number in range(50)))
    assert _counts(ingest(log, [file, file])) == (50, 50, 0)
    assert verify(log.store).rows == 50


def test_a_batch_ends_where_its_events_take_enough_memory(
    log: AuditLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However few they are; names of fields count as well."""
    monkeypatch.setattr(ingesting, "_BATCH_BYTES", 150_000)
    wide = [_event(number, fields=[f"{name}" * 500 for name in range(100)]) for number in range(6)]
    small = [_event(number) for number in range(6, 12)]
    seen: list[int] = []
    file = _lines(tmp_path / "e.jsonl", *wide, *small)
    assert _counts(ingest(log, [file], progress=seen.append)) == (12, 0, 0)
    assert seen[:-1] == [2, 4, 6]


@pytest.mark.long
def test_one_batch_at_a_time_is_in_memory(log: AuditLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was appended is gone before the next batch is read."""
    monkeypatch.setattr(InThisProcess, "batch", 50)
    alive: list[int] = []
    parsed = event_files.read_events

    def watched(name: str, stream: BinaryIO) -> Iterator[line_files.FileLine]:
        for line in parsed(name, stream):
            if line.number % 10 == 0:  # looking at every object of this process takes a while
                alive.append(sum(type(one) is Placed for one in gc.get_objects()))
            yield line

    monkeypatch.setattr(ingesting, "read_events", watched)
    file = _lines(tmp_path / "e.jsonl", *(_event(number) for number in range(200)))
    assert _counts(ingest(log, [file])) == (200, 0, 0)
    assert len(alive) == 20
    assert max(alive) < 50


def test_an_ingestion_that_failed_half_way_is_finished_by_the_next(
    log: AuditLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was counted is there; the same call again appends the rest, and nothing twice."""
    monkeypatch.setattr(InThisProcess, "batch", 20)
    file = _lines(tmp_path / "e.jsonl", *(_event(number) for number in range(100)))
    create, calls = AuditSegments.create, iter(range(100))

    def failing(self: AuditSegments, chunk: str, number: int, data: bytes) -> bool:
        if next(calls) == 6:
            raise StoreError("no answer")
        return create(self, chunk, number, data)

    report = IngestReport()
    with monkeypatch.context() as patch:
        patch.setattr(AuditSegments, "create", failing)
        with pytest.raises(StoreError, match="no answer"):
            ingest(log, [file], report=report)
    assert 0 < report.appended < 100
    assert verify(log.store).rows == report.appended
    assert _counts(ingest(log, [file])) == (100 - report.appended, report.appended, 0)
    found = verify(log.store)
    assert found.sound
    assert found.rows == 100


def test_events_years_apart_and_out_of_order_are_recorded(log: AuditLog, tmp_path: Path) -> None:
    """The log's order is that of arrival; the same id in another month is another event."""
    events = [_event(0, ts=ts) for ts in ("2031-01-01T00:00:00Z", "1999-01-01T00:00:00Z", "2026-06-30T23:59:59-12:00")]
    assert _counts(ingest(log, [_lines(tmp_path / "e.jsonl", *events)])) == (3, 0, 0)
    assert [row["row"]["ts"][:7] for row in show(log.store, "P-0")] == ["2031-01", "1999-01", "2026-07"]
    assert verify(log.store).sound


@pytest.mark.long
def test_segments_in_flight_at_once_lose_no_count(log: AuditLog, tmp_path: Path) -> None:
    """On a bucket chunks are appended to by threads; what each adds to the report is in it, however they take turns."""
    bucket = AuditLog(
        with_objects(
            SubjectStore.at(str(tmp_path / "store"), wanted_chunks=64, ring=log.store.ring), HookedMemory(MemoryStore())
        )
    )
    results = ["success", "denied", "error"]
    events = [_event(n, candidate_id=f"P-{n}", result=results[n % 3]) for n in range(6_000)]
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        report = ingest(bucket, [_lines(tmp_path / "e.jsonl", *events)], concurrency=16)
    finally:
        sys.setswitchinterval(usual)
    assert _counts(report) == (6_000, 0, 0)
    assert report.unregistered == 6_000
    assert report.results == dict.fromkeys(results, 2_000)


def test_chunks_that_were_appended_to_are_counted_where_another_failed(log: AuditLog, tmp_path: Path) -> None:
    """One chunk's failure on a bucket ends the ingesting, and the report has what the other chunks took."""
    objects = HookedMemory(MemoryStore())
    bucket = AuditLog(
        with_objects(SubjectStore.at(str(tmp_path / "store"), wanted_chunks=4, ring=log.store.ring), objects)
    )
    objects.around = failing("create", f"/{bucket.layout.chunks.names[1]}/", StoreError("no space"))
    report = IngestReport()
    with pytest.raises(StoreError, match="no space"):
        ingest(bucket, [_lines(tmp_path / "e.jsonl", *map(_event, range(100)))], report=report, concurrency=4)
    assert 0 < report.appended < 100
    assert report.appended == sum(event_ids(objects).values()) == sum(report.results.values())
