"""What Dagster shows as out of date: whatever lies downstream of something that changed, and nothing else."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest

from subject_pipeline.components import SubjectDataset
from subject_pipeline.definitions import defs as load_definitions
from subject_pipeline.store.datasets import DatasetDeclaration
from subject_pipeline_tests.conftest import Prepared
from subject_pipeline_tests.helpers.verifying import (
    CHECKPOINT,
    NAMES,
    SUBJECTS,
    VERIFICATION,
    Verifying,
    subject_in,
    verifying,
)

CANDIDATES, MANIFESTS = dg.AssetKey(["workers", "candidate_chunks"]), dg.AssetKey(["workers", "subject_manifests"])
SOURCE, CURRENT = dg.AssetKey(["workers", "source"]), dg.AssetCheckKey(CANDIDATES, "staging_is_current")
LOG, REPORT = dg.AssetKey("audit_log"), dg.AssetKey("compliance_report")


def test_every_asset_that_is_made_has_a_code_version() -> None:
    """Without one Dagster takes the run's id for it, and every re-run makes everything downstream stale."""
    graph = load_definitions().resolve_asset_graph()
    assert {key.to_user_string() for key in graph.materializable_asset_keys if not graph.get(key).code_version} == set()


class Bench:
    """The whole code location, with a source of its own."""

    def __init__(self, made: Verifying, source: Path) -> None:
        self.made, self.source = made, source
        self.defs = made.defs = load_definitions()

    def write(self, *ids: str) -> None:
        """Replace the source."""
        pl.DataFrame({"worker_id": ids}).write_parquet(self.source)

    def run(self, job: str, *assets: dg.AssetKey, chunks: tuple[str, ...] = NAMES) -> None:
        """Run a job, or some of its assets."""
        result = self.defs.resolve_job_def(job).execute_in_process(
            instance=self.made.instance,
            tags={"dagster/asset_partition_range_start": chunks[0], "dagster/asset_partition_range_end": chunks[-1]},
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            asset_selection=list(assets) or None,
        )
        assert result.success

    def observe(self) -> None:
        """Look at the source, as the UI's button and the sensor do."""
        job = dg.define_asset_job("look", selection=dg.AssetSelection.assets(SOURCE))
        whole = dg.Definitions.merge(self.defs, dg.Definitions(jobs=[job]))
        assert whole.resolve_job_def("look").execute_in_process(instance=self.made.instance).success

    def current(self) -> tuple[bool, str]:
        """The check of the staging, evaluated alone."""
        job = dg.define_asset_job("look", selection=dg.AssetSelection.checks(CURRENT))
        result = (
            dg.Definitions.merge(self.defs, dg.Definitions(jobs=[job]))
            .resolve_job_def("look")
            .execute_in_process(instance=self.made.instance)
        )
        (found,) = result.get_asset_check_evaluations()
        return found.passed, found.description or ""

    def everything(self) -> None:
        """Run all jobs, as a person would who wants everything up to date."""
        for job in (
            "register_workers",
            "apply_decisions",
            "carry_out_erasures",
            "ingest_access_events",
            "verify_checkpoint_and_report",
        ):
            self.run(job)

    def stale(self) -> set[str]:
        """The assets, or partitions of one, that Dagster's pages do not show fresh."""
        graph = self.defs.resolve_asset_graph()
        instance = self.made.instance
        resolver = CachingStaleStatusResolver(instance, graph, LoadingContextForTest(instance))
        return {
            " ".join(filter(None, (key.to_user_string(), partition)))
            for key in graph.materializable_asset_keys
            for partition in (NAMES if graph.get(key).is_partitioned else (None,))
            if resolver.get_status(key, partition) is not StaleStatus.FRESH
        }


@pytest.fixture
def bench(tmp_path: Path, prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """Everything was run once."""
    source = tmp_path / "workers.parquet"
    declaration = DatasetDeclaration(name="workers", source=str(source), key_column="worker_id")
    monkeypatch.setattr(SubjectDataset, "declaration", lambda *_: declaration)
    with verifying(tmp_path, prepared, monkeypatch) as made:
        ready = Bench(made, source)
        ready.write(*SUBJECTS, "P-new")
        ready.everything()
        yield ready


@pytest.mark.long
def test_a_re_run_that_changed_nothing_leaves_everything_fresh(bench: Bench) -> None:
    """All of it, and some partitions alone."""
    assert bench.stale() == set()
    bench.everything()
    assert bench.stale() == set()
    bench.run("register_workers", MANIFESTS, chunks=NAMES[:1])
    assert bench.stale() == set()
    bench.run("verify_checkpoint_and_report", VERIFICATION, chunks=NAMES[1:3])
    assert bench.stale() == set()
    bench.run("verify_checkpoint_and_report", CHECKPOINT)
    assert bench.stale() == set()


@pytest.mark.long
def test_what_lies_downstream_of_a_change_is_stale(bench: Bench) -> None:
    """New events make the verification stale, a new source what is registered; running them makes all of it fresh."""
    bench.made.append(subject_in(NAMES[0]), "e-2")
    bench.run("ingest_access_events")
    assert bench.stale() == {f"audit_verification {name}" for name in NAMES}
    bench.run("verify_checkpoint_and_report", VERIFICATION)
    assert bench.stale() == {"audit_checkpoint"}
    bench.run("verify_checkpoint_and_report", CHECKPOINT)
    assert bench.stale() == {"compliance_report"}
    bench.run("verify_checkpoint_and_report", REPORT)
    bench.write(*SUBJECTS, "P-new", "P-newer")
    bench.run("register_workers", CANDIDATES)
    assert bench.stale() == {f"workers/subject_manifests {name}" for name in NAMES}
    bench.everything()
    assert bench.stale() == set()


@pytest.mark.long
def test_an_observed_source_makes_stale_what_was_made_of_another_and_nothing_else(bench: Bench) -> None:
    """Whether it was observed before it was staged, after, or never."""
    bench.observe()
    assert bench.stale() == set(), "it is what was staged, though nobody had looked before"
    bench.write(*SUBJECTS, "P-new", "P-newer")
    bench.observe()
    downstream = {f"workers/subject_manifests {name}" for name in NAMES}
    assert {"workers/candidate_chunks"} <= bench.stale() <= {"workers/candidate_chunks"} | downstream
    bench.write(*SUBJECTS, "P-new", "P-newer", "P-newest")
    bench.everything()
    assert bench.stale() == set(), "it is what was staged, though nobody had looked since it changed"
    bench.observe()
    assert bench.stale() == set()


@pytest.mark.long
def test_a_staging_says_whether_it_is_of_the_source_as_it_is_now(bench: Bench) -> None:
    """Without anybody observing anything; partitions that were registered from an older staging are counted."""
    assert bench.current() == (True, "the source is as it was staged, and all partitions are of that staging")
    bench.write(*SUBJECTS, "P-new", "P-newer")
    passed, words = bench.current()
    assert not passed
    assert "changed since it was staged" in words
    bench.run("register_workers", CANDIDATES)
    assert bench.current() == (False, "4 partitions were registered from an older staging")
    bench.run("register_workers", MANIFESTS, chunks=NAMES[:3])
    assert bench.current() == (False, "1 partitions were registered from an older staging")
    bench.run("register_workers", MANIFESTS)
    assert bench.current()[0]
    bench.source.unlink()
    assert bench.current() == (False, "the source cannot be listed")
