import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, ToolRetryMiddleware
from langchain.tools import ToolRuntime, tool
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolCall, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt

from subject_pipeline.gate.adapters.langchain import GateMiddleware
from subject_pipeline_tests.gate.adapters.people import SECRET, assert_recorded, record, tools_of
from subject_pipeline_tests.helpers.gated import POLICY, Gated

Asked = tuple[str, dict[str, Any]]


class Model(GenericFakeChatModel):
    """Asks for what it was told to, and remembers what it was answered."""

    def bind_tools(self, *_: Any, **__: Any) -> "Model":
        """Whatever the tools are."""
        return self


def model_of(*asked: Asked, times: int = 1) -> Model:
    """Asks for these calls, so many times."""
    calls = [ToolCall(name=name, args=args, id=f"call-{at}") for at, (name, args) in enumerate(asked)]

    def messages() -> Iterator[AIMessage]:
        for turn in range(times):
            yield AIMessage("", tool_calls=calls, id=f"message-{turn}")
        yield AIMessage("done")

    return Model(messages=messages())


def answered(
    gated: Gated, tools: Sequence[Callable[..., Any]], *asked: Asked, policy: str = POLICY, in_loop: bool = False,
    context: Any = None, inner: Sequence[Any] = (), **options: Any,
) -> list[ToolMessage]:  # fmt: skip
    """What a model is told that asks for some calls at once."""
    with gated.open(policy) as gate:
        agent = create_agent(
            model_of(*asked), [tool(one) for one in tools],
            middleware=[GateMiddleware(tools_of(gate, **options)), *inner],
        )  # fmt: skip
        given: Any = {"messages": [HumanMessage("go on")]}
        state = asyncio.run(agent.ainvoke(given, context=context)) if in_loop else agent.invoke(given, context=context)
    return [one for one in state["messages"] if isinstance(one, ToolMessage)]


def read_worker(worker_id: int) -> dict[str, Any]:
    """One record."""
    return record(worker_id)


def said(message: ToolMessage) -> Any:
    """The JSON of a message."""
    assert isinstance(message.content, str)
    return json.loads(message.content)


@pytest.mark.parametrize("in_loop", [False, True])
def test_who_may_be_shown_is_shown_and_recorded(gated: Gated, in_loop: bool) -> None:
    """With the purpose and the actor of the configuration."""
    (message,) = answered(gated, [read_worker], ("read_worker", {"worker_id": 1}), in_loop=in_loop)

    assert (said(message), message.status) == (record(1), "success")
    assert_recorded(gated, ("W-1", "read_worker", "success"))
    (row,) = gated.rows()
    assert (row["purpose"], row["actor"], row["fields"]) == ("scheduling", "agent:7", ["name"])


@pytest.mark.parametrize("in_loop", [False, True])
def test_who_may_not_be_shown_is_denied_before_the_call(gated: Gated, in_loop: bool) -> None:
    """The tool is not run, and the model learns the reason and nothing else."""
    gated.withdraw("W-1")
    called: list[int] = []

    def read_worker(worker_id: int) -> None:
        """One record."""
        called.append(worker_id)

    (message,) = answered(gated, [read_worker], ("read_worker", {"worker_id": 1}), in_loop=in_loop)
    assert (message.content, message.status) == ("read_worker is denied: consent_withdrawn", "error")
    assert called == []
    assert_recorded(gated, ("W-1", "read_worker", "consent_withdrawn"))


@pytest.mark.parametrize("in_loop", [False, True])
def test_who_is_named_by_the_answer_alone_is_withheld(gated: Gated, in_loop: bool) -> None:
    """The records of others are dropped where the purpose says so; else all is withheld."""
    gated.withdraw("W-2")

    def list_workers() -> list[dict[str, Any]]:
        """All records."""
        return [record(1), record(2), record(3)]

    (message,) = answered(gated, [list_workers], ("list_workers", {}), in_loop=in_loop)
    assert said(message) == [record(1), record(3)]
    (message,) = answered(gated, [list_workers], ("list_workers", {}), in_loop=in_loop, purpose="payroll")
    assert (message.content, message.status) == ("nothing of list_workers is released", "error")
    assert_recorded(
        gated,
        ("W-1", "list_workers", "success"), ("W-2", "list_workers", "consent_withdrawn"),
        ("W-3", "list_workers", "success"), ("W-2", "list_workers", "consent_withdrawn"),
    )  # fmt: skip


def test_one_record_that_may_not_be_shown_withholds_all(gated: Gated) -> None:
    """There is no list around it."""
    gated.withdraw("W-2")

    def read_worker(worker_id: int) -> dict[str, Any]:
        """Another record."""
        return record(2)

    (message,) = answered(gated, [read_worker], ("read_worker", {"worker_id": 1}))
    assert message.content == "nothing of read_worker is released"
    assert_recorded(gated, ("W-2", "read_worker", "consent_withdrawn"))


def test_each_block_and_what_comes_along_is_looked_through(gated: Gated) -> None:
    """Texts, and the artifact, which the model does not get but the program does."""
    gated.withdraw("W-2")

    class Blocks(AgentMiddleware):
        """Answers itself."""

        def wrap_tool_call(self, request: Any, *_: Any) -> ToolMessage:
            """See `AgentMiddleware.wrap_tool_call`."""
            texts, found = [json.dumps(record(number)) for number in (1, 2)], [record(1), record(2)]
            return ToolMessage(
                [*texts, {"type": "text", "text": texts[1]}], tool_call_id=request.tool_call["id"],
                artifact=found, additional_kwargs={"all": found},
            )  # fmt: skip

    asked = ("read_worker", {"worker_id": 1})
    (message,) = answered(gated, [read_worker], asked, inner=[Blocks()])
    assert message.content == [{"type": "text", "text": json.dumps(record(1))}]
    assert (message.artifact, message.additional_kwargs) == ([record(1)], {})
    (message,) = answered(gated, [read_worker], asked, inner=[Blocks()], purpose="payroll")
    assert (message.content, message.artifact) == ("nothing of read_worker is released", None)


OPAQUE: list[Any] = [
    "Ada likes to work with Bob",
    [{"type": "image", "base64": "aGVsbG8=", "mime_type": "image/png"}],
    [{"type": "image_url", "image_url": {"url": "https://example.org/ada.png"}}, {"type": "text", "text": "1"}],
]


@pytest.mark.parametrize("content", OPAQUE)
@pytest.mark.parametrize("in_loop", [False, True])
def test_what_cannot_be_read_is_withheld(gated: Gated, content: Any, in_loop: bool) -> None:
    """Text that is no JSON, and images, unless the policy says otherwise."""

    def read_worker(worker_id: int, runtime: ToolRuntime) -> ToolMessage:
        """What nobody can read."""
        return ToolMessage(content, tool_call_id=runtime.tool_call_id)

    asked = ("read_worker", {"worker_id": 1})
    (message,) = answered(gated, [read_worker], asked, in_loop=in_loop)
    assert (message.content, message.status) == ("nothing of read_worker is released", "error")
    assert_recorded(gated)
    (message,) = answered(gated, [read_worker], asked, in_loop=in_loop, policy=POLICY + "deny_opaque: false\n")
    assert message.content == content
    assert_recorded(gated, ("W-1", "read_worker", "success"))


@pytest.mark.parametrize("in_loop", [False, True])
def test_a_tool_that_raises_is_recorded_as_an_error(gated: Gated, in_loop: bool) -> None:
    """What it says may quote an answer, and is not told; the run goes on."""

    def fail(worker_id: int) -> None:
        """Raise."""
        raise TimeoutError(SECRET)

    (message,) = answered(gated, [fail], ("fail", {"worker_id": 1}), in_loop=in_loop)
    assert message.content == "fail raised TimeoutError; nothing of it is released"
    assert message.status == "error"
    assert_recorded(gated, ("W-1", "fail", "error"))


@pytest.mark.parametrize("in_loop", [False, True])
def test_arguments_that_a_tool_does_not_take_are_an_error(gated: Gated, in_loop: bool) -> None:
    """LangChain answers in free text, which quotes them: it is withheld, and recorded."""
    asked = ("read_worker", {"worker_id": "1", "of": SECRET})

    def read_worker(worker_id: int, of: int) -> None:
        """Nothing."""

    (message,) = answered(gated, [read_worker], asked, in_loop=in_loop)
    assert message.content == "nothing of read_worker is released"
    assert_recorded(gated, ("W-1", "read_worker", "error"))


def test_arguments_say_neither_purpose_nor_actor(gated: Gated) -> None:
    """Though a tool takes them, and though what they say would be allowed."""

    def read_worker(worker_id: int, purpose: str, actor: str) -> dict[str, Any]:
        """One record."""
        return record(worker_id)

    asked = ("read_worker", {"worker_id": 1, "purpose": "scheduling", "actor": "root"})
    (message,) = answered(gated, [read_worker], asked, purpose="marketing")
    assert message.content == "read_worker is denied: purpose_not_allowed"
    answered(gated, [read_worker], asked)
    assert [(row.get("purpose"), row["actor"]) for row in gated.rows()] == [
        ("marketing", "agent:7"), ("scheduling", "agent:7"),
    ]  # fmt: skip


def test_purpose_and_actor_may_be_those_of_the_run(gated: Gated) -> None:
    """As the program gives them with its context."""
    options: dict[str, Any] = {"purpose": lambda run: run["purpose"], "actor": lambda run: run["user"]}
    asked = ("read_worker", {"worker_id": 1})
    answered(gated, [read_worker], asked, context={"purpose": "payroll", "user": "ada"}, **options)
    (message,) = answered(gated, [read_worker], asked, **options)
    assert message.content == "read_worker is denied: nothing says on whose behalf it is called"
    assert [(row["purpose"], row["actor"]) for row in gated.rows()] == [("payroll", "ada")]


@pytest.mark.parametrize("in_loop", [False, True])
def test_a_tool_that_is_not_configured_is_refused(gated: Gated, in_loop: bool) -> None:
    """It is not run, unless it is named as one that knows nobody."""
    called: list[str] = []

    def weather(town: str) -> str:
        """The weather."""
        called.append(town)
        return "fine"

    asked = ("weather", {"town": "Ulm"})
    (message,) = answered(gated, [weather], asked, in_loop=in_loop)
    assert message.content == "weather is denied: the gate does not know it"
    assert called == []
    (message,) = answered(gated, [weather], asked, in_loop=in_loop, ungated=["weather"])
    assert message.content == "fine"
    assert_recorded(gated)


def test_a_command_is_nothing_that_can_be_read(gated: Gated) -> None:
    """It may change any state of the agent."""

    def read_worker(worker_id: int, runtime: ToolRuntime) -> Command[Any]:
        """A command."""
        return Command(update={"messages": [ToolMessage(SECRET, tool_call_id=runtime.tool_call_id)]})

    (message,) = answered(gated, [read_worker], ("read_worker", {"worker_id": 1}))
    assert message.content == "nothing of read_worker is released"
    opaque = POLICY + "deny_opaque: false\n"
    (message,) = answered(gated, [read_worker], ("read_worker", {"worker_id": 1}), policy=opaque)
    assert message.content == SECRET


@pytest.mark.long
@pytest.mark.parametrize("in_loop", [False, True])
def test_many_calls_at_once_are_each_decided_and_recorded(gated: Gated, in_loop: bool) -> None:
    """As a model may ask for them."""
    gated.withdraw("W-2")
    asked = [("read_worker", {"worker_id": 1 + number % 4}) for number in range(16)]
    messages = answered(gated, [read_worker], *asked, in_loop=in_loop)
    assert [one.tool_call_id for one in messages] == [f"call-{at}" for at in range(16)]
    assert [one.status for one in messages] == ["success", "error", "success", "success"] * 4
    assert_recorded(
        gated,
        *[("W-2", "read_worker", "consent_withdrawn")] * 4,
        *[(f"W-{n}", "read_worker", "success") for n in (1, 3, 4)] * 4,
    )


def test_a_call_that_is_made_again_is_recorded_once(gated: Gated) -> None:
    """After a run that did not end; a later call of the same name and id is another one."""
    with gated.open() as gate:
        for times in (1, 1, 2):
            agent = create_agent(
                model_of(("read_worker", {"worker_id": 1}), times=times), [tool(read_worker)],
                middleware=[GateMiddleware(tools_of(gate))],
            )  # fmt: skip
            agent.invoke({"messages": [HumanMessage("go on")]}, {"configurable": {"thread_id": "thread-1"}})
    assert [(row["trace_id"], row["result"]) for row in gated.rows()] == [("thread-1", "success")] * 2


def test_what_failed_first_is_shown_when_it_is_tried_again(gated: Gated) -> None:
    """That it failed is on record; a middleware that tries again may stand on either side."""
    attempts: list[int] = []

    def fail(worker_id: int) -> dict[str, Any]:
        """Fail twice."""
        attempts.append(worker_id)
        if len(attempts) % 3:
            raise TimeoutError
        return record(worker_id)

    class Again(GateMiddleware):
        """Whatever is refused is asked for again, as the same call."""

        def wrap_tool_call(self, request: Any, handler: Any) -> Any:
            """See `AgentMiddleware.wrap_tool_call`."""
            answers = (super(Again, self).wrap_tool_call(request, handler) for _ in range(3))
            return next(one for one in answers if isinstance(one, ToolMessage) and one.status == "success")

    with gated.open() as gate:
        for middleware in ([GateMiddleware(tools_of(gate)), ToolRetryMiddleware(initial_delay=0)],
                           [Again(tools_of(gate))]):  # fmt: skip
            agent = create_agent(model_of(("fail", {"worker_id": 1})), [tool(fail)], middleware=middleware)
            config: Any = {"configurable": {"thread_id": f"thread-{len(attempts)}"}}
            state = agent.invoke({"messages": [HumanMessage("go on")]}, config)
            assert record(1) in [said(one) for one in state["messages"] if isinstance(one, ToolMessage)]
    assert_recorded(gated, *[("W-1", "fail", "success")] * 2, ("W-1", "fail", "error"))


def test_a_tool_that_asks_somebody_is_decided_about_again(gated: Gated) -> None:
    """Between the question and the answer consent may be withdrawn."""

    def read_worker(worker_id: int) -> dict[str, Any]:
        """Ask first."""
        interrupt("may I?")
        return record(worker_id)

    with gated.open(POLICY + "max_age: 0s\n") as gate:
        agent = create_agent(
            model_of(("read_worker", {"worker_id": 1})), [tool(read_worker)],
            middleware=[GateMiddleware(tools_of(gate))], checkpointer=InMemorySaver(),
        )  # fmt: skip
        config: Any = {"configurable": {"thread_id": "thread-1"}}
        asked = agent.invoke({"messages": [HumanMessage("go on")]}, config)
        assert [one.value for one in asked["__interrupt__"]] == ["may I?"]
        assert_recorded(gated)
        gated.withdraw("W-1")
        state = agent.invoke(Command(resume="yes"), config)
    (message,) = [one for one in state["messages"] if isinstance(one, ToolMessage)]
    assert message.content == "read_worker is denied: consent_withdrawn"
    assert_recorded(gated, ("W-1", "read_worker", "consent_withdrawn"))
