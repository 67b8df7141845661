"""Decisions applied by several processes: the same verdicts and manifests as by one, also where one is killed."""

import concurrent.futures
import json
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from subject_pipeline import spawned
from subject_pipeline.decisions.decision import Decision
from subject_pipeline.errors import AuditLogError, IncompleteError
from subject_pipeline.ingestion.line_files import LineFile
from subject_pipeline.lifecycle import applying
from subject_pipeline.lifecycle.applying import Decisions
from subject_pipeline.lifecycle.applying_files import DecisionReport, apply_files
from subject_pipeline.lifecycle.decision_files import ENDINGS
from subject_pipeline.lifecycle.decision_group import DecisionGroup
from subject_pipeline.lifecycle.judging import Verdict
from subject_pipeline_tests.conftest import Prepared
from subject_pipeline_tests.helpers.audit_stores import LAYOUT, Place, assert_sound, manifest, people, place_in
from subject_pipeline_tests.helpers.decisions import decision, line
from subject_pipeline_tests.helpers.forked import forked
from subject_pipeline_tests.helpers.killing import killing_a_spawned_process
from subject_pipeline_tests.helpers.recorded import registry_rows_of, table_of

EVERYBODY = [one for chunk in range(LAYOUT.count) for one in people(chunk, 3)]


def _everybody(folder: Path) -> None:
    place = place_in(folder)
    for one in EVERYBODY:
        place.registry().put(manifest(one))


@pytest.fixture
def held(tmp_path: Path, prepared: Prepared) -> Place:
    """A store with some people in every chunk."""
    prepared(_everybody, tmp_path)
    return place_in(tmp_path)


@pytest.fixture
def _forked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spawned, "get_context", lambda _: forked())


def _orders() -> list[Decision]:
    """Of everybody two that follow one another and one that is not allowed, person after person; and one of nobody."""
    kinds = ("consent_given", "restricted", "restricted")
    orders = [
        decision(kind, one, decision_id=f"d-{number}", ts=f"2026-05-0{number}T00:00:00Z")
        for one in EVERYBODY[::2] + EVERYBODY[1::2]
        for number, kind in enumerate(kinds, start=1)
    ]
    return [*orders, decision("restricted", "NOBODY")]


def _applied(place: Place, orders: list[Decision], processes: int, *, dry_run: bool = False) -> list[Verdict]:
    decisions = Decisions(place.fresh_store(), "tester", processes)
    try:
        return decisions.apply(orders, dry_run=dry_run)
    finally:
        decisions.close()


def _consents(place: Place) -> dict[str, tuple[str, str]]:
    """Each person's status and consent, without the times of when it was recorded."""
    return {
        one: (found["status"], found["consent"]["general_pii"]["status"])
        for one, found in ((one, place.registry().get(one).as_json()) for one in EVERYBODY)
    }


@pytest.mark.long
@pytest.mark.usefixtures("_forked")
def test_verdicts_and_manifests_are_those_of_one_process(held: Place, tmp_path: Path, prepared: Prepared) -> None:
    """In the order of the decisions; nothing is applied twice, and a dry run says the same and writes nothing."""
    alone = tmp_path / "alone"
    alone.mkdir()
    prepared(_everybody, alone)
    orders, other = _orders(), place_in(alone)
    expected = _applied(other, orders, 1)
    assert {one.outcome for one in expected} == {"applied", "rejected"}
    assert _applied(held, orders, 3, dry_run=True) == expected
    assert registry_rows_of(held.objects, EVERYBODY[0]) == []
    assert _applied(held, orders, 3) == expected
    assert _consents(held) == _consents(other)
    assert {one.outcome for one in _applied(held, orders, 2)} == {"already_applied", "rejected"}
    assert_sound(held)


@pytest.mark.usefixtures("_forked")
def test_what_one_process_cannot_apply_stops_no_other(held: Place) -> None:
    """A damaged log of one chunk is the error; what is of another process's chunks is applied."""
    _applied(held, [decision("consent_given", one, decision_id="d-0") for one in EVERYBODY], 1)
    damaged = next(held.folder.glob(f"audit/{LAYOUT.names[0]}/*"))
    sound = damaged.read_bytes()
    damaged.write_bytes(b"no segment")
    orders = [decision("restricted", one) for one in EVERYBODY]
    with pytest.raises(AuditLogError, match=LAYOUT.names[0]):
        _applied(held, orders, 2)
    damaged.write_bytes(sound)
    last = [one for one in EVERYBODY if LAYOUT.chunk_of(one) == LAYOUT.names[-1]]
    assert {held.registry().get(one).status for one in last} == {"restricted"}
    assert {one.outcome for one in _applied(held, orders, 1)} == {"applied", "already_applied"}
    assert_sound(held)


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.usefixtures("_forked")
def test_ctrl_c_ends_with_what_was_begun_and_tells_all_of_that(
    held: Place, monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    """What no process has begun is given up, what is known is exactly what is recorded, and a re-run does the rest."""
    monkeypatch.setattr(applying, "_GROUP", 1)
    orders = [decision("restricted", one) for one in EVERYBODY]
    _interrupt(monkeypatch)
    known = dict[int, Verdict]()
    decisions = Decisions(held.fresh_store(), "tester", processes)
    with pytest.raises(KeyboardInterrupt):
        decisions.apply(orders, known=known)
    decisions.close()
    monkeypatch.undo()
    assert 0 < len(known) < len(orders)
    assert {one.outcome for one in known.values()} == {"applied"}
    recorded = {row["candidate_id"] for row in registry_rows_of(held.objects)}
    assert {orders[at].candidate_id for at in known} == recorded
    again = _applied(held, orders, 1)
    assert [one.outcome == "already_applied" for one in again] == [at in known for at in range(len(orders))]
    assert_sound(held)


def _interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C once something was applied: while this process waits for others, or between two groups of its own."""
    waited, run, calls = concurrent.futures.wait, DecisionGroup.run, count()

    def waiting(asked: Any, **options: Any) -> Any:
        found = waited(asked, **options)
        if next(calls) == 0:
            raise KeyboardInterrupt
        return found

    def running(group: DecisionGroup) -> dict[str, list[Verdict]]:
        if next(calls) == 1:
            raise KeyboardInterrupt
        return run(group)

    monkeypatch.setattr(applying, "wait", waiting)
    monkeypatch.setattr(DecisionGroup, "run", running)


@pytest.mark.usefixtures("_forked")
def test_what_was_applied_before_a_failure_is_counted(held: Place, tmp_path: Path) -> None:
    """The report of a file has everything that is recorded, though a part of the same batch failed."""
    _applied(held, [decision("consent_given", one, decision_id="d-0") for one in EVERYBODY], 1)
    damaged = next(held.folder.glob(f"audit/{LAYOUT.names[0]}/*"))
    sound = damaged.read_bytes()
    damaged.write_bytes(b"no segment")
    path = tmp_path / "orders.jsonl"
    path.write_text("".join(f"{json.dumps(line('restricted', one))}\n" for one in EVERYBODY))
    report, decisions = DecisionReport(), Decisions(held.fresh_store(), "tester", 2)
    with pytest.raises(AuditLogError):
        apply_files(decisions, held.objects, [LineFile.local(path, ENDINGS)], report)
    decisions.close()
    damaged.write_bytes(sound)
    restricted = [row for row in registry_rows_of(held.objects) if row["decision"]["kind"] == "restricted"]
    assert report.applied == len(restricted) > 0


@pytest.mark.long
def test_a_killed_process_leaves_what_the_same_call_completes(held: Place) -> None:
    """As when memory runs out: what it was given may be recorded or not; everything is there once afterwards."""
    orders = _orders()
    with pytest.raises(IncompleteError, match="run it again"), killing_a_spawned_process():
        _applied(held, orders, 2)
    again = _applied(held, orders, 2)
    assert {one.outcome for one in again} <= {"applied", "already_applied", "rejected"}
    assert [one.outcome for one in again[:-1]].count("rejected") == len(EVERYBODY)
    for one in EVERYBODY:
        rows = registry_rows_of(held.objects, one)
        assert [row["decision"]["decision_id"] for row in rows] == ["d-1", "d-2"]
    assert set(table_of(held.fresh_store())) == set(EVERYBODY)
    assert_sound(held)
