"""The gate in front of the tools of a LangChain agent.

    gated = GatedTools(gate, tools={"read_worker": "worker_id"}, purpose="payroll", actor="agent:7")
    agent = create_agent(model, tools, middleware=[GateMiddleware(gated)])

It is to be the first middleware: what another one before it answers does not pass through it.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from subject_pipeline.gate.adapters import missing
from subject_pipeline.gate.adapters.gated_tools import GatedTools, RefusedError, ToolCall, Unread, result_of

try:
    from langchain.agents.middleware import AgentMiddleware, ToolCallRequest
    from langchain_core.messages import AIMessage, ToolMessage
    from langgraph.errors import GraphInterrupt
    from langgraph.types import Command
except ModuleNotFoundError as error:
    raise missing("langchain") from error

Answer = ToolMessage | Command[Any]


class GateMiddleware(AgentMiddleware[Any, Any, Any]):
    """No tool's answer about a person reaches the agent unless the gate lets it.

    A tool that interrupts the run to ask somebody is called again with what they say, and decided about again.

    Args:
        gated: the tools, by name. Its functions are called with the `context` of the run.
    """

    def __init__(self, gated: GatedTools) -> None:
        super().__init__()
        self._gated = gated

    def wrap_tool_call(self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Answer]) -> Answer:
        """See `AgentMiddleware.wrap_tool_call`."""
        if request.tool_call["name"] in self._gated.ungated:
            return handler(request)
        try:
            permit = self._gated.permit(_call(request))
            answer = self._gated.run(permit, lambda: handler(request), GraphInterrupt)
            return _shown(answer, self._gated.release(permit, _payload(answer)))
        except RefusedError as refused:
            return _refusal(request, refused)

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[Answer]]
    ) -> Answer:
        """See `AgentMiddleware.awrap_tool_call`."""
        if request.tool_call["name"] in self._gated.ungated:
            return await handler(request)
        try:
            permit = await self._gated.permit_async(_call(request))
            answer = await self._gated.run_async(permit, lambda: handler(request), GraphInterrupt)
            return _shown(answer, await self._gated.release_async(permit, _payload(answer)))
        except RefusedError as refused:
            return _refusal(request, refused)


def _call(request: ToolCallRequest) -> ToolCall:
    call, runtime = request.tool_call, request.runtime
    config = runtime.config.get("configurable", {}) if runtime else {}
    request_id = f"{_message_id(request)} {call['id']}" if call["id"] else None
    return ToolCall(
        tool=call["name"], arguments=call["args"], given=runtime and runtime.context,
        trace_id=config.get("thread_id"), request_id=request_id,
    )  # fmt: skip


def _message_id(request: ToolCallRequest) -> str | None:
    """Of the message that asks for the call: some models count their calls from 1 in each."""
    messages = request.state.get("messages", []) if isinstance(request.state, Mapping) else []
    asking = (one for one in reversed(messages) if isinstance(one, AIMessage))
    return next((one.id for one in asking if request.tool_call["id"] in [call["id"] for call in one.tool_calls]), None)


def _payload(answer: Answer) -> dict[str, Any]:
    """An answer as the gate looks at it; of its content nothing is read but texts, and of a command nothing."""
    if not isinstance(answer, ToolMessage):
        return {"content": Unread(answer)}
    content, failed = answer.content, answer.status == "error"
    blocks = _text(content) if isinstance(content, str) else [_block(one) for one in content]
    return {"content": blocks, "artifact": answer.artifact, "isError": failed, "status": result_of(content)}


def _block(block: str | dict[Any, Any]) -> object:
    if isinstance(block, str):
        return _text(block)
    return block if block.get("type") == "text" else Unread(block)


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _shown(answer: Answer, shown: Mapping[str, Any]) -> Answer:
    content = shown["content"]
    if isinstance(content, Unread) or not isinstance(answer, ToolMessage):
        return answer
    released = (
        [one.part if isinstance(one, Unread) else one for one in content]
        if isinstance(content, list)
        else content["text"]
    )
    kept = {"tool_call_id": answer.tool_call_id, "name": answer.name, "id": answer.id, "status": answer.status}
    return ToolMessage(released, artifact=shown["artifact"], **kept)


def _refusal(request: ToolCallRequest, refused: RefusedError) -> ToolMessage:
    call = request.tool_call
    return ToolMessage(str(refused), tool_call_id=call["id"] or "", name=call["name"], status="error")
