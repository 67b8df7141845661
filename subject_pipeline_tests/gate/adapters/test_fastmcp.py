import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import pytest
from fastmcp import Client, FastMCP
from fastmcp.client.transports import StreamableHttpTransport
from fastmcp.exceptions import ToolError
from fastmcp.resources import ResourceContent, ResourceResult
from fastmcp.server.auth.providers.jwt import StaticTokenVerifier
from fastmcp.tools.base import ToolResult
from mcp import MCPError
from mcp_types import ElicitRequest, ElicitRequestFormParams, ImageContent, InputRequiredResult, TextContent

from subject_pipeline.gate.adapters.fastmcp import GateMiddleware, claim
from subject_pipeline_tests.gate.adapters.people import SECRET, assert_recorded, record, tools_of
from subject_pipeline_tests.helpers.gated import POLICY, Gated

Talk = Callable[[Client[Any]], Awaitable[Any]]
TRACE = "0af7651916cd43dd8448eb211c80319c"


def served(gated: Gated, tool: Callable[..., Any], talk: Talk, policy: str = POLICY, **options: Any) -> Any:
    """What a client gets of a server with one tool, behind the gate."""

    async def converse() -> Any:
        async with gated.open(policy) as gate:
            server: FastMCP[Any] = FastMCP("workers", middleware=[GateMiddleware(tools_of(gate, **options))])
            server.tool(tool)
            async with Client(server) as client:
                return await talk(client)

    return asyncio.run(converse())


def read_worker(worker_id: int) -> dict[str, Any]:
    """One record."""
    return record(worker_id)


def calling(name: str, /, **arguments: Any) -> Talk:
    """One call, whose refusal is its text."""

    async def talk(client: Client[Any]) -> Any:
        result = await client.call_tool(name, arguments, raise_on_error=False)
        return result.content[0].text if result.is_error else result  # type: ignore[union-attr]

    return talk


def texts(result: Any) -> list[Any]:
    """What the texts of a result say."""
    return [json.loads(block.text) for block in result.content]


@pytest.mark.long
def test_who_may_be_shown_is_shown_and_recorded(gated: Gated) -> None:
    """Structured and as text; with the purpose and the actor of the configuration."""
    result = served(gated, read_worker, calling("read_worker", worker_id=1))

    assert (result.structured_content, texts(result)) == (record(1), [record(1)])
    assert_recorded(gated, ("W-1", "read_worker", "success"))
    (row,) = gated.rows()
    assert (row["purpose"], row["actor"], row["fields"]) == ("scheduling", "agent:7", ["name"])


def test_who_may_not_be_shown_is_denied_before_the_call(gated: Gated) -> None:
    """The tool is not run, and a client learns the reason and nothing else."""
    gated.withdraw("W-1")
    called: list[int] = []

    def read_worker(worker_id: int) -> None:
        called.append(worker_id)

    assert served(gated, read_worker, calling("read_worker", worker_id=1)) == "read_worker is denied: consent_withdrawn"
    assert called == []
    assert_recorded(gated, ("W-1", "read_worker", "consent_withdrawn"))


def test_who_is_named_by_the_answer_alone_is_withheld(gated: Gated) -> None:
    """The records of others are dropped, structured and as text, where the purpose says so; else all is withheld."""
    gated.withdraw("W-2")

    def list_workers() -> list[dict[str, Any]]:
        return [record(1), record(2), record(3)]

    result = served(gated, list_workers, calling("list_workers"))
    assert result.structured_content == {"result": [record(1), record(3)]}
    assert texts(result) == [[record(1), record(3)]]
    assert (
        served(gated, list_workers, calling("list_workers"), purpose="payroll") == "nothing of list_workers is released"
    )
    assert_recorded(
        gated,
        ("W-1", "list_workers", "success"), ("W-2", "list_workers", "consent_withdrawn"),
        ("W-3", "list_workers", "success"), ("W-2", "list_workers", "consent_withdrawn"),
    )  # fmt: skip


def test_a_text_that_disagrees_with_what_is_structured_hides_nobody(gated: Gated) -> None:
    """Each is looked through; so are further blocks."""
    gated.withdraw("W-2")

    def read_worker(worker_id: int) -> ToolResult:
        blocks = [TextContent(type="text", text=json.dumps(record(number))) for number in (1, 2)]
        return ToolResult(content=blocks, structured_content=record(worker_id))

    result = served(gated, read_worker, calling("read_worker", worker_id=1))
    assert (result.structured_content, texts(result)) == (record(1), [record(1)])
    assert served(gated, read_worker, calling("read_worker", worker_id=1), purpose="payroll").startswith("nothing")
    assert SECRET not in json.dumps(gated.rows())


@pytest.mark.parametrize(
    "block",
    [
        TextContent(type="text", text="Ada likes to work with Bob"),
        ImageContent(type="image", data="aGVsbG8=", mime_type="image/png"),
    ],
)
def test_what_cannot_be_read_is_withheld(gated: Gated, block: Any) -> None:
    """Text that is no JSON, and images, though the rest may be shown; unless the policy says otherwise."""

    def read_worker(worker_id: int) -> ToolResult:
        return ToolResult(content=[block], structured_content=record(worker_id))

    assert served(gated, read_worker, calling("read_worker", worker_id=1)) == "nothing of read_worker is released"
    assert_recorded(gated)
    shown = served(gated, read_worker, calling("read_worker", worker_id=1), POLICY + "deny_opaque: false\n")
    assert shown.content == [block]
    assert_recorded(gated, ("W-1", "read_worker", "success"))


def test_a_tool_that_raises_is_recorded_as_an_error(gated: Gated) -> None:
    """What it says may quote an answer, and is not told."""

    def fail(worker_id: int) -> None:
        raise TimeoutError(SECRET)

    assert served(gated, fail, calling("fail", worker_id=1)) == "fail raised ToolError; nothing of it is released"
    assert_recorded(gated, ("W-1", "fail", "error"))


@pytest.mark.parametrize(("text", "told"), [(json.dumps({"why": "late"}), True), (SECRET, False)])
def test_a_result_that_is_an_error_is_recorded_as_one(gated: Gated, text: str, told: bool) -> None:
    """Whether it can be released or not."""

    def fail(worker_id: int) -> ToolResult:
        return ToolResult(content=[TextContent(type="text", text=text)], is_error=True)

    said = served(gated, fail, calling("fail", worker_id=1))
    assert said == (text if told else "nothing of fail is released")
    assert_recorded(gated, ("W-1", "fail", "error"))


def test_a_refusal_of_the_tools_own_is_recorded_as_what_it_is(gated: Gated) -> None:
    """As it stands in the structured answer."""

    def read_worker(worker_id: int) -> dict[str, Any]:
        return {"status": 403}

    served(gated, read_worker, calling("read_worker", worker_id=1))
    assert_recorded(gated, ("W-1", "read_worker", "denied"))


@pytest.mark.parametrize("deny_opaque", [True, False])
def test_a_question_to_the_client_is_nothing_that_can_be_read(gated: Gated, deny_opaque: bool) -> None:
    """It may say anything about anybody."""
    asked = ElicitRequest(
        params=ElicitRequestFormParams(message=SECRET, requested_schema={"type": "object", "properties": {}})
    )

    def read_worker(worker_id: int) -> InputRequiredResult:
        return InputRequiredResult(input_requests={"sure": asked}, request_state="1")

    heard: list[str] = []

    async def converse() -> Any:
        async def answering(message: str, *_: Any) -> None:
            heard.append(message)
            raise RuntimeError(message)

        async with gated.open(POLICY + f"deny_opaque: {str(deny_opaque).lower()}\n") as gate:
            server: FastMCP[Any] = FastMCP("workers", middleware=[GateMiddleware(tools_of(gate))])
            server.tool(read_worker)
            async with Client(server, elicitation_handler=answering) as client:
                await client.call_tool("read_worker", {"worker_id": 1})

    with pytest.raises(Exception, match=r"nothing of read_worker is released" if deny_opaque else SECRET):
        asyncio.run(converse())
    assert bool(heard) is not deny_opaque


def test_arguments_say_neither_purpose_nor_actor(gated: Gated) -> None:
    """Though a tool takes them, and though what they say would be allowed."""

    def read_worker(worker_id: int, purpose: str, actor: str) -> dict[str, Any]:
        return record(worker_id)

    arguments = {"worker_id": 1, "purpose": "scheduling", "actor": "root"}
    denied = served(gated, read_worker, calling("read_worker", **arguments), purpose="marketing")
    assert denied == "read_worker is denied: purpose_not_allowed"
    served(gated, read_worker, calling("read_worker", **arguments))
    assert [(row.get("purpose"), row["actor"]) for row in gated.rows()] == [
        ("marketing", "agent:7"), ("scheduling", "agent:7"),
    ]  # fmt: skip


def test_a_tool_that_is_not_configured_is_refused(gated: Gated) -> None:
    """It is not run, unless it is named as one that knows nobody."""
    called: list[str] = []

    def weather(town: str) -> str:
        called.append(town)
        return f"fine in {town}"

    assert served(gated, weather, calling("weather", town="Ulm")) == "weather is denied: the gate does not know it"
    assert called == []
    assert served(gated, weather, calling("weather", town="Ulm"), ungated=["weather"]).data == "fine in Ulm"
    assert_recorded(gated)


@pytest.mark.long
def test_many_calls_at_once_are_each_decided_and_recorded(gated: Gated) -> None:
    """However they overlap."""
    gated.withdraw("W-2")

    async def fail(worker_id: int) -> dict[str, Any]:
        await asyncio.sleep(0)
        return record(worker_id)

    async def talk(client: Client[Any]) -> list[Any]:
        return await asyncio.gather(*(calling("fail", worker_id=1 + number % 4)(client) for number in range(16)))

    results = served(gated, fail, talk)
    assert [getattr(one, "structured_content", one) for one in results[:4]] == [
        record(1), "fail is denied: consent_withdrawn", record(3), record(4),
    ]  # fmt: skip
    assert_recorded(
        gated, *[("W-2", "fail", "consent_withdrawn")] * 4, *[(f"W-{n}", "fail", "success") for n in (1, 3, 4)] * 4
    )


def test_a_request_that_is_made_again_is_recorded_once(gated: Gated) -> None:
    """By its trace and its id; without a trace each is one."""

    def talking(parent: str | None) -> Talk:
        meta = {"traceparent": parent} if parent else None

        async def talk(client: Client[Any]) -> None:
            await client.call_tool("read_worker", {"worker_id": 1}, meta=meta)

        return talk

    for parent in (f"00-{TRACE}-00f067aa0ba902b7-01", f"00-{TRACE}-00f067aa0ba902b7-01", f"00-{TRACE}-ff", None, None):
        served(gated, read_worker, talking(parent))
    assert [row.get("trace_id") for row in gated.rows()] == [TRACE, None, None, None]


RESOURCES = {"worker://{worker_id}": "worker_id", "picture://{worker_id}": "worker_id", "roster://all": ()}


def _worker(worker_id: int) -> ResourceResult:
    return ResourceResult([ResourceContent(record(worker_id))])


def _picture(worker_id: int) -> bytes:
    return b"a picture"


def _roster() -> ResourceResult:
    return ResourceResult([ResourceContent(record(number)) for number in (1, 2)], {"page": 1})


ANSWERS: dict[str, Callable[..., Any]] = {
    "worker://{worker_id}": _worker,
    "picture://{worker_id}": _picture,
    "unknown://{worker_id}": _picture,
    "roster://all": _roster,
}


def reading(gated: Gated, uri: str, policy: str = POLICY) -> Any:
    """What a client gets of a resource."""

    async def converse() -> Any:
        async with gated.open(policy) as gate:
            server: FastMCP[Any] = FastMCP("workers", middleware=[GateMiddleware(tools_of(gate, tools=RESOURCES))])
            for template, answer in ANSWERS.items():
                server.resource(template)(answer)
            async with Client(server) as client:
                try:
                    return [json.loads(one.text) for one in await client.read_resource(uri)]
                except MCPError as error:
                    return str(error)

    return asyncio.run(converse())


@pytest.mark.long
def test_resources_are_gated_like_tools(gated: Gated) -> None:
    """The URI's parameters are its arguments; its template is the action."""
    gated.withdraw("W-2")
    assert reading(gated, "worker://1") == [record(1)]
    assert reading(gated, "worker://2") == "worker://{worker_id} is denied: consent_withdrawn"
    assert reading(gated, "roster://all") == [record(1)]
    assert reading(gated, "picture://1") == "nothing of picture://{worker_id} is released"
    assert reading(gated, "unknown://1") == "this resource is denied: the gate does not know it"
    assert_recorded(
        gated,
        ("W-1", "worker://{worker_id}", "success"), ("W-2", "worker://{worker_id}", "consent_withdrawn"),
        ("W-1", "roster://all", "success"), ("W-2", "roster://all", "consent_withdrawn"),
    )  # fmt: skip


TOKENS = {
    "of-ada": {"client_id": "ada", "scopes": [], "sub": "ada", "purpose": "scheduling"},
    "of-bob": {"client_id": "bob", "scopes": [], "sub": "bob"},
}


@pytest.mark.parametrize(
    ("token", "row"),
    [("of-ada", ("ada", "scheduling", None)), ("of-bob", ("bob", None, "purpose_not_allowed"))],
)
def test_purpose_and_actor_are_those_of_the_access_token(gated: Gated, token: str, row: tuple[Any, ...]) -> None:
    """Which the server has verified; a claim that is missing allows nothing."""

    async def converse() -> None:
        async with gated.opened() as gate:
            tools = tools_of(gate, purpose=claim("purpose"), actor=claim("sub"))
            server: FastMCP[Any] = FastMCP(
                "workers", auth=StaticTokenVerifier(TOKENS), middleware=[GateMiddleware(tools)]
            )
            server.tool(read_worker)
            app = server.http_app()

            def connected(*_: Any, **options: Any) -> httpx2.AsyncClient:
                return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), **options)

            transport = StreamableHttpTransport("http://localhost/mcp", auth=token, httpx_client_factory=connected)
            async with app.router.lifespan_context(app), Client(transport) as client:
                await client.call_tool("read_worker", {"worker_id": 1}, raise_on_error=False)

    asyncio.run(converse())
    assert [(one["actor"], one.get("purpose"), one.get("reason")) for one in gated.rows()] == [row]


def test_without_a_token_a_call_on_somebodys_behalf_is_refused(gated: Gated) -> None:
    """It is not done in the gate's own name."""
    refused = served(gated, read_worker, calling("read_worker", worker_id=1), actor=claim("sub"))
    assert refused == "read_worker is denied: nothing says on whose behalf it is called"
    assert_recorded(gated)


def test_a_client_that_wants_errors_raised_gets_them(gated: Gated) -> None:
    """As those of any tool."""
    gated.withdraw("W-1")
    with pytest.raises(ToolError, match=r"^read_worker is denied: consent_withdrawn$"):
        served(gated, read_worker, lambda client: client.call_tool("read_worker", {"worker_id": 1}))
