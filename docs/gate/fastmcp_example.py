"""A FastMCP server whose answers about people pass the gate.

Needs the extra `fastmcp`; no network.

python docs/gate/fastmcp_example.py
"""

import asyncio
import json

from example_store import CALLS, TOOLS, WORKERS, list_workers, opened_gate, read_note, read_worker
from fastmcp import Client, FastMCP

from subject_pipeline.gate import SubjectGate
from subject_pipeline.gate.adapters.fastmcp import GateMiddleware
from subject_pipeline.gate.adapters.gated_tools import GatedTools


async def converse(gate: SubjectGate) -> None:
    """Make a server with the gate as its first middleware, and call its tools as a client does."""
    # Where clients have tokens: purpose=claim("purpose"), actor=claim("sub").
    gated = GatedTools(
        gate, tools={**TOOLS, "worker://{worker_id}": "worker_id"}, purpose="scheduling", actor="agent:7"
    )
    server = FastMCP("workers", middleware=[GateMiddleware(gated)])
    for tool in (read_worker, list_workers, read_note):
        server.tool(tool)

    @server.resource("worker://{worker_id}")
    def worker(worker_id: int) -> str:
        return json.dumps(WORKERS[worker_id])

    async with Client(server) as client:
        for name, arguments in CALLS:
            result = await client.call_tool(name, arguments, raise_on_error=False)
            print(f"{name}{arguments} -> {result.content[0].text}")
        print(f"worker://3 -> {(await client.read_resource('worker://3'))[0].text}")


if __name__ == "__main__":
    with opened_gate() as gate:
        asyncio.run(converse(gate))
