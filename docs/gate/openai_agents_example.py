"""An agent of the OpenAI Agents SDK whose tools' answers about people pass the gate.

Needs the extra `openai-agents`; no network, no model.

    python docs/gate/openai_agents_example.py
"""

import asyncio

from agents import Agent, RunConfig, Runner, Tool, function_tool, set_trace_processors
from agents.testing import ScriptedModel, assistant_message, function_call
from example_store import CALLS, TOOLS, list_workers, opened_gate, read_note, read_worker

from subject_pipeline.gate import SubjectGate
from subject_pipeline.gate.adapters.gated_tools import GatedTools
from subject_pipeline.gate.adapters.openai_agents import GateGuardrails


async def converse(gate: SubjectGate) -> None:
    """Make an agent each of whose tools is guarded, and print what its model is told."""
    calls = [function_call(name, args, call_id=f"call-{number}") for number, (name, args) in enumerate(CALLS)]
    model = ScriptedModel([calls, [assistant_message("done")]])  # stands for a model: asks for all calls at once
    # Where the program knows who asks: purpose=lambda run: run.purpose, of the `context` that it runs with.
    guardrails = GateGuardrails(GatedTools(gate, tools=TOOLS, purpose="scheduling", actor="agent:7"))
    tools: list[Tool] = [guardrails.guard(function_tool(tool)) for tool in (read_worker, list_workers, read_note)]
    # A call that is made again in the same trace is recorded once.
    await Runner.run(
        Agent("assistant", model=model, tools=tools), "Who works early?", run_config=RunConfig(trace_id="trace_1")
    )
    outputs = {one["call_id"]: one["output"] for one in model.calls[-1].input if "output" in one}
    for number, (name, arguments) in enumerate(CALLS):
        print(f"{name}{arguments} -> {outputs[f'call-{number}']}")


if __name__ == "__main__":
    set_trace_processors([])  # else the SDK sends its traces to OpenAI
    with opened_gate() as gate:
        asyncio.run(converse(gate))
