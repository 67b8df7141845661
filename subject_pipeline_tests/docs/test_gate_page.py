"""The page of the gate says what the gate does."""

import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from subject_pipeline.gate import Reason, SubjectGate, Told
from subject_pipeline.gate.policy import GatePolicy, Purpose
from subject_pipeline.gate.policy_file import read_policy

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "gate.md").read_text(encoding="utf-8")


def _section(title: str) -> str:
    return PAGE.split(f"## {title}\n")[1].split("\n## ")[0]


@pytest.mark.long
def test_the_example_shows_refuses_and_proves(tmp_path: Path) -> None:
    """With no setting at all; it leaves nothing behind."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SUBJECT_")}
    command = [sys.executable, str(DOCS / "gate" / "first_refusal.py")]
    environment = {**kept, "TMPDIR": str(tmp_path), "PYTHONPATH": str(DOCS.parent)}
    done = subprocess.run(command, capture_output=True, check=False, env=environment, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    shown, refused, *proof = done.stdout.splitlines()
    assert shown == "shown: {'worker_id': 1, 'shift': 'early'}"
    assert refused == "refused: {'WORKER-1': 'consent_withdrawn'}"
    assert proof[0].startswith("HOLDS: checkpoint 0")
    assert "5 rows" in "".join(proof)
    assert list(tmp_path.iterdir()) == []


def test_the_policy_of_the_page_is_one(tmp_path: Path) -> None:
    """As somebody copies it."""
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "gate.yaml").write_text(text)
    assert read_policy(tmp_path / "gate.yaml").policy.purposes["scheduling"].others == "drop"


def test_the_schema_is_that_of_policies() -> None:
    """Made again by: python -c 'import json; from subject_pipeline.gate.policy import GatePolicy; ...'."""
    stored = json.loads((DOCS / "gate" / "policy.schema.json").read_text(encoding="utf-8"))
    assert stored == GatePolicy.model_json_schema()


def test_the_table_of_keys_has_all_of_them_with_what_holds_unless_given() -> None:
    """In the order of the model."""
    rows = [line.split(" | ") for line in _section("The policy file").splitlines() if line.startswith("| `")]
    named = [row[0].strip("| `") for row in rows]
    fields = [*(f"purposes.*.{name}" for name in Purpose.model_fields), *list(GatePolicy.model_fields)[1:]]
    assert named == ["purposes", *fields]
    given = {name: yaml.safe_load(row[2].strip(" |`")) for name, row in zip(named, rows, strict=True)}
    assert [name for name, value in given.items() if value == "needed"] == ["purposes", "purposes.*.verticals"]
    said = {
        "ids": given["ids"],
        "max_age": given["max_age"],
        "timeout": given["timeout"],
        "deny_opaque": given["deny_opaque"],
    }
    purpose = {name: given[f"purposes.*.{name}"] for name in ("consent", "statuses", "others")}
    by_page = GatePolicy.model_validate({"purposes": {"p": {"verticals": ["general"], **purpose}}, **said})
    assert by_page == GatePolicy.model_validate({"purposes": {"p": {"verticals": ["general"]}}})


def test_the_reasons_are_told_in_their_order() -> None:
    """All of them."""
    assert re.findall(r"^\| `([a-z_]+)` \|", _section("Reasons"), re.MULTILINE) == list(Reason)


def test_the_calls_are_those_there_are() -> None:
    """With what they take."""
    table = _section("The calls")
    for name in ("open", "before", "after", "guard", "before_async", "after_async", "guard_async", "close"):
        assert hasattr(SubjectGate, name)
        assert f"{name}" in table
    assert "before(action, " + "=, ".join(_in_order(Told.__annotations__)) + "=)" in table
    assert list(inspect.signature(SubjectGate.open).parameters) == ["store_url", "policy", "key_ring", "actor"]


def _in_order(names: object) -> list[str]:
    order = ["subjects", "purpose", "actor", "trace_id", "dataset", "event_id"]
    assert set(order) == set(names)  # type: ignore[call-overload]
    return order
