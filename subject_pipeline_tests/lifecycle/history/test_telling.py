"""Histories, and manifests as they were, told from a store."""

import datetime as dt
import json

import pytest

from subject_pipeline.anchoring.checkpointing import write_checkpoint
from subject_pipeline.audit.stored_segments import AuditSegments
from subject_pipeline.errors import AuditLogError, UnknownSubjectError, UnknownThenError
from subject_pipeline.formats.times import format_time
from subject_pipeline.keys.ring_file import KeyRingFile
from subject_pipeline.lifecycle.history.telling import Record, manifest_then
from subject_pipeline.registry.backfill import backfill
from subject_pipeline_tests.conftest import Declared
from subject_pipeline_tests.helpers.audit_stores import Place, event, people
from subject_pipeline_tests.helpers.decided import decide

P, OTHER = people(0, 2)


def now() -> str:
    """The time, as rows have it."""
    return format_time(dt.datetime.now(dt.UTC))


@pytest.fixture
def lived(place: Place, declared: Declared) -> Place:
    """A store with two registered subjects."""
    dataset = declared([P, OTHER])
    place.store.catalog.register(dataset)
    backfill(place.store, dataset, evidence=place.evidence())
    return place


@pytest.mark.long
def test_every_manifest_of_a_life_comes_back(lived: Place) -> None:
    """What the registry had after each decision is what is told of that time, with or without the key ring."""
    remembered = [lived.registry().get(P)]
    for kind, fields in [
        ("classified", {"vertical": "healthcare"}),
        ("consent_given", {"scope": "general_pii", "version": "3"}),
        ("hold_placed", {"hold_id": "case-1", "reason": "court"}),
        ("restricted", {}),
        ("erasure_ordered", {}),
        ("consent_withdrawn", {"scope": "general_pii"}),
        ("hold_released", {"hold_id": "case-1"}),
        ("erasure_cancelled", {}),
        ("interaction", {}),
    ]:
        decide(lived.store, P, kind, now(), **fields)
        remembered.append(lived.registry().get(P))
    for then in remembered:
        for ring in (lived.ring, KeyRingFile(None)):
            assert (
                manifest_then(lived.store.with_ring(ring), P, format_time(then.updated_at)).to_json() == then.to_json()
            )
    assert manifest_then(lived.store, OTHER, now()) == lived.registry().get(OTHER)
    with pytest.raises(UnknownThenError, match="no subject had the id"):
        manifest_then(lived.store, P, "2020-01-01T00:00:00.000000Z")
    with pytest.raises(UnknownSubjectError):
        manifest_then(lived.store, "nobody", now())


@pytest.mark.long
def test_the_events_in_order_of_time_with_what_is_anchored(lived: Place) -> None:
    """Accesses of one day with one action are one event, unless each is wanted; a later row is not anchored."""
    days = ("2026-06-30T09:00:00.000000Z", "2026-06-30T08:00:00.000000Z", "2026-07-01T08:00:00.000000Z")
    lived.append(*(event(P, f"e{at}", ts=ts) for at, ts in enumerate(days)))
    lived.append(event(P, "e9", ts=days[0], result="denied"))
    decide(lived.store, P, "consent_given", "2026-06-30T10:00:00Z", scope="general_pii", version="3",
           evidence="doc:1")  # fmt: skip
    number = write_checkpoint(lived.store).written
    decide(lived.store, P, "restricted", now())

    record = Record.of(lived.store, P)
    assert number is not None
    assert record.anchoring is not None
    assert (record.anchoring.number, record.anchoring.time, record.anchoring.seq) == (number.number, number.time, 4)
    folded = record.events(folded=True)
    assert [(one["what"], one["anchored"]) for one in folded] == [
        ("access", True), ("consent_given", True), ("access", True), ("registered", True), ("restricted", False)
    ]  # fmt: skip
    assert folded[0] == {
        "at": days[1], "until": days[0], "what": "access", "seq": 0, "action": "read", "count": 3,
        "results": {"success": 2, "denied": 1}, "anchored": True,
    }  # fmt: skip
    given = folded[1]
    assert {name: given[name] for name in ("actor", "scope", "version", "evidence", "ts", "seq")} == {
        "actor": "ada", "scope": "general_pii", "version": "3", "evidence": "doc:1",
        "ts": "2026-06-30T10:00:00.000000Z", "seq": 4,
    }  # fmt: skip
    assert {"recorded_at", "decision_id", "changes"} <= given.keys()
    every = record.events(folded=False)
    assert [one["at"] for one in every] == sorted(one["at"] for one in every)
    assert [one["result"] for one in every if one["what"] == "access"] == ["success", "success", "denied", "success"]
    json.dumps(every)


def test_who_is_gone_is_told_from_the_chain(lived: Place) -> None:
    """The chain is all there is; before the deletion nothing is known."""
    decide(lived.store, P, "interaction", now())
    lived.registry().delete(P)
    record = Record.of(lived.store, P)
    assert record.manifest is None
    assert [one["what"] for one in record.events(folded=True)] == ["interaction", "deleted"]
    with pytest.raises(UnknownThenError, match="it was deleted at"):
        manifest_then(lived.store, P, now())
    with pytest.raises(UnknownSubjectError):
        Record.of(lived.store, "nobody")


def test_a_broken_chain_has_no_history(lived: Place) -> None:
    """A history of a chain with a row that was altered, or is gone, would be a story."""
    lived.append(event(P, "e1"))
    lived.append(event(P, "e2"))
    chunk = lived.store.catalog.chunks().names[0]
    path = lived.folder / AuditSegments.key(chunk, 0)
    path.write_bytes(path.read_bytes().replace(b'"actor":"ada"', b'"actor":"eve"'))
    with pytest.raises(AuditLogError, match="broken at row 1"):
        Record.of(lived.store, P)
