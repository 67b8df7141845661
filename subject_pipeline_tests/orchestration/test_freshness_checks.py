import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster import DagsterInstance

from subject_pipeline.anchoring.checkpointing import write_checkpoint
from subject_pipeline.orchestration.freshness_checks import (
    CHECKPOINT,
    CHECKPOINT_IS_RECENT,
    FULL_VERIFICATION_IS_RECENT,
    VERIFICATION,
    checkpoint_check,
    full_verification_check,
)
from subject_pipeline.orchestration.history.partitions import FULL_VERIFICATION, PastPartitions
from subject_pipeline.orchestration.resources import KeyRingResource, LayoutResource, StoreResource
from subject_pipeline.project.platform import Automation
from subject_pipeline_tests.orchestration.assets.test_audit_assets import CHUNKS, AuditBench, bench, checks, red

__all__ = ["bench"]

DAY = dt.timedelta(days=1)
NAMES = [f"chunk-{number:04x}" for number in range(600)]


@pytest.fixture
def instance() -> Iterator[DagsterInstance]:
    """A history that is empty."""
    with DagsterInstance.ephemeral() as made:
        yield made


def verified(instance: DagsterInstance, names: list[str], **metadata: Any) -> None:
    """Record that partitions were verified."""
    for name in names:
        instance.report_runless_asset_event(dg.AssetMaterialization(VERIFICATION, partition=name, metadata=metadata))


def looked(
    instance: DagsterInstance, *, names: list[str] | None = None, later: dt.timedelta = dt.timedelta()
) -> dg.AssetCheckEvaluation:
    """What the check of full verifications says, so much later."""
    check = full_verification_check(names or NAMES, Automation(), clock=lambda: dt.datetime.now(dt.UTC) + later)
    return evaluated(check, instance, {})


def evaluated(
    check: dg.AssetChecksDefinition, instance: DagsterInstance, resources: dict[str, Any]
) -> dg.AssetCheckEvaluation:
    """What one check says, evaluated without its asset."""
    job = dg.define_asset_job("look", selection=dg.AssetSelection.all_asset_checks())
    defs = dg.Definitions(asset_checks=[check], jobs=[job], resources=resources)
    done = defs.resolve_job_def("look").execute_in_process(instance=instance)
    (found,) = done.get_asset_check_evaluations()
    return found


def number(evaluation: dg.AssetCheckEvaluation, name: str) -> Any:
    """One number of an evaluation."""
    return evaluation.metadata[name].value


def rows(evaluation: dg.AssetCheckEvaluation) -> list[dg.TableRecord]:
    """The table of what is stale."""
    table = evaluation.metadata["stale"]
    assert isinstance(table, dg.TableMetadataValue)
    return list(table.records)


@pytest.mark.long
def test_a_full_verification_is_recent_until_it_is_not(instance: DagsterInstance) -> None:
    """Green on the day and within the limit, red after it, an error, with a table of partitions that is bounded."""
    verified(instance, NAMES[:501], mode="full")
    assert looked(instance, names=NAMES[:501]).passed
    assert looked(instance, names=NAMES[:501], later=7.9 * DAY).passed
    late = looked(instance, names=NAMES[:501], later=9 * DAY)
    assert not late.passed
    assert late.severity is dg.AssetCheckSeverity.ERROR
    assert (number(late, "stale_partitions"), number(late, "never_verified")) == (501, 0)
    assert 8.9 < number(late, "oldest_days") < 9.1
    assert len(rows(late)) == 500


@pytest.mark.long
def test_one_partition_that_was_never_verified_is_enough(instance: DagsterInstance) -> None:
    """It is named, first."""
    verified(instance, NAMES[1:64], mode="full")
    found = looked(instance, names=NAMES[:64])
    assert not found.passed
    assert found.description == "1 of 64 partitions overdue, 1 of them never verified in full"
    first = rows(found)[0].data
    assert (first["partition"], first["last_full_verification"]) == (NAMES[0], "never")


@pytest.mark.long
def test_incremental_verifications_do_not_count_but_carry_on(instance: DagsterInstance) -> None:
    """An incremental one alone leaves it red; with the time of the last full one it is as old as that."""
    verified(instance, ["a", "b"], mode="incremental")
    assert number(looked(instance, names=["a", "b"]), "never_verified") == 2
    at = dt.datetime.now(dt.UTC) - 5 * DAY
    verified(instance, ["a"], mode="incremental", **{FULL_VERIFICATION: dg.MetadataValue.timestamp(at)})
    found = looked(instance, names=["a"])
    assert found.passed
    assert 4.9 < number(found, "oldest_days") < 5.1
    assert not looked(instance, names=["a"], later=4 * DAY).passed


def test_a_full_verification_that_could_not_read_does_not_count(instance: DagsterInstance) -> None:
    """A store that failed was not verified."""
    verified(instance, ["a"], mode="full", **{"problems/nothing_unreadable": 3})
    assert not looked(instance, names=["a"]).passed


@pytest.mark.long
def test_it_reads_one_record_a_partition(instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many runs there were, and more partitions than Dagster gives at once."""
    verified(instance, NAMES, mode="full")
    verified(instance, NAMES[:20], mode="full")
    fetched: list[int] = []
    fetch = DagsterInstance.fetch_materializations

    def counted(self: DagsterInstance, wanted: Any, limit: int, **more: Any) -> Any:
        result = fetch(self, wanted, limit=limit, **more)
        fetched.append(len(result.records))
        return result

    monkeypatch.setattr(DagsterInstance, "fetch_materializations", counted)
    assert len(PastPartitions.of(instance, VERIFICATION).full) == len(NAMES)
    assert (sum(fetched), len(fetched)) == (len(NAMES), 2)


def checkpoint_said(
    bench: AuditBench, *, later: dt.timedelta = dt.timedelta(), url: str | None = None
) -> dg.AssetCheckEvaluation:
    """What the check of checkpoints says, so much later."""
    check = checkpoint_check(Automation(), clock=lambda: dt.datetime.now(dt.UTC) + later)
    resources = {
        "store": StoreResource(url=url or str(bench.folder / "store"), layout=LayoutResource(chunk_count=CHUNKS)),
        "key_ring": KeyRingResource(path=str(bench.folder / "ring.json")),
    }
    return evaluated(check, bench.instance, resources)


@pytest.mark.long
def test_the_checks_of_a_run_see_what_the_run_did(bench: AuditBench) -> None:
    """Never verified: red; after the job both are green in the same run; an incremental one keeps them so."""
    run = bench.defs.resolve_job_def("check_freshness").execute_in_process(instance=bench.instance)
    assert {name for asset in (VERIFICATION, CHECKPOINT) for name in red(run, asset)} == {
        FULL_VERIFICATION_IS_RECENT,
        CHECKPOINT_IS_RECENT,
    }
    bench.ingest()
    one = bench.verify(chunks=("chunk-0", "chunk-0"), checkpoint=False)
    assert number(checks(one, VERIFICATION)[FULL_VERIFICATION_IS_RECENT], "stale_partitions") == CHUNKS - 1
    full = bench.verify()
    assert full.success
    assert red(full, VERIFICATION) == red(full, CHECKPOINT) == set()
    nightly = bench.verify("incremental")
    assert red(nightly, VERIFICATION) == red(nightly, CHECKPOINT) == set()
    past = PastPartitions.of(bench.instance, VERIFICATION)
    verified_at = {when for name, when in past.full.items()}
    assert len(past.full) == CHUNKS
    assert len(verified_at) == 1
    again = bench.defs.resolve_job_def("check_freshness").execute_in_process(instance=bench.instance)
    assert all(one.passed for one in again.get_asset_check_evaluations())
    assert len(again.get_asset_check_evaluations()) == 2


@pytest.mark.long
def test_a_checkpoint_is_recent_until_it_is_not(bench: AuditBench) -> None:
    """By Dagster's own record; where the store has another one, or cannot be read, the description says so."""
    bench.ingest()
    assert checkpoint_said(bench).description == "Dagster recorded none"
    bench.verify()
    assert checkpoint_said(bench, later=1.9 * DAY).passed
    late = checkpoint_said(bench, later=3 * DAY)
    assert not late.passed
    assert late.description == "checkpoint 0 is 3.0 days old, 2 are allowed"
    assert 71.9 < number(late, "age_hours") < 72.1

    assert write_checkpoint(bench.store).written is not None
    assert "the store's newest is number 1 of 20" in str(checkpoint_said(bench).description)
    for path in Path(bench.folder / "store" / "checkpoints").rglob("*"):
        if path.is_file():
            path.unlink()
    gone = checkpoint_said(bench)
    assert gone.passed
    assert str(gone.description).endswith("is gone: the store has 0 checkpoints")
    assert "could not be read (" in str(checkpoint_said(bench, url="ftp://nowhere/store").description)
    (bench.folder / "ring.json").unlink()
    assert "could not be read (KeyRingError" in str(checkpoint_said(bench).description)


def dagsters_own(bench: AuditBench, within: dt.timedelta) -> dg.AssetCheckEvaluation:
    """What Dagster's own check of the same asset says."""
    (check,) = dg.build_last_update_freshness_checks(assets=[CHECKPOINT], lower_bound_delta=within)
    return evaluated(check, bench.instance, {})


@pytest.mark.long
def test_dagsters_own_freshness_check_is_as_right_about_the_age_and_knows_nothing_else(bench: AuditBench) -> None:
    """Why ours stays: it judges ages alike, and does not say that the store's checkpoint is another, or gone."""
    assert not dagsters_own(bench, 2 * DAY).passed
    bench.ingest()
    bench.verify()
    assert dagsters_own(bench, 2 * DAY).passed
    assert not dagsters_own(bench, dt.timedelta(0)).passed
    name = dagsters_own(bench, 2 * DAY).check_name
    for path in Path(bench.folder / "store" / "checkpoints").rglob("*"):
        if path.is_file():
            path.unlink()
    after = dagsters_own(bench, 2 * DAY)
    assert after.passed
    assert "gone" not in str(after.description)
    assert "is gone" in str(checkpoint_said(bench).description)
    assert name != CHECKPOINT_IS_RECENT, "and its name cannot be chosen"
