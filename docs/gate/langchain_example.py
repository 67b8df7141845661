"""A LangChain agent whose tools' answers about people pass the gate.

Needs the extra `langchain`; no network, no model.

python docs/gate/langchain_example.py
"""

from example_store import CALLS, TOOLS, list_workers, opened_gate, read_note, read_worker
from langchain.agents import create_agent
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolCall, ToolMessage

from subject_pipeline.gate import SubjectGate
from subject_pipeline.gate.adapters.gated_tools import GatedTools
from subject_pipeline.gate.adapters.langchain import GateMiddleware


class Model(GenericFakeChatModel):
    """Stands for a chat model: asks for each call of the example at once, and is done."""

    def bind_tools(self, *_: object, **__: object) -> "Model":
        """It knows what it wants."""
        return self


def converse(gate: SubjectGate) -> None:
    """Make an agent with the gate as its first middleware, and print what its model is told."""
    calls = [ToolCall(name=name, args=args, id=f"call-{number}") for number, (name, args) in enumerate(CALLS)]
    # Where the program knows who asks: purpose=lambda run: run.purpose, of the `context` that it invokes with.
    gated = GatedTools(gate, tools=TOOLS, purpose="scheduling", actor="agent:7")
    agent = create_agent(
        Model(messages=iter([AIMessage("", tool_calls=calls), AIMessage("done")])),
        tools=[read_worker, list_workers, read_note],
        middleware=[GateMiddleware(gated)],
    )
    # A call that is made again in the same thread is recorded once.
    state = agent.invoke(
        {"messages": [HumanMessage("Who works early?")]}, {"configurable": {"thread_id": "conversation-1"}}
    )
    told = [message.text for message in state["messages"] if isinstance(message, ToolMessage)]
    for (name, arguments), text in zip(CALLS, told, strict=True):
        print(f"{name}{arguments} -> {text}")


if __name__ == "__main__":
    with opened_gate() as gate:
        converse(gate)
