"""A check on a partitioned asset says what the last records of all partitions say, whichever run ends last."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import polars as pl
import pytest
from dagster import DagsterRunStatus
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationPlanned as _Planned
from dagster._core.test_utils import create_run_for_test

from subject_pipeline.components import subject_dataset
from subject_pipeline.orchestration import lasting_checks as module
from subject_pipeline.orchestration.history.partitions import PastPartitions
from subject_pipeline.orchestration.history.trouble import trouble
from subject_pipeline.registry.registering import register_dataset
from subject_pipeline.store.chunks import ChunkLayout
from subject_pipeline_tests.helpers.instances import dagster_instance
from subject_pipeline_tests.helpers.projects import definitions_of
from subject_pipeline_tests.helpers.verifying import meanwhile

MANIFESTS = dg.AssetKey(["people", "subject_manifests"])
LAYOUT = ChunkLayout(4)
ONE, TWO, *_ = NAMES = LAYOUT.names
IDS = [f"W-{number}" for number in range(40)]
REGISTERED = dg.AssetCheckKey(MANIFESTS, "every_staged_candidate_has_a_manifest")
CHECKS = [dg.AssetCheckKey(MANIFESTS, name) for name in ("counts_add_up", REGISTERED.name, "no_collisions")]


def bad(chunk: str) -> str:
    """A candidate of a chunk that cannot be registered."""
    return next(text for length in count(201) if LAYOUT.chunk_of(text := "x" * length) == chunk)


def colliding(chunk: str) -> list[str]:
    """Two candidates of a chunk that share a storage key."""
    number = next(number for number in count() if LAYOUT.chunk_of(f"Z_{number}") == chunk)
    return [f"Z_{number}", f"Z/{number}"]


@dataclass
class Bench:
    """A dataset in four chunks."""

    source: Path
    instance: dg.DagsterInstance
    defs: dg.Definitions

    def stage(self, *odd: str) -> None:
        """Replace the source by 40 sound candidates and these, and stage it."""
        pl.DataFrame({"id": [*IDS, *odd]}, schema={"id": pl.String}).write_parquet(self.source)
        assert self.run(*NAMES, asset="candidate_chunks").success

    def run(
        self, *chunks: str, job: str = "register_people", asset: str = "subject_manifests"
    ) -> dg.ExecuteInProcessResult:
        """Run one asset over the range from the first to the last of these chunks."""
        return self.defs.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            tags={"dagster/asset_partition_range_start": chunks[0], "dagster/asset_partition_range_end": chunks[-1]},
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            asset_selection=[dg.AssetKey(["people", asset])],
            raise_on_error=False,
        )

    def red(self) -> set[str]:
        """The checks that Dagster's pages show red."""
        return {key.name for key in CHECKS if not self.shown(key).passed}

    def shown(self, check: dg.AssetCheckKey = REGISTERED) -> dg.AssetCheckEvaluation:
        """The evaluation that Dagster's pages show."""
        record = self.instance.get_latest_asset_check_evaluation_record(check)
        assert record is not None
        assert isinstance(record.evaluation, dg.AssetCheckEvaluation)
        return record.evaluation

    def evaluations(self) -> int:
        """How many evaluations of a check there are."""
        return len(self.instance.event_log_storage.get_asset_check_execution_history(REGISTERED, limit=100))


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """A bench on SQLite, whose backfills have a run for each chunk."""
    monkeypatch.setenv("SUBJECT_CHUNKS", "4")
    declared = {
        "name": "people", "source": str(tmp_path / "people.parquet"), "key_column": "id", "all": True,
        "partitions_per_run": 1,
    }  # fmt: skip
    platform = {"store": str(tmp_path / "store"), "chunks": 4}
    with dagster_instance() as instance, definitions_of(platform, declared) as defs:
        yield Bench(tmp_path / "people.parquet", instance, defs)


@pytest.mark.long
@pytest.mark.parametrize("job", ["register_people", "__ASSET_JOB"])
def test_red_stays_red_while_other_partitions_are_registered(bench: Bench, job: str) -> None:
    """By the dataset's job, an asset's page or a backfill; only the partition's own run turns it green."""
    bench.stage(bad(ONE), *colliding(ONE))
    bench.run(ONE, job=job)
    assert bench.red() == {REGISTERED.name, "no_collisions"}
    for chunk in NAMES[1:]:
        assert bench.run(chunk, job=job).success
        assert bench.red() == {REGISTERED.name, "no_collisions"}
    assert f"none in this run; still red from earlier runs: {ONE}" in str(bench.shown().description)
    assert bench.shown().metadata["red_partitions"].value == ONE
    bench.stage()
    bench.run(TWO, job=job)
    assert bench.red() == {REGISTERED.name, "no_collisions"}
    bench.run(ONE, job=job)
    assert bench.red() == set()


@pytest.mark.long
def test_the_alert_of_a_run_names_the_partitions_that_are_still_red(bench: Bench) -> None:
    """Also where its own tables name none, since it found nothing itself."""
    bench.stage(bad(ONE))
    bench.run(ONE)
    run = bench.instance.get_run_by_id(bench.run(TWO).run_id)
    assert run is not None
    told = trouble(bench.instance, run, {}, dagster_url="http://dagster")
    assert told is not None
    assert [(check.check, list(check.partitions)) for check in told.checks] == [(REGISTERED.name, [ONE])]


@pytest.mark.long
def test_a_partition_whose_counts_do_not_add_up_stays_red(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the other checks of a registration do."""
    bench.stage()
    with monkeypatch.context() as patched:
        patched.setattr(subject_dataset, "register_dataset", _losing_a_row)
        bench.run(ONE)
    assert bench.red() == {"counts_add_up"}
    bench.run(TWO)
    assert bench.red() == {"counts_add_up"}
    bench.run(ONE)
    assert bench.red() == set()


def _losing_a_row(*args: Any, **options: Any) -> Any:
    done = register_dataset(*args, **options)
    done.outcomes = [replace(one, rows=one.rows + 1) for one in done.outcomes]
    return done


@pytest.mark.long
def test_of_two_runs_at_once_the_one_that_began_first_and_ends_red_last_is_shown(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dagster shows the evaluation of the run that was planned last, here one that knew nothing of the other."""
    bench.stage(bad(ONE))
    meanwhile(monkeypatch, subject_dataset, "register_dataset", lambda: bench.run(TWO))
    bench.run(ONE)
    assert bench.red() == {REGISTERED.name}
    assert bench.shown().metadata["red_partitions"].value == ONE


@pytest.mark.long
def test_a_run_that_ends_between_anothers_look_and_its_word_is_not_lost(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The later looks once more after it has spoken."""
    bench.stage(bad(ONE))
    looks = SimpleNamespace(of=PastPartitions.of)  # of the checks: the asset itself looked before it began
    monkeypatch.setattr(module, "PastPartitions", looks)
    meanwhile(monkeypatch, looks, "of", lambda: bench.run(ONE))
    assert {one.check_name: one.passed for one in bench.run(TWO).get_asset_check_evaluations()}[REGISTERED.name]
    assert bench.red() == {REGISTERED.name}


@pytest.mark.long
def test_a_repair_that_overlaps_another_run_is_shown(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a partition that both runs did, the record that was stored last counts."""
    bench.stage(bad(ONE))
    bench.run(ONE)
    bench.stage()
    meanwhile(monkeypatch, PastPartitions, "of", lambda: bench.run(ONE))
    bench.run(TWO)
    assert bench.red() == set()


@pytest.mark.long
def test_a_run_that_is_alone_says_everything_once(bench: Bench) -> None:
    """Corrections are for runs that overlap."""
    bench.stage(bad(ONE))
    for before, chunk in enumerate(NAMES):
        bench.run(chunk)
        assert bench.evaluations() == before + 1


@pytest.mark.long
@pytest.mark.parametrize(("status", "said"), [(DagsterRunStatus.STARTED, False), (DagsterRunStatus.CANCELED, True)])
def test_a_run_that_was_planned_later_speaks_for_itself_unless_it_never_will(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, status: DagsterRunStatus, *, said: bool
) -> None:
    """Nothing is said over a run that is going; over one that was cancelled, red is shown again."""
    bench.stage(bad(ONE))

    def planned() -> None:
        run = create_run_for_test(bench.instance, job_name="register_people", status=status)
        for key in CHECKS:
            planned = dg.DagsterEvent(
                event_type_value=dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED.value,
                job_name="register_people",
                event_specific_data=_Planned(asset_key=key.asset_key, check_name=key.name),
            )
            bench.instance.report_dagster_event(planned, run_id=run.run_id)

    meanwhile(monkeypatch, subject_dataset, "register_dataset", planned)
    bench.run(ONE)
    record = bench.instance.get_latest_asset_check_evaluation_record(REGISTERED)
    assert record is not None
    assert isinstance(record.evaluation, dg.AssetCheckEvaluation) is said
