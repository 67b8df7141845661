import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
from agents import (
    Agent,
    FunctionTool,
    RunConfig,
    Runner,
    Tool,
    ToolOutputFileContent,
    ToolOutputImage,
    ToolOutputText,
    function_tool,
    set_trace_processors,
)
from agents.mcp import MCPServer
from agents.testing import ScriptedModel, assistant_message, function_call
from agents.tool_context import ToolContext
from mcp_types import CallToolResult, TextContent
from mcp_types import Tool as MCPTool
from pydantic import BaseModel, Field

from subject_pipeline.gate.adapters.openai_agents import GateGuardrails, failed
from subject_pipeline_tests.gate.adapters.people import SECRET, assert_recorded, record, tools_of
from subject_pipeline_tests.helpers.gated import POLICY, Gated

Asked = tuple[str, dict[str, Any] | str]


@pytest.fixture(autouse=True)
def _nothing_is_exported() -> None:
    """Traces have ids, and go nowhere."""
    set_trace_processors([])


def told(model: ScriptedModel) -> list[Any]:
    """What the model was told of its calls: JSON where it is some, in the order of the calls."""
    outputs = [
        one for one in model.calls[-1].input if isinstance(one, dict) and one.get("type") == "function_call_output"
    ]
    return [_read(one["output"]) for one in sorted(outputs, key=lambda one: str(one["call_id"]))]


def _read(output: Any) -> Any:
    try:
        return json.loads(output)
    except (TypeError, ValueError):
        return output


def model_of(*asked: Asked) -> ScriptedModel:
    """Asks for these calls at once, and is done."""
    calls = [function_call(name, arguments, call_id=f"call-{at:02}") for at, (name, arguments) in enumerate(asked)]
    return ScriptedModel([calls, [assistant_message("done")]])


def answered(
    gated: Gated, tools: Sequence[FunctionTool], *asked: Asked, policy: str = POLICY, context: Any = None,
    config: RunConfig | None = None, **options: Any,
) -> list[Any]:  # fmt: skip
    """What a model is told that asks for some calls at once."""
    model = model_of(*asked)

    async def converse() -> None:
        async with gated.open(policy) as gate:
            guardrails = GateGuardrails(tools_of(gate, **options))
            agent = Agent("assistant", model=model, tools=[guardrails.guard(one) for one in tools])
            await Runner.run(agent, "go on", context=context, run_config=config)

    asyncio.run(converse())
    return told(model)


@function_tool
def read_worker(worker_id: int) -> str:
    """One record."""
    return json.dumps(record(worker_id))


def returning(output: Any) -> FunctionTool:
    """A tool that answers with the same whatever it is asked."""

    @function_tool(name_override="read_worker")
    def read(worker_id: int) -> Any:
        return output

    return read


READ_1: Asked = ("read_worker", {"worker_id": 1})


def test_who_may_be_shown_is_shown_and_recorded(gated: Gated) -> None:
    """With the purpose and the actor of the configuration."""
    assert answered(gated, [read_worker], READ_1) == [record(1)]
    assert_recorded(gated, ("W-1", "read_worker", "success"))
    (row,) = gated.rows()
    assert (row["purpose"], row["actor"], row["fields"]) == ("scheduling", "agent:7", ["name"])


@pytest.mark.parametrize("in_loop", [False, True])
def test_who_may_not_be_shown_is_denied_before_the_call(gated: Gated, in_loop: bool) -> None:
    """The tool is not run, and the model learns the reason and nothing else."""
    gated.withdraw("W-1")
    called: list[int] = []

    def read(worker_id: int) -> None:
        called.append(worker_id)

    async def read_later(worker_id: int) -> None:
        called.append(worker_id)

    guarded = function_tool(read_later if in_loop else read, name_override="read_worker")
    assert answered(gated, [guarded], READ_1) == ["read_worker is denied: consent_withdrawn"]
    assert called == []
    assert_recorded(gated, ("W-1", "read_worker", "consent_withdrawn"))


@pytest.mark.long
def test_who_is_named_by_the_answer_alone_is_withheld(gated: Gated) -> None:
    """The records of others are dropped where the purpose says so; else all is withheld."""
    gated.withdraw("W-2")
    for answer in (json.dumps([record(1), record(2)]), [record(1), record(2)]):
        assert answered(gated, [returning(answer)], READ_1) == [[record(1)]]
    assert answered(gated, [returning(json.dumps(record(2)))], READ_1) == ["nothing of read_worker is released"]
    assert answered(gated, [returning([record(2)])], READ_1, purpose="payroll") == [
        "nothing of read_worker is released"
    ]
    assert gated.results("W-1") == ["success"] * 2
    assert gated.results("W-2") == ["consent_withdrawn"] * 4


class Worker(BaseModel):
    """Its text says more than its fields do."""

    worker_id: int = 1
    private: str = Field(default=SECRET, exclude=True)


@dataclass
class Shift:
    """Its text is its own."""

    worker_id: int = 1

    def __str__(self) -> str:
        return SECRET


@pytest.mark.parametrize("answer", [Worker(), Shift(), [Shift()], {"shift": Worker()}])
def test_of_an_object_the_model_reads_what_was_judged(gated: Gated, answer: Any) -> None:
    """Its fields, as JSON, and not the text that it has for itself."""
    (shown,) = answered(gated, [returning(answer)], READ_1)
    assert json.dumps(shown).count('{"worker_id": 1}') == 1
    assert SECRET not in json.dumps(shown)
    assert_recorded(gated, ("W-1", "read_worker", "success"))


def test_of_several_blocks_each_is_looked_through(gated: Gated) -> None:
    """As the SDK sends them."""
    gated.withdraw("W-2")
    blocks = [ToolOutputText(text=json.dumps(record(number))) for number in (1, 2)]
    assert answered(gated, [returning(blocks[:1])], READ_1) == [[{"type": "input_text", "text": blocks[0].text}]]
    (shown,) = answered(gated, [returning(blocks)], READ_1)
    assert shown == [{"type": "text", "text": blocks[0].text}]
    assert answered(gated, [returning(blocks)], READ_1, purpose="payroll") == ["nothing of read_worker is released"]


@pytest.mark.parametrize("within", [False, True])
def test_an_answer_that_changes_while_it_is_judged_goes_out_as_it_was(gated: Gated, within: bool) -> None:
    """A tool may keep what it returned."""
    gated.withdraw("W-2")
    rows = [record(1)]
    answer = {"rows": rows} if within else rows

    def around(operation: str, key: str, run: Callable[[], Any]) -> Any:
        if operation == "create" and key.startswith("audit/"):
            rows.append(record(2))
        return run()

    gated.place.objects.around = around
    assert answered(gated, [returning(answer)], READ_1) == [{"rows": [record(1)]} if within else [record(1)]]
    assert len(rows) > 1


OPAQUE: list[Any] = [
    "Ada likes to work with Bob",
    ToolOutputImage(image_url="data:image/png;base64,aGVsbG8="),
    ToolOutputFileContent(file_data="aGVsbG8=", filename="ada.pdf"),
    [{"type": "image", "image_url": "https://example.org/ada.png"}, ToolOutputText(text="1")],
]


@pytest.mark.parametrize("output", OPAQUE)
def test_what_cannot_be_read_is_withheld(gated: Gated, output: Any) -> None:
    """Text that is no JSON, images and files, unless the policy says otherwise."""
    assert answered(gated, [returning(output)], READ_1) == ["nothing of read_worker is released"]
    assert_recorded(gated)
    (shown,) = answered(gated, [returning(output)], READ_1, policy=POLICY + "deny_opaque: false\n")
    assert shown == output if isinstance(output, str) else shown[0]["type"].startswith("input_")
    assert_recorded(gated, ("W-1", "read_worker", "success"))


def test_a_tool_that_raises_is_recorded_as_an_error(gated: Gated) -> None:
    """What it says may quote an answer, and is not told, though the tool has its own way to tell it."""

    @function_tool(failure_error_function=lambda _, error: str(error))
    def fail(worker_id: int) -> None:
        raise RuntimeError(SECRET)

    assert answered(gated, [fail], ("fail", {"worker_id": 1})) == [{"error": "RuntimeError"}]
    assert_recorded(gated, ("W-1", "fail", "error"))


def test_a_tool_that_takes_too_long_is_recorded_as_an_error(gated: Gated) -> None:
    """As the SDK times it out."""

    @function_tool(timeout=0.01)
    async def fail(worker_id: int) -> None:
        await asyncio.sleep(60)

    assert answered(gated, [fail], ("fail", {"worker_id": 1})) == [{"error": "ToolTimeoutError"}]
    assert_recorded(gated, ("W-1", "fail", "error"))


def test_arguments_say_neither_purpose_nor_actor(gated: Gated) -> None:
    """Though a tool takes them, and though what they say would be allowed."""

    @function_tool(name_override="read_worker")
    def read(worker_id: int, purpose: str, actor: str) -> str:
        return json.dumps(record(worker_id))

    asked = ("read_worker", {"worker_id": 1, "purpose": "scheduling", "actor": "root"})
    assert answered(gated, [read], asked, purpose="marketing") == ["read_worker is denied: purpose_not_allowed"]
    answered(gated, [read], asked)
    assert [(row.get("purpose"), row["actor"]) for row in gated.rows()] == [
        ("marketing", "agent:7"), ("scheduling", "agent:7"),
    ]  # fmt: skip


def test_purpose_and_actor_may_be_those_of_the_run(gated: Gated) -> None:
    """As the program gives them with its context."""
    options: dict[str, Any] = {"purpose": lambda run: run["purpose"], "actor": lambda run: run["user"]}
    answered(gated, [read_worker], READ_1, context={"purpose": "payroll", "user": "ada"}, **options)
    (refused,) = answered(gated, [read_worker], READ_1, **options)
    assert refused == "read_worker is denied: nothing says on whose behalf it is called"
    assert [(row["purpose"], row["actor"]) for row in gated.rows()] == [("payroll", "ada")]


def test_a_tool_that_is_not_configured_is_refused(gated: Gated) -> None:
    """It is not run."""
    called: list[str] = []

    @function_tool
    def weather(town: str) -> None:
        called.append(town)

    assert answered(gated, [weather], ("weather", {"town": "Ulm"})) == ["weather is denied: the gate does not know it"]
    assert called == []
    assert_recorded(gated)


@pytest.mark.parametrize("arguments", ["", "{}", "[1]", '{"worker_id": {"of": 1}}'])
def test_arguments_that_do_not_say_whom_a_call_is_about_are_refused(gated: Gated, arguments: str) -> None:
    """Whatever a model writes."""

    async def ask() -> list[str]:
        async with gated.open() as gate:
            guardrails = GateGuardrails(tools_of(gate))
            context: Any = ToolContext(None, tool_name="read_worker", tool_call_id="1", tool_arguments=arguments)
            data: Any = type("Data", (), {"context": context, "agent": None, "output": json.dumps(record(1))})
            results = [await guardrails.input.run(data), await guardrails.output.run(data)]
            return [str(one.behavior.get("message")) for one in results]

    for message in asyncio.run(ask()):
        assert message.startswith("read_worker is denied: its arguments")
    assert_recorded(gated)


def test_many_calls_at_once_are_each_decided_and_recorded(gated: Gated) -> None:
    """As a model may ask for them."""
    gated.withdraw("W-2")
    asked = [("read_worker", {"worker_id": 1 + number % 4}) for number in range(16)]
    outputs = answered(gated, [read_worker], *asked)
    assert outputs == [record(1), "read_worker is denied: consent_withdrawn", record(3), record(4)] * 4
    assert_recorded(
        gated,
        *[("W-2", "read_worker", "consent_withdrawn")] * 4,
        *[(f"W-{n}", "read_worker", "success") for n in (1, 3, 4)] * 4,
    )


@pytest.mark.parametrize(
    ("config", "rows"), [(RunConfig(trace_id="trace_1"), 1), (RunConfig(tracing_disabled=True), 2)]
)
def test_a_call_that_is_made_again_is_recorded_once(gated: Gated, config: RunConfig, rows: int) -> None:
    """By its trace and its id; without a trace each is one."""
    for _ in range(2):
        assert answered(gated, [read_worker], READ_1, config=config) == [record(1)]
    assert [row.get("trace_id") for row in gated.rows()] == [config.trace_id] * rows


def test_what_was_allowed_before_the_call_is_decided_again_after_it(gated: Gated) -> None:
    """Consent may be withdrawn while the tool runs."""

    @function_tool(name_override="read_worker")
    def read(worker_id: int) -> str:
        gated.withdraw("W-1")
        return json.dumps(record(worker_id))

    assert answered(gated, [read], READ_1)[0] in {
        "read_worker is denied: consent_withdrawn", "nothing of read_worker is released",
    }  # fmt: skip
    assert_recorded(gated, ("W-1", "read_worker", "consent_withdrawn"))


def test_guardrails_of_the_tools_own_come_after_the_gates(gated: Gated) -> None:
    """And the tool that was given is as it was."""
    own: Any = object()
    read = returning(1)
    read.tool_output_guardrails = [own]
    with gated.open() as gate:
        guardrails = GateGuardrails(tools_of(gate))
        guarded = guardrails.guard(read)
    assert guarded.tool_input_guardrails == [guardrails.input]
    assert guarded.tool_output_guardrails == [guardrails.output, own]
    assert (read.tool_input_guardrails, read.tool_output_guardrails) == (None, [own])


class Served(MCPServer):
    """A server of one tool, in this process."""

    name = "served"

    def __init__(self, answer: Callable[[int], Awaitable[str]], **options: Any) -> None:
        super().__init__(**options)
        self._answer = answer

    async def connect(self) -> None:
        """Nothing to do."""

    async def cleanup(self) -> None:
        """Nothing to do."""

    async def list_tools(self, *_: Any) -> list[MCPTool]:
        """The one."""
        return [MCPTool(name="read_worker", input_schema={"type": "object", "properties": {"worker_id": {}}})]

    async def call_tool(self, *arguments: Any, **_: Any) -> CallToolResult:
        """Whatever it is asked."""
        text = await self._answer(arguments[1]["worker_id"])
        return CallToolResult(content=[TextContent(type="text", text=text)])

    async def list_prompts(self) -> Any:
        """None."""

    async def get_prompt(self, *_: Any) -> Any:
        """None."""


def test_tools_of_an_mcp_server_take_the_guardrails(gated: Gated) -> None:
    """All of them at once, with what is said of a failure."""
    gated.withdraw("W-2")

    async def answer(worker_id: int) -> str:
        if worker_id == 3:
            raise RuntimeError(SECRET)
        return json.dumps(record(worker_id))

    model = model_of(*(("read_worker", {"worker_id": number}) for number in (1, 2, 3)))

    async def converse() -> None:
        async with gated.open() as gate:
            guardrails = GateGuardrails(tools_of(gate))
            server = Served(
                answer, tool_input_guardrails=[guardrails.input], tool_output_guardrails=[guardrails.output],
                failure_error_function=failed,
            )  # fmt: skip
            await Runner.run(Agent("assistant", model=model, mcp_servers=[server]), "go on")

    asyncio.run(converse())
    shown, denied, raised = told(model)
    assert json.loads(shown[0]["text"]) == record(1)
    assert denied == "read_worker is denied: consent_withdrawn"
    assert raised == {"error": "AgentsException"}
    assert_recorded(
        gated,
        ("W-1", "read_worker", "success"), ("W-2", "read_worker", "consent_withdrawn"), ("W-3", "read_worker", "error"),
    )  # fmt: skip


def test_the_page_names_every_kind_of_tool_that_takes_no_guardrails() -> None:
    """Those of another version of the SDK included."""
    page = (Path(__file__).parents[3] / "docs" / "gate" / "adapters.md").read_text(encoding="utf-8")
    kinds = [get_origin(kind) or kind for kind in get_args(Tool)]
    assert [kind for kind in kinds if hasattr(kind, "tool_output_guardrails")] == [FunctionTool]
    assert [kind.__name__ for kind in kinds if f"`{kind.__name__}`" not in page] == []
