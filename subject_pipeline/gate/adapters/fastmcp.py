"""The gate in front of the tools and resources of a FastMCP server.

    gated = GatedTools(gate, tools={"read_worker": "id", "worker://{id}": "id"}, purpose="payroll", actor=claim("sub"))
    server = FastMCP("workers", middleware=[GateMiddleware(gated)])

It is to be the first middleware: what another one before it answers, or adds, does not pass through it.
"""

import base64
import re
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import TypeAdapter

from subject_pipeline.gate.adapters import missing
from subject_pipeline.gate.adapters.gated_tools import GatedTools, RefusedError, ToolCall, Unread, result_of

try:
    from fastmcp.exceptions import ResourceError, ToolError
    from fastmcp.resources.base import InputRequiredResourceResult, ResourceContent, ResourceResult
    from fastmcp.resources.template import match_uri_template
    from fastmcp.server.dependencies import get_access_token
    from fastmcp.server.middleware import CallNext, Middleware, MiddlewareContext
    from fastmcp.tools.base import InputRequiredToolResult, RawStructuredToolResult, ToolResult
    from mcp_types import CallToolRequestParams, ContentBlock, ReadResourceRequestParams
except ModuleNotFoundError as error:
    raise missing("fastmcp") from error

_BLOCKS: TypeAdapter[list[ContentBlock]] = TypeAdapter(list[ContentBlock])
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


def claim(name: str) -> Callable[[Any], str]:
    """A purpose or an actor that a claim of the caller's access token says; a call without it is denied."""
    return lambda token: token.claims[name]


class GateMiddleware(Middleware):
    """Nothing about a person leaves the server in a tool's answer or a resource unless the gate lets it.

    Args:
        gated: tools by name, resources by URI template, whose parameters are the arguments; functions get the token.
    """

    def __init__(self, gated: GatedTools) -> None:
        self._gated = gated

    async def on_call_tool(
        self, context: MiddlewareContext[CallToolRequestParams], call_next: CallNext[CallToolRequestParams, ToolResult]
    ) -> ToolResult:
        """See `Middleware.on_call_tool`."""
        name, arguments = context.message.name, context.message.arguments or {}
        if name in self._gated.ungated:
            return await call_next(context)
        try:
            permit = await self._gated.permit_async(_call(context, name, arguments))
            result = await self._gated.run_async(permit, lambda: call_next(context))
            return _result(result, await self._gated.release_async(permit, _sent(result)))
        except RefusedError as refused:
            raise ToolError(str(refused)) from refused

    async def on_read_resource(
        self,
        context: MiddlewareContext[ReadResourceRequestParams],
        call_next: CallNext[ReadResourceRequestParams, ResourceResult],
    ) -> ResourceResult:
        """See `Middleware.on_read_resource`."""
        uri = str(context.message.uri)
        templates = ((one, match_uri_template(uri, one)) for one in self._gated.names if "://" in one)
        name, arguments = next((match for match in templates if match[1] is not None), ("this resource", None))
        try:
            permit = await self._gated.permit_async(_call(context, name, arguments or {}))
            result = await self._gated.run_async(permit, lambda: call_next(context))
            return _resource(result, await self._gated.release_async(permit, _sent_resource(result, uri)))
        except RefusedError as refused:
            raise ResourceError(str(refused)) from refused


def _call(context: MiddlewareContext[Any], name: str, arguments: Mapping[str, Any]) -> ToolCall:
    request = context.fastmcp_context and context.fastmcp_context.request_context
    parent = str((request.meta or {}).get("traceparent")) if request else ""
    trace = _TRACEPARENT.fullmatch(parent)
    request_id = f"{parent} {request.request_id}" if request else None  # in a trace, each session may count from 1
    return ToolCall(
        tool=name, arguments=arguments, given=get_access_token(), trace_id=trace and trace[1], request_id=request_id
    )


def _sent(result: object) -> dict[str, Any]:
    """A result as it is sent. Nobody looks into a question to the client, or the handle of a task."""
    if not isinstance(result, ToolResult) or isinstance(result, InputRequiredToolResult):
        return {"content": Unread(result)}
    structured = result.structured_content
    content = _BLOCKS.dump_python(result.content, mode="json", by_alias=True, exclude_none=True)
    said = content[0].get("text") if structured is None and len(content) == 1 else structured
    sent = {"structuredContent": structured, "content": content, "_meta": result.meta, "isError": result.is_error}
    return {**sent, "status": result_of(said)}


def _result(result: ToolResult, shown: Mapping[str, Any]) -> ToolResult:
    if isinstance(shown["content"], Unread):
        return result
    kind = RawStructuredToolResult if isinstance(result, RawStructuredToolResult) else ToolResult
    return kind(_BLOCKS.validate_python(shown["content"]), shown["structuredContent"], shown["_meta"], shown["isError"])


def _sent_resource(result: object, uri: str) -> dict[str, Any]:
    if not isinstance(result, ResourceResult) or isinstance(result, InputRequiredResourceResult):
        return {"contents": Unread(result)}
    return result.to_mcp_result(uri).model_dump(mode="json", by_alias=True, exclude_none=True)


def _resource(result: ResourceResult, shown: Mapping[str, Any]) -> ResourceResult:
    if isinstance(shown["contents"], Unread):
        return result
    data = [(one["text"] if "text" in one else base64.b64decode(one["blob"]), one) for one in shown["contents"]]
    contents = [ResourceContent(content, one.get("mimeType"), one.get("_meta")) for content, one in data]
    return ResourceResult(contents, shown.get("_meta"))
