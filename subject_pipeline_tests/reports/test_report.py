import csv
import datetime as dt
import hashlib
import io
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from subject_pipeline.anchoring.checkpointing import write_checkpoint
from subject_pipeline.errors import ConflictError, KeyRingError, SourceError, StoreError
from subject_pipeline.keys.ring_file import KeyRingFile
from subject_pipeline.manifests.frames import to_rows
from subject_pipeline.manifests.snapshot import Snapshot
from subject_pipeline.manifests.table import ManifestTable
from subject_pipeline.reports.collecting import address, collect_numbers, count_rows
from subject_pipeline.reports.files import report_files
from subject_pipeline.reports.long_form import long_form
from subject_pipeline.reports.numbers import ComplianceNumbers, VerificationHistory
from subject_pipeline.reports.report import copy_report, write_compliance_report
from subject_pipeline.store.ids import storage_key
from subject_pipeline.store.layout import ERASURES
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline_tests.helpers.audit_stores import (
    LAYOUT,
    Place,
    event,
    failing,
    manifest,
    people,
    segments_of,
)

NOW = dt.datetime(2026, 7, 1, 12, tzinfo=dt.UTC)
JULY = "2026-07-01T08:00:00.000000Z"


def at(time: dt.datetime = NOW) -> Callable[[], dt.datetime]:
    """A clock that stands."""
    return lambda: time


def numbers_of(place: Place, **options: Any) -> ComplianceNumbers:
    """A report's numbers, as another process collects them."""
    options = {"pending_days": 0.5, "clock": at(), **options}
    return collect_numbers(place.fresh_store(), **options)


def furnish(place: Place) -> dict[str, str]:
    """Five manifests and eight rows in several chunks; the ids by what they are."""
    ids = {"busy": people(0, 1)[0], "quiet": people(1, 1)[0], "gone": people(2, 1)[0], "odd": people(3, 1)[0]}
    ids |= {"late": people(0, 2)[1], "stranger": people(1, 2)[1]}
    registry = place.registry()
    until = {"retention": {"general_pii_until": "2027-01-01T00:00:00Z", "policy": "two_years"}}
    registry.put(manifest(ids["busy"], vertical="nursing", **until))
    registry.put(manifest(ids["quiet"], consent={"general_pii": {"status": "given"}}, **until))
    registry.put(manifest(ids["gone"], **until))
    registry.put(manifest(ids["odd"], status="restricted", consent={"biometric": {"status": "given"}}, **until))
    registry.put(manifest(ids["late"]))  # its retention ended a day before the report
    place.append(
        *(event(ids["busy"], f"e-{n}", result=result) for n, result in enumerate(["success", "denied", "error"]))
    )
    place.append(
        event(ids["gone"], "e-0", action="export", actor="bob", purpose="a move"),
        event(ids["odd"], "e-0", ts=JULY, result="not_found"),
        event(ids["stranger"], "e-0", ts="2026-05-01T00:00:00.000000Z"),
    )
    registry.delete(ids["gone"])
    return ids


@pytest.mark.long
def test_a_small_stores_numbers_are_those_counted_by_hand(place: Place) -> None:
    """Every breakdown of a store of five manifests and seven rows, with one subject deleted and one unknown."""
    furnish(place)
    checkpoint = write_checkpoint(place.fresh_store(), clock=at(NOW - dt.timedelta(hours=6))).written
    found = numbers_of(place)
    subjects, accesses = found.subjects, found.accesses
    assert (found.time, found.chunks, found.history) == (NOW, 4, None)
    assert found.table_version == ManifestTable(place.store).read(lambda snapshot: snapshot.version, -1)
    assert subjects.subjects == 4
    assert subjects.by_status == {"active": 3, "restricted": 1}
    assert subjects.by_vertical == {"unknown": 3, "nursing": 1}
    assert subjects.reviews.consent == {
        "general_pii": {"pending_backfill_review": 3, "given": 1},
        "biometric": {"never_collected": 3, "given": 1},
    }
    assert subjects.by_policy == {"two_years": 3, "4_year_default": 1}
    assert subjects.by_dataset == {"": 4}
    assert subjects.retention == {
        "overdue": 1,
        "within_30_days": 0,
        "within_90_days": 0,
        "within_365_days": 3,
        "later": 0,
    }
    assert (subjects.overdue, subjects.reviews.due) == (1, {"general_pii": 1, "biometric": 0})
    assert subjects.reviews.restricted == 1
    assert subjects.pending_too_long == 3, "made a day before the report, half a day is allowed"
    none = {"success": 0, "error": 0, "denied": 0, "not_found": 0}
    june = {"success": 2, "error": 1, "denied": 1, "not_found": 0}
    assert {day.isoformat(): counts for day, counts in accesses.by_day.items()} == {
        "2026-05-01": {**none, "success": 1},
        "2026-06-30": june,
        "2026-07-01": {**none, "not_found": 1},
    }
    assert accesses.by_action == {
        "read": {"success": 2, "error": 1, "denied": 1, "not_found": 1},
        "export": {**none, "success": 1},
    }
    assert list(accesses.by_actor) == ["ada", "bob"]
    assert accesses.by_purpose == {
        "": {"success": 2, "error": 1, "denied": 1, "not_found": 1},
        "a move": {**none, "success": 1},
    }
    assert accesses.recent == {**june, "not_found": 1}
    assert accesses.registry_rows == {"manifest_deleted": 1}
    assert (accesses.subjects, accesses.unregistered, accesses.erased) == (4, 1, 0)
    assert (accesses.unreadable_rows, accesses.unreadable_segments) == (0, [])
    assert found.headline["denied_rate"] == round(1 / 6, 6)
    assert found.verification.problems == 0
    assert checkpoint is not None
    assert found.checkpoint is not None
    assert found.checkpoint.note_sha256 == hashlib.sha256(checkpoint.note.encode()).hexdigest()
    assert (found.checkpoint.number, found.checkpoint.root) == (0, checkpoint.root)
    assert found.checkpoint.age_days == pytest.approx(0.25)


def test_a_store_that_was_never_written_has_a_report(tmp_path: Path, ring: KeyRingFile) -> None:
    """Every number is nothing, and the report is what is written."""
    store = SubjectStore.at(str(tmp_path / "unused"), ring=ring)
    report = write_compliance_report(store, collect_numbers(store, pending_days=30, clock=at()))
    assert set(report.numbers.headline.values()) == {0}
    assert report.numbers.checkpoint is None
    assert [item.key for item in store.objects.list("")] == list(report.stored.keys)


def test_a_log_without_a_table_is_counted(place: Place) -> None:
    """Rows about people of whom nobody registered any are accesses of unregistered subjects."""
    place.append(event(people(0, 1)[0], "e-1"))
    found = numbers_of(place)
    assert (found.table_version, found.accesses.accesses, found.accesses.unregistered) == (None, 1, 1)


@pytest.mark.long
def test_verification_says_no_more_than_it_looked_at(place: Place) -> None:
    """After a checkpoint nothing is read again; what is tampered with is counted by kind."""
    furnish(place)
    write_checkpoint(place.fresh_store())
    assert numbers_of(place).verification.rows == 0
    key = segments_of(place.objects, LAYOUT.names[0])[0]
    path = place.folder / key
    path.write_bytes(path.read_bytes().replace(b'"result":"denied"', b'"result":"success"'))
    found = numbers_of(place)
    assert found.verification.broken == 1
    assert found.verification.by_kind["bad_mac"] == 1
    assert found.accesses.results["denied"] == 0, "rows are counted as they stand"
    assert found.headline["verification_problems"] == found.verification.problems > 0


@pytest.mark.long
def test_a_checkpoint_known_elsewhere_must_be_there(place: Place) -> None:
    """A store rolled back with its checkpoints is told by the note that Dagster kept."""
    furnish(place)
    written = write_checkpoint(place.fresh_store()).written
    assert written is not None
    for item in list(place.objects.list("checkpoints/")):
        place.objects.delete(item.key)
    assert "bad_checkpoint" in numbers_of(place, known_notes=[written.note]).verification.by_kind


def test_damaged_lines_are_counted_and_the_others_too(place: Place) -> None:
    """A line that is no row is one unreadable row, wherever it stands; nothing raises."""
    one = people(0, 1)[0]
    place.append(*(event(one, f"e-{n}") for n in range(5)))
    path = place.folder / segments_of(place.objects, LAYOUT.names[0])[0]
    head, *lines = path.read_bytes().splitlines(keepends=True)
    lines[1] = b'{"mac":"torn\n'
    lines[3] = b"\xff\xfe\n"
    path.write_bytes(b"".join([head, *lines]) + b"[" * 50_000)
    found = numbers_of(place)
    assert (found.accesses.accesses, found.accesses.unreadable_rows) == (3, 3)
    assert found.verification.problems > 0


@pytest.mark.parametrize(
    ("body", "accesses", "unreadable"),
    [
        (b"", 0, 0),
        (b"\n", 0, 0),
        (b"GOOD", 1, 0),
        (b"GOOD\n", 1, 0),
        (b"GOOD\n\nGOOD\n", 2, 1),
        (b'{"row":5}\n"x"\n[1]\nnull\n{}\n', 0, 5),
        (b"GOOD\n" + b'{"row":' * 50_000 + b"\n", 1, 1),
        (b"\x00" * 999, 0, 1),
    ],
)
def test_any_bytes_can_be_counted(body: bytes, accesses: int, unreadable: int) -> None:
    """A segment's rows and what is none of them are counted, whatever the bytes are."""
    good = json.dumps(
        {"mac": "", "row": {"candidate_id": "a", "ts": JULY, "actor": "b", "action": "c", "result": "error"}}
    )
    counts = count_rows(b"{}\n" + body.replace(b"GOOD", good.encode()))
    assert (sum(counts.accesses["day"].values()), counts.unreadable) == (accesses, unreadable)


def test_a_segment_that_cannot_be_read_is_named(place: Place) -> None:
    """The store's failure, and a segment that is gone while later ones are there, are told; the rest is counted."""
    one, two = people(0, 1)[0], people(1, 1)[0]
    for number in range(3):
        place.append(event(one, f"e-{number}"), event(two, f"e-{number}"))
    gone = segments_of(place.objects, LAYOUT.names[0])[1]
    place.objects.delete(gone)
    failed = segments_of(place.objects, LAYOUT.names[1])[2]
    place.objects.around = failing("get", failed, StoreError("the disk is on fire"))
    found = numbers_of(place)
    assert found.accesses.accesses == 4
    assert sorted(found.accesses.unreadable_segments) == sorted([f"the object {gone!r} is gone", "the disk is on fire"])
    assert found.headline["unreadable_segments"] == 2


def test_a_list_with_a_gap_loses_no_row(place: Place) -> None:
    """A LIST beside a writer may lack an object that is there: it is asked for."""
    one = people(0, 1)[0]
    for number in range(3):
        place.append(event(one, f"e-{number}"))
    hidden = segments_of(place.objects, LAYOUT.names[0])[1]

    def around(operation: str, key: str, run: Callable[[], Any]) -> Any:
        found = run()
        return iter([item for item in found if item.key != hidden]) if operation == "list" else found

    place.objects.around = around
    assert numbers_of(place).accesses.accesses == 3


@pytest.mark.long
def test_a_vacuum_under_the_reader_means_to_begin_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it is then of the newer version, and nothing is counted twice."""
    furnish(place)
    rows, failures = Snapshot.rows, [ConflictError("vacuumed")]

    def vacuumed_once(self: Snapshot, chunks: Any = None, columns: Any = None, *where: pl.Expr) -> pl.DataFrame:
        if columns is not None and "retention" in columns and failures:
            raise failures.pop()
        return rows(self, chunks, columns, *where)

    monkeypatch.setattr(Snapshot, "rows", vacuumed_once)
    found = numbers_of(place)
    assert not failures
    assert (found.subjects.subjects, found.accesses.accesses) == (4, 6)


@pytest.mark.long
def test_groups_of_chunks_make_the_same_numbers(place: Place, many_groups: Callable[[int], None]) -> None:
    """A table read in several groups is counted as one read whole."""
    furnish(place)
    whole = numbers_of(place)
    many_groups(1)
    assert numbers_of(place) == whole


@pytest.mark.long
def test_requests_follow_the_segments_never_the_subjects(place: Place) -> None:
    """After a checkpoint: one GET a segment, and no more LISTs and GETs with ten times the subjects."""
    asked = []
    for size in (5, 50):
        ids = [one for chunk in range(4) for one in people(chunk, size)]
        registry = place.registry()
        for one in ids[:3]:
            registry.put(manifest(one))
        place.append(*(event(one, f"e-{size}") for one in ids))
        for _ in range(2):
            write_checkpoint(place.fresh_store())
        place.objects.calls.clear()
        numbers_of(place)
        listed = place.objects.counted("list", "audit/")
        segments = sum(len(segments_of(place.objects, chunk)) for chunk in LAYOUT.names)
        assert place.objects.counted("get", "audit/") == segments
        asked.append((place.objects.counted("get") - segments, listed))
    assert asked[0] == asked[1]
    assert asked[0][1] == 2, "the verification's and the report's own"


def test_segments_are_asked_for_together_and_in_bounds(place: Place) -> None:
    """As many reads are under way at once as are allowed, in one chunk or across chunks, and never more."""
    for chunk in range(4):
        for number in range(3):
            place.append(event(people(chunk, 1)[0], f"e-{number}"))
    write_checkpoint(place.fresh_store())
    lock, full = threading.Lock(), threading.Event()
    under_way = most = 0

    def around(operation: str, key: str, run: Callable[[], Any]) -> Any:
        nonlocal under_way, most
        if operation != "get" or not key.startswith("audit/"):
            return run()
        with lock:
            under_way += 1
            most = max(most, under_way)
            if under_way == 5:
                full.set()
        assert full.wait(20), "five reads were never under way together"
        try:
            return run()
        finally:
            with lock:
                under_way -= 1

    place.objects.around = around
    found = numbers_of(place, concurrency=5)
    assert (found.accesses.accesses, most) == (12, 5)
    assert numbers_of(with_calm(place), concurrency=1).accesses == found.accesses


def with_calm(place: Place) -> Place:
    """The same place without anything that stands around its calls."""
    place.objects.around = lambda _operation, _key, run: run()
    return place


@pytest.mark.long
def test_progress_is_told_after_each_chunk(place: Place) -> None:
    """Once a chunk, chunks without rows too."""
    furnish(place)
    told: list[tuple[int, int]] = []
    numbers_of(place, progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_without_a_key_ring_there_is_no_report(place: Place, tmp_path: Path) -> None:
    """A report says what was verified, so it stops where nothing can be, and writes nothing."""
    with pytest.raises(KeyRingError, match="keys new"):
        write_compliance_report(place.store, collect_numbers(place.store.without_ring(), pending_days=30))
    assert not list(place.objects.list("reports/"))


@pytest.mark.long
def test_a_report_is_all_of_its_files(place: Place) -> None:
    """Page, parquet, CSV and lists lie under one name; parquet and CSV agree; a second report stands beside it."""
    furnish(place)
    report = write_compliance_report(place.store, numbers_of(place))
    again = write_compliance_report(place.store, numbers_of(place))
    assert (report.stored.name, again.stored.name) == ("20260701T120000Z", "20260701T120000Z-2")
    assert report.url == f"file://{place.folder}/reports/20260701T120000Z/report.html"
    for name, data in report.files.items():
        assert place.objects.get(report.stored.key(name)) == data
    assert {Path(key).name for key in report.stored.keys} == set(report.files)
    contents = json.loads(report.files["contents.json"])
    assert contents["headline"] == report.numbers.headline
    assert contents["files"]["report.html"]["sha256"] == report.page_sha256
    table = pl.read_parquet(io.BytesIO(report.files["numbers.parquet"]))
    assert table.height == len(list(long_form(report.numbers)))
    read = list(csv.DictReader(io.StringIO(report.files["numbers.csv"].decode(), newline="")))
    assert [(row["section"], row["name"], row["part"]) for row in read] == table.select(
        "section", "name", "part"
    ).rows()
    assert [float(row["value"]) if row["value"] else None for row in read] == table["value"].to_list()
    assert next(row["value"] for row in read if row["name"] == "accesses") == "6"


@pytest.mark.long
def test_a_report_names_nobody(place: Place) -> None:
    """No file of it, decoded, holds an id or a storage key: not of who is due, undecided, unregistered or broken."""
    ids = furnish(place)
    write_checkpoint(place.fresh_store())
    path = place.folder / segments_of(place.objects, LAYOUT.names[0])[0]
    path.write_bytes(path.read_bytes().replace(b'"result":"denied"', b'"result":"success"'))
    numbers = numbers_of(place, history=VerificationHistory(NOW, (), (LAYOUT.names[0],)))
    report = write_compliance_report(place.store, numbers)
    assert numbers.headline["retention_overdue"]
    assert numbers.headline["consent_pending_too_long"]
    assert numbers.headline["unregistered_subjects"]
    assert numbers.verification.broken
    texts = {name: data.decode() for name, data in report.files.items() if name != "numbers.parquet"}
    texts["numbers.parquet"] = json.dumps(pl.read_parquet(io.BytesIO(report.files["numbers.parquet"])).to_dicts())
    assert set(texts) == {"report.html", "numbers.csv", "numbers.parquet", "contents.json"}
    assert "a move" in texts["report.html"], "what is no id is there"
    named = {*ids.values(), *map(storage_key, ids.values())}
    assert [(name, one) for name, text in texts.items() for one in named if one in text] == []


def test_certificates_of_erasures_are_counted(place: Place) -> None:
    """A line each, of all objects there are."""
    for name, count in (("20260701T000000Z-00000000", 2), ("20260702T000000Z-00000000", 1)):
        place.objects.create(f"{ERASURES}{name}.jsonl", b"{}\n" * count)
    assert numbers_of(place).certificates == 3


@pytest.mark.long
def test_who_stands_against_their_chain_is_resurrected(place: Place) -> None:
    """Somebody deleted who is in the table again is a problem of a kind of its own."""
    one = people(0, 1)[0]
    registry = place.registry()
    registry.put(manifest(one))
    registry.delete(one)
    write_checkpoint(place.fresh_store())
    ManifestTable(place.store).snapshot_or_create().insert(to_rows([manifest(one)], LAYOUT))
    found = numbers_of(place)
    assert found.verification.by_kind == {"resurrected": 1}
    assert found.headline["resurrected"] == 1


@pytest.mark.long
def test_equal_stores_and_times_make_equal_files(place: Place) -> None:
    """But for nothing: every file of a second report of the same moment has the same bytes."""
    furnish(place)
    one, two = (report_files(numbers_of(place)) for _ in range(2))
    assert one == two


def test_csv_runs_nothing_in_a_spreadsheet(place: Place) -> None:
    """Actors and actions that are formulas come as text in CSV, and as they are in parquet."""
    one, two = people(0, 2)
    place.append(event(one, "e-1", actor="@SUM(1)", action="-2+3"), event(two, "e-1", actor='a"b,c'))
    files = report_files(numbers_of(place))
    for name in (name for name in files if name.endswith(".csv")):
        for row in csv.reader(io.StringIO(files[name].decode(), newline="")):
            assert not [value for value in row if value.startswith(tuple("=+-@\t\r"))], name
    names = pl.read_parquet(io.BytesIO(files["numbers.parquet"]))["name"].to_list()
    assert {"@SUM(1)", "-2+3", 'a"b,c'} <= set(names)


def test_a_copy_is_the_report(place: Place, tmp_path: Path) -> None:
    """Every file, below the report's name; a folder that cannot be made is an error that names it."""
    report = write_compliance_report(place.store, numbers_of(place))
    folder = copy_report(report, tmp_path / "copies")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == dict(report.files)
    (tmp_path / "file").write_text("")
    with pytest.raises(SourceError, match="file"):
        copy_report(report, tmp_path / "file")


def test_an_address_has_no_credentials() -> None:
    """Whatever stands before an @ in a URL's host is left out."""
    assert address("s3://key:secret@bucket/prefix") == "s3://bucket/prefix"
    assert address("file:///folder/a@b") == "file:///folder/a@b"
