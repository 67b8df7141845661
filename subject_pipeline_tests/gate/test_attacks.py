"""What somebody tries who wants an answer past the gate."""

import asyncio
import decimal
import hashlib
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pydantic
import pytest

from subject_pipeline.anchoring.checkpointing import write_checkpoint
from subject_pipeline.errors import DeniedError, StoreError, WithheldError
from subject_pipeline.formats.canonical_json import canonical_json
from subject_pipeline.gate import Permit, SubjectGate
from subject_pipeline.manifests.snapshot import Snapshot
from subject_pipeline.verification.questionable import questionable
from subject_pipeline_tests.gate.conftest import PEOPLE
from subject_pipeline_tests.gate.test_gate import SECRET, record
from subject_pipeline_tests.helpers.audit_stores import LAYOUT, assert_sound, rows_of
from subject_pipeline_tests.helpers.gated import POLICY, Gated


class Worker(pydantic.BaseModel):
    """A record by pydantic, whose field has another name outside."""

    number: int = pydantic.Field(serialization_alias="workerId")


def _text(value: Any) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": json.dumps(value)}]}


NAMED: dict[str, Any] = {
    "the key": {"worker_id": "2"},
    "the key as a number": {"worker_id": 2},
    "as a float": {"worker_id": 2.0},
    "as a number of a library": {"worker_id": np.int64(2)},
    "as a decimal": {"worker_id": decimal.Decimal(2)},
    "the whole id": {"worker_id": "W-2"},
    "in camel case": {"workerId": 2},
    "in Pascal case": {"WorkerID": 2},
    "with dashes": {"worker-id": 2},
    "in capitals": {"WORKER_ID": 2},
    "with blanks": {"Worker Id": 2},
    "in another field": {"candidateId": "W-2"},
    "among several": {"worker_id": [1, 2]},
    "in a set": {"worker_id": {1, 2}},
    "in both fields": {"worker_id": 1, "candidate_id": "W-2"},
    "in content": _text({"worker_id": 2}),
    "in content in content": _text(_text({"worker_id": 2})),
    "in a text of a field": {"result": json.dumps([{"worker_id": 2}])},
    "in a text of a text": {"result": json.dumps(json.dumps({"worker_id": 2}))},
    "after blanks": {"result": " \n" + json.dumps({"worker_id": 2})},
    "in a text alone": json.dumps({"worker_id": 2}),
    "in a model": Worker(number=2),
    "below a hundred lists": [[[[[[[[{"worker_id": 2}]]]]]]]],
}


@pytest.mark.parametrize("answer", NAMED.values(), ids=NAMED)
def test_an_id_is_found_however_it_is_written(gated: Gated, answer: Any) -> None:
    """Everyone it names is denied, and nothing of the answer goes out."""
    gated.withdraw("W-2")
    with gated.opened() as gate, pytest.raises(WithheldError, match="consent_withdrawn"):
        gate.after("read", answer, permit=gate.before("read", subjects=["W-1"], purpose="payroll"))
    assert (gated.results("W-1"), gated.results("W-2")) == ([], ["consent_withdrawn"])


def _generated() -> Iterator[dict[str, Any]]:
    yield {"worker_id": pytest.fail("begun")}


HIDDEN: dict[str, Callable[[], Any]] = {
    "a generator": _generated,
    "a generator in a list": lambda: [_generated()],
    "a map": lambda: map(str, [{"worker_id": 2}]),
    "bytes": lambda: {"data": json.dumps({"worker_id": 2}).encode()},
    "a coroutine": lambda: asyncio.sleep(0),
    "an image": lambda: {"type": "image", "data": "AAAA"},
    "prose": lambda: {"content": [{"type": "text", "text": "the second worker"}]},
    "a key twice": lambda: {"result": '{"worker_id": 1, "worker_id": 2}'},
    "JSON after words": lambda: {"result": f"Result: {json.dumps({'worker_id': 2})}"},
    "lines of JSON": lambda: {"result": '{"worker_id": 1}\n{"worker_id": 2}'},
    "JSON with comments": lambda: {"result": '{"workerId": 2} // the second'},
    "a record as Python writes it": lambda: {"result": str({"worker_id": 2})},
    "an object below an id field": lambda: {"worker_id": {"value": 2}},
    "a list in a list of ids": lambda: {"worker_id": [[2]]},
    "yes": lambda: {"worker_id": True},
    "half a number": lambda: {"worker_id": 2.5},
    "no number": lambda: {"worker_id": float("nan")},
    "no end of a number": lambda: {"worker_id": float("inf")},
}


@pytest.mark.parametrize("make", HIDDEN.values(), ids=HIDDEN)
def test_what_cannot_be_examined_is_withheld(gated: Gated, make: Callable[[], Any]) -> None:
    """Nothing is recorded, since nobody knows whom it is about; by the policy's word it goes out."""
    with gated.open() as gate, pytest.raises(WithheldError, match="cannot be examined"):
        gate.after("read", _closed(make()), permit=gate.before("read", subjects=["W-1"], purpose="payroll"))
    assert not gated.rows()
    answer = _closed(make())
    with gated.open(POLICY + "deny_opaque: false\n") as gate:
        shown = gate.after("read", answer, permit=gate.before("read", subjects=["W-1"], purpose="payroll"))
    assert str(shown) == str(answer)


def _closed(answer: Any) -> Any:
    if hasattr(answer, "close"):
        answer.close()
    return answer


UNNAMEABLE = {"nothing": "", "blanks": "  ", "too long": "x" * 300, "half a letter": "\ud800"}


@pytest.mark.parametrize("name", UNNAMEABLE.values(), ids=UNNAMEABLE)
def test_an_id_that_no_row_can_name_withholds_the_answer(gated: Gated, name: str) -> None:
    """Its denial could not be recorded."""
    with gated.opened() as gate, pytest.raises(WithheldError):
        gate.after("read", [record(1), {"candidate_id": name}], permit=gate.before("read", purpose="scheduling"))
    assert not gated.rows()


def test_null_names_nobody(gated: Gated) -> None:
    """As a record has it that is about no person."""
    answer = [{"worker_id": None, "free": True}, record(1)]
    with gated.opened() as gate:
        assert gate.after("read", answer, permit=gate.before("read", purpose="scheduling")) == answer
    assert gated.results("W-1") == ["success"]


def test_somebody_named_many_times_is_recorded_once(gated: Gated) -> None:
    """In whatever way; given and found."""
    answer = [record(1), {"candidateId": "W-1"}, {"worker_id": "W-1"}, _text(record(1)), {"worker_id": [1, "1", "W-1"]}]
    with gated.opened() as gate:
        permit = gate.before("read", subjects=["W-1", "W-1"], purpose="scheduling")
        assert gate.after("read", answer, permit=permit) == answer
    assert gated.results("W-1") == ["success"]


@pytest.mark.parametrize("in_what", ["a list", "an object", "a mapping"])
def test_an_answer_that_changes_while_it_is_judged_goes_out_as_it_was(gated: Gated, in_what: str) -> None:
    """It is changed when everybody in it has been judged, and is being recorded."""
    gated.withdraw("W-2")
    rows: list[Any] = [record(1)]
    answer: Any = {"a list": {"rows": rows}, "an object": Rows(rows), "a mapping": {"text": "", "rows": {"all": rows}}}[
        in_what
    ]

    def around(operation: str, key: str, run: Callable[[], Any]) -> Any:
        if (operation, key.startswith("audit/")) == ("create", True):
            rows.append(record(2))
            rows[0]["name"] = "somebody else"
            if isinstance(answer, dict):
                answer["more"] = record(2)
        return run()

    with gated.open() as gate:
        permit = gate.before("read", purpose="scheduling")
        gated.place.objects.around = around
        shown = gate.after("read", answer, permit=permit)
    held = shown.rows if isinstance(shown, Rows) else shown["rows"]
    assert held in ([record(1)], {"all": [record(1)]})
    assert "more" not in str(shown)
    assert len(rows) == 2


class Rows:
    """An object with a list in it, as attrs or a dataclass has one."""

    __attrs_attrs__ = (type("Attribute", (), {"name": "rows"}),)

    def __init__(self, rows: list[Any]) -> None:
        self.rows = rows


class Uncopyable(dict[str, Any]):
    """A mapping that refuses to be copied."""

    def __deepcopy__(self, _: object) -> Any:
        raise ValueError(SECRET)


@pytest.mark.parametrize("answer", [Uncopyable(worker_id=1), [Uncopyable(worker_id=2)]])
def test_what_can_be_examined_and_not_copied_is_withheld(gated: Gated, answer: Any) -> None:
    """It could change after it was judged; what it raised is not told."""
    with gated.opened() as gate, pytest.raises(WithheldError) as withheld:
        gate.after("read", answer, permit=gate.before("read", purpose="scheduling"))
    assert SECRET not in str(withheld.value)


def test_an_answer_without_end_is_withheld(gated: Gated) -> None:
    """Too deep to be copied; one that holds itself is released once all in it are on record."""
    deep: Any = record(1)
    for _ in range(100_000):
        deep = [deep]
    loop: dict[str, Any] = record(1)
    loop["self"] = loop
    with gated.opened() as gate:
        permit = gate.before("read", purpose="scheduling")
        with pytest.raises(WithheldError):
            gate.after("read", deep, permit=permit)
        shown = gate.after("read", loop, permit=permit)
    assert shown["self"] is shown
    assert shown is not loop


@pytest.mark.long
@pytest.mark.parametrize("checkpointed", [False, True])
@pytest.mark.parametrize(("gone", "reason"), [(False, "consent_withdrawn"), (True, "unknown_subject")])
def test_a_table_that_was_rolled_back_is_overruled_by_the_log(
    gated: Gated, checkpointed: bool, gone: bool, reason: str
) -> None:
    """The table of before a withdrawal, or an erasure, shows nobody; before and after, for a gate old and new."""
    subjects = gated.place.folder / "subjects"
    shutil.copytree(subjects, gated.policy.parent / "before")
    with gated.open(POLICY + "max_age: 0s\n") as old:
        permit = old.before("read", subjects=["W-1"], purpose="scheduling")
        (gated.erase if gone else gated.withdraw)("W-1")
        if checkpointed:
            _checkpoint(gated)
        shutil.rmtree(subjects)
        shutil.copytree(gated.policy.parent / "before", subjects)
        for gate in (old, gated.open()):
            with pytest.raises(DeniedError) as denied:
                gate.before("read", subjects=["W-1"], purpose="scheduling")
            # What the checkpoint had of somebody and the table lacks is not replayed: nobody knows what else is lost.
            assert denied.value.reasons["W-1"] in {reason, "unreadable"} if checkpointed else {reason}
            with pytest.raises(WithheldError):
                gate.after("read", record(1), permit=permit)


def _checkpoint(gated: Gated) -> None:
    assert write_checkpoint(gated.place.fresh_store()).written


@pytest.mark.long
def test_a_decision_that_is_recorded_and_not_applied_counts(gated: Gated, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its writer was killed before the table had it: for a gate that knows better, and for one that knows nothing."""

    def killed(*_: Any) -> None:
        raise StoreError("killed")

    with gated.opened() as gate:
        permit = gate.before("read", subjects=["W-1"], purpose="scheduling")
        with monkeypatch.context() as patch:
            patch.setattr(Snapshot, "upsert", killed)
            with pytest.raises(StoreError):
                gated.withdraw("W-1")
        with pytest.raises(WithheldError, match="consent_withdrawn"):
            gate.after("read", record(1), permit=permit)
    with gated.opened() as gate, pytest.raises(DeniedError) as denied:
        gate.before("read", subjects=["W-1"], purpose="scheduling")
    assert denied.value.reasons == {"W-1": "consent_withdrawn"}
    assert_sound(gated.place)


@pytest.mark.long
def test_a_decision_between_the_judgement_and_the_record_counts(gated: Gated) -> None:
    """The row would have been appended after it; instead it is decided again, and everyone else is shown."""
    last = max(PEOPLE, key=LAYOUT.chunk_of)  # when they are withdrawn, rows of other chunks are there already
    withdrawing = [last]

    def around(operation: str, key: str, run: Callable[[], Any]) -> Any:
        if (operation, key.startswith("audit/")) == ("create", True) and withdrawing:
            gated.withdraw(withdrawing.pop())
        return run()

    with gated.open() as gate:
        permit = gate.before("read", subjects=[last], purpose="scheduling")
        gated.place.objects.around = around
        with pytest.raises(WithheldError, match="consent_withdrawn"):
            gate.after("read", {"candidate_id": last}, permit=permit)
        gated.decide(last, "consent_given", scope="general_pii", version="2")
        withdrawing.append(last)
        permit = gate.before("list", purpose="scheduling")
        people = [{"candidate_id": one} for one in PEOPLE]
        shown = gate.after("list", people, permit=permit)
    assert shown == [one for one in people if one["candidate_id"] != last]
    assert gated.results(last) == ["consent_withdrawn", "consent_withdrawn"]
    final = {gated.rows(one)[-1]["payload_sha256"] for one in PEOPLE if one != last}
    assert final == {hashlib.sha256(canonical_json(shown)).hexdigest()}
    assert not list(questionable(rows_of(gated.place.objects)))
    assert_sound(gated.place)


def test_a_decision_that_allows_somebody_counts_as_well(gated: Gated) -> None:
    """Anyone who may be shown by the log's last word is shown, with the row after the decision in time and place."""
    gated.withdraw("W-1")
    with gated.open() as gate:
        with pytest.raises(DeniedError):
            gate.before("read", subjects=["W-1"], purpose="scheduling")
        gated.decide("W-1", "consent_given", scope="general_pii", version="2")
        with pytest.raises(DeniedError):  # at most max_age later
            gate.before("read", subjects=["W-1"], purpose="scheduling")
    with gated.opened() as gate:
        gate.after("read", record(1), permit=gate.before("read", subjects=["W-1"], purpose="scheduling"))
    assert_sound(gated.place)
    assert not list(questionable(rows_of(gated.place.objects)))


@pytest.mark.long
def test_many_threads_while_decisions_are_made(gated: Gated) -> None:
    """Views are read again, and whole, while others use them: no answer follows a withdrawal in its chain."""
    done = threading.Event()
    people = [f"W-{number}" for number in range(1, 5)]

    def decide() -> None:
        try:
            for turn in range(2):
                for one in people:
                    if turn % 2:
                        gated.decide(one, "consent_given", scope="general_pii", version=f"of turn {turn}")
                    else:
                        gated.withdraw(one)
        finally:
            done.set()

    def ask(gate: SubjectGate, number: int) -> int:
        shown = 0
        while not done.wait(0.05):  # calls without any pause would leave the other writer of the log no turn
            try:
                answer = gate.guard("list", lambda: [record(1 + number % 4), record(5)], purpose="scheduling")
            except WithheldError:
                continue
            shown += len(answer)
        return shown

    with gated.open(POLICY + "max_age: 1s\n") as gate, ThreadPoolExecutor(5) as pool:
        asked = [pool.submit(ask, gate, number) for number in range(4)]
        pool.submit(decide).result()
        assert all(one.result() for one in asked)
    assert not list(questionable(rows_of(gated.place.objects)))
    _assert_none_after(gated, people)
    assert_sound(gated.place)


def _assert_none_after(gated: Gated, people: list[str]) -> None:
    """No answer stands in a chain after a withdrawal that stood; without any leeway."""
    consent = dict.fromkeys(people, "given")
    for row in rows_of(gated.place.objects):
        decision = row.get("decision")
        if decision is not None and "consent" in decision.get("changes", {}):
            consent[row["candidate_id"]] = decision["changes"]["consent"]["general_pii"]["status"]
        elif row["result"] == "success" and row["candidate_id"] in consent and decision is None:
            assert consent[row["candidate_id"]] == "given", row


def test_a_gate_from_before_a_fork_denies(gated: Gated, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its threads and locks are another process's."""
    gated.withdraw("W-1")
    with gated.opened() as gate:
        permit = gate.before("read", subjects=["W-2"], purpose="scheduling")
        monkeypatch.setattr(gate, "_pid", -1)
        with pytest.raises(DeniedError) as denied:
            gate.before("read", subjects=["W-1"], purpose="scheduling")
        with pytest.raises(WithheldError, match="fork"):
            gate.after("read", record(2), permit=permit)
        monkeypatch.undo()
    assert denied.value.reasons == {"W-1": "unreadable"}


def test_a_permit_of_another_gate_decides_nothing(gated: Gated) -> None:
    """What may be shown is decided by the gate that is asked, by its own policy."""
    permit = Permit("read", ("W-1",), {}, {"purpose": "marketing"})
    with gated.opened() as gate, pytest.raises(WithheldError, match="purpose_not_allowed"):
        gate.after("read", {"nobody": "named"}, permit=permit)
    assert gated.results("W-1") == ["purpose_not_allowed"]
