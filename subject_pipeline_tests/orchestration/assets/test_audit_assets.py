import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from subject_pipeline.changes.evidence import ManifestEvidence
from subject_pipeline.definitions import defs as load_definitions
from subject_pipeline.keys.ring import KeyRing
from subject_pipeline.keys.ring_file import KeyRingFile, create_ring
from subject_pipeline.lifecycle.stored_findings import read_findings
from subject_pipeline.manifests.manifest import SubjectManifest
from subject_pipeline.orchestration.freshness_checks import FULL_VERIFICATION_IS_RECENT
from subject_pipeline.orchestration.verified_chunks import CHECKS
from subject_pipeline.registry.subjects import SubjectRegistry
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline_tests.conftest import Prepared

VERIFICATION, CHECKPOINT = dg.AssetKey("audit_verification"), dg.AssetKey("audit_checkpoint")
SUBJECTS = [f"P-{number}" for number in range(12)]
CHUNKS = 4


@dataclass
class AuditBench:
    """The code location as it is loaded, on a store, a key ring and a Dagster instance of its own."""

    folder: Path
    instance: dg.DagsterInstance
    defs: dg.Definitions
    verified: list[dg.AssetKey] | None = None
    """What the verification's job makes, where not all of it."""

    @property
    def store(self) -> SubjectStore:
        """The store."""
        ring = KeyRingFile(self.folder / "ring.json")
        return SubjectStore.at(str(self.folder / "store"), wanted_chunks=CHUNKS, ring=ring)

    def drop(self, name: str, events: list[Any]) -> None:
        """Put a file of events into the inbox."""
        path = self.folder / "store" / "inbox" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{json.dumps(event)}\n" for event in events), encoding="utf-8")

    def ingest(self, files: list[str] | None = None) -> dg.ExecuteInProcessResult:
        """Run the ingestion's job."""
        config = {"ops": {"audit_log": {"config": {"files": files}}}} if files else {}
        return self._run("ingest_access_events", {}, config)

    def verify(
        self, mode: str = "full", chunks: tuple[str, str] = ("chunk-0", "chunk-3"), *, checkpoint: bool = True
    ) -> dg.ExecuteInProcessResult:
        """Run the verification's job over a range of partitions."""
        tags = {
            "dagster/asset_partition_range_start": chunks[0],
            "dagster/asset_partition_range_end": chunks[1],
        }
        config = {"ops": {"audit_verification": {"config": {"mode": mode}}}}
        return self._run("verify_checkpoint_and_report", tags, config, self.verified if checkpoint else [VERIFICATION])

    def segment_of(self, candidate_id: str) -> Path:
        """The first segment of a subject's log."""
        chunk = self.store.intended_chunks().chunk_of(candidate_id)
        return self.folder / "store" / "audit" / chunk / f"{0:012d}.jsonl"

    def _run(
        self, job: str, tags: dict[str, str], config: dict[str, Any], only: list[dg.AssetKey] | None = None
    ) -> dg.ExecuteInProcessResult:
        return self.defs.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            tags=tags,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}, **config},
            asset_selection=only,
            raise_on_error=False,
        )


def registered(folder: Path) -> None:
    """A store in which every subject has a manifest, and its key ring."""
    create_ring(folder / "ring.json", KeyRing.new(b"k" * 32, b"s" * 32))
    store = SubjectStore.at(str(folder / "store"), wanted_chunks=CHUNKS, ring=KeyRingFile(folder / "ring.json"))
    registry = SubjectRegistry(store, ManifestEvidence(store, "test"))
    for candidate_id in SUBJECTS:
        registry.put(_manifest(candidate_id))


@pytest.fixture
def bench(tmp_path: Path, prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> Iterator[AuditBench]:
    """An audit bench with subjects and a file of events about each."""
    monkeypatch.setenv("SUBJECT_STORE_URL", str(tmp_path / "store"))
    monkeypatch.setenv("SUBJECT_KEY_RING", str(tmp_path / "ring.json"))
    monkeypatch.setenv("SUBJECT_CHUNKS", str(CHUNKS))
    prepared(registered, tmp_path)
    with dg.DagsterInstance.ephemeral() as instance:
        made = AuditBench(tmp_path, instance, load_definitions(), [VERIFICATION, CHECKPOINT])
        made.drop("first.jsonl", [_event(candidate_id, "e-1") for candidate_id in SUBJECTS])
        yield made


def _manifest(candidate_id: str, **fields: Any) -> SubjectManifest:
    now = "2026-01-02T03:04:05.000000Z"
    value = {"candidate_id": candidate_id, "created_at": now, "updated_at": now}
    return SubjectManifest.parse({**value, "retention": {"general_pii_until": now}, **fields})


def _event(candidate_id: str, event_id: str, **fields: Any) -> dict[str, Any]:
    event = {"candidate_id": candidate_id, "event_id": event_id, "ts": "2026-06-30T12:00:00Z"}
    return {**event, "actor": "agent:1", "action": "view_profile", "payload": {"status": 200}, **fields}


def checks(result: dg.ExecuteInProcessResult, asset: dg.AssetKey) -> dict[str, dg.AssetCheckEvaluation]:
    """An asset's check evaluations in a run, by name."""
    return {one.check_name: one for one in result.get_asset_check_evaluations() if one.asset_key == asset}


def red(result: dg.ExecuteInProcessResult, asset: dg.AssetKey) -> set[str]:
    """Which of an asset's checks are red."""
    return {name for name, one in checks(result, asset).items() if not one.passed}


def numbers(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, Any]:
    """An asset's numbers in a run; of a partitioned one summed over the partitions."""
    found: dict[str, Any] = {}
    for event in result.get_asset_materialization_events():
        if event.asset_key == dg.AssetKey(asset):
            for name, value in event.materialization.metadata.items():
                found[name] = found.get(name, 0) + value.value if isinstance(value.value, int) else value.value
    return found


def listed(bench: AuditBench, evaluation: dg.AssetCheckEvaluation) -> list[dict[str, Any]]:
    """What the list in the store that a check names says of that check; the check itself names nobody."""
    path = str(evaluation.metadata["listed"].value)
    assert evaluation.metadata["listed_by"].value == f"subject-pipeline findings show {path}"
    assert not any(candidate_id in str(evaluation) for candidate_id in SUBJECTS)
    found = read_findings(bench.store.objects, path)
    return [row for row in found if row.get("check", evaluation.check_name) == evaluation.check_name]


def tamper(path: Path, candidate_id: str) -> str:
    """Change a result of a subject's in a segment; returns what stood there before."""
    text = path.read_text(encoding="utf-8")
    (row,) = [line for line in text.splitlines() if f'"candidate_id":"{candidate_id}"' in line]
    path.write_text(text.replace(row, row.replace('"result":"success"', '"result":"denied"')), encoding="utf-8")
    return text


def test_the_inbox_is_ingested_exactly_once(bench: AuditBench) -> None:
    """New files are ingested, a second run finds nothing, and the same events in another file are there already."""
    first = bench.ingest()
    assert first.success
    assert numbers(first, "audit_log")["appended"] == len(SUBJECTS)
    assert numbers(bench.ingest(), "audit_log")["files"] == 0
    bench.drop("second.jsonl", [_event(SUBJECTS[0], "e-1"), _event(SUBJECTS[0], "e-2", payload={"denied": True})])
    again = numbers(bench.ingest(), "audit_log")
    assert (again["files"], again["appended"], again["already_present"], again["appended_denied"]) == (1, 1, 1, 1)


@pytest.mark.long
def test_a_file_that_was_changed_waits_again(bench: AuditBench) -> None:
    """An event file that grew is read again, and only what is new in it is appended."""
    bench.ingest()
    bench.drop("first.jsonl", [_event(candidate_id, event) for candidate_id in SUBJECTS for event in ("e-1", "e-2")])
    again = numbers(bench.ingest(), "audit_log")
    assert (again["appended"], again["already_present"]) == (len(SUBJECTS), len(SUBJECTS))


@pytest.mark.long
def test_files_can_be_named(bench: AuditBench, tmp_path: Path) -> None:
    """A run takes the files that its config names, in the inbox or on the local disk, and no other."""
    outside = tmp_path / "outside.jsonl"
    outside.write_text(json.dumps(_event(SUBJECTS[1], "e-9")) + "\n", encoding="utf-8")
    assert numbers(bench.ingest([str(outside)]), "audit_log")["appended"] == 1
    assert numbers(bench.ingest(["first.jsonl"]), "audit_log")["appended"] == len(SUBJECTS)
    assert not bench.ingest(["nowhere.jsonl"]).success


@pytest.mark.long
def test_what_is_no_event_turns_a_check_red_and_the_rest_is_ingested(bench: AuditBench) -> None:
    """Rejected lines are named by file and line; events about people without a manifest only warn."""
    bench.drop("odd.jsonl", ["no event", _event("P-stranger", "e-1"), {"candidate_id": "P-1"}])
    result = bench.ingest()
    assert result.success
    found = checks(result, dg.AssetKey("audit_log"))
    assert not found["nothing_rejected"].passed
    assert [(row["file"], row["line"]) for row in listed(bench, found["nothing_rejected"])] == [
        ("inbox/odd.jsonl", 1),
        ("inbox/odd.jsonl", 3),
    ]
    unregistered = found["every_events_subject_is_registered"]
    assert (unregistered.passed, unregistered.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert numbers(result, "audit_log")["appended"] == len(SUBJECTS) + 1


@pytest.mark.long
def test_other_content_under_an_id_turns_the_same_check_red(bench: AuditBench) -> None:
    """A line that contradicts what is recorded is counted and named like one that is no event; the first row stands."""
    bench.ingest()
    bench.drop("odd.jsonl", [_event(SUBJECTS[0], "e-1", actor="somebody else")])
    result = bench.ingest()
    assert numbers(result, "audit_log")["conflicting"] == 1
    found = checks(result, dg.AssetKey("audit_log"))["nothing_rejected"]
    assert not found.passed
    assert [(row["file"], row["line"]) for row in listed(bench, found)] == [("inbox/odd.jsonl", 1)]
    assert not [
        path for path in (bench.folder / "store/audit").rglob("*.jsonl") if b"somebody else" in path.read_bytes()
    ]


def test_a_sound_store_is_verified_and_anchored(bench: AuditBench) -> None:
    """All checks are green, and the checkpoint's note is in the metadata as it is in the store."""
    bench.ingest()
    result = bench.verify()
    assert result.success
    assert not red(result, VERIFICATION)
    assert not red(result, CHECKPOINT)
    assert numbers(result, "audit_verification")["chains"] == len(SUBJECTS)
    for asset in ("audit_verification", "audit_checkpoint"):
        assert numbers(result, asset)["store"] == bench.store.location.url
    note = numbers(result, "audit_checkpoint")["note"]
    assert (bench.folder / "store" / "checkpoints" / f"{0:012d}" / "note").read_text(encoding="utf-8") == note


@pytest.mark.long
def test_each_partition_has_its_own_numbers(bench: AuditBench) -> None:
    """One run over all partitions records one materialization of each, with that chunk's chains."""
    bench.ingest()
    result = bench.verify(checkpoint=False)
    chunks = bench.store.intended_chunks()
    per_chunk = {
        event.partition: event.materialization.metadata["chains"].value
        for event in result.get_asset_materialization_events()
        if event.asset_key == VERIFICATION
    }
    assert len(per_chunk) == chunks.count
    for chunk, count in per_chunk.items():
        assert count == sum(chunks.chunk_of(candidate_id) == chunk for candidate_id in SUBJECTS)


def test_a_tampered_row_turns_a_check_red_whose_list_names_the_subject(bench: AuditBench) -> None:
    """The run succeeds, the check says what and where, its list who, and the checkpoint carries the chunk on."""
    bench.ingest()
    bench.verify()
    tamper(bench.segment_of("P-3"), "P-3")
    result = bench.verify()
    assert result.success
    assert red(result, VERIFICATION) == {"chains_intact"}
    check = checks(result, VERIFICATION)["chains_intact"]
    named = listed(bench, check)
    assert {row["candidate_id"]: row["kind"] for row in named} == {"": "bad_segment", "P-3": "bad_mac"}
    table = check.metadata["by_partition"]
    assert isinstance(table, dg.TableMetadataValue)
    chunk = bench.segment_of("P-3").parent.name
    assert [dict(record.data) for record in table.records] == [
        {"partition": chunk, "kind": kind, "found": 1} for kind in ("bad_mac", "bad_segment")
    ]
    assert numbers(result, "audit_verification")["listed"].startswith("findings/")
    assert "nothing_carried_on" in red(result, CHECKPOINT)
    assert numbers(result, "audit_checkpoint")["carried_on"] == 1


@pytest.mark.long
def test_red_stays_red_while_others_are_verified(bench: AuditBench) -> None:
    """A run over other partitions, or an incremental one, does not turn the check green; mending the log does."""
    bench.ingest()
    bench.verify()
    path = bench.segment_of("P-3")
    before = tamper(path, "P-3")
    bench.verify(checkpoint=False)
    other = next(name for name in bench.store.intended_chunks().names if name != path.parent.name)
    elsewhere = bench.verify(chunks=(other, other), checkpoint=False)
    assert red(elsewhere, VERIFICATION) == {"chains_intact"}
    assert path.parent.name in str(checks(elsewhere, VERIFICATION)["chains_intact"].description)
    assert red(bench.verify("incremental", checkpoint=False), VERIFICATION) == {"chains_intact"}
    path.write_text(before, encoding="utf-8")
    assert not red(bench.verify("incremental", checkpoint=False), VERIFICATION)


@pytest.mark.long
def test_a_manifest_changed_behind_the_registrys_back_is_found(bench: AuditBench) -> None:
    """A store whose table was put back to an earlier state is told from one that the registry changed."""
    bench.ingest()
    table = bench.folder / "store" / "subjects"
    shutil.copytree(table, bench.folder / "earlier")
    registry = SubjectRegistry(bench.store, ManifestEvidence(bench.store, "test"))
    registry.put(_manifest("P-5", status="withdrawn"))
    assert not red(bench.verify(), VERIFICATION)
    shutil.rmtree(table)
    shutil.copytree(bench.folder / "earlier", table)
    result = bench.verify()
    assert red(result, VERIFICATION) == {"manifests_unchanged"}
    (row,) = listed(bench, checks(result, VERIFICATION)["manifests_unchanged"])
    assert (row["candidate_id"], row["kind"]) == ("P-5", "changed")


@pytest.mark.long
def test_a_store_rolled_back_with_its_checkpoints_is_found_by_dagsters_copy(bench: AuditBench) -> None:
    """The note that Dagster recorded is not among the stored ones: red, no new checkpoint, and it stays so."""
    bench.ingest()
    bench.verify()
    shutil.copytree(bench.folder / "store", bench.folder / "earlier")
    bench.drop("second.jsonl", [_event("P-1", "e-2")])
    bench.ingest()
    bench.verify()
    shutil.rmtree(bench.folder / "store")
    shutil.copytree(bench.folder / "earlier", bench.folder / "store")
    for mode in ("full", "incremental"):
        result = bench.verify(mode)
        assert "log_matches_last_checkpoint" in red(result, VERIFICATION)
        assert "log_matches_last_checkpoint" in red(result, CHECKPOINT)
        assert not result.success, "no checkpoint may be written over a rollback"
        assert CHECKPOINT not in {event.asset_key for event in result.get_asset_materialization_events()}


@pytest.mark.long
def test_an_incremental_verification_reads_only_what_is_new(bench: AuditBench) -> None:
    """After a checkpoint an unchanged log is not read, and one more event is one row."""
    bench.ingest()
    bench.verify()
    assert numbers(bench.verify("incremental"), "audit_verification")["rows"] == 0
    bench.drop("second.jsonl", [_event("P-1", "e-2")])
    bench.ingest()
    result = bench.verify("incremental")
    assert numbers(result, "audit_verification")["rows"] == 1
    assert not red(result, VERIFICATION)


@pytest.mark.long
def test_without_a_key_ring_the_failure_says_how_to_make_one(
    bench: AuditBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ingestion and verification stop with a message, not with a page of traceback."""
    monkeypatch.setenv("SUBJECT_KEY_RING", "")
    bench.defs = load_definitions()
    for result in (bench.ingest(), bench.verify()):
        assert not result.success
        failed = [event for event in result.all_events if event.is_step_failure]
        assert "subject-pipeline keys new" in str(failed[0].step_failure_data.error)


@pytest.mark.long
def test_every_check_of_a_verification_is_reported_in_every_run(bench: AuditBench) -> None:
    """Also over one partition of a store that holds nothing to verify there."""
    result = bench.verify(chunks=("chunk-0", "chunk-0"), checkpoint=False)
    assert result.success
    assert set(checks(result, VERIFICATION)) == {*CHECKS, FULL_VERIFICATION_IS_RECENT}
