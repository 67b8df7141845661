"""The gate in front of the function tools of the OpenAI Agents SDK.

    gated = GatedTools(gate, tools={"read_worker": "worker_id"}, purpose="payroll", actor="agent:7")
    agent = Agent("assistant", tools=[GateGuardrails(gated).guard(read_worker)])

Guardrails are a tool's own: tools without them, and all tools that OpenAI hosts, pass the gate by.
"""

import copy
import json
from typing import Any

from subject_pipeline.gate.adapters import missing
from subject_pipeline.gate.adapters.gated_tools import GatedTools, RefusedError, ToolCall, Unread
from subject_pipeline.gate.answers.opened import JSON, SCALARS, as_json

try:
    from agents import FunctionTool, RunContextWrapper, ToolOutputFileContent, ToolOutputImage, ToolOutputText
    from agents.tool import set_function_tool_failure_error_function
    from agents.tool_guardrails import (
        ToolGuardrailFunctionOutput,
        ToolInputGuardrail,
        ToolInputGuardrailData,
        ToolOutputGuardrail,
        ToolOutputGuardrailData,
    )
    from agents.tracing import get_current_trace
except ModuleNotFoundError as error:
    raise missing("openai-agents") from error

_NO_TRACE = "no-op"


def failed(_: RunContextWrapper[Any], error: Exception) -> str:
    """What a guarded tool says that raised: the name of the error, which the gate records, and not its message."""
    return json.dumps({"error": type(error).__name__})


class GateGuardrails:
    """No answer of a guarded tool about a person reaches the model unless the gate lets it.

    `guard` makes a tool of its own; the tools of an MCP server take `input`, `output` and `failed` as the server's
    `tool_input_guardrails`, `tool_output_guardrails` and `failure_error_function`.

    Args:
        gated: the tools, by name, qualified where it is in a namespace. Its functions are called with the `context` of
            the run.
    """

    def __init__(self, gated: GatedTools) -> None:
        self._gated = gated
        self.input: ToolInputGuardrail[Any] = ToolInputGuardrail(self._before, "subject gate: before")
        self.output: ToolOutputGuardrail[Any] = ToolOutputGuardrail(self._after, "subject gate: after")

    def guard(self, tool: FunctionTool) -> FunctionTool:
        """A copy of a tool behind the gate, which its other guardrails come after."""
        gated = copy.copy(tool)
        gated.tool_input_guardrails = [self.input, *(tool.tool_input_guardrails or [])]
        gated.tool_output_guardrails = [self.output, *(tool.tool_output_guardrails or [])]
        gated.timeout_error_function = failed
        return set_function_tool_failure_error_function(gated, failed)

    async def _before(self, data: ToolInputGuardrailData) -> ToolGuardrailFunctionOutput:
        try:
            await self._gated.permit_async(_call(data))
        except RefusedError as refused:
            return ToolGuardrailFunctionOutput.reject_content(str(refused))
        return ToolGuardrailFunctionOutput.allow()

    async def _after(self, data: ToolOutputGuardrailData) -> ToolGuardrailFunctionOutput:
        try:
            permit = await self._gated.permit_async(_call(data))  # nothing is kept between the two guardrails
            shown = await self._gated.release_async(permit, _opened(data.output))
        except RefusedError as refused:
            return ToolGuardrailFunctionOutput.reject_content(str(refused))
        if _is_read_as_judged(data.output) and shown == _opened(data.output):
            return ToolGuardrailFunctionOutput.allow()
        # A guardrail replaces an output by a text, and by nothing else; a tool may have changed its own meanwhile.
        text = shown if isinstance(shown, str) else json.dumps(as_json(shown), ensure_ascii=False, default=str)
        return ToolGuardrailFunctionOutput.reject_content(text)


def _call(data: ToolInputGuardrailData) -> ToolCall:
    context, trace = data.context, get_current_trace()
    name = context.qualified_tool_name
    try:
        arguments = json.loads(context.tool_arguments or "{}")
    except (ValueError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        raise RefusedError(f"{name} is denied: its arguments are no JSON object")
    return ToolCall(
        tool=name,
        arguments=arguments,
        given=context.context,
        trace_id=trace.trace_id if trace is not None and trace.trace_id != _NO_TRACE else None,
        request_id=context.tool_call_id,
    )


def _opened(output: Any) -> Any:  # noqa: ANN401 - of any tool
    """An output as the gate looks at it: images and files are not looked into."""
    if isinstance(output, list | tuple):
        return [_opened(item) for item in output]
    if isinstance(output, ToolOutputText):
        return {"type": "text", "text": output.text}
    is_file = isinstance(output, dict) and output.get("type") in ("image", "file")
    return Unread(output) if is_file or isinstance(output, ToolOutputImage | ToolOutputFileContent) else output


def _is_read_as_judged(output: object) -> bool:
    """Whether a model reads of an output what the gate looks at: an object's text may say more than its fields."""
    if isinstance(output, dict) and type(output) in JSON:
        return all(map(_is_read_as_judged, (*output, *output.values())))
    if isinstance(output, list | tuple) and type(output) in JSON:
        return all(map(_is_read_as_judged, output))
    return type(output) in SCALARS or isinstance(output, ToolOutputText | ToolOutputImage | ToolOutputFileContent)
