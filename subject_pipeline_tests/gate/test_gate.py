import asyncio
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Unpack

import pytest

from subject_pipeline.errors import ConfigurationError, DeniedError, EventError, PolicyError, WithheldError
from subject_pipeline.gate import AuditedTools, Permit, SubjectGate, Told, event_id_of
from subject_pipeline_tests.helpers.audit_stores import assert_sound
from subject_pipeline_tests.helpers.gated import POLICY, Gated, gated_in

SECRET = "a-phone-number-of-4711"


def record(number: int, **fields: Any) -> dict[str, Any]:
    """A record as the tools of these tests give it: the key, without the prefix of ids."""
    return {"worker_id": number, "name": f"{SECRET}-{number}", **fields}


def test_who_may_be_shown_is_shown_and_recorded(gated: Gated) -> None:
    """One row, with the purpose, the actor and by what it was decided; nothing of the answer."""
    with gated.opened() as gate:
        permit = gate.before("read_worker", subjects="W-1", purpose="scheduling", actor="agent:7", trace_id="t")
        answer = gate.after("read_worker", record(1), permit=permit)

    assert (permit.allowed, permit.denied, answer) == (("W-1",), {}, record(1))
    (row,) = gated.rows()
    told = {name: row[name] for name in ("candidate_id", "actor", "action", "result", "purpose", "trace_id", "fields")}
    assert told == {
        "candidate_id": "W-1", "actor": "agent:7", "action": "read_worker", "result": "success",
        "purpose": "scheduling", "trace_id": "t", "fields": ["name"],
    }  # fmt: skip
    assert row["gate"] == {"policy_sha256": row["gate"]["policy_sha256"], "table_version": 8, "max_age_s": 5}
    assert "reason" not in row
    assert SECRET not in json.dumps(row)
    assert_sound(gated.place)


def test_who_may_not_be_shown_is_denied_and_recorded(gated: Gated) -> None:
    """The caller gets the reasons, anyone who is allowed, and an error only where nobody is."""
    gated.withdraw("W-1")
    with gated.opened() as gate:
        permit = gate.before("read", subjects=["W-1", "W-2", "W-9"], purpose="scheduling")
        with pytest.raises(DeniedError) as denied:
            gate.before("read", subjects=["W-1"], purpose="scheduling")

    assert (permit.allowed, permit.denied) == (("W-2",), {"W-1": "consent_withdrawn", "W-9": "unknown_subject"})
    assert (denied.value.reasons, denied.value.recorded) == ({"W-1": "consent_withdrawn"}, True)
    assert "W-1" not in str(denied.value)
    assert gated.results("W-1") == ["consent_withdrawn", "consent_withdrawn"]
    assert gated.results("W-9") == ["unknown_subject"]
    assert gated.results("W-2") == []
    assert {row["result"] for row in gated.rows()} == {"denied"}
    assert_sound(gated.place)


def test_without_subjects_only_the_purpose_is_looked_at(gated: Gated) -> None:
    """As for a tool that lists people; a purpose that is not allowed raises, and there is nobody to record it of."""
    with gated.opened() as gate:
        permit = gate.before("list_workers", purpose="scheduling")
        with pytest.raises(DeniedError) as denied:
            gate.before("list_workers", purpose="marketing")
        with pytest.raises(DeniedError):
            gate.before("list_workers")
        assert not gated.rows()
        assert gate.after("list_workers", [record(1), record(2)], permit=permit) == [record(1), record(2)]

    assert (permit.allowed, permit.denied, denied.value.reasons) == ((), {}, {})
    assert [row["candidate_id"] for row in gated.rows()] == ["W-1", "W-2"]


def test_of_people_nobody_asked_about_the_records_are_dropped(gated: Gated) -> None:
    """By the policy's word, for one purpose; they are on record as denied, and anyone who is shown as shown."""
    gated.withdraw("W-2")
    with gated.opened() as gate:
        permit = gate.before("list", subjects=["W-1"], purpose="scheduling")
        answer = gate.after("list", {"page": 1, "rows": [record(1), record(2), record(9), record(3)]}, permit=permit)

    assert answer == {"page": 1, "rows": [record(1), record(3)]}
    assert {one: gated.results(one) for one in ("W-1", "W-2", "W-3", "W-9")} == {
        "W-1": ["success"], "W-2": ["consent_withdrawn"], "W-3": ["success"], "W-9": ["unknown_subject"],
    }  # fmt: skip
    hashes = {row.get("payload_sha256") for row in gated.rows() if row["result"] == "success"}
    assert len(hashes) == 1
    assert all("payload_sha256" not in row and "fields" not in row for row in gated.rows("W-2"))
    assert_sound(gated.place)


def test_or_all_of_the_answer_is_withheld(gated: Gated) -> None:
    """By the policy's word, for another purpose; nobody is on record as shown."""
    gated.withdraw("W-2")
    with gated.opened() as gate:
        permit = gate.before("list", subjects=["W-1"], purpose="payroll")
        with pytest.raises(WithheldError) as withheld:
            gate.after("list", {"rows": [record(1), record(2)]}, permit=permit)

    assert "consent_withdrawn (1)" in str(withheld.value)
    assert SECRET not in str(withheld.value)
    assert "W-2" not in str(withheld.value)
    assert (gated.results("W-1"), gated.results("W-2")) == ([], ["consent_withdrawn"])


def test_a_record_that_is_in_no_list_withholds_all(gated: Gated) -> None:
    """There is nothing that could be dropped around it."""
    gated.withdraw("W-2")
    with gated.opened() as gate:
        permit = gate.before("read", purpose="scheduling")
        with pytest.raises(WithheldError):
            gate.after("read", {"rows": [record(1)], "chief": record(2)}, permit=permit)
    assert (gated.results("W-1"), gated.results("W-2")) == ([], ["consent_withdrawn"])


def test_a_denial_of_one_call_is_recorded_once(gated: Gated) -> None:
    """Denied before, and named in the answer all the same: one row."""
    gated.withdraw("W-2")
    with gated.opened() as gate:
        permit = gate.before("read", subjects=["W-1", "W-2"], purpose="scheduling")
        assert gate.after("read", [record(1), record(2)], permit=permit) == [record(1)]
    assert (gated.results("W-1"), gated.results("W-2")) == (["success"], ["consent_withdrawn"])


@pytest.mark.parametrize("in_loop", [False, True])
def test_guard_is_both_around_a_call(gated: Gated, in_loop: bool) -> None:
    """The tool is not called about anyone who is denied; its answer is judged."""
    gated.withdraw("W-2")
    called: list[int] = []

    def call(number: int) -> Callable[[], Any]:
        def plain() -> Any:
            called.append(number)
            return record(number)

        async def later() -> Any:
            return plain()

        return later if in_loop else plain

    def guarded(gate: SubjectGate, number: int) -> Any:
        told: dict[str, Any] = {"subjects": [f"W-{number}"], "purpose": "scheduling"}
        if in_loop:
            return asyncio.run(gate.guard_async("read", call(number), **told))
        return gate.guard("read", call(number), **told)

    with gated.opened() as gate:
        assert guarded(gate, 1) == record(1)
        with pytest.raises(DeniedError):
            guarded(gate, 2)
    assert called == [1]
    assert (gated.results("W-1"), gated.results("W-2")) == (["success"], ["consent_withdrawn"])


@pytest.mark.parametrize("in_loop", [False, True])
def test_what_guard_calls_is_about_the_denied_too(gated: Gated, in_loop: bool) -> None:
    """The call knows nothing of the permit: an answer that names none of them, such as a sum, may be about them all."""
    gated.withdraw("W-2")

    def guarded(gate: SubjectGate, answer: Any) -> Any:
        async def later() -> Any:
            return answer

        told: dict[str, Any] = {"subjects": ["W-1", "W-2"], "purpose": "scheduling"}
        if in_loop:
            return asyncio.run(gate.guard_async("read", later, **told))
        return gate.guard("read", lambda: answer, **told)

    with gated.opened() as gate:
        with pytest.raises(WithheldError, match="consent_withdrawn"):
            guarded(gate, {"total": 9_000})
        assert guarded(gate, [record(1), record(2)]) == [record(1)]
    assert (gated.results("W-1"), gated.results("W-2")) == (["success"], ["consent_withdrawn"] * 2)


@pytest.mark.parametrize("in_loop", [False, True])
def test_what_a_tool_raises_is_recorded_and_not_told(gated: Gated, in_loop: bool) -> None:
    """Its message may quote the answer: it is the cause, for anyone who runs the gate, and in no text of ours."""

    def fail() -> Any:
        raise TimeoutError(SECRET)

    async def fail_later() -> Any:
        fail()

    def guarded(gate: SubjectGate) -> Any:
        told: dict[str, Any] = {"subjects": ["W-1"], "purpose": "scheduling"}
        return (
            asyncio.run(gate.guard_async("read", fail_later, **told)) if in_loop else gate.guard("read", fail, **told)
        )

    with gated.opened() as gate, pytest.raises(WithheldError) as raised:
        guarded(gate)

    assert isinstance(raised.value.__cause__, TimeoutError)
    assert SECRET not in str(raised.value)
    (row,) = gated.rows()
    assert (row["candidate_id"], row["result"]) == ("W-1", "error")
    assert SECRET not in json.dumps(row)


def test_the_twins_in_the_event_loop_do_the_same(gated: Gated) -> None:
    """Before and after, from memory and from the store, allowed and denied."""
    gated.withdraw("W-2")

    async def converse() -> list[Any]:
        async with gated.opened() as gate:
            first = await gate.before_async("read", subjects=["W-1", "W-2"], purpose="scheduling")
            second = await gate.before_async("read", subjects=["W-1"], purpose="scheduling")
            with pytest.raises(DeniedError):
                await gate.before_async("read", subjects=["W-2"], purpose="scheduling")
            shown = await gate.after_async("read", [record(1), record(2)], permit=second)
            with pytest.raises(WithheldError):
                await gate.after_async("read", record(2), permit=second)
            return [first.allowed, first.denied, second.allowed, shown]

    assert asyncio.run(converse()) == [("W-1",), {"W-2": "consent_withdrawn"}, ("W-1",), [record(1)]]


def test_no_signature_is_written_twice() -> None:
    """What may be told of a call is said once, for both halves and their twins."""
    names = ("before", "before_async", "guard", "guard_async")
    told = {inspect.signature(getattr(SubjectGate, name)).parameters["told"].annotation for name in names}
    assert told == {Unpack[Told], inspect.signature(AuditedTools.after).parameters["told"].annotation}


def test_what_the_caller_got_wrong_is_refused_at_once(gated: Gated) -> None:
    """Misspelt arguments, and what no row could name, for which nothing could be recorded."""
    with gated.opened() as gate:
        with pytest.raises(TypeError, match="porpose"):
            gate.before("read", subjects=["W-1"], porpose="scheduling")  # type: ignore[call-arg]
        for wrong in (
            {"event_id": ""},
            {"subjects": [""]},
            {"subjects": ["x" * 300]},
            {"actor": " "},
            {"purpose": "x" * 2_000},
        ):
            with pytest.raises(EventError):
                gate.before("read", **{"subjects": ["W-1"], "purpose": "scheduling", **wrong})  # type: ignore[arg-type]
        with pytest.raises(EventError):
            gate.before("manifest_updated", subjects=["W-1"], purpose="scheduling")
    assert not gated.rows()


def test_a_gate_that_could_not_work_does_not_open(gated: Gated, tmp_path: Path) -> None:
    """Without a policy, or where no store is."""
    with pytest.raises(PolicyError, match=r"nowhere\.yaml"):
        SubjectGate.open(str(gated.place.folder), policy=tmp_path / "nowhere.yaml", key_ring=gated.place.ring.path)
    gated.policy.write_text(POLICY)
    with pytest.raises(ConfigurationError, match="no subject store"):
        SubjectGate.open(str(tmp_path / "mistyped"), policy=gated.policy, key_ring=gated.place.ring.path)
    assert not (tmp_path / "mistyped").exists()


def test_a_closed_gate_lets_nothing_out(gated: Gated) -> None:
    """What was decided from memory included."""
    with gated.opened() as gate:
        permit = gate.before("read", subjects=["W-1"], purpose="scheduling")
    with pytest.raises(WithheldError, match="closed"):
        gate.after("read", record(1), permit=permit)
    with pytest.raises(DeniedError) as denied:
        gate.before("read", subjects=["W-9"], purpose="scheduling")
    assert not denied.value.recorded


def test_a_permit_is_for_its_action(gated: Gated) -> None:
    """And for nobody: whom the permit allows is judged again."""
    gated.withdraw("W-2")
    with gated.opened() as gate:
        permit = gate.before("read", subjects=["W-1"], purpose="scheduling")
        with pytest.raises(WithheldError, match="another action"):
            gate.after("read_salary", record(1), permit=permit)
        forged = Permit("read", ("W-2",), {}, {"purpose": "scheduling"})
        with pytest.raises(WithheldError, match="consent_withdrawn"):
            gate.after("read", {"status": "late"}, permit=forged)
        with pytest.raises(WithheldError, match="purpose_not_allowed"):
            gate.after("read", record(1), permit=Permit("read", ("W-1",)))


def test_the_answer_is_a_copy(gated: Gated) -> None:
    """Whatever the tool does to its own afterwards."""
    payload = {"rows": [record(1)]}
    with gated.opened() as gate:
        answer = gate.after("read", payload, permit=gate.before("read", purpose="scheduling"))
    payload["rows"].append(record(2))
    assert answer == {"rows": [record(1)]}


def test_a_call_with_an_id_of_its_own_is_recorded_once(gated: Gated) -> None:
    """Whatever time it is recorded again, as long as it says the same."""
    told: dict[str, Any] = {"subjects": ["W-1"], "purpose": "scheduling", "event_id": event_id_of("trace", 7)}
    with gated.opened() as gate:
        for _ in range(2):
            assert gate.after("read", record(1), permit=gate.before("read", **told)) == record(1)
    assert [row["event_id"] for row in gated.rows()] == [told["event_id"]]


@pytest.mark.long
def test_an_id_that_another_call_had_hides_nothing(gated: Gated) -> None:
    """Another purpose, another answer, and denials: each is recorded, under an id of its own."""
    told: dict[str, Any] = {"subjects": ["W-1"], "event_id": "again"}
    with gated.open(POLICY + "max_age: 0s\n") as gate:
        for purpose, answer in (("scheduling", record(1)), ("payroll", record(1)), ("payroll", record(1, salary=7))):
            permit = gate.before("read", purpose=purpose, **told)
            assert gate.after("read", answer, permit=permit) == answer
        gated.withdraw("W-1")
        for _ in range(2):
            with pytest.raises(DeniedError):
                gate.before("read", purpose="scheduling", **told)
    assert [row["event_id"] == "again" for row in gated.rows("W-1")] == [True, *[False] * 4]
    assert gated.results("W-1") == ["success"] * 3 + ["consent_withdrawn"] * 2
    assert_sound(gated.place)


def test_event_ids_of_requests() -> None:
    """The same request has the same id; requests that are told apart by one of both have others."""
    made = {event_id_of(trace, request) for trace, request in [("a", 1), ("a", "12"), ("a1", 2), ("b", 1), ("a", "1")]}
    assert len(made) == 4
    assert event_id_of(None, 1) is event_id_of("", 1) is event_id_of("a", None) is None


def test_a_store_without_manifests_knows_nobody(tmp_path: Path) -> None:
    """Though it has a layout."""
    gated = gated_in(tmp_path)
    with gated.opened() as gate, pytest.raises(DeniedError) as denied:
        gate.before("read", subjects=["W-1"], purpose="scheduling")
    assert denied.value.reasons == {"W-1": "unknown_subject"}
    assert gated.rows()[0]["gate"]["table_version"] == 0
