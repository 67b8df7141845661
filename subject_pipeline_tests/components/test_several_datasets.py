"""Two datasets of the same people in Dagster: linking and who vanished, in metadata and in checks."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from subject_pipeline.keys.ring import KeyRing
from subject_pipeline.keys.ring_file import create_ring
from subject_pipeline.orchestration.history.stagings import vanished_by_dataset
from subject_pipeline.registry.subjects import SubjectRegistry
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline_tests.helpers.instances import dagster_instance
from subject_pipeline_tests.helpers.projects import definitions_of

IDS = [f"W-{number}" for number in range(40)]
CHECK = "source_reconciled"


@dataclass
class Two:
    """The datasets `workers` and `drivers`, their store and a Dagster instance."""

    folder: Path
    store: SubjectStore
    instance: dg.DagsterInstance
    defs: dg.Definitions

    def run(self, name: str, ids: Sequence[str] | None = None, **options: Any) -> dg.ExecuteInProcessResult:
        """Write a dataset's source, if it is given, and run its job over all four partitions."""
        if ids is not None:
            pl.DataFrame({"id": ids}, schema={"id": pl.String}).write_parquet(self.folder / f"{name}.parquet")
        result = self.defs.resolve_job_def(f"register_{name}").execute_in_process(
            instance=self.instance,
            tags={
                "dagster/asset_partition_range_start": "chunk-0",
                "dagster/asset_partition_range_end": "chunk-3",
            },
            run_config={
                "resources": {f"{name}_options": {"config": options}},
                "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
            },
            asset_selection=[dg.AssetKey([name, "candidate_chunks"])] if options.get("dry_run") else None,
            raise_on_error=False,
        )
        assert result.success
        return result


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Two]:
    """Two datasets with a key ring in a store of four chunks; of `workers` a quarter may vanish."""
    ring = tmp_path / "ring.json"
    create_ring(ring, KeyRing.new(bytes(range(32)), bytes(range(32, 64))))
    url = str(tmp_path / "store")
    platform = {"store": url, "chunks": 4, "key_ring": str(ring)}
    datasets = [
        {"name": name, "source": str(tmp_path / f"{name}.parquet"), "key_column": "id", "all": True, **attributes}
        for name, attributes in (("workers", {"vanished_share": 0.25}), ("drivers", {"safe_views": ["d"]}))
    ]
    with dagster_instance() as instance, definitions_of(platform, *datasets) as defs:
        yield Two(tmp_path, SubjectStore.at(url, wanted_chunks=4), instance, defs)


def _of(result: dg.ExecuteInProcessResult, asset: str) -> dict[str | None, dict[str, Any]]:
    """Each partition's metadata of an asset."""
    return {
        event.partition: {name: value.value for name, value in event.materialization.metadata.items()}
        for event in result.get_asset_materialization_events()
        if event.asset_key is not None and event.asset_key.path[-1] == asset
    }


def _check(result: dg.ExecuteInProcessResult) -> tuple[bool, str, str]:
    (found,) = [one for one in result.get_asset_check_evaluations() if one.check_name == CHECK]
    return found.passed, found.severity.name, found.description or ""


@pytest.mark.long
def test_links_are_counted_in_each_partition(two: Two) -> None:
    """Each partition says how many of its people were linked; a second run links nobody, and all checks are green."""
    two.run("workers", IDS)

    result = two.run("drivers", [*IDS[:10], "X-1"])

    partitions = _of(result, "subject_manifests")
    assert sorted(map(str, partitions)) == [f"chunk-{digit}" for digit in range(4)]
    assert sum(numbers["linked"] for numbers in partitions.values()) == 10
    assert sum(numbers["inserted"] for numbers in partitions.values()) == 1
    assert all(numbers["linked"] == numbers["skipped"] for numbers in partitions.values())
    assert all(numbers["linkable_with_key_ring"] == 0 for numbers in partitions.values())
    (sums,) = [one for one in result.get_asset_check_evaluations() if one.check_name == "counts_add_up"]
    assert sums.metadata["linked"].value == 10
    assert all(one.passed for one in result.get_asset_check_evaluations())
    manifest = SubjectRegistry(two.store).get(IDS[0])
    assert [there.name for there in manifest.datasets] == ["workers", "drivers"]
    assert manifest.safe_views == ("d",)
    again = _of(two.run("drivers"), "subject_manifests")
    assert sum(numbers["linked"] for numbers in again.values()) == 0


@pytest.mark.long
def test_who_vanished_warns_and_past_the_share_is_an_error(two: Two) -> None:
    """Staging counts anyone who is gone; the check warns up to the YAML's share and is an error beyond, until repaired.

    A staging of some rows, and a dry run, say nothing new: what was red stays red.
    """
    first = two.run("workers", IDS)
    assert _of(first, "candidate_chunks")[None]["vanished"] == 0
    assert _check(first) == (True, "WARN", "0 of 0 subjects are not in the source")

    some = two.run("workers", IDS[10:])
    assert _of(some, "candidate_chunks")[None]["vanished"] == 10
    assert _check(some) == (False, "WARN", "10 of 40 subjects are not in the source")

    many = two.run("workers", IDS[11:])
    assert _check(many) == (False, "ERROR", "11 of 40 subjects are not in the source")

    earlier = "11 of 40 subjects are not in the source, as of the last run that read all rows"
    few = two.run("workers", all=False, limit=3)
    assert "vanished" not in _of(few, "candidate_chunks")[None]
    assert _check(few) == (False, "ERROR", earlier)
    dry = two.run("workers", dry_run=True)
    assert _check(dry) == (False, "ERROR", earlier)
    (observation,) = dry.get_asset_observation_events()
    assert observation.asset_observation_data.asset_observation.metadata["vanished"].value == 11

    assert vanished_by_dataset(two.instance, ["workers", "drivers"]) == {"workers": 11}, "drivers was never read"

    assert _check(two.run("workers", IDS)) == (True, "WARN", "0 of 40 subjects are not in the source")


@pytest.mark.long
def test_before_all_rows_were_read_nothing_is_said(two: Two) -> None:
    """A dataset of which only some rows were ever read has nothing to reconcile."""
    result = two.run("workers", IDS, all=False, limit=5)

    assert _check(result) == (True, "WARN", "no run has read all rows of the source yet")


@pytest.mark.long
def test_a_dry_run_says_who_would_be_linked(two: Two) -> None:
    """The forecast counts links, too."""
    two.run("workers", IDS)
    (observation,) = two.run("drivers", IDS[:7], dry_run=True).get_asset_observation_events()
    metadata = observation.asset_observation_data.asset_observation.metadata
    assert (metadata["would_link"].value, metadata["linkable_with_key_ring"].value) == (7, 0)


@pytest.mark.long
def test_a_table_that_cannot_be_read_stops_no_staging(two: Two) -> None:
    """Who is gone is not counted then, and the check repeats what was found last; registration fails by itself."""
    two.run("workers", IDS)
    two.run("workers")  # whose staging has the people to count
    folder = next((two.folder / "store" / "subjects").glob("chunk=*"))
    shutil.rmtree(folder)
    folder.write_bytes(b"")
    result = two.defs.resolve_job_def("register_workers").execute_in_process(
        instance=two.instance,
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        asset_selection=[dg.AssetKey(["workers", "candidate_chunks"])],
    )
    assert result.success
    assert _check(result) == (
        True,
        "WARN",
        f"0 of {len(IDS)} subjects are not in the source, as of the last run that read all rows",
    )
