"""A tool-calling loop whose every answer about a person is on record before the model sees it.

    python docs/gateway_example.py

Everything is made in a temporary folder and removed at the end. A service has its key ring made by
`subject-pipeline keys new FILE`, names it in $SUBJECT_KEY_RING, its store in $SUBJECT_STORE_URL, and calls
only `AuditedTools.open()`.
"""

import asyncio
import json
import secrets
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from subject_pipeline.audit.reading import show
from subject_pipeline.errors import WithheldError
from subject_pipeline.gate import AuditedTools
from subject_pipeline.keys.ring import KEY_BYTES, KeyRing
from subject_pipeline.keys.ring_file import KeyRingFile, create_ring
from subject_pipeline.store.opened import SubjectStore

WORKERS = {
    "WORKER-1": {"candidate_id": "WORKER-1", "name": "Ada", "skills": ["welding"]},
    "WORKER-2": {"candidate_id": "WORKER-2", "name": "Bob", "skills": ["driving", "welding"]},
}


def find_workers(skill: str) -> dict[str, Any]:
    """A list of records: one row for each person in it."""
    return {"records": [worker for worker in WORKERS.values() if skill in worker["skills"]]}


def read_salary(candidate_id: str) -> dict[str, Any]:
    """Refused. The answer names nobody, so the loop says whom the call was about."""
    del candidate_id
    return {"status": 403, "message": "salaries are for the payroll team"}


def read_worker(candidate_id: str) -> dict[str, Any]:
    """Fails because its database is not reachable."""
    raise TimeoutError(candidate_id)


def read_shift(candidate_id: str) -> dict[str, Any]:
    """A tool of an MCP server: its answer is JSON in a text, whose people are found as well."""
    shift = {"candidateId": candidate_id, "shift": "early", "standIn": WORKERS["WORKER-1"]}
    return {"content": [{"type": "text", "text": json.dumps(shift)}], "isError": False}


def read_notes(candidate_id: str) -> dict[str, Any]:
    """Free text, which may be about anyone: it is withheld (`on_opaque="release"` would release it)."""
    return {"content": [{"type": "text", "text": f"{candidate_id} likes to work with Ada"}], "isError": False}


TOOLS: Mapping[str, Callable[..., dict[str, Any]]] = {
    tool.__name__: tool for tool in (find_workers, read_salary, read_worker, read_shift, read_notes)
}
# What a model asks for, one call after the other: the call's id, the tool and its arguments.
CALLS = [
    ("call-1", "find_workers", {"skill": "welding"}),
    ("call-2", "read_salary", {"candidate_id": "WORKER-1"}),
    ("call-3", "read_worker", {"candidate_id": "WORKER-2"}),
    ("call-4", "read_shift", {"candidate_id": "WORKER-2"}),
    ("call-5", "read_notes", {"candidate_id": "WORKER-2"}),
]


async def answer(
    tools: AuditedTools, conversation: str, call_id: str, name: str, arguments: dict[str, Any]
) -> dict[str, Any]:
    """One tool's answer, fit to be shown to the model."""
    try:
        payload = await asyncio.to_thread(TOOLS[name], **arguments)
    except Exception as error:  # noqa: BLE001 - anything a tool raises is an answer too, and an access
        payload = {"error": type(error).__name__}
    subjects = [arguments["candidate_id"]] if "candidate_id" in arguments else []
    try:
        return await tools.after_async(
            name,
            payload,
            subjects=subjects,
            purpose="staffing",
            trace_id=conversation,
            dataset="workers",
            event_id=f"{conversation}/{call_id}",  # a call that is tried again is recorded once
        )
    except WithheldError as error:
        return {"error": str(error)}  # names kinds and reasons, never content


async def converse(store_url: str, key_ring: Path) -> None:
    """The loop."""
    conversation = secrets.token_hex(8)
    # What is not on record after five seconds is withheld.
    async with AuditedTools.open(store_url, key_ring=key_ring, actor="assistant", timeout=5) as tools:
        for call_id, name, arguments in CALLS:
            print(f"{name}{arguments} -> {json.dumps(await answer(tools, conversation, call_id, name, arguments))}")


def main() -> None:
    """Converse, then print the rows that the audit log has of each person."""
    with tempfile.TemporaryDirectory() as folder:
        store_url, key_ring = str(Path(folder, "store")), Path(folder, "ring.json")
        create_ring(key_ring, KeyRing.new(secrets.token_bytes(KEY_BYTES), secrets.token_bytes(KEY_BYTES)))
        asyncio.run(converse(store_url, key_ring))
        for worker in WORKERS:
            print(f"\n{worker}")
            for stored in show(SubjectStore.at(store_url, ring=KeyRingFile(key_ring)), worker):
                print(json.dumps(stored["row"]))


if __name__ == "__main__":
    main()
