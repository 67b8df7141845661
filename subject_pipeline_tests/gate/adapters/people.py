"""What the tools of these tests answer, whatever library they belong to."""

from collections.abc import Sequence
from typing import Any

from subject_pipeline.gate import SubjectGate
from subject_pipeline.gate.adapters.gated_tools import GatedTools
from subject_pipeline_tests.helpers.audit_stores import assert_sound
from subject_pipeline_tests.helpers.gated import Gated

SECRET = "a-phone-number-of-4711"
TOOLS = {"read_worker": "worker_id", "list_workers": (), "fail": "worker_id"}


def record(number: int) -> dict[str, Any]:
    """A record: the key, without the prefix of ids, and what nobody may learn who may not see it."""
    return {"worker_id": number, "name": f"{SECRET}-{number}"}


def tools_of(gate: SubjectGate, **options: Any) -> GatedTools:
    """The tools of these tests, for scheduling, unless said otherwise."""
    return GatedTools(gate, **{"tools": TOOLS, "purpose": "scheduling", "actor": "agent:7", **options})


def assert_recorded(gated: Gated, *rows: Sequence[str]) -> None:
    """Exactly these rows are there, each as subject, action and result (of a denial its reason), in sound chains."""
    found = [(row["candidate_id"], row["action"], row.get("reason", row["result"])) for row in gated.rows()]
    assert sorted(found) == sorted(map(tuple, rows))
    assert_sound(gated.place)
