"""The audit log's writer: group commit, settled creates, idempotence, and what it refuses to write on."""

import os
import re
import shutil
import sys
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest
from obstore.store import MemoryStore

from subject_pipeline.audit import log as module
from subject_pipeline.audit.index import records as index
from subject_pipeline.audit.index import writer as index_writer
from subject_pipeline.audit.log import AuditLog
from subject_pipeline.audit.stored_segments import AuditSegments
from subject_pipeline.errors import AuditLogError, KeyRingError, OutcomeUnknownError, StoreError
from subject_pipeline.keys.ring_file import KeyRingFile
from subject_pipeline.keys.rotation import rotate_ring
from subject_pipeline.objects import local
from subject_pipeline.store.layout import AUDIT_INDEX
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline.verification.whole_store import verify
from subject_pipeline_tests.helpers.audit_stores import (
    CHUNKS,
    LAYOUT,
    MONTH,
    HookedLocal,
    HookedMemory,
    Place,
    assert_sound,
    event,
    event_ids,
    failing,
    holding,
    people,
    rows_of,
    segments_of,
    with_objects,
)

_PATIENCE_S = 60
_SUBJECT = people(0, 1)[0]
_CHUNK, _OTHER = LAYOUT.names[:2]

Gate = threading.Event


@pytest.fixture(params=["local", "memory"])
def anywhere(request: pytest.FixtureRequest, tmp_path: Path, ring: KeyRingFile) -> SubjectStore:
    """A store with hooks, on a disk and in a bucket."""
    store = SubjectStore.at(str(tmp_path / "anywhere"), wanted_chunks=CHUNKS, ring=ring)
    objects = HookedLocal(tmp_path / "anywhere") if request.param == "local" else HookedMemory(MemoryStore())
    hooked = with_objects(store, objects)
    hooked.layout_or_create()
    return hooked


@pytest.fixture
def small_index(monkeypatch: pytest.MonkeyPatch) -> int:
    """An index is due after so many segments."""
    monkeypatch.setattr(index_writer, "INDEX_AFTER_SEGMENTS", 4)
    return 4


def _fill(place: Place, segments: int, *, ts: str | None = None) -> list[str]:
    """One segment an event, written by one writer; returns the events' ids."""
    log = place.log()
    ids = [f"{ts or ''}e{number}" for number in range(segments)]
    for number, one in enumerate(ids):
        log.append([event(people(0, 3)[number % 3], one, **({"ts": ts} if ts else {}))])
    log.close()
    return ids


def _index_keys(place: Place, part: str = "") -> list[str]:
    return [item.key for item in place.objects.list(AUDIT_INDEX) if part in item.key]


def test_appends_from_fifty_threads_share_segments_in_one_chain(place: Place) -> None:
    """Fifty appends to one subject at once land in one intact chain, in fewer segments than appends."""
    log, queued = place.log(), Gate()
    lane_full = threading.Semaphore(0)

    def around(operation: str, key: str, run: Callable[[], Any]) -> Any:
        if operation == "create" and not queued.is_set():
            assert queued.wait(_PATIENCE_S)
        return run()

    place.objects.around = around
    with ThreadPoolExecutor(50) as pool:

        def one(number: int) -> Any:
            lane_full.release()
            return log.append([event(_SUBJECT, f"e{number}")])

        waiting = [pool.submit(one, number) for number in range(50)]
        for _ in range(50):
            assert lane_full.acquire(timeout=_PATIENCE_S)
        queued.set()
        results = [future.result(_PATIENCE_S)[0] for future in waiting]

    assert sorted(result.seq for result in results) == list(range(50))
    assert all(result.new for result in results)
    assert len(segments_of(place.objects, _CHUNK)) < 50
    assert event_ids(place.objects) == Counter({f"e{number}": 1 for number in range(50)})
    assert assert_sound(place).rows == 50


def test_what_waits_while_a_segment_is_written_becomes_the_next_one(place: Place) -> None:
    """While one append is being written all others queue, and then share a single segment."""
    log, entered, go_on = place.log(), Gate(), Gate()

    def around(operation: str, key: str, run: Callable[[], Any]) -> Any:
        if operation == "create" and key == AuditSegments.key(_CHUNK, 0):
            entered.set()
            assert go_on.wait(_PATIENCE_S)
        return run()

    place.objects.around = around
    with ThreadPoolExecutor(21) as pool:
        first = pool.submit(log.append, [event(_SUBJECT, "first")])
        assert entered.wait(_PATIENCE_S)
        others = [pool.submit(log.append, [event(_SUBJECT, f"e{number}")]) for number in range(20)]
        while len(log._lanes[_CHUNK].waiting) < 20:
            assert not wait(others, timeout=0.001).done
        go_on.set()
        assert first.result(_PATIENCE_S)[0].seq == 0
        assert sorted(future.result(_PATIENCE_S)[0].seq for future in others) == list(range(1, 21))

    assert len(segments_of(place.objects, _CHUNK)) == 2
    assert_sound(place)


def test_a_chunk_never_waits_for_another(place: Place) -> None:
    """While a write to one chunk hangs in the store, an append to another returns."""
    log, hanging, go_on = place.log(), Gate(), Gate()

    def around(operation: str, key: str, run: Callable[[], Any]) -> Any:
        if operation == "create" and key.startswith(f"audit/{_CHUNK}/"):
            hanging.set()
            assert go_on.wait(_PATIENCE_S)
        return run()

    place.objects.around = around
    with ThreadPoolExecutor(2) as pool:
        stuck = pool.submit(log.append, [event(_SUBJECT, "stuck")])
        assert hanging.wait(_PATIENCE_S)
        free = pool.submit(log.append, [event(people(1, 1)[0], "free")])
        assert free.result(_PATIENCE_S)[0].new
        assert not stuck.done()
        go_on.set()
        assert stuck.result(_PATIENCE_S)[0].new
    assert_sound(place)


def test_a_writer_that_is_behind_rebases(place: Place) -> None:
    """A writer whose place was taken reads what the other wrote, and its rows follow in the same chain."""
    mine, theirs = place.log(), place.log()
    mine.append([event(_SUBJECT, "a0")])
    for number in range(5):
        theirs.append([event(_SUBJECT, f"b{number}")])

    (done,) = mine.append([event(_SUBJECT, "a1")])

    assert (done.new, done.seq) == (True, 6)
    assert assert_sound(place).rows == 7


def test_a_rebase_looks_for_the_same_event_again(place: Place) -> None:
    """An event that another writer appended meanwhile is there already for one who lost the race for its place."""
    mine, theirs = place.log(), place.log()
    mine.append([event(_SUBJECT, "a0")])
    theirs.append([event(_SUBJECT, "same")])

    assert [result.new for result in mine.append([event(_SUBJECT, "same")])] == [False]
    assert event_ids(place.objects)["same"] == 1
    assert_sound(place)


def test_a_write_of_which_nothing_is_known_is_there_once_after_a_retry(
    anywhere: SubjectStore, ring: KeyRingFile
) -> None:
    """Written, then timed out: the error says that the rows may be there, and a retry finds them."""
    log = AuditLog(anywhere)
    error = OutcomeUnknownError("timed out")

    def around(operation: str, key: str, run: Callable[[], Any]) -> Any:
        done = run()
        if operation == "create" and key.startswith("audit/"):
            raise error
        return done

    anywhere.objects.around = around  # type: ignore[attr-defined]
    with pytest.raises(OutcomeUnknownError, match="timed out"):
        log.append([event(_SUBJECT, "e")])
    del anywhere.objects.around  # type: ignore[attr-defined]

    assert [result.new for result in log.append([event(_SUBJECT, "e")])] == [False]
    assert [result.new for result in AuditLog(anywhere).append([event(_SUBJECT, "e")])] == [False]
    assert event_ids(anywhere.objects) == {"e": 1}
    assert verify(anywhere).sound


def test_a_write_that_failed_before_it_began_is_there_once_after_a_retry(
    anywhere: SubjectStore, ring: KeyRingFile
) -> None:
    """Refused by the store: the error does not say that the rows may be there, and a retry writes them."""
    log = AuditLog(anywhere)
    anywhere.objects.around = failing("create", "audit/", StoreError("no space"))  # type: ignore[attr-defined]
    with pytest.raises(StoreError, match="no space") as caught:
        log.append([event(_SUBJECT, "e")])
    assert not isinstance(caught.value, OutcomeUnknownError)
    del anywhere.objects.around  # type: ignore[attr-defined]

    assert [result.new for result in log.append([event(_SUBJECT, "e")])] == [True]
    assert event_ids(anywhere.objects) == {"e": 1}
    assert verify(anywhere).sound


def test_a_write_of_which_nothing_is_known_and_that_never_came_is_written_by_the_retry(
    anywhere: SubjectStore, ring: KeyRingFile
) -> None:
    """Timed out and never written: a retry appends the row, once."""
    log = AuditLog(anywhere)
    anywhere.objects.around = failing("create", "audit/", OutcomeUnknownError("timed out"))  # type: ignore[attr-defined]
    with pytest.raises(OutcomeUnknownError):
        log.append([event(_SUBJECT, "e")])
    del anywhere.objects.around  # type: ignore[attr-defined]

    assert [result.new for result in log.append([event(_SUBJECT, "e")])] == [True]
    assert event_ids(anywhere.objects) == {"e": 1}


def test_a_store_that_denies_our_own_write_does_not_make_it_twice(anywhere: SubjectStore, ring: KeyRingFile) -> None:
    """Where the store says that another was first though the bytes are ours, the row is there once."""
    log, lied = AuditLog(anywhere), list[str]()

    def around(operation: str, key: str, run: Callable[[], Any]) -> Any:
        done = run()
        if operation == "create" and key.startswith("audit/") and not lied:
            lied.append(key)
            return False
        return done

    anywhere.objects.around = around  # type: ignore[attr-defined]
    log.append([event(_SUBJECT, "e")])

    assert event_ids(anywhere.objects) == {"e": 1}
    assert verify(anywhere).sound


def test_a_lost_race_is_rebased(anywhere: SubjectStore, ring: KeyRingFile) -> None:
    """Another's segment takes our place in the very moment of our write: both rows are there once, in one chain."""
    log, other, lost = AuditLog(anywhere), AuditLog(anywhere), list[str]()

    def around(operation: str, key: str, run: Callable[[], Any]) -> Any:
        if operation == "create" and key.startswith("audit/") and not lost:
            lost.append(key)
            other.append([event(_SUBJECT, "theirs")])
        return run()

    anywhere.objects.around = around  # type: ignore[attr-defined]
    (done,) = log.append([event(_SUBJECT, "ours")])

    assert (done.new, done.seq) == (True, 1)
    assert [row["event_id"] for row in rows_of(anywhere.objects)] == ["theirs", "ours"]
    assert verify(anywhere).sound


def test_a_flush_that_fails_after_the_write_leaves_the_outcome_open(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the row stands in the log already when the disk fails, the error says that it may be there."""

    def fail(_folder: int) -> None:
        raise OSError(5, "Input/output error")

    log = place.log()
    log.append([event(_SUBJECT, "before")])
    monkeypatch.setattr(local, "sync_descriptor", fail)
    with pytest.raises(StoreError) as caught:
        log.append([event(_SUBJECT, "e")])

    assert event_ids(place.objects)["e"] == 1
    assert isinstance(caught.value, OutcomeUnknownError)


def test_one_failure_is_told_to_everybody_who_shared_the_write(place: Place) -> None:
    """Appends that share a failed segment all raise, each an error of its own, and none of their rows is there."""
    log, entered, go_on = place.log(), Gate(), Gate()

    def around(operation: str, key: str, run: Callable[[], Any]) -> Any:
        if operation != "create":
            return run()
        if key == AuditSegments.key(_CHUNK, 0):
            entered.set()
            assert go_on.wait(_PATIENCE_S)
            return run()
        raise StoreError("no space")

    place.objects.around = around
    with ThreadPoolExecutor(6) as pool:
        first = pool.submit(log.append, [event(_SUBJECT, "first")])
        assert entered.wait(_PATIENCE_S)
        others = [pool.submit(log.append, [event(_SUBJECT, f"e{number}")]) for number in range(5)]
        while len(log._lanes[_CHUNK].waiting) < 5:
            assert not wait(others, timeout=0.001).done
        go_on.set()
        errors = [future.exception(_PATIENCE_S) for future in others]
    assert first.result()[0].new
    assert all(isinstance(error, StoreError) for error in errors)
    assert len({id(error) for error in errors}) == 5
    assert event_ids(place.objects) == {"first": 1}
    del place.objects.around
    assert log.append([event(_SUBJECT, "e0")])[0].seq == 1


def test_an_interrupted_writer_leaves_the_others_going(place: Place) -> None:
    """Ctrl-C in the one who writes is told to who shared the write as unknown, and the next append works."""
    log = place.log()
    place.objects.around = failing("create", "audit/", KeyboardInterrupt())  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt):
        log.append([event(_SUBJECT, "e")])
    del place.objects.around

    assert log.append([event(_SUBJECT, "e")])[0].new
    assert_sound(place)


def test_the_same_event_with_other_content_leaves_the_first(place: Place) -> None:
    """Of two events with one identity the first stands, whatever the second says."""
    place.append(event(_SUBJECT, "e", actor="ada", ts="2026-06-01T00:00:00.000000Z"))

    assert place.append(event(_SUBJECT, "e", actor="bob", ts="2026-06-30T00:00:00.000000Z")) == [False]
    assert [row["actor"] for row in rows_of(place.objects)] == ["ada"]


def test_the_same_event_twice_in_one_call(place: Place) -> None:
    """An event that a call names twice becomes one row; the second is there already."""
    assert place.append(event(_SUBJECT, "e"), event(_SUBJECT, "e", actor="bob")) == [True, False]
    assert [row["actor"] for row in rows_of(place.objects)] == ["ada"]


def test_an_event_is_its_subject_its_id_and_its_month(place: Place) -> None:
    """The same id of another subject, or in another month, is another event."""
    first, second = people(0, 2)
    months = ("2026-06-30T23:59:59.999999Z", "2026-07-01T00:00:00.000000Z")
    events = [event(one, "e", ts=month) for one in (first, second) for month in months]

    assert place.append(*events) == [True] * 4
    assert place.append(*events) == [False] * 4
    assert_sound(place)


@pytest.mark.parametrize("segments", [3, 4, 5, 9, 17])
def test_an_event_is_known_on_either_side_of_an_index(place: Place, small_index: int, segments: int) -> None:
    """Whether the index covers them or not, events are recognised by a new writer, and the old one alike."""
    log = place.log()
    events = [event(people(0, 3)[number % 3], f"e{number}") for number in range(segments)]
    for one in events:
        log.append([one])
    log.close(index_after_bytes=1 << 40)
    assert bool(_index_keys(place)) == (segments >= small_index)

    assert not any(result.new for result in log.append(events))
    assert place.append(*events) == [False] * segments
    assert assert_sound(place).rows == segments


def _drop(place: Place) -> None:
    shutil.rmtree(place.folder / AUDIT_INDEX)


def _truncate(place: Place) -> None:
    for key in _index_keys(place):
        path = place.folder / key
        path.write_bytes(path.read_bytes()[:-7])


def _empty(place: Place) -> None:
    for key in _index_keys(place):
        (place.folder / key).write_bytes(b"")


def _flip(place: Place) -> None:
    for key in _index_keys(place):
        path = place.folder / key
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(bytes(data))


def _flip_header(place: Place) -> None:
    for key in _index_keys(place):
        path = place.folder / key
        path.write_bytes(path.read_bytes().replace(b'"increment', b'"incremenT', 1))


def _lose_increments(place: Place) -> None:
    for key in _index_keys(place):
        if "/heads/" not in key:
            (place.folder / key).unlink()


def _lose_month(place: Place) -> None:
    for key in _index_keys(place, "/2026-06/"):
        (place.folder / key).unlink()


@pytest.mark.parametrize(
    "harm",
    [_drop, _truncate, _empty, _flip, _flip_header, _lose_increments, _lose_month],
    ids=lambda harm: harm.__name__,
)
def test_a_damaged_index_costs_time_and_nothing_else(
    place: Place, small_index: int, harm: Callable[[Place], None]
) -> None:
    """Without its index, or with a damaged one, the log itself says which events it holds."""
    ids = _fill(place, 9)
    assert _index_keys(place)
    harm(place)

    events = [event(people(0, 3)[number % 3], one) for number, one in enumerate(ids)]
    assert place.append(*events, event(_SUBJECT, "new")) == [False] * 9 + [True]
    assert place.append(*events, event(_SUBJECT, "new")) == [False] * 10
    assert assert_sound(place).rows == 10


def test_an_older_index_in_place_of_the_newest_is_caught_up(place: Place, small_index: int, tmp_path: Path) -> None:
    """An index that was rolled back is read on from, so that no event comes twice."""
    first = _fill(place, 5)
    shutil.copytree(place.folder / AUDIT_INDEX, tmp_path / "older")
    log = place.log()
    for number in range(10):
        log.append([event(_SUBJECT, f"later{number}")])
    log.close()
    shutil.rmtree(place.folder / AUDIT_INDEX)
    shutil.copytree(tmp_path / "older", place.folder / AUDIT_INDEX)

    again = [event(people(0, 3)[number % 3], one) for number, one in enumerate(first)]
    again += [event(_SUBJECT, f"later{number}") for number in range(10)]
    assert place.append(*again) == [False] * 15
    assert assert_sound(place).rows == 15


def test_an_index_lost_under_a_writer_is_read_around(place: Place, small_index: int) -> None:
    """A warm writer whose index objects go, and who then needs a month it has not read, finds it in the log."""
    _fill(place, 5, ts="2026-01-15T00:00:00.000000Z")
    _fill(place, 5, ts="2026-02-15T00:00:00.000000Z")
    log = place.log()
    log.append([event(_SUBJECT, "warm", ts="2026-03-01T00:00:00.000000Z")])
    _lose_increments(place)

    again = [
        event(people(0, 3)[number % 3], f"{ts}e{number}", ts=ts)
        for ts in ("2026-01-15T00:00:00.000000Z", "2026-02-15T00:00:00.000000Z")
        for number in range(5)
    ]
    assert not any(result.new for result in log.append(again))
    assert assert_sound(place).rows == 11


def test_an_index_written_by_another_meanwhile(place: Place, small_index: int) -> None:
    """Two writers that both index one log agree with each other and with the log."""
    one, two = place.log(), place.log()
    for number in range(20):
        log = (one, two)[number % 2]
        log.append([event(people(0, 3)[number % 3], f"e{number}")])
        log.close(index_after_bytes=1)
    again = [event(people(0, 3)[number % 3], f"e{number}") for number in range(20)]

    for log in (one, two, place.log()):
        assert not any(result.new for result in log.append(again))
    assert assert_sound(place).rows == 20


def test_an_index_that_lost_an_increment_is_rebuilt(place: Place, small_index: int) -> None:
    """After the append that found it damaged, the index is whole again, and the next cold append does not read all."""
    _fill(place, 9)
    _lose_increments(place)
    log = place.log()
    log.append([event(_SUBJECT, "finds out")])
    log.close(index_after_bytes=1)

    place.objects.calls.clear()
    assert place.append(event(_SUBJECT, "profits")) == [True]
    assert place.objects.counted("get", "audit/") < 9


def test_an_index_object_in_the_place_of_another_is_read_around(place: Place, small_index: int) -> None:
    """An increment copied to where the newest heads are looked for is no heads: the log is read instead."""
    _fill(place, 9)
    (increment, *_) = _index_keys(place, "/rows/")
    shutil.copyfile(place.folder / increment, place.folder / f"{AUDIT_INDEX}{_CHUNK}/heads/{10**12 - 1}")

    assert place.append(event(_SUBJECT, "e0"), event(_SUBJECT, "new")) == [False, True]


def test_the_index_of_another_chunk_is_read_around(place: Place, small_index: int) -> None:
    """Heads copied from another chunk are not believed, and the sound log beside them is written on."""
    _fill(place, 5)
    log = place.log()
    for number in range(5):
        log.append([event(people(1, 1)[0], f"e{number}")])
    shutil.rmtree(place.folder / AUDIT_INDEX / _OTHER, ignore_errors=True)
    (heads,) = _index_keys(place, f"{_CHUNK}/heads/")
    target = place.folder / heads.replace(_CHUNK, _OTHER)
    target.parent.mkdir(parents=True)
    shutil.copyfile(place.folder / heads, target)

    assert place.append(event(people(1, 1)[0], "e0"), event(people(1, 1)[0], "new")) == [False, True]


def test_a_log_shorter_than_its_index_refuses(place: Place, small_index: int) -> None:
    """Where the tail that the index knows is gone, nothing is appended, and the message names the segment."""
    _fill(place, 8)
    gone = segments_of(place.objects, _CHUNK)[-1]
    (place.folder / gone).unlink()

    with pytest.raises(AuditLogError, match=re.escape(gone)):
        place.append(event(_SUBJECT, "new"))
    assert len(segments_of(place.objects, _CHUNK)) == 7


def test_a_log_that_is_gone_whole_refuses(place: Place, small_index: int) -> None:
    """Where the index knows a log of which nothing is left, nothing is appended."""
    _fill(place, 8)
    shutil.rmtree(place.folder / "audit")

    with pytest.raises(AuditLogError, match="shorter than its index"):
        place.append(event(_SUBJECT, "new"))
    assert segments_of(place.objects, _CHUNK) == []


@pytest.mark.parametrize("segments", [3, 8])
def test_a_damaged_head_refuses(place: Place, small_index: int, segments: int) -> None:
    """A bit of the last segment, indexed or not, stops appends; the message names it."""
    _fill(place, segments)
    head = place.folder / segments_of(place.objects, _CHUNK)[-1]
    head.write_bytes(head.read_bytes().replace(b'"actor":"ada"', b'"actor":"bob"'))

    with pytest.raises(AuditLogError, match=re.escape(head.name)):
        place.append(event(_SUBJECT, "new"))
    assert len(segments_of(place.objects, _CHUNK)) == segments


def test_a_warm_writer_does_not_write_after_another_log(place: Place) -> None:
    """A writer that is warm while the log is replaced loses the race, and refuses what does not follow."""
    log = place.log()
    log.append([event(_SUBJECT, "a")])
    shutil.copyfile(place.folder / AuditSegments.key(_CHUNK, 0), place.folder / AuditSegments.key(_CHUNK, 1))

    with pytest.raises(AuditLogError, match="is damaged"):
        log.append([event(_SUBJECT, "b")])


@pytest.mark.parametrize(
    "missing",
    [(4,), (4, 5), (0, 1, 2)],
)
def test_a_missing_middle_segment_refuses(place: Place, missing: tuple[int, ...]) -> None:
    """Where segments are gone and later ones are there, nothing is appended; the message names the first."""
    _fill(place, 10)
    for number in missing:
        (place.folder / AuditSegments.key(_CHUNK, number)).unlink()

    with pytest.raises(AuditLogError, match=re.escape(AuditSegments.key(_CHUNK, missing[0]))):
        place.append(event(_SUBJECT, "new"))


def test_a_segment_missing_beyond_the_index_refuses(place: Place) -> None:
    """A log that is read from its index on is looked past its end as well."""
    log = place.log()
    for number in range(9):
        log.append([event(_SUBJECT, f"e{number}")])
        if number == 5:
            log.close(index_after_bytes=0)
    (place.folder / AuditSegments.key(_CHUNK, 7)).unlink()

    with pytest.raises(AuditLogError, match=re.escape(AuditSegments.key(_CHUNK, 7))):
        place.append(event(_SUBJECT, "new"))


def test_segments_that_appear_behind_the_end_while_it_is_looked_at_are_no_gap(place: Place) -> None:
    """Two writers append between the question for the next segment and the look past it: both are read."""
    log = place.log()
    log.append([event(_SUBJECT, "e0")])
    log.close(index_after_bytes=0)
    appended: list[str] = []

    def around(done: str, key: str, run: Callable[[], Any]) -> Any:
        found = run()
        if done == "get" and key == AuditSegments.key(_CHUNK, 1) and found is None and not appended:
            appended.extend(("e1", "e2"))
            other = AuditLog(SubjectStore.at(str(place.folder), ring=place.fresh_ring()))
            for one in appended:
                other.append([event(_SUBJECT, one)])
        return found

    place.objects.around = around
    (done,) = place.log().append([event(_SUBJECT, "e3")])
    assert (appended, done.seq) == (["e1", "e2"], 3)
    assert assert_sound(place).rows == 4


def test_damage_in_one_chunk_stops_no_other(place: Place) -> None:
    """An append to a sound chunk goes on beside a damaged one."""
    _fill(place, 3)
    head = place.folder / segments_of(place.objects, _CHUNK)[-1]
    head.write_bytes(b"")

    assert place.append(event(people(1, 1)[0], "e")) == [True]


def test_no_ring_no_row(place: Place, tmp_path: Path) -> None:
    """Without a usable key ring an append says how to make one, and writes nothing."""
    for ring in (KeyRingFile(None), KeyRingFile(tmp_path / "none.json")):
        store = SubjectStore.at(str(tmp_path / "unused"), ring=ring)
        with pytest.raises(KeyRingError, match="keys new"):
            AuditLog(store).append([event(_SUBJECT, "e")])
        assert not (tmp_path / "unused").exists()


def test_rows_before_and_after_a_rotation_make_one_chain(place: Place) -> None:
    """After a rotation new rows name the new key, and old and new verify together."""
    place.append(event(_SUBJECT, "old"))
    rotate_ring(place.ring.path, bytes(range(64, 96)))
    place.append(event(_SUBJECT, "new"))

    assert len({row["key_id"] for row in rows_of(place.objects)}) == 2
    assert assert_sound(place).rows == 2


def test_a_writer_with_the_old_ring_reads_what_the_new_key_wrote(place: Place) -> None:
    """A long-lived writer that loses a race to a key it does not know reads its ring again and goes on."""
    mine = AuditLog(place.store)
    mine.append([event(_SUBJECT, "a0")])
    rotate_ring(place.ring.path, bytes(range(64, 96)))
    place.append(event(_SUBJECT, "b0"))

    assert mine.append([event(_SUBJECT, "a1")])[0].seq == 2
    assert_sound(place)


def test_a_long_lived_verifier_reads_its_ring_again(place: Place) -> None:
    """A verification with a ring that was read before the rotation knows the new key too."""
    place.append(event(_SUBJECT, "old"))
    assert verify(place.store).sound
    rotate_ring(place.ring.path, bytes(range(64, 96)))
    place.append(event(_SUBJECT, "new"))

    assert verify(place.store).sound


def test_an_index_of_before_a_rotation_is_still_believed(place: Place, small_index: int) -> None:
    """What was indexed under the old key needs no reading again after a rotation."""
    _fill(place, 9)
    rotate_ring(place.ring.path, bytes(range(64, 96)))
    place.objects.calls.clear()

    assert place.append(event(people(0, 1)[0], "e0"), event(_SUBJECT, "new")) == [False, True]
    assert place.objects.counted("get", "audit/") < 9


def test_a_fork_is_refused(place: Place) -> None:
    """A child that was forked off must not write with its parent's log; nothing of it is written."""
    log = place.log()
    log.append([event(_SUBJECT, "parent")])
    child = os.fork()
    if child == 0:  # pragma: no cover - nothing but a system call may follow in the child
        try:
            log.append([event(_SUBJECT, "child")])
        except StoreError as error:
            os._exit(7 if "fork" in str(error) else 8)
        os._exit(9)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 7
    assert event_ids(place.objects) == {"parent": 1}


def test_a_warm_append_is_one_write(place: Place) -> None:
    """A warm writer pays one create and reads nothing, whatever the length of the log."""
    log = place.log()
    for number in range(70):
        log.append([event(_SUBJECT, f"e{number}")])
    log.close(index_after_bytes=1 << 40)
    place.objects.calls.clear()

    log.append([event(_SUBJECT, "one more")])

    audit = [call for call in place.objects.calls if not call[1].startswith(AUDIT_INDEX)]
    assert audit == [("create", AuditSegments.key(_CHUNK, 70))]


@pytest.mark.parametrize("segments", [9, 41])
def test_a_cold_append_reads_the_index_and_the_end(place: Place, small_index: int, segments: int) -> None:
    """A cold writer reads no more of a long log than of a short one."""
    _fill(place, segments)
    place.objects.calls.clear()

    place.append(event(_SUBJECT, "cold"))

    assert place.objects.counted("get", "audit/") <= small_index + 3


@pytest.mark.long
def test_many_rows_are_split_at_a_segments_limit(place: Place) -> None:
    """An append of more rows than a segment holds becomes several, in order."""
    log = place.log()
    results = log.append([event(_SUBJECT, f"e{number}") for number in range(10_001)])

    assert [result.seq for result in results] == list(range(10_001))
    assert len(segments_of(place.objects, _CHUNK)) == 2
    assert_sound(place)


def test_results_come_in_the_order_of_the_events(place: Place) -> None:
    """Whatever chunks they fall into, results stand where their events stood."""
    ids = [one for pair in zip(people(0, 5), people(3, 5), people(1, 5), strict=True) for one in pair]
    place.append(*[event(one, "there") for one in ids[::2]])

    results = place.log().append([event(one, "there") for one in ids])

    assert [result.new for result in results] == [at % 2 == 1 for at in range(len(ids))]


def test_an_append_beside_a_close_is_told_as_what_it_is(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one thread closes the log and its index is being written, another's append returns its row."""
    monkeypatch.setattr(index_writer, "INDEX_AFTER_SEGMENTS", 1)
    log, writing, go_on = place.log(), Gate(), Gate()

    def around(operation: str, key: str, run: Callable[[], Any]) -> Any:
        if operation == "replace" and key.startswith(f"{AUDIT_INDEX}{_CHUNK}/"):
            writing.set()
            assert go_on.wait(_PATIENCE_S)
        return run()

    place.objects.around = around
    log._lanes.clear()
    log.append([event(people(1, 1)[0], "another lane")])
    log._lanes[_OTHER].indexing.result(_PATIENCE_S)  # type: ignore[union-attr]
    log.append([event(_SUBJECT, "begins an index")])
    assert writing.wait(_PATIENCE_S)
    log._lanes[_CHUNK].indexing = None  # as where the index became due in `close` itself
    with ThreadPoolExecutor(2) as pool:
        closing = pool.submit(log.close, index_after_bytes=1 << 40)
        executor = log._indexing._background
        while executor is not None and not executor._shutdown:
            assert not wait([closing], timeout=0.001).done
        try:
            (done,) = log.append([event(people(1, 1)[0], "meanwhile")])
        finally:
            go_on.set()
        closing.result(_PATIENCE_S)
    assert done.new


def test_the_log_holds_no_payload_and_nothing_is_staged_below_it(place: Place) -> None:
    """Below `audit/` there is nothing but segments, and staging leaves nothing behind."""
    place.append(event(_SUBJECT, "e", payload_sha256="ab" * 32))

    assert [path.name for path in (place.folder / "audit").rglob("*") if path.is_file()] == [f"{0:012d}.jsonl"]
    assert holding(place.folder / ".staging", b"audit") == []


def test_unwritable_index_does_not_stop_appends(place: Place, small_index: int) -> None:
    """Where the index cannot be written, rows still are, and a later writer reads the log."""
    place.objects.around = failing("replace", AUDIT_INDEX, StoreError("no space"))
    ids = _fill(place, 9)
    del place.objects.around

    assert _index_keys(place) == []
    events = [event(people(0, 3)[number % 3], one) for number, one in enumerate(ids)]
    assert place.append(*events) == [False] * 9


def test_memory_is_bounded_by_forgetting_idle_chunks(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where memory is tight, the state of idle chunks goes, and appends to them stay exact."""
    monkeypatch.setattr(module, "_MEMORY", 1)
    log = place.log()
    everybody = [one for chunk in range(CHUNKS) for one in people(chunk, 2)]
    for number in range(3):
        for one in everybody:
            log.append([event(one, f"{one}-{number}")])
    assert sum(lane.state is not None for lane in log._lanes.values()) <= 1

    assert not any(result.new for result in log.append([event(one, f"{one}-0") for one in everybody]))
    assert assert_sound(place).rows == 3 * len(everybody)


def test_the_least_recently_led_chunk_is_forgotten_first(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where room is for three, a fourth costs the chunk whose last append is longest ago, not the one seen first."""
    log = place.log()
    subjects = [people(chunk, 1)[0] for chunk in range(CHUNKS)]
    for chunk in (0, 1, 2, 0):
        log.append([event(subjects[chunk], f"e{chunk}")], unique=True)
    monkeypatch.setattr(module, "_MEMORY", log._weight + 1)
    log.append([event(subjects[3], "e")], unique=True)

    held = {name for name, lane in log._lanes.items() if lane.state is not None}
    assert held == {LAYOUT.names[0], LAYOUT.names[2], LAYOUT.names[3]}
    assert log._weight == sum(log._weights.values()) == sum(
        lane.state.weight for lane in log._lanes.values() if lane.state is not None
    )  # fmt: skip


def test_what_is_forgotten_is_indexed_first(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """So the next append to a chunk reads its index, not all of its log since the last."""
    monkeypatch.setattr(module, "_MEMORY", 1)
    monkeypatch.setattr(module, "_INDEX_BEFORE_FORGETTING", 1)
    log = place.log()
    mine, other = people(0, 1)[0], people(1, 1)[0]
    for number in range(9):
        log.append([event(mine, f"e-{number}")], unique=True)
    log.append([event(other, "e")], unique=True)
    log.close()
    place.objects.calls.clear()

    log.append([event(mine, "e-9")], unique=True)

    read = {key for name, key in place.objects.calls if name == "get" and key.startswith("audit/")}
    assert read == {AuditSegments.key(LAYOUT.names[0], number) for number in (8, 9)}  # its last, and what may follow
    assert assert_sound(place).rows == 11


def test_other_content_under_an_id_is_told_from_the_same_event(place: Place, small_index: int) -> None:
    """In one call, across writers, and on either side of an index: the first stands, and is named as conflicting."""
    first, other = event(_SUBJECT, "e"), event(_SUBJECT, "e", actor="bob")
    log = place.log()
    outcomes = [result.outcome for result in log.append([first, other, first])]
    assert outcomes == ["appended", "conflicting", "already_present"]
    assert [result.outcome for result in place.log().append([other, first])] == ["conflicting", "already_present"]
    _fill(place, 9)
    assert _index_keys(place, f"{_CHUNK}/{MONTH}/")
    place.objects.calls.clear()
    results = place.log().append([first, other])
    assert [(one.outcome, one.new, one.seq) for one in results] == [
        ("already_present", False, -1),
        ("conflicting", False, -1),
    ]
    assert place.objects.counted("get", f"audit/{_CHUNK}/") < 9
    assert assert_sound(place).rows == 10


@pytest.mark.parametrize(
    "changes",
    [
        {"ts": "2026-06-30T12:00:00.000001Z"},
        {"actor": "bob"},
        {"action": "write"},
        {"result": "denied"},
        {"dataset": "workers"},
        {"fields": ("name",)},
        {"purpose": "why"},
        {"trace_id": "t"},
        {"payload_sha256": "ab" * 32},
        {"reason": "why"},
        {"action": "manifest_deleted", "decision": {"kind": "deleted"}},
        {"action": "manifest_updated", "decision": {"kind": "replaced"}, "manifest_sha256": "ab" * 32},
    ],
    ids=" ".join,
)
def test_whatever_is_recorded_of_an_access_is_its_content(place: Place, changes: dict[str, Any]) -> None:
    """One recorded field that differs is other content, for who wrote it and for who reads it from the log."""
    log = place.log()
    log.append([event(_SUBJECT, "e")])
    for writer in (log, place.log()):
        assert writer.append([event(_SUBJECT, "e", **changes)])[0].outcome == "conflicting"
    log.append([event(_SUBJECT, "f", **changes)])
    for writer in (log, place.log()):
        assert writer.append([event(_SUBJECT, "f", **changes)])[0].outcome == "already_present"


def test_an_index_of_before_contents_is_not_believed(place: Place, small_index: int) -> None:
    """An index in the former form is passed over, the log is read instead, and the next index is whole again."""
    former = {"schema": "subject_audit_index.v2"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index, "INDEX_SCHEMA", former["schema"])
        _fill(place, 9)
    place.objects.calls.clear()
    assert place.append(event(_SUBJECT, "e0"), event(_SUBJECT, "new")) == [False, True]
    assert place.objects.counted("get", f"audit/{_CHUNK}/") >= 9


assert sys.version_info >= (3, 11)
