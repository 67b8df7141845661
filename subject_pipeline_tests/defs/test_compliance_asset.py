import base64
import csv
import datetime as dt
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import dagster as dg
import polars as pl
import pytest

from subject_pipeline.changes.evidence import ManifestEvidence
from subject_pipeline.definitions import defs as load_definitions
from subject_pipeline.keys.ring_file import KeyRingFile
from subject_pipeline.manifests.frames import to_rows
from subject_pipeline.manifests.table import ManifestTable
from subject_pipeline.operations import Operations
from subject_pipeline.orchestration.history.verifications import verification_history
from subject_pipeline.registry.subjects import SubjectRegistry
from subject_pipeline_tests.conftest import Prepared
from subject_pipeline_tests.defs.test_audit_assets import (
    CHECKPOINT,
    CHUNKS,
    SUBJECTS,
    VERIFICATION,
    AuditBench,
    _event,
    _manifest,
    checks,
    numbers,
    offenders,
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
    ring = KeyRingFile(bench.folder / "ring.json")
    registry = SubjectRegistry(bench.store, ManifestEvidence(bench.store, ring, "test"))
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
    assert [dict(one.data)["actor"] for one in shown["accesses_by_actor"].records] == ["agent:1"]
    assert [dict(one.data)["purpose"] for one in shown["accesses_by_purpose"].records] == ["(none)"]
    chart = shown["accesses_chart"].value
    assert chart.startswith("![Accesses by day and result](data:image/svg+xml;base64,")
    picture = base64.b64decode(chart.rpartition(",")[2].removesuffix(")"), validate=True)
    assert ET.fromstring(picture).tag == "{http://www.w3.org/2000/svg}svg"  # noqa: S314 - our own
    assert len(picture) < 20_000


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


def test_what_is_overdue_or_undecided_warns_and_is_named(bench: AuditBench) -> None:
    """Both checks warn with a table of who, since when and why, and turn green once it is mended."""
    found = checks(bench.verify(), REPORT)
    assert {name: (one.passed, one.severity) for name, one in found.items()} == {
        "retention_is_not_overdue": (False, dg.AssetCheckSeverity.WARN),
        "consent_is_not_pending_too_long": (False, dg.AssetCheckSeverity.WARN),
    }
    overdue = offenders(found["retention_is_not_overdue"])
    assert {row["candidate_id"] for row in overdue} == set(SUBJECTS)
    assert {(row["data"], row["since"], row["policy"]) for row in overdue} == {
        ("general_pii", "2026-01-02", "4_year_default")
    }
    assert {row["consent"] for row in offenders(found["consent_is_not_pending_too_long"])} == {
        "pending_backfill_review"
    }
    later = (now() + dt.timedelta(days=40)).isoformat()
    mended = {"retention": {"general_pii_until": later}, "consent": {"general_pii": {"status": "granted"}}}
    put(bench, *(_manifest(one, **mended) for one in SUBJECTS))
    green = checks(bench.verify(), REPORT)
    assert all(one.passed for one in green.values())


def test_consent_may_be_undecided_as_long_as_the_settings_say(bench: AuditBench) -> None:
    """Within `consent_pending_days` of operations.yaml the check is green, beyond it names who waits."""
    days = Operations.read().consent_pending_days
    granted = {"consent": {"general_pii": {"status": "granted"}}}
    put(bench, *(_manifest(one, **granted) for one in SUBJECTS[2:]))
    for one, age in zip(SUBJECTS, (days - 1, days + 1), strict=False):
        made = (dt.datetime.now(dt.UTC) - dt.timedelta(days=age)).isoformat()
        put(bench, _manifest(one, created_at=made))
    found = checks(bench.verify(), REPORT)["consent_is_not_pending_too_long"]
    assert [row["candidate_id"] for row in offenders(found)] == [SUBJECTS[1]]


def test_no_table_has_more_than_five_hundred_offenders(bench: AuditBench) -> None:
    """All are counted, five hundred are named, in Dagster and in the file beside the page."""
    more = [_manifest(f"Q-{number}") for number in range(600 - len(SUBJECTS))]
    ManifestTable(bench.store).snapshot_or_create().insert(to_rows(more, bench.store.intended_chunks()))
    result = report_alone(bench)
    found = checks(result, REPORT)["retention_is_not_overdue"]
    assert found.metadata["found"].value == 600
    assert len(offenders(found)) == 500
    folder = (bench.folder / "store" / metadata(result)["report_key"].value).parent
    text = (folder / "retention_overdue.csv").read_text(encoding="utf-8")
    assert len(list(csv.DictReader(io.StringIO(text, newline="")))) == 500
    numbers_file = pl.read_parquet(folder / "numbers.parquet")
    assert numbers_file.filter(section="headline", name="retention_overdue")["value"].to_list() == [600]


def test_the_report_stands_alone(bench: AuditBench) -> None:
    """Without a verification or checkpoint it is written all the same, and says that there is none."""
    result = report_alone(bench)
    assert result.success
    shown = metadata(result)
    assert "checkpoint" not in shown
    assert shown["fully_verified_since"].value == "not every partition ever was"
    assert "There is no checkpoint that holds" in shown["findings"].value


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
    assert "P-3" in page


def test_hostile_ids_do_nothing_in_dagsters_own_tables(bench: AuditBench) -> None:
    """Ids and actors come as text, what is invisible in them spelt out, and the findings are no Markdown of theirs."""
    odd = "\u202e<script>alert(1)</script>|[x](y)"
    bench.drop("odd.jsonl", [_event("P-odd", "e-1", ts=now().isoformat(), actor=odd)])
    assert bench.ingest().success
    shown = metadata(report_alone(bench))
    actors = [dict(one.data)["actor"] for one in shown["accesses_by_actor"].records]
    assert "\\u{202e}<script>alert(1)</script>|[x](y)" in actors
    assert "<script>" not in shown["findings"].value


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
