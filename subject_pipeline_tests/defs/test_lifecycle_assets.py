"""The assets of the life of a record, as the code location loads them."""

import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from subject_pipeline.ingestion.inbox import EVENT_INBOX
from subject_pipeline.lifecycle.decision_inbox import DECISION_INBOX
from subject_pipeline_tests.conftest import Prepared
from subject_pipeline_tests.defs.test_audit_assets import SUBJECTS, AuditBench, bench
from subject_pipeline_tests.helpers.decisions import line

__all__ = ["bench"]


def drop(there: AuditBench, name: str, *lines: dict[str, Any]) -> None:
    """Put a file of decisions into the inbox."""
    path = there.folder / "store" / "inbox" / "decisions" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(one)}\n" for one in lines), encoding="utf-8")


def decided(there: AuditBench) -> tuple[dg.ExecuteInProcessResult, dict[str, Any]]:
    """Run the job; its result and the numbers on the asset."""
    result = there.defs.resolve_job_def("apply_decisions").execute_in_process(
        instance=there.instance, raise_on_error=False
    )
    events = result.asset_materializations_for_node("decisions")
    return result, {name: one.value for event in events for name, one in event.metadata.items()}


def test_the_inbox_of_decisions_is_applied_exactly_once(bench: AuditBench) -> None:
    """What is rejected turns the check red, the rest is applied; event files and decision files are never mixed up."""
    one, other, *_ = SUBJECTS
    drop(bench, "d.jsonl", line("restricted", one), line("restricted", other), line("restricted", "NOBODY"))
    assert [item.key for item in EVENT_INBOX.waiting(bench.store.objects)] == ["inbox/first.jsonl"]
    assert [item.key for item in DECISION_INBOX.waiting(bench.store.objects)] == ["inbox/decisions/d.jsonl"]

    result, numbers = decided(bench)
    assert result.success
    assert [numbers[name] for name in ("files", "decisions", "applied", "rejected")] == [1, 3, 2, 1]
    (check,) = result.get_asset_check_evaluations()
    assert (check.check_name, check.passed) == ("nothing_rejected", False)
    assert "NOBODY" not in str(result.all_events)

    again, numbers = decided(bench)
    assert (numbers["files"], numbers["decisions"]) == (0, 0)
    assert again.get_asset_check_evaluations()[0].passed
    drop(bench, "d.jsonl", line("restricted", one), line("unrestricted", other, decision_id="d-2"))
    _, numbers = decided(bench)
    assert [numbers[name] for name in ("applied", "already_applied", "rejected")] == [1, 1, 0]


def test_a_file_that_cannot_be_read_stops_no_other(bench: AuditBench, prepared: Prepared, tmp_path: Path) -> None:
    """The run fails after the others were applied, and the file waits on."""
    drop(bench, "b.jsonl", line("restricted", SUBJECTS[0]))
    (bench.folder / "store" / "inbox" / "decisions" / "a.csv").write_bytes(b"\xff\xfe")
    result, _ = decided(bench)
    assert not result.success
    assert [item.key for item in DECISION_INBOX.waiting(bench.store.objects)] == ["inbox/decisions/a.csv"]


@pytest.mark.parametrize("key", ["inbox/decisions/.part.jsonl", "inbox/decisions/_d.csv", "inbox/decisions/d.txt"])
def test_what_is_unfinished_or_something_else_is_not_taken(bench: AuditBench, key: str) -> None:
    """By its name."""
    bench.store.objects.replace(key, b"{}")
    assert DECISION_INBOX.waiting(bench.store.objects) == []
    assert [item.key for item in EVENT_INBOX.waiting(bench.store.objects)] == ["inbox/first.jsonl"]
