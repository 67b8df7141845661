import asyncio
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from subject_pipeline.errors import StoreError
from subject_pipeline.gate.adapters.gated_tools import GatedTools, RefusedError, ToolCall, Unread
from subject_pipeline_tests.gate.adapters.people import SECRET, assert_recorded, record, tools_of
from subject_pipeline_tests.helpers.audit_stores import assert_sound, failing
from subject_pipeline_tests.helpers.gated import POLICY, Gated


def called(tools: GatedTools, call: ToolCall, answer: Callable[[], Any], *, in_loop: bool = False) -> Any:
    """What comes of a call: what is released, or what a model is told."""

    async def later() -> Any:
        async def tool() -> Any:
            return answer()

        permit = await tools.permit_async(call)
        return await tools.release_async(permit, await tools.run_async(permit, tool))

    try:
        if in_loop:
            return asyncio.run(later())
        permit = tools.permit(call)
        return tools.release(permit, tools.run(permit, answer))
    except RefusedError as refused:
        return str(refused)


def asked(arguments: dict[str, Any], **told: Any) -> ToolCall:
    """A call of `read_worker`."""
    return ToolCall(**{"tool": "read_worker", "arguments": arguments, **told})


NOBODY = "read_worker is denied: its arguments do not say whom it is about"


@pytest.mark.parametrize(
    ("subjects", "arguments", "outcome"),
    [
        ("worker_id", {"worker_id": 1}, ["W-1"]),
        ("worker_id", {"worker_id": "1"}, ["W-1"]),
        ("worker_id", {"worker_id": "W-1"}, ["W-1"]),
        ("worker_id", {"workerId": [1, 3]}, ["W-1", "W-3"]),
        ("worker_id", {"query": {"worker_id": 1}}, ["W-1"]),
        ("worker_id", {"query": '{"worker_id": 1}'}, ["W-1"]),
        ("person", {"person": "W-1"}, ["W-1"]),
        (["person", "boss"], {"person": "W-1", "boss": "W-3"}, ["W-1", "W-3"]),
        (["person", "boss"], {"person": "W-1", "boss": None}, ["W-1"]),
        ("person", {"person": "W-1", "worker_id": 3}, ["W-1", "W-3"]),
        ((), {"worker_id": 1}, ["W-1"]),
        ((), {"skill": "welding"}, []),
        (lambda arguments: f"W-{arguments['no']}", {"no": 1, "worker_id": 3}, ["W-1"]),
        (lambda arguments: [f"W-{one}" for one in arguments["all"]], {"all": [1, 3]}, ["W-1", "W-3"]),
        (lambda arguments: arguments["no"], {}, "nothing of read_worker is released"),
        ("worker_id", {}, NOBODY),
        ("worker_id", {"worker_id": None}, NOBODY),
        ("worker_id", {"worker_id": {"of": 1}}, NOBODY),
        ("worker_id", {"worker_id": [1, {"of": 3}]}, NOBODY),
        ("worker_id", {"worker_id": 1.5}, NOBODY),
        ("worker_id", {"person": "W-1"}, NOBODY),
        ("person", {"person": ""}, "nothing of read_worker is released"),
        ("worker_id", {"worker_id": "W-9"}, "read_worker is denied: unknown_subject"),
    ],
)
def test_whom_a_call_is_about(gated: Gated, subjects: Any, arguments: dict[str, Any], outcome: Any) -> None:
    """By the names of arguments, or by a function of them; a call of which that is not clear is not made."""
    with gated.opened() as gate:
        released = called(tools_of(gate, tools={"read_worker": subjects}), asked(arguments), lambda: {"late": True})
    assert released == (outcome if isinstance(outcome, str) else {"late": True})
    assert sorted(row["candidate_id"] for row in gated.rows() if row["result"] == "success") == (
        [] if isinstance(outcome, str) else outcome
    )


@pytest.mark.parametrize("in_loop", [False, True])
def test_a_call_about_several_is_made_for_all_of_them_or_for_none(gated: Gated, in_loop: bool) -> None:
    """An answer about two may name neither, as a sum does; the model asks again for those who are left."""
    gated.withdraw("W-2")
    calls: list[int] = []
    with gated.opened() as gate:
        refused = called(tools_of(gate), asked({"worker_id": [1, 2, 9]}), lambda: calls.append(1), in_loop=in_loop)
    assert (refused, calls) == ("read_worker is denied: consent_withdrawn, unknown_subject", [])
    assert_recorded(gated, ("W-2", "read_worker", "consent_withdrawn"), ("W-9", "read_worker", "unknown_subject"))


@pytest.mark.parametrize("in_loop", [False, True])
def test_a_model_learns_nothing_of_a_store_that_fails(gated: Gated, in_loop: bool) -> None:
    """Before the call, nobody may be shown; after it, nothing is."""
    with gated.open(POLICY + "max_age: 0s\n") as gate:
        tools = tools_of(gate)

        def answer() -> Any:
            gated.place.objects.around = failing("create", "audit/", StoreError(SECRET))
            return record(1)

        assert called(tools, asked({"worker_id": 1}), answer, in_loop=in_loop) == "nothing of read_worker is released"
        gated.place.objects.around = failing("list", "", StoreError(SECRET))
        denied = called(tools, asked({"worker_id": 1}), answer, in_loop=in_loop)
    assert denied == "read_worker is denied: unreadable"


@pytest.mark.parametrize("in_loop", [False, True])
def test_of_an_error_that_cannot_be_released_the_row_remains(gated: Gated, in_loop: bool) -> None:
    """One that can be is released, and recorded as one too."""
    with gated.opened() as gate:
        for part in ("a reason", Unread(SECRET)):
            answer = {"isError": True, "why": part}
            released = called(tools_of(gate), asked({"worker_id": 1}), partial(_same, answer), in_loop=in_loop)
            assert released == (answer if part == "a reason" else "nothing of read_worker is released")
    assert_recorded(gated, *[("W-1", "read_worker", "error")] * 2)


def _same(answer: Any) -> Any:
    return answer


def _raises(_: Any) -> str:
    raise KeyError(SECRET)


@pytest.mark.parametrize("given", [_raises, lambda _: None, lambda _: "", lambda _: 7])
def test_what_does_not_say_a_purpose_or_an_actor_allows_nothing(gated: Gated, given: Any) -> None:
    """A denial for want of a purpose is recorded; without an actor nobody knows whose it would be."""
    with gated.opened() as gate:
        call = asked({"worker_id": 1})
        assert called(tools_of(gate, purpose=given), call, lambda: 1) == "read_worker is denied: purpose_not_allowed"
        refused = called(tools_of(gate, actor=given), call, lambda: 1)
    assert refused == "read_worker is denied: nothing says on whose behalf it is called"
    assert_recorded(gated, ("W-1", "read_worker", "purpose_not_allowed"))


def test_purpose_and_actor_are_read_from_what_is_given(gated: Gated) -> None:
    """And the actor is the gate's own where nothing is configured."""
    with gated.opened() as gate:
        tools = tools_of(gate, purpose=lambda given: given["for"], actor=lambda given: given["by"])
        assert called(tools, asked({"worker_id": 1}, given={"for": "payroll", "by": "ada"}), lambda: 1) == 1
        assert called(tools_of(gate, actor=None), asked({"worker_id": 1}), lambda: 1) == 1
    assert [(row["purpose"], row["actor"]) for row in gated.rows()] == [("payroll", "ada"), ("scheduling", "assistant")]


def test_a_call_that_is_made_again_is_recorded_once(gated: Gated) -> None:
    """Once for each outcome. One of another tool, for another purpose or by somebody else in the trace is another."""
    with gated.opened() as gate:
        calls: list[tuple[dict[str, Any], dict[str, Any]]] = [
            ({}, {}),
            ({}, {}),
            ({"purpose": "payroll"}, {}),
            ({"actor": "agent:8"}, {}),
            ({}, {"tool": "fail"}),
            ({}, {"request_id": "2"}),
            ({}, {"trace_id": None}),
            ({}, {"request_id": None}),
        ]
        for options, told in calls:
            call = asked({"worker_id": 1}, **{"trace_id": "t", "request_id": "1", **told})
            assert called(tools_of(gate, **options), call, lambda: record(1)) == record(1)
        again = asked({"worker_id": 1}, trace_id="t", request_id="3")
        for answer in ({"error": "late"}, {"error": "late"}, {"status": 404}, record(1), record(1)):
            assert called(tools_of(gate), again, partial(_same, answer)) == answer
    assert Counter(row["result"] for row in gated.rows()) == {"success": 8, "error": 1, "not_found": 1}
    assert_sound(gated.place)


@pytest.mark.long
def test_a_call_that_was_denied_may_be_made_again(gated: Gated) -> None:
    """The denial is recorded once, and hides nothing."""
    gated.withdraw("W-1")
    call = asked({"worker_id": 1}, trace_id="t", request_id="1")
    with gated.open(POLICY + "max_age: 0s\n") as gate:
        for _ in range(2):
            denied = called(tools_of(gate), call, lambda: record(1))
            assert denied == "read_worker is denied: consent_withdrawn"
        gated.decide("W-1", "consent_given", scope="general_pii", version="2")
        assert called(tools_of(gate), call, lambda: record(1)) == record(1)
    assert_recorded(gated, ("W-1", "read_worker", "consent_withdrawn"), ("W-1", "read_worker", "success"))


BLOCKED = """
import sys
class Missing:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in {"fastmcp", "langchain", "langchain_core", "langgraph", "agents", "mcp_types"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
import subject_pipeline.gate, subject_pipeline.gate.adapters.gated_tools, subject_pipeline.cli.main
"""


@pytest.mark.long
@pytest.mark.parametrize("extra", ["fastmcp", "langchain", "openai-agents"])
def test_an_adapter_whose_library_is_not_installed_says_which_extra_to_install(extra: str) -> None:
    """And nothing else needs it."""
    adapter = f"import subject_pipeline.gate.adapters.{extra.replace('-', '_')}"
    done = subprocess.run([sys.executable, "-c", BLOCKED + adapter], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == (
        f"ImportError: this adapter's library is not installed: pip install 'subject-pipeline[{extra}]'"
    )
