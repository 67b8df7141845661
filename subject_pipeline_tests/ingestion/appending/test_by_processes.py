"""Ingestion by several processes: the same rows and counts as by one, also where one of them fails or is killed."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from subject_pipeline import spawned
from subject_pipeline.audit.log import AuditLog
from subject_pipeline.audit.reading import show
from subject_pipeline.audit.stored_segments import AuditSegments
from subject_pipeline.errors import AuditLogError, OutcomeUnknownError, SourceError
from subject_pipeline.ingestion.appending.by_processes import ByProcesses
from subject_pipeline.ingestion.event_files import local_file
from subject_pipeline.ingestion.ingest_report import IngestReport
from subject_pipeline.ingestion.ingesting import ingest
from subject_pipeline.keys.ring import KeyRing
from subject_pipeline.keys.ring_file import KeyRingFile, create_ring
from subject_pipeline.store.ids import storage_key
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline.verification.whole_store import verify
from subject_pipeline_tests.helpers.forked import forked
from subject_pipeline_tests.helpers.killing import killing_a_spawned_process

PEOPLE = [f"P-{number}" for number in range(20)]


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ByProcesses, "batch", 50)


@pytest.fixture
def _forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that start at once, in place of some that import everything themselves."""
    monkeypatch.setattr(spawned, "get_context", lambda _: forked())


def _log(folder: Path) -> AuditLog:
    folder.mkdir()
    create_ring(folder / "ring.json", KeyRing.new(b"k" * 32, b"s" * 32))
    return AuditLog(SubjectStore.at(str(folder / "store"), wanted_chunks=4, ring=KeyRingFile(folder / "ring.json")))


def _event(number: int, **fields: Any) -> dict[str, Any]:
    event = {"event_id": f"e-{number}", "candidate_id": PEOPLE[number % len(PEOPLE)], "ts": "2026-06-30T12:00:00Z"}
    return {**event, "actor": "a", "action": "view", **fields}


def _file(path: Path, *lines: dict[str, Any] | bytes) -> Path:
    path.write_bytes(b"\n".join(one if isinstance(one, bytes) else json.dumps(one).encode() for one in lines))
    return path


def _content(log: AuditLog) -> dict[str, list[tuple[object, ...]]]:
    """Each person's events in order, without what is of the time and place of their appending."""
    rows = {one: [row["row"] for row in show(log.store, one)] for one in PEOPLE}
    return {one: [(row["seq"], row["event_id"], row["action"]) for row in own] for one, own in rows.items()}


@pytest.mark.long
@pytest.mark.usefixtures("_forked")
def test_rows_and_counts_are_those_of_one_process(tmp_path: Path) -> None:
    """Repeated events, events that conflict, lines that are none, files of which one cannot be read."""
    first = _file(
        tmp_path / "first.jsonl",
        *(_event(number) for number in range(180)),
        *(_event(number) for number in range(30)),
        *(_event(number, action="other") for number in range(100, 110)),
        b"no event",
        _event(181, ts="yesterday"),
    )
    second = _file(tmp_path / "second.jsonl", *(_event(number) for number in range(150, 260)))
    broken = tmp_path / "third.parquet"
    broken.write_bytes(b"PAR1 and no more")
    files = [local_file(path) for path in (first, broken, second)]
    reports, contents = [], []
    for processes in (1, 2):
        log, report, again = _log(tmp_path / f"by-{processes}"), IngestReport(), IngestReport()
        with pytest.raises(SourceError, match=r"third\.parquet"):
            ingest(log, files, report=report, processes=processes)
        assert verify(log.store).sound
        reports.append(replace(report, elapsed_s=0))
        contents.append(_content(log))
        with pytest.raises(SourceError):
            ingest(log, files, report=again, processes=processes)
        assert (again.appended, again.already_present) == (0, report.appended + report.already_present)
    assert reports[0] == reports[1]
    assert contents[0] == contents[1]
    assert (reports[0].appended, reports[0].conflicting, reports[0].rejected) == (260, 10, 2)


@pytest.mark.usefixtures("_forked")
def test_what_one_cannot_append_stops_no_other_and_counts_are_exact(tmp_path: Path) -> None:
    """A damaged log of one chunk is the error; what the others appended of the batch is counted, and nothing else."""
    log = _log(tmp_path / "log")
    ingest(log, [local_file(_file(tmp_path / "before.jsonl", *(_event(number) for number in range(20))))])
    chunk = log.layout.chunks.chunk_of(storage_key("P-0"))
    segment = tmp_path / "log" / "store" / AuditSegments.key(chunk, 0)
    sound = segment.read_bytes()
    segment.write_bytes(b"no segment")
    rest, report = _file(tmp_path / "rest.jsonl", *(_event(number) for number in range(20, 60))), IngestReport()
    with pytest.raises(AuditLogError, match=chunk):
        ingest(log, [local_file(rest)], report=report, processes=2)
    segment.write_bytes(sound)
    found = verify(log.store)
    assert found.sound
    assert found.rows == 20 + report.appended
    done = ingest(log, [local_file(rest)], processes=2)
    assert (done.appended, done.already_present) == (40 - report.appended, report.appended)


@pytest.mark.long
def test_a_killed_process_leaves_the_outcome_unknown_and_nothing_twice(tmp_path: Path) -> None:
    """As when memory runs out: what it was given may be there or not; the same call again completes it."""
    log, report = _log(tmp_path / "log"), IngestReport()
    path = _file(tmp_path / "events.jsonl", *(_event(number) for number in range(400)))
    with pytest.raises(OutcomeUnknownError, match="run it again"), killing_a_spawned_process():
        ingest(log, [local_file(path)], report=report, processes=2)
    assert verify(log.store).rows >= report.appended
    ingest(log, [local_file(path)], processes=2)
    found = verify(log.store)
    assert found.sound
    assert found.rows == 400
    events = Counter(event for rows in _content(log).values() for _, event, _ in rows)
    assert set(events.values()) == {1}
