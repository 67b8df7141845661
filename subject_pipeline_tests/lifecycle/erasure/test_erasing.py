"""Erasing: ordered, recorded, then gone; held, unknown and killed ones too."""

import datetime as dt
import threading
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import polars as pl
import pytest

from subject_pipeline.anchoring.checkpointing import write_checkpoint
from subject_pipeline.decisions.decision import Kind
from subject_pipeline.decisions.policies import Policies
from subject_pipeline.decisions.stored_policies import store_policies
from subject_pipeline.errors import IncompleteError, KeyRingError
from subject_pipeline.lifecycle.erasure.erasing import Erasures
from subject_pipeline.lifecycle.erasure.group import Group, Order
from subject_pipeline.lifecycle.erasure.selecting import ordered, past_date
from subject_pipeline.manifests.snapshot import Snapshot
from subject_pipeline.registry.maintenance import compact
from subject_pipeline_tests.helpers.audit_stores import (
    JUNE,
    PlugPulledError,
    assert_sound,
    copied,
    event,
    failing,
    found_by,
    holding,
    manifest,
)
from subject_pipeline_tests.helpers.forked import forked
from subject_pipeline_tests.helpers.recorded import plug_pulled, registry_rows_of
from subject_pipeline_tests.helpers.verifying import meanwhile
from subject_pipeline_tests.lifecycle.erasure.conftest import ELSEWHERE, EVERYBODY, ORDER, OTHER, P, People
from subject_pipeline_tests.lifecycle.erasure.processes import erase_in, hold_in, killed_after

_MUCH_LATER = dt.datetime.now(dt.UTC) + dt.timedelta(days=366 * 4)


def test_an_erasure_is_ordered_then_recorded_and_nothing_is_left_but_the_log(three: People) -> None:
    """The order and the erasure are rows of a chain that is begun for it; table and staging lack the person."""
    done = three.erase(P, P)

    assert (done.ordered, done.erased, done.complete) == (1, 1, True)
    assert three.table().keys() == {OTHER, ELSEWHERE}
    order, erasure = registry_rows_of(three.place.objects, P)
    assert (order["seq"], order["action"], order["decision"]["kind"]) == (0, "manifest_updated", "erasure_ordered")
    assert order["decision"]["changes"]["status"] == "erasure_ordered"
    assert (erasure["action"], erasure["decision"]["kind"]) == ("manifest_deleted", "erased")
    assert erasure["actor"] == erasure["decision"]["actor"] == "officer"
    assert erasure["decision"].keys() == {
        *("decision_id", "candidate_id", "kind", "ts", "actor", "reason", "recorded_at", "policies_sha256"),
        "table_version",
    }
    compact(three.place.store, three.place.evidence())
    left = {
        path.removeprefix(f"{three.place.folder}/").split("/")[0] for path in holding(three.place.folder, P.encode())
    }
    assert left == {"audit"}
    assert_sound(three.place)


def test_whoever_is_erased_already_is_done(three: People) -> None:
    """A second call names them, records nothing and is complete."""
    three.erase(P)
    rows = registry_rows_of(three.place.objects)

    done = three.erase(P, OTHER)

    assert (done.ordered, done.erased, done.already, done.complete) == (1, 1, [P], True)
    assert registry_rows_of(three.place.objects)[: len(rows)] == rows
    assert three.kinds() == ["erasure_ordered", "erased"]


@pytest.mark.parametrize("nobody", ["W-nobody", "", "x" * 201])
def test_nothing_is_written_for_an_unknown_id(three: People, nobody: str) -> None:
    """An id without a manifest is named."""
    done = three.erase(nobody)

    assert (done.unknown, done.ordered, done.erased, done.complete) == ([nobody], 0, 0, False)
    assert registry_rows_of(three.place.objects) == []


def test_somebody_who_was_deleted_is_unknown(three: People) -> None:
    """A deletion is no erasure, and leaves nobody to erase."""
    three.place.registry().delete(P)

    assert three.erase(P).unknown == [P]
    assert three.kinds() == ["deleted"]


@pytest.mark.long
def test_a_held_person_is_ordered_and_erased_once_released(three: People) -> None:
    """The order stands; the release lets the next call that carries orders out do so."""
    three.decide(Kind.HOLD_PLACED, hold_id="case 7")

    for told in (1, 0):
        done = three.erase(P)
        assert (done.ordered, done.erased, done.held, done.complete) == (told, 0, [P], False)
    assert three.table()[P]["status"] == "erasure_ordered"

    assert three.decide(Kind.HOLD_RELEASED, hold_id="case 7") == "applied"
    evidence = three.place.evidence()
    evidence.open()
    assert ordered(three.place.store, evidence) == [P]
    done = three.erase(*ordered(three.place.store, evidence))
    assert (done.ordered, done.erased, done.held) == (0, 1, [])
    assert three.kinds() == ["hold_placed", "erasure_ordered", "hold_released", "erased"]
    assert_sound(three.place)


@pytest.mark.long
def test_four_eyes_apply_to_the_order_alone(three: People) -> None:
    """Without a second name nothing is recorded; an order that stands is carried out by anybody."""
    store_policies(three.place.store, Policies.parse({"four_eyes": ["erasure_ordered"]}))

    done = three.erase(P)
    assert (done.ordered, done.erased, list(done.refused)) == (0, 0, [P])
    assert "four eyes" in done.refused[P]
    assert three.kinds() == []

    three.decide(Kind.ERASURE_ORDERED, approved_by="somebody else")
    assert three.erase(P).erased == 1
    assert three.erase(OTHER, order=Order("officer", approved_by="judge")).erased == 1
    assert registry_rows_of(three.place.objects, OTHER)[-1]["decision"]["approved_by"] == "judge"


def test_a_dry_run_counts_and_writes_nothing(three: People) -> None:
    """It says what would be done: orders, erasures, holds, unknown and refused ones."""
    three.decide(Kind.HOLD_PLACED, OTHER, hold_id="h")
    rows = registry_rows_of(three.place.objects)

    done = three.erase(P, OTHER, "W-nobody", dry_run=True)

    assert (done.ordered, done.erased, done.held, done.unknown) == (2, 1, [OTHER], ["W-nobody"])
    assert registry_rows_of(three.place.objects) == rows
    assert three.table().keys() == set(EVERYBODY)


def test_whoever_is_past_the_date_is_found(three: People) -> None:
    """The date of general personal data counts, in the table or, where that is behind, in the log."""
    evidence = three.place.evidence()
    evidence.open()
    store = three.place.store
    assert past_date(store, evidence, dt.datetime.now(dt.UTC)) == []
    assert set(past_date(store, evidence, _MUCH_LATER)) == set(EVERYBODY)
    with plug_pulled(), pytest.raises(IncompleteError):
        three.decide(Kind.ERASURE_ORDERED)
    assert ordered(store, evidence) == [P]


def _dead(*_: object) -> None:
    raise PlugPulledError("the plug was pulled")


@pytest.mark.parametrize("step", ["order", "erasure", "staged", "table"])
def test_what_was_killed_is_completed_by_running_it_again(
    three: People, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Dead once the order is recorded, once the erasure is, once staging is rewritten: the next call finds the rest."""
    if step == "order":
        with plug_pulled(), pytest.raises(IncompleteError):
            three.erase(*EVERYBODY)
    else:
        for one in EVERYBODY:
            three.decide(Kind.ERASURE_ORDERED, one)
        if step == "staged":
            three.place.objects.around = failing("replace", "staging/", PlugPulledError("the plug was pulled"))
            with pytest.raises(IncompleteError):
                three.erase(*EVERYBODY)
            del three.place.objects.around
        elif step == "table":
            with plug_pulled(), pytest.raises(IncompleteError):
                three.erase(*EVERYBODY)
        else:
            with monkeypatch.context() as patch:
                patch.setattr("subject_pipeline.candidates.staged_parts.keep", _dead)
                with pytest.raises(IncompleteError):
                    three.erase(*EVERYBODY)
    evidence = three.place.evidence()
    evidence.open()
    assert set(ordered(three.place.store, evidence)) == set(EVERYBODY)

    done = three.erase(*EVERYBODY)

    assert done.complete
    assert done.erased + len(done.already) == len(EVERYBODY)
    assert three.table() == {}
    assert [three.kinds(one) for one in EVERYBODY] == [["erasure_ordered", "erased"]] * 3
    compact(three.place.store, three.place.evidence())
    for one in EVERYBODY:
        assert all("/audit/" in path for path in holding(three.place.folder, one.encode()))
    assert_sound(three.place)


def test_a_hold_that_comes_between_look_and_row_keeps_the_person(
    three: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row is conditional: overtaken by a hold, the erasure is judged again and stops there."""
    three.decide(Kind.ERASURE_ORDERED)
    meanwhile(monkeypatch, Group, "judge", lambda: three.decide(Kind.HOLD_PLACED, hold_id="h"))

    done = three.erase(P)

    assert (done.erased, done.held) == (0, [P])
    assert three.kinds() == ["erasure_ordered", "hold_placed"]
    assert P in three.table()


def test_an_order_that_is_cancelled_meanwhile_is_not_carried_out(
    three: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Likewise; the report says so."""
    three.decide(Kind.ERASURE_ORDERED)
    meanwhile(monkeypatch, Group, "judge", lambda: three.decide(Kind.ERASURE_CANCELLED))

    done = three.erase(P)

    assert (done.erased, list(done.refused)) == (0, [P])
    assert "cancelled" in done.refused[P]
    assert three.table()[P]["status"] == "active"


@pytest.mark.long
def test_an_old_table_put_back_is_found_at_once_and_erased_again(three: People) -> None:
    """`resurrected` within one verification, full or incremental; then `erase` repairs it without another row."""
    place = three.place
    place.append(event(P, "e-1"))
    old = copied(place.folder / "subjects", place.folder.parent / "old")
    three.erase(P)
    assert write_checkpoint(place.store).written
    assert_sound(place)
    copied(old, place.folder / "subjects")

    for incremental in (False, True):
        assert found_by(place.verify(incremental=incremental))["manifests"] == {P: "resurrected"}
    rows = registry_rows_of(place.objects)
    assert three.erase(P).already == [P]
    assert registry_rows_of(place.objects) == rows
    assert_sound(place)


@pytest.mark.long
def test_somebody_whose_registration_is_recorded_and_not_committed_yet_stays_erased(
    three: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anyone who recorded it may commit it after the erasure: it is committed first, so that theirs conflicts."""
    place = three.place
    place.registry().delete(P)
    ordered_one = manifest(P, status="erasure_ordered", erasure_ordered_at=JUNE)
    held = threading.Event()
    going = threading.Event()
    real = Snapshot.upsert

    def waits(self: Snapshot, rows: pl.DataFrame) -> None:
        if threading.current_thread().name == "putter" and not going.is_set():
            held.set()
            assert going.wait(60)
        real(self, rows)

    monkeypatch.setattr(Snapshot, "upsert", waits)
    putter = threading.Thread(target=lambda: place.registry().put(ordered_one), name="putter")
    putter.start()
    assert held.wait(60)
    assert three.erase(P).erased == 1
    going.set()
    putter.join()
    assert P not in three.table()
    assert three.kinds() == ["deleted", "registered", "erased"]
    assert_sound(place)


@pytest.mark.long
def test_two_processes_that_erase_and_place_a_hold_at_once_are_decided_by_the_row(three: People) -> None:
    """Either the hold is in the chain first, and the person stays; or the erasure is, and the hold is refused."""
    place = three.place
    with ProcessPoolExecutor(2, mp_context=forked()) as pool:
        for turn in range(4):
            erased = pool.submit(erase_in, place.folder.parent, P)
            told = pool.submit(hold_in, place.folder.parent, P, f"h-{turn}")
            if erased.result() == "erased":
                assert told.result() == "applied" or "erased" in told.result()
                assert three.kinds()[-1] == "erased"
                assert P not in three.table()
                break
            assert (erased.result(), told.result()) == ("held", "applied")
            assert P in three.table()
            three.decide(Kind.HOLD_RELEASED, hold_id=f"h-{turn}")
    assert_sound(place)


@pytest.mark.long
@pytest.mark.parametrize("after", ["audit/", "staging/", "subjects/_delta_log/"])
def test_a_process_that_is_killed_is_completed_by_running_it_again(three: People, after: str) -> None:
    """SIGKILL once the order, the erasure, the staging or the table was written: whatever is left is found."""
    folder = three.place.folder.parent
    with ProcessPoolExecutor(1, mp_context=forked()) as pool, pytest.raises(BrokenProcessPool):
        pool.submit(killed_after, folder, after, P).result()
    assert three.erase(P, OTHER).complete
    assert three.table().keys() == {ELSEWHERE}
    assert three.kinds() == ["erasure_ordered", "erased"]
    assert three.erase(P).already == [P]
    compact(three.place.store, three.place.evidence())
    assert all("/audit/" in path for path in holding(three.place.folder, P.encode()))
    assert_sound(three.place)


def test_no_ring_is_refused(three: People) -> None:
    """An erasure is a row of the log: without keys there is none."""
    with pytest.raises(KeyRingError):
        Erasures(three.place.store.without_ring(), "x").erase([P], ORDER)
    assert P in three.table()
