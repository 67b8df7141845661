"""What the page of a dataset's manifests shows first: its newest materialization, and with it the whole dataset."""

from typing import Any

import dagster as dg
import pytest

from subject_pipeline_tests.components.test_subject_dataset import IDS, MANIFESTS, Bench, Workbench, bench

__all__ = ["bench"]


def page(people: Workbench) -> tuple[str, dict[str, Any]]:
    """What the UI's overview shows, the newest materialization's words, and the numbers of the run's observation."""
    (record,) = people.instance.fetch_materializations(MANIFESTS, limit=1).records
    (seen,) = people.instance.fetch_observations(MANIFESTS, limit=1).records
    materialization, observation = record.asset_materialization, seen.asset_event
    assert materialization is not None
    assert isinstance(observation, dg.AssetObservation)
    numbers = {name: value.value for name, value in observation.metadata.items()}
    return str(materialization.metadata["dataset"].value), numbers


def rows(people: Workbench) -> int:
    """The sum over the newest record of each partition."""
    ids = people.instance.get_latest_storage_id_by_partition(MANIFESTS, dg.DagsterEventType.ASSET_MATERIALIZATION)
    wanted = dg.AssetRecordsFilter(asset_key=MANIFESTS, storage_ids=list(ids.values()))
    records = people.instance.fetch_materializations(wanted, limit=len(ids)).records
    found = 0
    for record in records:
        assert record.event_log_entry.asset_materialization is not None
        count = record.event_log_entry.asset_materialization.metadata["dagster/partition_row_count"].value
        assert isinstance(count, int)
        found += count
    return found


def test_the_page_answers_without_a_click(bench: Bench) -> None:
    """How many people, how many new in the last run, of which version of the source, is it current, what is red."""
    people = bench()
    people.write(IDS)
    assert people.run().success
    words, first = page(people)
    assert (first["people"], first["new_people"], first["partitions"]) == (200, 200, 4)
    assert words == (
        f"200 people, 200 of them new in this run; source version {first['source_version']}, staged at "
        f"{first['staged_at']}; current: yes; red: nothing"
    )
    assert rows(people) == 200

    people.write([*IDS, "N-1", "N-2", "X/1", "X_1"])
    assert people.run().success
    words, second = page(people)
    assert (second["people"], second["new_people"]) == (203, 3)
    assert second["source_version"] != first["source_version"]
    assert words.endswith("red: every_staged_candidate_has_a_manifest in 1 partition, no_collisions in 1 partition")


@pytest.mark.long
def test_a_run_over_one_partition_shows_the_whole_dataset(bench: Bench) -> None:
    """The others count as they were when they were last run; a source that has changed since is not current."""
    people = bench()
    people.write([*IDS, "X/1", "X_1"])
    assert people.run().success
    _, before = page(people)
    people.write([*IDS, "N-1"])
    for chunk in "03":
        assert people.run(chunks=chunk, only=MANIFESTS).success
        words, shown = page(people)
        assert (shown["people"], shown["new_people"], shown["partitions"]) == (201, 0, 1)
        assert shown["red"] == before["red"] != "nothing"
        assert "current: no, the source" in words
    people.source.unlink()
    assert people.run(chunks="0", only=MANIFESTS).success
    assert page(people)[1]["is_current"] == "not known, the source cannot be listed"
