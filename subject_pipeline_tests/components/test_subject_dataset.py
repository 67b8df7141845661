import re
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from dagster.components.core.component_tree import ComponentTreeException

from subject_pipeline.audit.events import AccessEvent
from subject_pipeline.audit.log import AuditLog
from subject_pipeline.definitions import defs as load_definitions
from subject_pipeline.errors import StoreError
from subject_pipeline.keys.ring import KeyRing
from subject_pipeline.keys.ring_file import KeyRingFile, create_ring
from subject_pipeline.lifecycle.stored_findings import read_findings
from subject_pipeline.manifests.snapshot import Snapshot
from subject_pipeline.manifests.table import ManifestTable
from subject_pipeline.registry.subjects import SubjectRegistry
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline_tests.helpers.instances import dagster_instance
from subject_pipeline_tests.helpers.projects import definitions_of

CHUNKS = 4
CHUNK_DIGITS = "0123"
CANDIDATES = dg.AssetKey(["people", "candidate_chunks"])
MANIFESTS = dg.AssetKey(["people", "subject_manifests"])


@dataclass
class Workbench:
    """A dataset declared in YAML, its store and a Dagster instance."""

    source: Path
    store: SubjectStore
    instance: dg.DagsterInstance
    defs: dg.Definitions

    def write(self, ids: Sequence[str | None]) -> None:
        """Replace the source."""
        pl.DataFrame({"id": ids}, schema={"id": pl.String}).write_parquet(self.source)

    def run(
        self, *, chunks: str = CHUNK_DIGITS, only: dg.AssetKey | None = None, **options: Any
    ) -> dg.ExecuteInProcessResult:
        """Run the dataset's job over a range of partitions."""
        return self.defs.resolve_job_def("register_people").execute_in_process(
            instance=self.instance,
            tags={
                "dagster/asset_partition_range_start": f"chunk-{chunks[0]}",
                "dagster/asset_partition_range_end": f"chunk-{chunks[-1]}",
            },
            run_config={
                "resources": {"people_options": {"config": options}},
                "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
            },
            asset_selection=[only] if only else None,
            raise_on_error=False,
        )


Bench = Callable[..., Workbench]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """Makes workbenches: the keyword arguments are further attributes of the YAML."""

    @contextmanager
    def made(**attributes: Any) -> Iterator[Workbench]:
        source, url = tmp_path / "people.parquet", str(tmp_path / "store")
        declared = {"name": "people", "source": str(source), "key_column": "id", "all": True, **attributes}
        with dagster_instance() as instance, definitions_of({"store": url, "chunks": CHUNKS}, declared) as defs:
            yield Workbench(source, SubjectStore.at(url, wanted_chunks=CHUNKS), instance, defs)

    opened: list[Any] = []

    def make(**attributes: Any) -> Workbench:
        context = made(**attributes)
        opened.append(context)
        return context.__enter__()

    yield make
    for context in opened:
        context.__exit__(None, None, None)


def numbers(result: dg.ExecuteInProcessResult) -> dict[str, dict[str, Any]]:
    """Each partition's metadata of the manifests asset."""
    return {
        str(event.partition): {name: value.value for name, value in event.materialization.metadata.items()}
        for event in result.get_asset_materialization_events()
        if event.asset_key == MANIFESTS
    }


def total(result: dg.ExecuteInProcessResult, what: str) -> int:
    """One count summed over the run's partitions."""
    return sum(metadata[what] for metadata in numbers(result).values())


def checks(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    """The run's check evaluations by name."""
    return {evaluation.check_name: evaluation for evaluation in result.get_asset_check_evaluations()}


def failure_of(result: dg.ExecuteInProcessResult) -> str:
    """What the failed step told people."""
    (event,) = [event for event in result.all_events if event.is_step_failure]
    error = event.step_failure_data.error
    assert error is not None
    return f"{error.message} {error.cause.message if error.cause else ''}"


def listed(people: Workbench, evaluation: dg.AssetCheckEvaluation) -> dict[str, dict[str, Any]]:
    """Everybody whom the list that a check names has, by id."""
    found = read_findings(people.store.objects, str(evaluation.metadata["listed"].value))
    assert not any(str(row["candidate_id"]) in str(evaluation) for row in found)
    return {str(row["candidate_id"]): row for row in found}


IDS = [f"W-{number}" for number in range(200)]


def test_the_code_location_names_exactly_what_it_should() -> None:
    """The definitions load and hold the sample dataset's and the audit's assets, checks, jobs and resources alone."""
    definitions = load_definitions()
    graph = definitions.resolve_asset_graph()
    repository = definitions.get_repository_def()
    assert {key.to_user_string() for key in graph.get_all_asset_keys()} == {
        "workers/source",
        "workers/candidate_chunks",
        "workers/subject_manifests",
        "inbox_event_files",
        "inbox_decision_files",
        "decisions",
        "subject_reviews",
        "erasures",
        "audit_log",
        "audit_verification",
        "audit_checkpoint",
        "compliance_report",
    }
    assert {key.name for key in graph.asset_check_keys} == {
        "counts_add_up",
        "every_staged_candidate_has_a_manifest",
        "no_collisions",
        "source_reconciled",
        "staging_is_current",
        "no_null_keys",
        "repeated_keys_within_share",
        "source_did_not_shrink",
        "key_type_unchanged",
        "nothing_rejected",
        "every_events_subject_is_registered",
        "chains_intact",
        "log_matches_last_checkpoint",
        "manifests_unchanged",
        "nothing_unreadable",
        "nobody_resurrected",
        "erasures_done",
        "no_questionable_access",
        "nothing_carried_on",
        "full_verification_is_recent",
        "checkpoint_is_recent",
        "retention_is_not_overdue",
        "consent_is_not_pending_too_long",
    }
    assert {name for name in repository.job_names if not name.startswith("__")} == {
        "register_workers",
        "apply_decisions",
        "carry_out_erasures",
        "ingest_access_events",
        "verify_checkpoint_and_report",
        "maintain_store",
        "prune_history",
        "check_freshness",
    }
    assert {sensor.name for sensor in repository.sensor_defs} == {
        "register_workers_when_changed",
        "ingest_new_event_files",
        "apply_new_decision_files",
        "alert_on_failed_run",
        "alert_on_red_checks",
        "alert_again",
    }
    assert {schedule.name for schedule in repository.schedule_defs} == {
        "nightly_verification",
        "weekly_verification",
        "weekly_maintenance",
        "daily_freshness_check",
        "daily_erasures",
    }
    assert set(definitions.resources or {}) == {"store", "layout", "key_ring", "workers_options"}


@pytest.mark.long
def test_each_partition_has_its_own_numbers_in_a_single_run(bench: Bench) -> None:
    """One run over all partitions records one materialization each, whose counts sum to the source."""
    people = bench()
    people.write([*IDS, IDS[0]])
    result = people.run()
    assert result.success
    per_chunk = numbers(result)
    assert sorted(per_chunk) == [f"chunk-{digit}" for digit in CHUNK_DIGITS]
    assert total(result, "attempted") == total(result, "inserted") == 200
    assert total(result, "duplicates") == 1
    stored = ManifestTable(people.store).read(lambda snapshot: snapshot.rows(), pl.DataFrame())
    assert dict(stored.group_by("chunk").len().iter_rows()) == {
        chunk: metadata["inserted"] for chunk, metadata in per_chunk.items()
    }
    assert "W-" not in str(per_chunk)
    layout = people.store.layout()
    assert layout is not None
    for metadata in per_chunk.values():
        assert metadata["store"] == people.store.location.url
        assert metadata["chunk_layout"] == f"{CHUNKS} chunks, log {layout.log_id}"
        assert metadata["package_version"]
    assert all(evaluation.passed for evaluation in checks(result).values())
    assert len(checks(result)) == 9


def test_a_re_run_inserts_nothing(bench: Bench) -> None:
    """Re-running any partitions skips anyone who has a manifest, and leaves the table's version as it was."""
    people = bench()
    people.write(IDS)
    people.run()
    before = ManifestTable(people.store).read(lambda snapshot: snapshot.version, -1)
    again = people.run()
    assert (total(again, "inserted"), total(again, "skipped")) == (0, 200)
    assert ManifestTable(people.store).read(lambda snapshot: snapshot.version, -1) == before


@pytest.mark.long
def test_one_partition_can_run_alone(bench: Bench) -> None:
    """A run of one partition registers that chunk's subjects and no other."""
    people = bench()
    people.write(IDS)
    people.run(only=CANDIDATES)
    result = people.run(chunks="3", only=MANIFESTS)
    assert result.success
    assert set(numbers(result)) == {"chunk-3"}
    stored = ManifestTable(people.store).read(lambda snapshot: snapshot.rows(), pl.DataFrame())
    assert stored["chunk"].unique().to_list() == ["chunk-3"]
    assert stored.height == numbers(result)["chunk-3"]["inserted"] > 0


@pytest.mark.long
def test_a_bad_candidate_turns_the_check_red_and_stops_nobody(bench: Bench) -> None:
    """The check's list names partition, id and reason; everybody else is registered and the run succeeds."""
    people = bench()
    people.write([*IDS, "x" * 201, "W_X", "W/X"])
    result = people.run()
    assert result.success
    found = checks(result)
    assert found["counts_add_up"].passed
    assert not found["every_staged_candidate_has_a_manifest"].passed
    assert not found["no_collisions"].passed
    assert total(result, "failed") == 2
    assert SubjectRegistry(people.store).count() == 201
    by_id = listed(people, found["every_staged_candidate_has_a_manifest"])
    assert by_id == listed(people, found["no_collisions"])
    assert (by_id["W/X"]["kind"], found["no_collisions"].metadata["candidates"].value) == ("collision", 1)
    assert "'W_X'" in by_id["W/X"]["reason"]
    assert "201 bytes" in by_id["x" * 201]["reason"]
    layout = people.store.layout_or_create().chunks
    assert by_id["x" * 201]["partition"] == layout.chunk_of("x" * 201)


@pytest.mark.long
def test_a_store_that_refuses_a_write_fails_the_run(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Partitions whose candidates could not be written do not look done, and the next run registers them."""
    people = bench()
    people.write(IDS)

    def insert(_self: Snapshot, _rows: pl.DataFrame) -> None:
        raise StoreError("No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Snapshot, "insert", insert)
        result = people.run()
    assert not result.success
    assert "The store refused 200 candidates" in failure_of(result)
    assert not numbers(result)
    assert total(people.run(), "inserted") == 200


@pytest.mark.long
def test_a_dry_run_writes_nothing_and_says_what_a_run_would_do(bench: Bench) -> None:
    """No store appears, no materialization is recorded, and an observation holds the forecast."""
    people = bench()
    people.write([*IDS, ""])
    result = people.run(dry_run=True)
    assert result.success
    assert not result.get_asset_materialization_events()
    (observed,) = result.get_asset_observation_events()
    forecast = observed.asset_observation_data.asset_observation.metadata
    assert (forecast["would_insert"].value, forecast["would_fail"].value) == (200, 1)
    assert not Path(people.store.location.child("")).exists()


@pytest.mark.long
def test_a_limited_staging_is_not_registered_by_a_run_that_asks_for_all(bench: Bench) -> None:
    """What was staged under a limit belongs to runs with that limit; others fail and say what to do."""
    people = bench()
    people.write(IDS)
    people.run(only=CANDIDATES, all=False, limit=10)
    refused = people.run(only=MANIFESTS)
    assert not refused.success
    assert "staged with a limit of 10 rows, but this run asks for all rows" in failure_of(refused)
    assert SubjectRegistry(people.store).count() == 0
    assert total(people.run(only=MANIFESTS, all=False, limit=10), "inserted") == 10


def test_manifests_without_a_staging_fail_clearly(bench: Bench) -> None:
    """Launching manifests before candidates says to materialize candidates first."""
    people = bench()
    result = people.run(only=MANIFESTS)
    assert not result.success
    assert "materialize its candidate_chunks first" in failure_of(result)


@pytest.mark.long
def test_a_registration_without_the_ring_fails_clearly_once_there_is_a_log(bench: Bench, tmp_path: Path) -> None:
    """Anyone who was deleted would come back unannounced, so nobody is registered."""
    people = bench()
    people.write(IDS)
    create_ring(tmp_path / "ring.json", KeyRing.new(b"k" * 32, b"s" * 32))
    event = AccessEvent("P", "e", "2026-06-30T12:00:00.000000Z", "ada", "read", "success")
    AuditLog(people.store.with_ring(KeyRingFile(tmp_path / "ring.json"))).append([event])
    result = people.run()
    assert not result.success
    assert "set SUBJECT_KEY_RING to its key ring" in failure_of(result)
    assert SubjectRegistry(people.store).count() == 0


@pytest.mark.long
def test_a_launch_without_partitions_fails_clearly(bench: Bench) -> None:
    """The failure says how partitions are selected, and no partition looks done."""
    people = bench()
    people.write(IDS)
    result = people.defs.resolve_job_def("register_people").execute_in_process(
        instance=people.instance, raise_on_error=False
    )
    assert "No partitions were selected" in failure_of(result)
    assert not numbers(result)


def test_a_missing_source_fails_clearly(bench: Bench) -> None:
    """The failure names the file."""
    people = bench()
    result = people.run()
    assert not result.success
    assert "people.parquet does not exist" in failure_of(result)


@pytest.mark.long
def test_another_layout_is_refused(bench: Bench) -> None:
    """A store laid out with another number of chunks is refused with both numbers named."""
    people = bench()
    people.write(IDS)
    SubjectStore.at(people.store.location.url, wanted_chunks=16).layout_or_create()
    result = people.run()
    assert not result.success
    assert f"{CHUNKS} chunks are asked for" in failure_of(result)
    assert "16" in failure_of(result)


@pytest.mark.long
def test_the_yaml_limits_a_run_unless_the_launch_says_otherwise(bench: Bench) -> None:
    """The dataset's own limit is the default of the launchpad's options."""
    people = bench(all=False, limit=7)
    people.write(IDS)
    assert total(people.run(), "attempted") == 7
    assert total(people.run(all=True), "attempted") == 200


@pytest.mark.long
def test_materializing_registers_the_dataset(bench: Bench) -> None:
    """After the first materialization the command line can backfill the dataset by name."""
    people = bench(candidate_id_prefix="P-", safe_views=["public"])
    people.write(IDS)
    people.run()
    declared = people.store.catalog.dataset("people")
    assert (declared.key_column, declared.candidate_id_prefix, declared.safe_views) == ("id", "P-", ("public",))


@pytest.mark.long
def test_the_staging_of_an_older_source_is_cleaned_up(bench: Bench) -> None:
    """After a changed source is staged, only its parts and the record are left below staging/."""
    people = bench()
    people.write(IDS)
    people.run(only=CANDIDATES)
    people.write(IDS[:50])
    people.run(only=CANDIDATES)
    keys = [item.key for item in people.store.objects.list("staging/")]
    assert len(keys) == 2
    assert total(people.run(only=MANIFESTS), "attempted") == 50


def test_backfills_take_one_run_unless_partitions_per_run_says_otherwise(bench: Bench) -> None:
    """The default policy is a single run; a number splits a backfill into runs of so many partitions."""
    whole = bench().defs.resolve_asset_graph().get(MANIFESTS).backfill_policy
    split = bench(partitions_per_run=2).defs.resolve_asset_graph().get(MANIFESTS).backfill_policy
    assert whole == dg.BackfillPolicy.single_run()
    assert split == dg.BackfillPolicy.multi_run(2)


@pytest.mark.long
def test_a_range_is_one_run_whatever_a_backfill_would_do(bench: Bench) -> None:
    """What a sensor asks for, a run over the range of all partitions, works with partitions_per_run too."""
    people = bench(partitions_per_run=2)
    people.write(IDS)
    result = people.run()
    assert result.success
    assert total(result, "inserted") == 200
    assert len(numbers(result)) == CHUNKS


def test_an_invalid_dataset_name_is_refused_when_loading(bench: Bench) -> None:
    """A name that could not be a key in the catalog fails at load time."""
    with pytest.raises(ComponentTreeException) as refused:
        bench(name="../escape")
    told = "".join(traceback.format_exception(refused.value))
    assert re.search(r"attributes\.name\S* at \S+defs\.yaml:\d", told)


QUALITY = ("no_null_keys", "repeated_keys_within_share", "source_did_not_shrink", "key_type_unchanged")


def quality(result: dg.ExecuteInProcessResult) -> dict[str, tuple[bool, str]]:
    """The checks of the source that are red: whether each is an error, and what it says."""
    found = checks(result)
    return {
        name: (found[name].severity is dg.AssetCheckSeverity.ERROR, found[name].description or "")
        for name in QUALITY
        if not found[name].passed
    }


@pytest.mark.long
def test_a_source_that_is_unlike_what_was_staged_warns(bench: Bench) -> None:
    """Rows that are gone, another type of key and repeated keys warn, and everybody is registered all the same."""
    people = bench(repeated_share=0)
    people.write(IDS)
    assert quality(people.run()) == {}
    pl.DataFrame({"id": [*range(100), 1]}).write_parquet(people.source)
    result = people.run()
    assert result.success
    assert quality(result) == {
        "repeated_keys_within_share": (False, "1 of 101 rows repeat an earlier key"),
        "source_did_not_shrink": (False, "101 rows; 200 when it was last staged"),
        "key_type_unchanged": (False, "int64; before large_string"),
    }
    assert quality(people.run()) == {"repeated_keys_within_share": (False, "1 of 101 rows repeat an earlier key")}


@pytest.mark.long
def test_repeated_keys_are_nobodys_alarm_unless_the_yaml_says_so(bench: Bench) -> None:
    """They are skipped and counted, as ever."""
    people = bench()
    people.write([*IDS, IDS[0]])
    assert quality(people.run()) == {}


@pytest.mark.long
@pytest.mark.parametrize("dry_run", [False, True])
def test_a_check_that_blocks_stops_the_run_before_anything_is_staged(bench: Bench, dry_run: bool) -> None:
    """What was staged before is still there, and nobody is registered of what was refused."""
    people = bench(blocking=["source_did_not_shrink"], dropped_share=0.25)
    people.write(IDS)
    people.run()
    before = {item.key for item in people.store.objects.list("staging/")}
    people.write(IDS[:149])
    result = people.run(dry_run=dry_run)
    assert not result.success
    assert quality(result) == {"source_did_not_shrink": (True, "149 rows; 200 when it was last staged")}
    assert {item.key for item in people.store.objects.list("staging/")} == before
    assert "source_did_not_shrink" in failure_of(result)
    people.write(IDS[:150])
    assert people.run().success


@pytest.mark.long
def test_a_row_without_a_key_is_counted_and_refused(bench: Bench) -> None:
    """The check says how many there are; the failure names the list that says where the first is."""
    people = bench()
    people.write([*IDS, None, None])
    result = people.run()
    assert not result.success
    assert quality(result) == {"no_null_keys": (False, "2 rows without a key")}
    path = re.search(r"findings/\S+\.parquet", failure_of(result))
    assert path is not None
    (said,) = read_findings(people.store.objects, path.group())
    assert said["kind"] == "SourceError"
    assert "null key in column 'id' at row 200" in said["detail"]
