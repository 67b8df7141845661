import base64
import datetime as dt
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import dagster as dg
import pytest
from dagster._serdes import serialize_value

from subject_pipeline.changes.evidence import ManifestEvidence
from subject_pipeline.definitions import defs as load_definitions
from subject_pipeline.orchestration.history.verifications import verification_history
from subject_pipeline.project.platform import Automation
from subject_pipeline.registry.subjects import SubjectRegistry
from subject_pipeline.store.datasets import DatasetDeclaration
from subject_pipeline_tests.conftest import Prepared
from subject_pipeline_tests.orchestration.assets.test_audit_assets import (
    CHECKPOINT,
    CHUNKS,
    SUBJECTS,
    VERIFICATION,
    AuditBench,
    _event,
    _manifest,
    checks,
    numbers,
    registered,
    tamper,
)

REPORT = dg.AssetKey("compliance_report")


@pytest.fixture
def bench(tmp_path: Path, prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> Iterator[AuditBench]:
    """Twelve subjects long overdue and undecided, and an event about each."""
    monkeypatch.setenv("SUBJECT_STORE_URL", str(tmp_path / "store"))
    monkeypatch.setenv("SUBJECT_KEY_RING", str(tmp_path / "ring.json"))
    monkeypatch.setenv("SUBJECT_CHUNKS", str(CHUNKS))
    prepared(registered, tmp_path)
    with dg.DagsterInstance.ephemeral() as instance:
        made = AuditBench(tmp_path, instance, load_definitions())
        made.drop("first.jsonl", [_event(one, "e-1", ts=now().isoformat()) for one in SUBJECTS])
        assert made.ingest().success
        yield made


def now() -> dt.datetime:
    """The time of the test, not of its import."""
    return dt.datetime.now(dt.UTC)


def metadata(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    """The report's metadata in a run."""
    (event,) = (one for one in result.get_asset_materialization_events() if one.asset_key == REPORT)
    return dict(event.materialization.metadata)


def report_alone(bench: AuditBench) -> dg.ExecuteInProcessResult:
    """A run of the report's asset and nothing else."""
    return bench._run("verify_checkpoint_and_report", {}, {}, [REPORT])


def put(bench: AuditBench, *manifests: Any) -> None:
    """Register or change manifests."""
    registry = SubjectRegistry(bench.store, ManifestEvidence(bench.store, "test"))
    for one in manifests:
        registry.put(one)


def test_one_run_verifies_anchors_and_reports(bench: AuditBench) -> None:
    """The report of the job's run holds to that run's checkpoint, and its numbers, tables and chart are in Dagster."""
    began = now().timestamp()
    result = bench.verify()
    ended = now().timestamp()
    assert result.success
    shown = metadata(result)
    assert shown["subjects"].value == shown["accesses"].value == shown["accesses_30_days"].value == len(SUBJECTS)
    assert shown["retention_overdue"].value == shown["consent_pending"].value == len(SUBJECTS)
    assert shown["denied_rate"].value == 0.0
    assert shown["verification_problems"].value == 0
    assert shown["checkpoint"].value == numbers(result, "audit_checkpoint")["number"]
    assert shown["checkpoint_root"].value == numbers(result, "audit_checkpoint")["root"]
    assert all(isinstance(shown[name], dg.IntMetadataValue) for name in ("subjects", "accesses", "checkpoint"))
    assert all(isinstance(shown[name], dg.FloatMetadataValue) for name in ("denied_rate", "checkpoint_age_days"))
    assert shown["red_partitions"].value == "none"
    assert began <= shown["fully_verified_since"].value <= ended
    rows = [dict(record.data) for record in shown["subjects_table"].records]
    assert {"by": "status", "value": "active", "subjects": len(SUBJECTS)} in rows
    assert {"by": "dataset", "value": "(none)", "subjects": len(SUBJECTS)} in rows
    assert shown["actors"].value == 1
    assert "agent:1" not in str(shown)
    assert [dict(one.data)["purpose"] for one in shown["accesses_by_purpose"].records] == ["(none)"]
    chart = shown["accesses_chart"].value
    assert chart.startswith("![Accesses by day and result](data:image/svg+xml;base64,")
    picture = base64.b64decode(chart.rpartition(",")[2].removesuffix(")"), validate=True)
    assert ET.fromstring(picture).tag == "{http://www.w3.org/2000/svg}svg"  # noqa: S314 - our own
    assert len(picture) < 20_000


@pytest.mark.long
def test_the_page_is_where_the_metadata_says(bench: AuditBench) -> None:
    """The key, the address and the hash are those of the page in the store, and every run writes another."""
    shown = [metadata(bench.verify()) for _ in range(2)]
    folder = bench.folder / "store"
    for one in shown:
        page = folder / one["report_key"].value
        assert one["report"].value == page.as_uri()
        assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert len({one["report_key"].value for one in shown}) == 2
    assert len(list((folder / "reports").iterdir())) == 2


@pytest.mark.long
def test_what_is_overdue_or_undecided_warns_and_names_the_command(bench: AuditBench) -> None:
    """Both checks warn with counts and the command that lists whom, and turn green once it is repaired."""
    found = checks(bench.verify(), REPORT)
    assert {name: (one.passed, one.severity) for name, one in found.items()} == {
        "retention_is_not_overdue": (False, dg.AssetCheckSeverity.WARN),
        "consent_is_not_pending_too_long": (False, dg.AssetCheckSeverity.WARN),
    }
    told = {name: {key: value.value for key, value in one.metadata.items()} for name, one in found.items()}
    assert told["retention_is_not_overdue"] == {
        "found": len(SUBJECTS),
        "due_general_pii": len(SUBJECTS),
        "due_biometric": 0,
        "held": 0,
        "listed_by": "subject-pipeline subjects list --due",
    }
    undecided = told["consent_is_not_pending_too_long"]
    assert undecided["found"] == len(SUBJECTS)
    assert "reviews export pending_consent --older-than" in str(undecided["listed_by"])
    later = (now() + dt.timedelta(days=40)).isoformat()
    repaired = {"retention": {"general_pii_until": later}, "consent": {"general_pii": {"status": "given"}}}
    put(bench, *(_manifest(one, **repaired) for one in SUBJECTS))
    green = checks(bench.verify(), REPORT)
    assert all(one.passed for one in green.values())


@pytest.mark.long
def test_consent_may_be_undecided_as_long_as_the_settings_say(bench: AuditBench) -> None:
    """Within `consent_pending_days` of the platform nobody is counted, beyond it everybody who waits."""
    days = Automation().consent_pending_days
    given = {"consent": {"general_pii": {"status": "given"}}}
    put(bench, *(_manifest(one, **given) for one in SUBJECTS[2:]))
    for one, age in zip(SUBJECTS, (days - 1, days + 1), strict=False):
        made = (dt.datetime.now(dt.UTC) - dt.timedelta(days=age)).isoformat()
        put(bench, _manifest(one, created_at=made))
    found = checks(bench.verify(), REPORT)["consent_is_not_pending_too_long"]
    assert found.metadata["found"].value == 1


@pytest.mark.long
def test_dagster_is_told_nobodys_id_by_a_report(bench: AuditBench) -> None:
    """Neither metadata nor checks of a run hold any, though people are overdue, undecided and unregistered."""
    bench.drop("more.jsonl", [_event("STRANGER-1", "e-1", ts=now().isoformat())])
    assert bench.ingest().success
    result = report_alone(bench)
    told = serialize_value([*metadata(result).values(), *checks(result, REPORT).values()])
    assert "subjects list --due" in told
    assert [one for one in (*SUBJECTS, "STRANGER-1") if re.search(rf"\b{one}\b", told)] == []


@pytest.mark.long
def test_who_vanished_is_counted_as_dagster_recorded_it(bench: AuditBench) -> None:
    """Over all datasets that the store knows, as of their last staging that read all rows."""
    for name, gone in (("workers", 2), ("drivers", 3)):
        bench.store.catalog.register(DatasetDeclaration(name=name, source="/s.parquet", key_column="id"))
        found = {"subjects_of_dataset": 9, "vanished": gone}
        bench.instance.report_runless_asset_event(dg.AssetMaterialization([name, "candidate_chunks"], metadata=found))
    shown = metadata(report_alone(bench))
    assert shown["vanished"].value == 5
    listed = {record.data["what"]: record.data for record in shown["listed_by"].records}
    assert listed["Gone from their dataset's source"]["count"] == 5


@pytest.mark.long
def test_the_report_stands_alone(bench: AuditBench) -> None:
    """Without a verification or checkpoint it is written all the same, and says that there is none."""
    result = report_alone(bench)
    assert result.success
    shown = metadata(result)
    assert "checkpoint" not in shown
    assert shown["fully_verified_since"].value == "not every partition ever was"
    assert "There is no checkpoint that holds" in shown["findings"].value


@pytest.mark.long
def test_tampering_is_in_the_report(bench: AuditBench) -> None:
    """A row changed after the last checkpoint is a problem in the report, and its partition is red in it."""
    bench.verify()
    path = bench.segment_of("P-3")
    tamper(path, "P-3")
    shown = metadata(bench.verify())
    assert shown["verification_problems"].value >= 1
    assert shown["red_partitions"].value == path.parent.name
    page = (bench.folder / "store" / shown["report_key"].value).read_text(encoding="utf-8")
    assert "bad_mac" in page
    assert not re.search(r"\bP-3\b", page)


@pytest.mark.long
def test_hostile_ids_do_nothing_in_dagsters_own_tables(bench: AuditBench) -> None:
    """Purposes come as text, what is invisible in them spelt out, and the findings are no Markdown of theirs."""
    odd = "\u202e<script>alert(1)</script>|[x](y)"
    bench.drop("odd.jsonl", [_event("P-odd", "e-1", ts=now().isoformat(), actor=odd, purpose=odd)])
    assert bench.ingest().success
    shown = metadata(report_alone(bench))
    purposes = [dict(one.data)["purpose"] for one in shown["accesses_by_purpose"].records]
    assert "\\u{202e}<script>alert(1)</script>|[x](y)" in purposes
    assert "<script>" not in shown["findings"].value


@pytest.mark.long
def test_history_counts_a_partition_once_it_was_fully_verified(bench: AuditBench) -> None:
    """The time is that of the partition verified longest ago; an incremental verification does not renew it."""
    names = list(bench.store.intended_chunks().names)

    def history() -> Any:
        return verification_history(bench.instance, VERIFICATION, names)

    assert (history().full_since, len(history().never_full)) == (None, CHUNKS)
    bench.verify("full", (names[0], names[1]), checkpoint=False)
    assert history().never_full == names[2:]
    bench.verify("full", (names[2], names[3]), checkpoint=False)
    before = history()
    assert before.never_full == []
    assert before.full_since is not None
    bench.verify("incremental", checkpoint=False)
    assert history() == before
    bench.verify("full", (names[0], names[1]), checkpoint=False)
    after = history().full_since
    assert after > before.full_since, "the first two were the oldest"


@pytest.mark.long
def test_without_a_key_ring_the_report_says_how_to_make_one(bench: AuditBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stops with that message, and no report is there."""
    monkeypatch.setenv("SUBJECT_KEY_RING", "")
    bench.defs = load_definitions()
    result = report_alone(bench)
    assert not result.success
    failed = next(event for event in result.all_events if event.is_step_failure)
    assert "subject-pipeline keys new" in str(failed.step_failure_data.error)
    assert not (bench.folder / "store" / "reports").exists()


def test_the_report_comes_after_the_checkpoint() -> None:
    """In the graph it hangs on the checkpoint alone, with its checks, and says what one report is."""
    node = load_definitions().resolve_asset_graph().get(REPORT)
    assert node.parent_keys == {CHECKPOINT}
    assert {key.name for key in node.check_keys} == {"retention_is_not_overdue", "consent_is_not_pending_too_long"}
    assert node.description is not None
    assert node.description.startswith("One report a run")
    assert node.partitions_def is None
