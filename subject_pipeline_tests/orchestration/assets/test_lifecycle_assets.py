"""The assets of the life of a record, as the code location loads them."""

import datetime as dt
import json
import shutil
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from subject_pipeline.changes.evidence import ManifestEvidence
from subject_pipeline.ingestion.inbox import EVENT_INBOX
from subject_pipeline.lifecycle.decision_inbox import DECISION_INBOX
from subject_pipeline.lifecycle.lists.reading import stored_review_counts
from subject_pipeline.orchestration.ui.erasures import erasures_done
from subject_pipeline.registry.subjects import SubjectRegistry
from subject_pipeline_tests.conftest import Prepared
from subject_pipeline_tests.helpers.decisions import line
from subject_pipeline_tests.orchestration.assets.test_audit_assets import SUBJECTS, AuditBench, bench, listed

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
    assert [item.key for item in EVENT_INBOX.waiting(bench.store.without_ring())] == ["inbox/first.jsonl"]
    assert [item.key for item in DECISION_INBOX.waiting(bench.store.without_ring())] == ["inbox/decisions/d.jsonl"]

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


@pytest.mark.long
def test_a_file_that_cannot_be_read_stops_no_other(bench: AuditBench, prepared: Prepared, tmp_path: Path) -> None:
    """The run fails after the others were applied, and the file waits on."""
    drop(bench, "b.jsonl", line("restricted", SUBJECTS[0]))
    (bench.folder / "store" / "inbox" / "decisions" / "a.csv").write_bytes(b"\xff\xfe")
    result, _ = decided(bench)
    assert not result.success
    assert [item.key for item in DECISION_INBOX.waiting(bench.store.without_ring())] == ["inbox/decisions/a.csv"]


@pytest.mark.long
def test_what_waits_is_counted_after_what_was_decided(bench: AuditBench) -> None:
    """In the same run: numbers of the whole store, and nobody's name."""
    one, other, *_ = SUBJECTS
    ordered = line("erasure_ordered", one, decision_id="d-2")
    drop(bench, "d.jsonl", line("hold_placed", one), line("consent_given", other), ordered)
    result, _ = decided(bench)
    (event,) = result.asset_materializations_for_node("subject_reviews")
    numbers = {name: value.value for name, value in event.metadata.items()}
    assert (numbers["subjects"], numbers["held"], numbers["ordered"]) == (len(SUBJECTS), 1, 1)
    pending: list[Any] = [count for name, count in numbers.items() if name.startswith("pending_consent/")]
    assert sum(pending) == len(SUBJECTS) - 1
    assert numbers["due/general_pii"] == len(SUBJECTS)


def test_what_is_ordered_is_carried_out_once_nobody_is_held(bench: AuditBench) -> None:
    """Ordered, stopped by a hold, released, erased; an order that stands for too long turns the check red."""
    one, other, *_ = SUBJECTS
    old = (dt.datetime.now(dt.UTC) - dt.timedelta(days=31)).isoformat()
    drop(bench, "d.jsonl", line("hold_placed", one), line("erasure_ordered", one, decision_id="d-2", ts=old))
    drop(bench, "e.jsonl", line("erasure_ordered", other, ts=old))
    decided(bench)

    def carried_out() -> tuple[dict[str, Any], bool]:
        result = bench.defs.resolve_job_def("carry_out_erasures").execute_in_process(instance=bench.instance)
        (event,) = result.asset_materializations_for_node("erasures")
        (check,) = result.get_asset_check_evaluations()
        assert one not in str(result.all_events)
        return {name: value.value for name, value in event.metadata.items()}, check.passed

    before = stored_review_counts(bench.store, dt.datetime.now(dt.UTC))
    assert (before.ordered, before.ordered_long) == (2, 1)
    numbers, green = carried_out()
    assert (numbers["erased"], numbers["held"], green) == (1, 1, True)
    drop(bench, "f.jsonl", line("hold_released", one, decision_id="d-3"))
    decided(bench)
    numbers, green = carried_out()
    assert (numbers["erased"], numbers["held"], numbers["certificates_pending"], green) == (1, 0, 2, True)
    assert SubjectRegistry(bench.store).count() == len(SUBJECTS) - 2
    assert erasures_done(before).passed is False


@pytest.mark.long
def test_an_access_after_a_withdrawal_warns_and_its_list_is_named(bench: AuditBench) -> None:
    """The check counts, and names the list in the store, and nobody."""
    one, *_ = SUBJECTS
    drop(bench, "d.jsonl", line("restricted", one))
    decided(bench)
    late = {"candidate_id": one, "event_id": "late", "ts": dt.datetime.now(dt.UTC).isoformat(), "actor": "agent:x"}
    bench.drop("late.jsonl", [{**late, "action": "view_profile"}])
    bench.ingest()
    result = bench.verify(checkpoint=False)
    checks = {check.check_name: check for check in result.get_asset_check_evaluations()}
    check = checks["no_questionable_access"]
    assert (check.passed, check.severity, check.metadata["found"].value) == (False, dg.AssetCheckSeverity.WARN, 1)
    (row,) = listed(bench, check)
    assert (row["candidate_id"], row["actor"], row["kind"]) == (one, "agent:x", "questionable")
    assert checks["nobody_resurrected"].passed


@pytest.mark.long
def test_an_old_table_that_is_put_back_turns_a_check_red(bench: AuditBench) -> None:
    """Anyone who was deleted since is counted, and not named."""
    one, *_ = SUBJECTS
    kept = bench.folder / "kept"
    shutil.copytree(bench.folder / "store" / "subjects", kept)
    SubjectRegistry(bench.store, ManifestEvidence(bench.store, "test")).delete(one)
    bench.verify()  # a deletion that no checkpoint has yet may still be under way for five minutes
    shutil.rmtree(bench.folder / "store" / "subjects")
    shutil.copytree(kept, bench.folder / "store" / "subjects")
    result = bench.verify(checkpoint=False)
    check = {each.check_name: each for each in result.get_asset_check_evaluations()}["nobody_resurrected"]
    assert (check.passed, check.metadata["found"].value) == (False, 1)
    assert one not in str(check)


@pytest.mark.parametrize("key", ["inbox/decisions/.part.jsonl", "inbox/decisions/_d.csv", "inbox/decisions/d.txt"])
def test_what_is_unfinished_or_something_else_is_not_taken(bench: AuditBench, key: str) -> None:
    """By its name."""
    bench.store.objects.replace(key, b"{}")
    assert DECISION_INBOX.waiting(bench.store.without_ring()) == []
    assert [item.key for item in EVENT_INBOX.waiting(bench.store.without_ring())] == ["inbox/first.jsonl"]
