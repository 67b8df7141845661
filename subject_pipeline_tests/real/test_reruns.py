"""Whatever is run again, and however: each person has one manifest, once."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from subject_pipeline.lifecycle.stored_findings import read_findings
from subject_pipeline.manifests.table import ManifestTable
from subject_pipeline.registry.subjects import SubjectRegistry
from subject_pipeline_tests.real.conftest import wait_until
from subject_pipeline_tests.real.dagster_stack import ALL_PARTITIONS, PARTITIONS, DagsterStack
from subject_pipeline_tests.real.shared_stack import (
    A_DRIVERS_RUN,
    AGENTS,
    BAD_AGENT,
    CLERKS,
    DRIVERS,
    FIRST_AGENT,
    NURSES,
    agents,
    stack,
)

__all__ = ["stack"]

pytestmark = pytest.mark.real


@dataclass(frozen=True)
class Table:
    """What the Delta table holds of a dataset's people: its version, and whom."""

    version: int
    ids: list[str]

    @classmethod
    def of(cls, stack: DagsterStack, prefix: str) -> "Table":
        """Read by Polars itself, not by what is tested."""
        snapshot = ManifestTable(stack.store).snapshot()
        assert snapshot is not None
        ids = pl.read_delta(str(stack.store_folder / "subjects"), columns=["candidate_id"])["candidate_id"]
        return cls(snapshot.version, ids.filter(ids.str.starts_with(prefix)).to_list())

    @property
    def nobody_is_there_twice(self) -> bool:
        return len(set(self.ids)) == len(self.ids)


def sums(numbers: list[dict[str, int]]) -> dict[str, int]:
    """Sums over partitions' numbers."""
    return {name: sum(one[name] for one in numbers) for name in ("attempted", "inserted", "skipped", "failed")}


def of_run(stack: DagsterStack, asset: str, run_id: str) -> dict[str, dict[str, int]]:
    """What one run recorded of an asset's partitions."""
    return {item["partition"]: item["numbers"] for item in stack.materializations(asset) if item["runId"] == run_id}


def recorded(stack: DagsterStack, asset: str) -> list[dict[str, int]]:
    """The numbers of all that was ever recorded of an asset."""
    return [item["numbers"] for item in stack.materializations(asset)]


def partition_range(first: str, last: str) -> dict[str, str]:
    """The tags that launch a range as one run, as the page's own launches have them."""
    return {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}


def test_any_partition_and_any_range_at_any_time(stack: DagsterStack) -> None:
    """A range is one run; a partition of it again, and a range that overlaps it, insert only what is missing."""
    asset = "nurses/subject_manifests"
    first = stack.launch("register_nurses", tags=partition_range("chunk-08", "chunk-0f"))
    stack.succeed(first)
    done = of_run(stack, asset, first)
    assert sorted(done) == PARTITIONS[0x08:0x10]
    table = Table.of(stack, "NURSE-")
    assert sums(list(done.values()))["inserted"] == len(table.ids) > 0

    again = stack.launch("register_nurses", tags={"dagster/partition": "chunk-0a"})
    stack.succeed(again)
    numbers = of_run(stack, asset, again)["chunk-0a"]
    assert (numbers["inserted"], numbers["skipped"]) == (0, done["chunk-0a"]["inserted"])
    assert Table.of(stack, "NURSE-") == table

    overlapping = stack.launch("register_nurses", tags=partition_range("chunk-0c", "chunk-13"))
    stack.succeed(overlapping)
    numbers_of = of_run(stack, asset, overlapping)
    assert sorted(numbers_of) == PARTITIONS[0x0C:0x14]
    for partition, numbers in numbers_of.items():
        assert numbers["attempted"] > 0
        assert numbers["skipped" if partition in done else "inserted"] == numbers["attempted"]

    backfill = stack.backfill([asset], PARTITIONS[0x10:])
    assert stack.wait_for_runs_of(backfill) == ["SUCCESS"]
    stack.succeed(stack.launch("register_nurses", tags=ALL_PARTITIONS))
    table = Table.of(stack, "NURSE-")
    assert len(table.ids) == NURSES
    assert table.nobody_is_there_twice
    assert sums(recorded(stack, asset))["inserted"] == NURSES
    assert sums(list(stack.newest(asset).values()))["attempted"] == NURSES


def test_a_backfill_cancelled_half_way_and_started_again(stack: DagsterStack) -> None:
    """Cancelled amid its runs and started again, a backfill does what is not done; nobody is registered twice."""
    asset = "drivers/subject_manifests"
    stack.succeed(stack.launch("register_drivers", tags={"dagster/partition": "chunk-00"}))
    backfill = stack.backfill([asset], PARTITIONS)
    wait_until(lambda: len(stack.newest(asset)) > A_DRIVERS_RUN, 120, "the backfill's first runs", every=0.2)
    stack.cancel_backfill(backfill)
    assert stack.wait_for_backfill(backfill) == "CANCELED"
    done, table = stack.newest(asset), Table.of(stack, "DRIVER-")
    assert A_DRIVERS_RUN < len(done) < len(PARTITIONS)
    # A run that is stopped between commit and record leaves more in the table than on the page, never less.
    assert sums(recorded(stack, asset))["inserted"] <= len(table.ids) < DRIVERS
    assert table.nobody_is_there_twice

    rest = stack.reexecute_backfill(backfill)
    assert stack.wait_for_backfill(rest) == "COMPLETED_SUCCESS"
    runs = {run["runId"] for run in stack.runs(tags=[{"key": "dagster/backfill", "value": rest}])}
    numbers_of = {item["partition"]: item["numbers"] for item in stack.materializations(asset) if item["runId"] in runs}
    assert set(numbers_of) == set(PARTITIONS) - set(done)
    assert len(runs) == -(-len(numbers_of) // A_DRIVERS_RUN)
    assert sums(list(numbers_of.values()))["inserted"] == DRIVERS - len(table.ids)
    whole = Table.of(stack, "DRIVER-")
    assert len(whole.ids) == DRIVERS
    assert whole.nobody_is_there_twice

    stack.succeed(stack.launch("register_drivers", tags=ALL_PARTITIONS))
    numbers = sums(list(stack.newest(asset).values()))
    assert numbers == {"attempted": DRIVERS, "inserted": 0, "skipped": DRIVERS, "failed": 0}
    assert Table.of(stack, "DRIVER-") == whole


def unusable(folder: Path) -> Path:
    """Put a file where a folder of the store must be, as a wrong mount would; returns where the folder is kept."""
    kept = folder.with_name(f".{folder.name}.kept")
    folder.rename(kept)
    folder.write_bytes(b"")
    return kept


def test_from_failure_after_the_store_failed(stack: DagsterStack) -> None:
    """A run that the store failed says so, and lists why; from failure it is done without staging again."""
    asset, staging = "clerks/subject_manifests", "clerks/candidate_chunks"
    stack.succeed(stack.launch("register_clerks", tags={"dagster/partition": "chunk-1a"}))
    before = Table.of(stack, "CLERK-")
    folder = stack.store_folder / "subjects" / "chunk=chunk-1a"
    kept = unusable(folder)
    try:
        failed = stack.launch("register_clerks", tags=ALL_PARTITIONS)
        assert stack.wait(failed) == "FAILURE"
        said = "\n".join(stack.failures(failed))
        listed = re.search(r"findings/\S+/subject_manifests\.parquet", said)
        assert listed, said
        assert "chunk-1a" in pl.read_parquet(stack.store_folder / listed[0]).write_json()
        assert "Traceback" not in said
    finally:
        folder.unlink()
        kept.rename(folder)
    assert of_run(stack, asset, failed) == {}
    assert len(stack.materializations(staging)) == 2
    assert Table.of(stack, "CLERK-") == before

    again = stack.reexecute(failed)
    stack.succeed(again)
    assert len(stack.materializations(staging)) == 2
    numbers_of = of_run(stack, asset, again)
    assert sorted(numbers_of) == PARTITIONS
    assert sums(list(numbers_of.values())) == {
        "attempted": CLERKS,
        "inserted": CLERKS - len(before.ids),
        "skipped": len(before.ids),
        "failed": 0,
    }
    table = Table.of(stack, "CLERK-")
    assert len(table.ids) == CLERKS
    assert table.nobody_is_there_twice


def test_one_partition_of_all_with_a_bad_candidate(stack: DagsterStack) -> None:
    """Its partition's numbers and the checks' tables name the bad one, all others are done; repaired, all is green."""
    asset = "agents/subject_manifests"
    stack.succeed(stack.launch("register_agents", tags=ALL_PARTITIONS))
    numbers_of = stack.newest(asset)
    bad = [partition for partition, numbers in numbers_of.items() if numbers["failed"]]
    assert len(numbers_of) == len(PARTITIONS)
    assert len(bad) == 1
    assert numbers_of[bad[0]]["failed"] == 1
    assert sums(list(numbers_of.values())) == {
        "attempted": AGENTS,
        "inserted": AGENTS - 1,
        "skipped": 0,
        "failed": 1,
    }
    assert len(Table.of(stack, "AGENT").ids) == AGENTS - 1
    assert SubjectRegistry(stack.store).get(FIRST_AGENT).candidate_id == FIRST_AGENT

    found: dict[str, Any] = stack.evaluations(asset)
    assert found["counts_add_up"]["success"]
    for red in ("every_staged_candidate_has_a_manifest", "no_collisions"):
        assert not found[red]["success"]
        assert found[red]["severity"] == "ERROR"
        assert BAD_AGENT not in str(found[red])
        (listed,) = read_findings(stack.store.objects, found[red]["listed"])
        assert (listed["partition"], listed["candidate_id"]) == (bad[0], BAD_AGENT)
        assert FIRST_AGENT in listed["reason"]

    repaired = agents().with_columns(pl.col("id").replace(BAD_AGENT, "AGENT-OTHER-1042"))
    repaired.write_parquet(stack.project / "sample_data" / "agents.parquet")
    stack.succeed(stack.launch("register_agents", tags=ALL_PARTITIONS))
    assert sums(list(stack.newest(asset).values())) == {
        "attempted": AGENTS,
        "inserted": 1,
        "skipped": AGENTS - 1,
        "failed": 0,
    }
    assert all(stack.checks(asset).values())
