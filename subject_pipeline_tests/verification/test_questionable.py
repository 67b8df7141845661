"""Accesses that should not have been, judged upon rows and found in stores."""

import datetime as dt
from typing import Any

import pytest

from subject_pipeline.anchoring.checkpointing import write_checkpoint
from subject_pipeline.formats.times import format_time
from subject_pipeline.registry.backfill import backfill
from subject_pipeline.reports.collecting import collect_numbers
from subject_pipeline.verification.questionable import Questionable, questionable
from subject_pipeline_tests.conftest import Declared
from subject_pipeline_tests.helpers.audit_stores import Place, assert_sound, event, people
from subject_pipeline_tests.helpers.decided import decide

P, Q, R, STRANGER = people(0, 4)


def at(hour: int) -> str:
    """A time of one day."""
    return f"2026-06-30T{hour:02}:00:00.000000Z"


def access(hour: int, **fields: Any) -> dict[str, Any]:
    """A row of an access."""
    return {"candidate_id": P, "action": "read", "actor": "ada", "result": "success", "ts": at(hour), **fields}


def decision(hour: int, kind: str, **fields: Any) -> dict[str, Any]:
    """A registry row."""
    return {"candidate_id": P, "action": "manifest_updated", "actor": "ada", "result": "success", "ts": at(0),
            "decision": {"kind": kind, "recorded_at": at(hour), **fields}}  # fmt: skip


def found(*rows: dict[str, Any]) -> list[tuple[int, str]]:
    """Seq and restriction of what is questionable among rows."""
    numbered = [{"seq": seq, **row} for seq, row in enumerate(rows)]
    return [(one.seq, one.restriction) for one in questionable(numbered)]


@pytest.mark.parametrize(
    ("begin", "end", "named"),
    [
        ({"kind": "consent_withdrawn", "scope": "general_pii"}, {"kind": "consent_given", "scope": "general_pii"},
         "consent_withdrawn:general_pii"),
        ({"kind": "consent_withdrawn", "scope": "biometric"}, {"kind": "consent_given", "scope": "biometric"},
         "consent_withdrawn:biometric"),
        ({"kind": "restricted"}, {"kind": "unrestricted"}, "restricted"),
        ({"kind": "erasure_ordered"}, {"kind": "erasure_cancelled"}, "erasure_ordered"),
        ({"kind": "erased"}, {"kind": "readmitted"}, "erased"),
        ({"kind": "replaced", "changes": {"status": "restricted"}},
         {"kind": "replaced", "changes": {"status": "active"}}, "restricted"),
        ({"kind": "replaced", "changes": {"consent": {"general_pii": {"status": "withdrawn"}}}}, {"kind": "deleted"},
         "consent_withdrawn:general_pii"),
    ],
)  # fmt: skip
def test_from_when_it_was_recorded_until_it_was_lifted(begin: dict[str, Any], end: dict[str, Any], named: str) -> None:
    """Its own time does not count, nor the moment itself; a row recorded late is compared with its own time."""
    rows = (
        access(12), decision(10, **begin), access(10), access(11), access(9),
        decision(20, **end), access(20), access(21), access(19),
    )  # fmt: skip
    assert found(*rows) == [(3, named), (8, named)]


def test_what_never_counts() -> None:
    """What was denied, failed or not found, what the person asked for, and what another scope's consent lifts not."""
    withdrawn = decision(10, "consent_withdrawn", scope="general_pii")
    harmless = [access(12, result=result) for result in ("denied", "error", "not_found")]
    assert found(withdrawn, *harmless, access(12, purpose="data_subject_request")) == []
    assert found(withdrawn, decision(11, "consent_given", scope="biometric"), access(12, purpose="support")) == [
        (2, "consent_withdrawn:general_pii")
    ]
    assert found(withdrawn, decision(11, "interaction"), decision(11, "biometric_destroyed"), access(12))
    assert found(decision(10, "interaction"), access(12)) == []


def test_the_gate_may_take_its_time() -> None:
    """A row that says how old the gate's knowledge may be counts once that time has passed too."""
    gate = {"policy_sha256": "0" * 64, "table_version": 1, "max_age_s": 3600}
    rows = decision(10, "restricted"), access(11, gate=gate), access(12, gate=gate)
    assert found(*rows) == [(2, "restricted")]
    assert found(rows[0], {**access(12, gate={**gate, "max_age_s": 2**53}), "ts": "0001-01-01T00:00:00.000000Z"}) == []


@pytest.mark.parametrize("recorded_at", [None, 7, "yesterday"])
def test_a_decision_without_a_time_says_nothing(recorded_at: object) -> None:
    """Rows are of any writer who had the key."""
    row = decision(10, "restricted")
    row["decision"]["recorded_at"] = recorded_at
    assert found(row, decision(10, "replaced", changes=[1]), access(12)) == []


def now() -> str:
    """The time, as rows have it."""
    return format_time(dt.datetime.now(dt.UTC))


@pytest.fixture
def lived(place: Place, declared: Declared) -> Place:
    """A store with three registered subjects in one chunk."""
    dataset = declared([P, Q, R])
    place.store.catalog.register(dataset)
    backfill(place.store, dataset, evidence=place.evidence())
    return place


FOREVER = "2099-01-01T00:00:00.000000Z"


def counted(place: Place, **options: Any) -> list[tuple[str, int]]:
    """Whom a verification names, and which row; it is sound all the same."""
    report = place.verify(**options)
    assert report.sound
    return sorted((one.candidate_id, one.seq) for one in report.questionable)


@pytest.mark.long
def test_a_full_and_an_incremental_verification(lived: Place) -> None:
    """A full one finds all, an incremental one what was recorded since, also against what was recorded before."""
    decide(lived.store, P, "consent_given", now(), scope="general_pii", version="1")
    decide(lived.store, P, "consent_withdrawn", now(), scope="general_pii")
    lived.append(event(P, "e1", ts=FOREVER), event(Q, "e1", ts=FOREVER))
    assert counted(lived) == counted(lived, incremental=True) == [(P, 2)]

    assert write_checkpoint(lived.store).written
    assert counted(lived, incremental=True) == []
    lived.append(event(P, "e2", ts=FOREVER), event(P, "e3", ts=FOREVER, result="denied"), event(Q, "e2", ts=FOREVER))
    decide(lived.store, Q, "restricted", now())
    assert counted(lived, incremental=True) == [(P, 3)]
    lived.append(event(Q, "e3", ts=FOREVER))
    assert counted(lived, incremental=True) == sorted([(P, 3), (Q, 3)])
    assert counted(lived) == sorted([(P, 2), (P, 3), (Q, 3)])
    assert counted(lived, candidate_ids=[Q]) == [(Q, 3)]
    (one,) = lived.verify(candidate_ids=[Q]).questionable
    assert (one.ts, one.actor, one.action, one.restriction) == (FOREVER, "ada", "read", "restricted")


@pytest.mark.long
def test_what_was_lifted_since_the_checkpoint(lived: Place) -> None:
    """The manifest no longer says that use was restricted when the access was recorded; the new rows do."""
    decide(lived.store, P, "restricted", now())
    decide(lived.store, Q, "interaction", now())
    assert write_checkpoint(lived.store).written
    lived.append(event(P, "e1", ts=now()), event(Q, "e1", ts=now()))
    decide(lived.store, P, "unrestricted", now())
    decide(lived.store, Q, "interaction", now())
    assert lived.registry().get(P).status == "active"
    assert counted(lived, incremental=True) == [(P, 1)]


def test_the_log_is_read_where_the_index_is_gone(lived: Place) -> None:
    """The index only saves reading."""
    decide(lived.store, P, "restricted", now())
    assert write_checkpoint(lived.store).written
    lived.append(event(P, "e1", ts=FOREVER))
    for path in (lived.folder / "audit_index").rglob("*"):
        if path.is_file():
            path.unlink()
    assert counted(lived, incremental=True) == [(P, 1)]


@pytest.mark.long
def test_denied_rows_do_not_make_anybody_unregistered(lived: Place) -> None:
    """An answer that was refused shows that nothing is held; one that was not is another matter."""
    lived.append(event(STRANGER, "e1", result="denied"))
    assert lived.verify().unregistered == []
    assert collect_numbers(lived.store, pending_days=30).accesses.unregistered == 0
    assert write_checkpoint(lived.store).written
    lived.append(event(STRANGER, "e2", result="denied"))
    assert lived.verify(incremental=True).unregistered == []
    lived.append(event(STRANGER, "e3", result="not_found"))
    for incremental in (True, False):
        assert lived.verify(incremental=incremental).unregistered == [STRANGER]
    assert collect_numbers(lived.store, pending_days=30).accesses.unregistered == 1


@pytest.mark.long
def test_a_report_counts_all_of_them(lived: Place) -> None:
    """Also those that were recorded before the last checkpoint."""
    decide(lived.store, P, "restricted", now())
    lived.append(event(P, "e1", ts=FOREVER), event(Q, "e1", ts=FOREVER))
    assert write_checkpoint(lived.store).written
    lived.append(event(P, "e2", ts=FOREVER))
    numbers = collect_numbers(lived.store, pending_days=30)
    assert numbers.accesses.questionable == numbers.headline["questionable_accesses"] == 2
    assert_sound(lived)


def test_its_fields() -> None:
    """What a list of findings has of each."""
    names = ("candidate_id", "seq", "ts", "actor", "action", "purpose", "restriction", "since")
    assert Questionable._fields == names
