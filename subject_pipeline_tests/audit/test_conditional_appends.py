import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest

from subject_pipeline.audit.chunk_state import ChunkState
from subject_pipeline.audit.group_commit import Ticket, in_time, parts, row_size
from subject_pipeline.audit.log import AuditLog
from subject_pipeline.audit.segment import MAX_BYTES
from subject_pipeline.errors import OutcomeUnknownError, OvertakenError, StoreError
from subject_pipeline_tests.changes.test_registry_rows import CHUNK, A, B, C, recorded
from subject_pipeline_tests.helpers.audit_stores import Place, event, people, rows_of
from subject_pipeline_tests.helpers.forked import running
from subject_pipeline_tests.helpers.overtaking_process import record_first

_PATIENCE_S = 60


def ids(place: Place) -> list[str]:
    """The ids of the log's rows, in order."""
    return [row["event_id"] for row in rows_of(place.objects)]


def test_a_change_follows_only_the_one_that_it_knew(place: Place) -> None:
    """Accesses in between do not count; a registry row does, and then nothing is appended."""
    log = place.log()
    (first,) = log.append_to(CHUNK, [recorded(A, "1")], unique=True, after={A: -1})
    with pytest.raises(OvertakenError, match=A):
        log.append_to(CHUNK, [recorded(A, "2")], unique=True, after={A: -1})
    log.append_to(CHUNK, [event(A, "3"), event(A, "4")])
    (second,) = log.append_to(CHUNK, [recorded(A, "5", None)], unique=True, after={A: first.seq})
    with pytest.raises(OvertakenError):
        log.append_to(CHUNK, [recorded(A, "6")], unique=True, after={A: first.seq})

    assert ids(place) == ["1", "3", "4", "5"]
    assert (first.seq, second.seq) == (0, 3)
    assert place.log().append_to(CHUNK, [recorded(A, "7")], after={A: 3})[0].seq == 4


def test_one_of_several_that_was_overtaken_keeps_all_of_its_segment_back(place: Place) -> None:
    """What is decided together is recorded together, within a segment."""
    log = place.log()
    log.append_to(CHUNK, [recorded(B, "1")])
    with pytest.raises(OvertakenError, match=B):
        log.append_to(CHUNK, [recorded(A, "2"), recorded(B, "3"), recorded(C, "4")], after={A: -1, B: -1, C: -1})
    assert ids(place) == ["1"]


def test_after_a_lost_race_the_condition_is_looked_at_again(place: Place) -> None:
    """A writer that lost its place to a change of the same subject is overtaken; to anything else, it goes on."""
    early, other = place.log(), place.log()
    early.append_to(CHUNK, [event(C, "0")])
    other.append_to(CHUNK, [recorded(A, "1"), event(B, "2")])

    with pytest.raises(OvertakenError, match=A):
        early.append_to(CHUNK, [recorded(A, "3")], unique=True, after={A: -1})
    other.append_to(CHUNK, [event(B, "4")])
    assert early.append_to(CHUNK, [recorded(B, "5")], unique=True, after={B: -1})[0].seq == 2
    assert ids(place) == ["0", "1", "2", "4", "5"]


def test_a_writer_that_kept_what_it_knew_learns_what_its_caller_has_read(place: Place) -> None:
    """A change that follows another's, which the writer itself has not seen yet, is in time."""
    kept, other = place.log(), place.log()
    kept.append_to(CHUNK, [recorded(A, "1")], unique=True, after={A: -1})
    other.append_to(CHUNK, [recorded(A, "2"), recorded(B, "3")])
    last = kept.chunk_state(CHUNK).chains([A])[A].seq

    assert kept.append_to(CHUNK, [recorded(A, "4")], unique=True, after={A: last})[0].seq == 2
    with pytest.raises(OvertakenError):
        kept.append_to(CHUNK, [recorded(C, "5")], unique=True, after={C: 7})
    assert ids(place) == ["1", "2", "3", "4"]


def _together(place: Place, log: AuditLog, *appends: Callable[[], Any]) -> list[Any]:
    """Let appends of several threads wait, in this order, while the first segment is written, and share the next."""
    entered, go = threading.Event(), threading.Event()

    def around(done: str, key: str, run: Callable[[], Any]) -> Any:
        if (done, key) == ("create", f"audit/{CHUNK}/{0:012d}.jsonl"):
            entered.set()
            assert go.wait(_PATIENCE_S)
        return run()

    place.objects.around = around
    lane = log._lanes
    with ThreadPoolExecutor(len(appends) + 1) as pool:
        first = pool.submit(log.append_to, CHUNK, [event(C, "first")])
        assert entered.wait(_PATIENCE_S)
        waiting = []
        for number, append in enumerate(appends, start=1):
            waiting.append(pool.submit(append))
            while len(lane[CHUNK].waiting) < number:
                assert not waiting[-1].done()
        go.set()
        first.result()
        return [one.exception() or one.result() for one in waiting]


def test_of_two_changes_in_one_group_the_first_wins(place: Place) -> None:
    """The second is overtaken by the first of its own segment; anyone else who waits beside them is appended."""
    log = place.log()
    won, lost, access, other = _together(
        place,
        log,
        lambda: log.append_to(CHUNK, [recorded(A, "1")], unique=True, after={A: -1}),
        lambda: log.append_to(CHUNK, [recorded(A, "2"), recorded(B, "3")], unique=True, after={A: -1, B: -1}),
        lambda: log.append_to(CHUNK, [event(A, "4")]),
        lambda: log.append_to(CHUNK, [recorded(B, "5")], unique=True, after={B: -1}),
    )
    assert ([one.seq for one in (*won, *access, *other)], type(lost)) == ([0, 1, 0], OvertakenError)
    assert ids(place) == ["first", "1", "4", "5"]
    assert place.objects.counted("create", "audit/") == 2


def test_accesses_on_condition_do_not_overtake_each_other(place: Place) -> None:
    """Only a registry row does: of accesses to one subject that share a segment all are appended, until one comes."""
    log = place.log()
    first, second, change, late, other = _together(
        place,
        log,
        lambda: log.append_to(CHUNK, [event(A, "1")], unique=True, after={A: -1}),
        lambda: log.append_to(CHUNK, [event(A, "2"), event(B, "3")], unique=True, after={A: -1}),
        lambda: log.append_to(CHUNK, [recorded(A, "4")], unique=True, after={A: -1}),
        lambda: log.append_to(CHUNK, [event(A, "5")], unique=True, after={A: -1}),
        lambda: log.append_to(CHUNK, [event(B, "6")], unique=True, after={B: -1}),
    )
    assert [one.seq for one in (*first, *second, *change, *other)] == [0, 1, 0, 2, 1]
    assert type(late) is OvertakenError
    assert ids(place) == ["first", "1", "2", "3", "4", "6"]


def test_a_condition_holds_in_every_chunk_of_an_append(place: Place) -> None:
    """Whose chunk gained a registry row is kept back; of the other chunks the rows may be there."""
    log = place.log()
    (elsewhere,) = people(1, 1)
    log.append([recorded(A, "1"), event(elsewhere, "2")])
    with pytest.raises(OvertakenError):
        log.append([event(A, "3"), event(elsewhere, "4")], unique=True, after={A: -1, elsewhere: -1})
    log.append([event(A, "5"), event(elsewhere, "6")], unique=True, after={A: 0})
    assert {"5", "6"} <= set(ids(place)) <= {"1", "2", "4", "5", "6"}


def test_a_log_is_read_as_its_writer_knows_it(place: Place) -> None:
    """What this process appended is not read back, what others did is; and a reading that fails keeps nothing."""
    log = place.log()
    log.append([event(A, "1")])
    place.append(event(B, "2"))
    place.objects.calls.clear()
    chains = log.reading(CHUNK, ChunkState.all_chains)
    assert (chains.chain(A), chains.chain(B), chains.chain(C)) == (*place.log().reading(CHUNK, _ends_of_a_and_b), None)
    read = [key for operation, key in place.objects.calls if operation == "get" and key.startswith("audit/")]
    assert f"audit/{CHUNK}/{0:012d}.jsonl" not in read[:2]

    def fail(_: ChunkState) -> None:
        raise StoreError("no")

    with pytest.raises(StoreError, match="no"):
        log.reading(CHUNK, fail)
    assert log.append([event(A, "3")])[0].seq == 1
    assert chains.chain(A) != log.reading(CHUNK, ChunkState.all_chains).chain(A)


def _ends_of_a_and_b(state: ChunkState) -> tuple[Any, Any]:
    return state.chain(A), state.chain(B)


def test_whoever_was_overtaken_is_told_so_whatever_became_of_the_others(place: Place) -> None:
    """Of a segment whose fate is unknown, those know that nothing of theirs is in it."""
    log = place.log()

    def unknown(run: Callable[[], Any]) -> Any:
        run()
        raise OutcomeUnknownError("no answer")

    def wait_then_fail() -> Any:
        held = place.objects.around
        place.objects.around = lambda done, key, run: (
            unknown(run) if (done, key) == ("create", f"audit/{CHUNK}/{1:012d}.jsonl") else held(done, key, run)
        )
        return log.append_to(CHUNK, [recorded(A, "1")], unique=True, after={A: -1})

    first, second = _together(
        place, log, wait_then_fail, lambda: log.append_to(CHUNK, [recorded(A, "2")], unique=True, after={A: -1})
    )
    assert (type(first), type(second)) == (OutcomeUnknownError, OvertakenError)
    assert ids(place) == ["first", "1"]


@pytest.mark.long
def test_threads_and_processes_each_win_different_subjects(place: Place) -> None:
    """Of two processes and two logs of this one, exactly one records each subject's first change."""
    url = place.store.location.url
    everybody = people(0, 30)

    def here(name: str) -> list[str]:
        log, won = place.log(), []
        for one in everybody:
            try:
                log.append_to(CHUNK, [recorded(one, f"{name}-{one}")], unique=True, after={one: -1})
            except OvertakenError:
                continue
            won.append(one)
        return won

    with ExitStack() as stack:
        pipes = []
        for name in "ab":
            changes = [recorded(one, f"{name}-{one}") for one in everybody]
            _, pipe = stack.enter_context(running(record_first, url, place.ring.path, CHUNK, changes))
            assert pipe.recv() == "ready"
            pipes.append(pipe)
        with ThreadPoolExecutor(2) as pool:
            threads = [pool.submit(here, name) for name in "cd"]
            for pipe in pipes:
                pipe.send("go")
            assert all(pipe.poll(_PATIENCE_S) for pipe in pipes)
            won = [pipe.recv() for pipe in pipes] + [thread.result() for thread in threads]

    assert sorted(one for mine in won for one in mine) == sorted(everybody)
    assert sorted(row["candidate_id"] for row in rows_of(place.objects)) == sorted(everybody)


def test_tickets_are_judged_anew_at_each_attempt(place: Place) -> None:
    """One that was in time before a lost race may be late after it; what it was told before does not stay."""
    log = place.log()
    state = log.chunk_state(CHUNK)
    ticket = Ticket([recorded(A, "1")], 1, unique=True, after={A: -1})
    told = []
    for after in (-1, -1, 0):
        ticket.after = {A: after}
        told.append((in_time(state, [ticket]), type(ticket.error)))
        if len(told) == 1:
            log.append_to(CHUNK, [recorded(A, "2")])
            state.catch_up()
    assert told == [([ticket], type(None)), ([], OvertakenError), ([ticket], type(None))]


def test_the_size_of_a_row_counts_its_decision() -> None:
    """So no segment becomes larger than what is read of one, however much a change holds."""
    big = recorded(A, "1")._replace(decision={"kind": "replaced", "changes": {"a": "x" * 1_000_000}})
    assert row_size(big) > 1_000_000
    assert [len(part) for part, _ in parts([big] * 20)] == [8, 8, 4]
    assert all(size <= MAX_BYTES for _, size in parts([big] * 20))
