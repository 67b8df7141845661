"""One person in several datasets: anyone who is registered gets a reference to each dataset that names them, once."""

import datetime as dt
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from subject_pipeline.audit.log import AuditLog
from subject_pipeline.candidates.staging import stage_dataset
from subject_pipeline.changes.evidence import ManifestEvidence
from subject_pipeline.decisions.decision import parse_decision
from subject_pipeline.errors import AuditLogError, OutcomeUnknownError, StoreError
from subject_pipeline.keys.ring_file import KeyRingFile, create_ring
from subject_pipeline.lifecycle.applying import Decisions
from subject_pipeline.manifests.commits import Commits
from subject_pipeline.manifests.table import ManifestTable
from subject_pipeline.registry import linking
from subject_pipeline.registry.backfill import BackfillReport, backfill
from subject_pipeline.registry.deciding import Counts
from subject_pipeline.registry.maintenance import compact
from subject_pipeline.registry.registering import register_dataset
from subject_pipeline.store.datasets import DatasetDeclaration
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline_tests.conftest import Declared
from subject_pipeline_tests.helpers.audit_stores import LAYOUT, Place, assert_sound, manifest, people
from subject_pipeline_tests.helpers.recorded import (
    decisions_of,
    plug_pulled,
    registry_rows_of,
    replay,
    table_of,
)

P, OTHER = people(0, 2)
ELSEWHERE, LAST = people(1, 2)
EVERYBODY = [P, OTHER, ELSEWHERE, LAST]


def run(place: Place, declaration: DatasetDeclaration, **options: Any) -> BackfillReport:
    """A backfill of everything by another process."""
    return backfill(place.store, declaration, limit=None, evidence=place.evidence(), **options)


def names_of(place: Place, candidate_id: str) -> list[str]:
    """The datasets that a manifest refers to, in its order."""
    return [there["name"] for there in table_of(place.store)[candidate_id]["datasets"]]


def linked_rows(place: Place, candidate_id: str | None = None) -> list[dict[str, Any]]:
    """The rows that record a link."""
    rows = registry_rows_of(place.objects, candidate_id)
    return [row for row in rows if row["decision"]["kind"] == "linked"]


@pytest.mark.long
def test_who_is_registered_gets_a_reference_and_the_safe_views(place: Place, declared: Declared) -> None:
    """The row holds the link's content, the table follows; counted as skipped and as linked; the new are inserted."""
    run(place, declared([P, OTHER], "workers", safe_views=("a", "b")))
    first = table_of(place.store)
    assert registry_rows_of(place.objects) == []

    drivers = declared([P, ELSEWHERE, P], "drivers", safe_views=("b", "c", "c"))
    report = run(place, drivers)

    assert report.counts == Counts(inserted=1, skipped=1, duplicates=1, linked=1)
    table = table_of(place.store)
    reference = {"name": "drivers", "key_column": drivers.key_column, "key_value": P}
    assert table[P]["datasets"] == [*first[P]["datasets"], reference]
    assert table[P]["safe_views"] == ["a", "b", "c"]
    assert table[OTHER] == first[OTHER]
    (row,) = registry_rows_of(place.objects)
    assert (row["candidate_id"], row["action"], row["actor"]) == (P, "manifest_updated", "tester")
    assert row["decision"] == {
        "kind": "linked",
        "dataset": reference,
        "recorded_at": table[P]["updated_at"],
        "changes": {name: table[P][name] for name in ("datasets", "safe_views", "updated_at")},
    }
    assert table == replay(place.objects, {**first, ELSEWHERE: table[ELSEWHERE]})
    assert_sound(place)


def test_a_second_run_links_nobody_and_writes_nothing(place: Place, declared: Declared) -> None:
    """Run again, nobody is linked, and neither the log nor the table changes."""
    run(place, declared(EVERYBODY, "workers"))
    drivers = declared(EVERYBODY, "drivers")
    assert run(place, drivers).counts == Counts(skipped=4, linked=4)
    table, rows = table_of(place.store), registry_rows_of(place.objects)

    assert run(place, drivers).counts == Counts(skipped=4)

    assert (table_of(place.store), registry_rows_of(place.objects)) == (table, rows)
    assert len(rows) == 4


@pytest.mark.long
def test_one_segment_a_chunk_and_one_commit(place: Place, declared: Declared) -> None:
    """However many people are linked, each chunk's log gains one segment, and the table one version."""
    ids = [f"W-{number}" for number in range(60)]
    run(place, declared(ids, "workers"))
    versions = place.folder / "subjects" / "_delta_log"
    before = len(list(versions.glob("*.json")))

    assert run(place, declared(ids, "drivers")).counts.linked == 60

    assert len(list(versions.glob("*.json"))) == before + 1
    assert place.objects.counted("create", "audit/") == len(LAYOUT.names)


@pytest.mark.long
def test_the_same_key_under_another_name_and_other_keys_under_the_same(place: Place, declared: Declared) -> None:
    """Each dataset's name is linked once, whichever key it gives; a prefix may make one id of several keys."""
    run(place, declared(["A-1"], "workers"))
    assert run(place, declared(["1"], "drivers", candidate_id_prefix="A-")).counts.linked == 1
    assert run(place, declared(["A-1"], "drivers")).counts == Counts(skipped=1)
    assert run(place, declared(["-1"], "pilots", candidate_id_prefix="A")).counts.linked == 1

    assert [(one["name"], one["key_value"]) for one in table_of(place.store)["A-1"]["datasets"]] == [
        ("workers", "A-1"),
        ("drivers", "1"),
        ("pilots", "-1"),
    ]
    assert decisions_of(place.objects, "A-1") == ["linked", "linked"]


def _order(place: Place, kind: str, candidate_id: str, **fields: Any) -> None:
    order = {"decision_id": kind, "candidate_id": candidate_id, "kind": kind, "ts": _an_hour_ago(), "actor": "boss"}
    (verdict,) = Decisions(place.fresh_store(), "boss").apply([parse_decision({**order, **fields})])
    assert verdict.outcome == "applied", verdict


def _an_hour_ago() -> str:
    return (dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)).isoformat()


@pytest.mark.long
def test_whoever_is_restricted_or_to_be_erased_gets_the_reference_alone(place: Place, declared: Declared) -> None:
    """Data under a restriction or an order to erase is shown no more widely; a hold changes nothing."""
    run(place, declared(EVERYBODY, "workers", safe_views=("a",)))
    _order(place, "restricted", P)
    _order(place, "erasure_ordered", ELSEWHERE)
    _order(place, "hold_placed", LAST, hold_id="H-1")

    assert run(place, declared(EVERYBODY, "drivers", safe_views=("b",))).counts.linked == 4

    table = table_of(place.store)
    assert all(names_of(place, one) == ["workers", "drivers"] for one in EVERYBODY)
    assert {one: table[one]["safe_views"] for one in EVERYBODY} == {
        P: ["a"],
        OTHER: ["a", "b"],
        ELSEWHERE: ["a"],
        LAST: ["a", "b"],
    }
    assert table[LAST]["holds"][0]["hold_id"] == "H-1"
    assert_sound(place)


@pytest.mark.parametrize("status", ["restricted", "erasure_ordered"])
def test_a_status_without_its_time_counts_too(place: Place, declared: Declared, status: str) -> None:
    """An imported status says enough, whether or not the manifest says since when."""
    place.registry().put(manifest(P, status=status))

    assert run(place, declared([P], "drivers", safe_views=("b",))).counts.linked == 1

    found = table_of(place.store)[P]
    assert (found["safe_views"], names_of(place, P)[-1]) == ([], "drivers")


@pytest.mark.long
def test_fields_of_a_newer_writer_survive(place: Place, declared: Declared) -> None:
    """A manifest with fields that no column holds, inside its references too, keeps them."""
    run(place, declared([OTHER], "workers"))
    known = manifest(P).as_json()
    entry = {"name": "x", "key_column": "k", "key_value": "1", "since": "then"}
    place.registry().put(type(manifest(P)).parse({**known, "datasets": [entry], "note": {"deep": [1]}}))

    assert run(place, declared([P], "drivers")).counts.linked == 1

    found = table_of(place.store)[P]
    assert (found["note"], found["datasets"][0]) == ({"deep": [1]}, entry)
    assert names_of(place, P) == ["x", "drivers"]
    assert_sound(place)


@pytest.mark.long
def test_what_no_row_can_record_is_a_failure_with_its_reason(place: Place, declared: Declared) -> None:
    """Somebody whose references hold a fraction, or too much, is counted as failed, and stops nobody else."""
    with_fraction = {"name": "x", "key_column": "k", "key_value": "1", "weight": 0.5}
    large = {"name": "x", "key_column": "k", "key_value": "1" * (1 << 20)}
    for one, entry in ((P, with_fraction), (ELSEWHERE, large)):
        place.registry().put(type(manifest(P)).parse({**manifest(one).as_json(), "datasets": [entry]}))
    run(place, declared([OTHER], "workers"))
    before = table_of(place.store)

    for _ in range(2):
        report = run(place, declared([P, OTHER, ELSEWHERE], "drivers"))

    assert report.counts == Counts(skipped=1, failed=2)
    reasons = {one.candidate_id: (one.kind, one.reason) for one in report.failures}
    assert {kind for kind, _ in reasons.values()} == {"refused"}
    assert "registered, but not linked to this dataset: its field 'datasets' holds a number" in reasons[P][1]
    assert "a row holds 1,048,576" in reasons[ELSEWHERE][1]
    assert names_of(place, OTHER) == ["workers", "drivers"]
    assert {one: table_of(place.store)[one] for one in (P, ELSEWHERE)} == {one: before[one] for one in (P, ELSEWHERE)}


def test_link_false_turns_it_off(place: Place, declared: Declared) -> None:
    """A dataset that says `link: false` leaves the manifests of others as they are, and says nothing of them."""
    run(place, declared([P], "workers"))
    before = table_of(place.store)

    report = run(place, declared([P, OTHER], "drivers", link=False))

    assert report.counts == Counts(inserted=1, skipped=1)
    assert table_of(place.store)[P] == before[P]
    assert report.vanished == 0


def test_without_a_key_ring_nobody_is_linked_and_the_run_says_how_many(store: SubjectStore, declared: Declared) -> None:
    """In a store without a log a run without a ring counts whom it would have linked; with a ring it links them."""
    backfill(store, declared([P, OTHER], "workers"))
    before = table_of(store)

    drivers = declared([P, OTHER, ELSEWHERE], "drivers")
    assert backfill(store, drivers).counts == Counts(inserted=1, skipped=2, linkable=2)
    assert backfill(store, drivers).counts == Counts(skipped=3, linkable=2)

    assert {one: table_of(store)[one] for one in (P, OTHER)} == before


def test_a_dry_run_says_who_would_be_linked(place: Place, declared: Declared) -> None:
    """A dry run counts what a real run would link, by whether there is a ring, and writes nothing."""
    run(place, declared([P, OTHER], "workers"))
    drivers = declared([P, ELSEWHERE], "drivers")

    dry = run(place, drivers, dry_run=True)
    assert dry.forecast == Counts(inserted=1, skipped=1, linked=1)
    assert dry.counts == Counts(), "a dry run does nothing"
    assert backfill(place.store.without_ring(), drivers, dry_run=True).forecast == Counts(
        inserted=1, skipped=1, linkable=1
    )
    off = drivers.model_copy(update={"link": False})
    assert run(place, off, dry_run=True).forecast == Counts(inserted=1, skipped=1)
    assert registry_rows_of(place.objects) == []


@pytest.mark.long
def test_who_has_vanished_is_counted_beside(place: Place, declared: Declared) -> None:
    """A run of all rows counts those who refer to the dataset and are not in its source; a run of some says nothing."""
    run(place, declared([P, OTHER, ELSEWHERE], "workers"))
    run(place, declared([P], "drivers"))

    assert run(place, declared([OTHER, LAST], "workers")).vanished == 2
    assert run(place, declared([OTHER, LAST], "workers"), dry_run=True).vanished == 2
    some = backfill(place.store, declared([OTHER, LAST], "workers"), limit=1, evidence=place.evidence())
    assert some.vanished is None


@pytest.mark.long
def test_killed_between_log_and_table_and_run_again(place: Place, declared: Declared) -> None:
    """Links that are recorded and not in the table count as failed; the next run applies them, and no link twice."""
    run(place, declared(EVERYBODY, "workers"))
    first = table_of(place.store)
    drivers = declared(EVERYBODY, "drivers")

    with plug_pulled():
        killed = run(place, drivers)
    assert killed.counts == Counts(failed=4)
    assert all("recorded and not in the table, a re-run settles it" in one.reason for one in killed.failures)
    assert table_of(place.store) == first

    assert run(place, drivers).counts == Counts(skipped=4)
    assert table_of(place.store) == replay(place.objects, first)
    assert len(linked_rows(place)) == 4
    assert_sound(place)


@pytest.mark.long
def test_killed_and_settled_by_maintenance(place: Place, declared: Declared) -> None:
    """What a killed run recorded is applied by `compact` as well."""
    run(place, declared([P], "workers"))
    first = table_of(place.store)
    with plug_pulled():
        run(place, declared([P], "drivers"))

    assert compact(place.store, place.evidence()).settled == 1

    assert table_of(place.store) == replay(place.objects, first)
    assert names_of(place, P) == ["workers", "drivers"]


@pytest.mark.long
def test_killed_linking_to_another_dataset(place: Place, declared: Declared) -> None:
    """A run for one dataset settles what a run for another recorded, and links upon it."""
    run(place, declared([P], "workers"))
    first = table_of(place.store)
    with plug_pulled():
        run(place, declared([P], "drivers"))

    assert run(place, declared([P], "pilots")).counts == Counts(skipped=1, linked=1)

    assert names_of(place, P) == ["workers", "drivers", "pilots"]
    assert table_of(place.store) == replay(place.objects, first)


def test_an_unknown_outcome_is_said_to_be_unknown(
    place: Place, declared: Declared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody can say whether a row was appended, the person counts as failed with that reason."""
    run(place, declared([P], "workers"))

    def unknown(*_: Any, **__: Any) -> None:
        raise OutcomeUnknownError("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(AuditLog, "append_to", unknown)
        report = run(place, declared([P, OTHER], "drivers"))

    assert report.counts == Counts(inserted=1, failed=1)
    assert [(one.candidate_id, one.kind) for one in report.failures] == [(P, "unknown")]


@pytest.mark.long
def test_whoever_is_deleted_by_the_log_is_not_linked(place: Place, declared: Declared) -> None:
    """A manifest that a killed deletion left in the table is not linked, and does not come back by that."""
    run(place, declared([P, OTHER], "workers"))
    with plug_pulled(), pytest.raises(StoreError):
        place.registry().delete(P)

    assert run(place, declared([P, OTHER], "drivers")).counts == Counts(skipped=2, linked=1)

    assert decisions_of(place.objects, P) == ["deleted"]
    compact(place.store, place.evidence())
    assert list(table_of(place.store)) == [OTHER]


def test_a_damaged_log_keeps_its_chunk_from_being_linked_and_no_other(
    place: Place, declared: Declared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is linked on the word of a damaged log; people of other chunks are."""
    run(place, declared([P, ELSEWHERE], "workers"))
    first = table_of(place.store)
    recorded = ManifestEvidence.recorded

    def damaged(self: ManifestEvidence, chunk: str, **options: Any) -> Any:
        if chunk == LAYOUT.names[0]:
            raise AuditLogError("the log is damaged")
        return recorded(self, chunk, **options)

    monkeypatch.setattr(ManifestEvidence, "recorded", damaged)
    report = run(place, declared([P, ELSEWHERE], "drivers"))

    assert report.counts == Counts(skipped=1, failed=1, linked=1)
    assert [(one.candidate_id, one.kind) for one in report.failures] == [(P, "not_written")]
    assert table_of(place.store)[P] == first[P]
    assert names_of(place, ELSEWHERE) == ["workers", "drivers"]


@pytest.mark.long
def test_a_manifest_that_the_log_does_not_explain_is_not_linked(place: Place, declared: Declared) -> None:
    """Who was changed behind the log's back is named, and left as found."""
    run(place, declared([P, OTHER], "workers"))
    place.registry().put(manifest(P, status="restricted"))
    rows = registry_rows_of(place.objects)
    without_log = SubjectStore.at(str(place.folder))
    snapshot = ManifestTable(without_log).snapshot()
    assert snapshot is not None
    changed = snapshot.rows().filter(pl.col("candidate_id") == P).with_columns(vertical=pl.lit("healthcare"))
    snapshot.upsert(changed)

    report = run(place, declared([P, OTHER], "drivers"))

    assert report.counts == Counts(skipped=1, failed=1, linked=1)
    assert "none that the audit log explains" in report.failures[0].reason
    assert registry_rows_of(place.objects, P) == rows


@pytest.mark.long
def test_overtaken_by_a_change_of_the_same_person(
    place: Place, declared: Declared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A decision that is recorded first is kept: the link is decided again upon what it left."""
    run(place, declared([P, OTHER], "workers"))
    first = table_of(place.store)
    record = ManifestEvidence.record
    raced = False

    def overtaking(self: ManifestEvidence, *args: Any, **options: Any) -> Any:
        nonlocal raced
        if not raced:
            raced = True
            _order(place, "restricted", P)
        return record(self, *args, **options)

    monkeypatch.setattr(ManifestEvidence, "record", overtaking)
    report = run(place, declared([P, OTHER], "drivers", safe_views=("b",)))

    assert report.counts == Counts(skipped=2, linked=2)
    table = table_of(place.store)
    assert (table[P]["status"], table[P]["safe_views"], table[OTHER]["safe_views"]) == ("restricted", [], ["b"])
    assert [row["decision"]["kind"] for row in registry_rows_of(place.objects, P)] == ["restricted", "linked"]
    assert table[P]["datasets"] == [*first[P]["datasets"], {**first[P]["datasets"][0], "name": "drivers"}]


@pytest.mark.long
def test_a_lost_race_for_the_table_records_nothing_twice(
    place: Place, declared: Declared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If another commits to the same chunks in between, the links that are recorded are applied, and count once."""
    run(place, declared(EVERYBODY, "workers"))
    first = table_of(place.store)
    settle = Commits.settle
    raced = False

    def racing(self: Commits, *args: Any) -> None:
        nonlocal raced
        if not raced and linked_rows(place):
            raced = True
            _order(place, "classified", OTHER, vertical="general")
        settle(self, *args)

    monkeypatch.setattr(Commits, "settle", racing)
    report = run(place, declared(EVERYBODY, "drivers"))

    assert raced
    assert report.counts == Counts(skipped=4, linked=4)
    assert len(linked_rows(place)) == 4
    assert table_of(place.store) == replay(place.objects, first)
    assert_sound(place)


def test_some_chunks_alone(place: Place, declared: Declared) -> None:
    """A registration of some chunks links the people of these chunks alone."""
    run(place, declared(EVERYBODY, "workers"))
    stage_dataset(place.store, declared(EVERYBODY, "drivers"), limit=None)

    done = register_dataset(place.store, "drivers", limit=None, chunks=[LAYOUT.names[1]], evidence=place.evidence())

    assert done.counts == Counts(skipped=2, linked=2)
    assert [names_of(place, one)[1:] for one in EVERYBODY] == [[], [], ["drivers"], ["drivers"]]


@pytest.mark.long
def test_many_people_a_few_at_a_time(place: Place, declared: Declared, monkeypatch: pytest.MonkeyPatch) -> None:
    """More people than memory or a segment holds are linked in several commits and segments, each once."""
    ids = [f"W-{number}" for number in range(90)]
    run(place, declared(ids, "workers"))
    first = table_of(place.store)
    monkeypatch.setattr(linking, "ROWS_PER_GROUP", 40)
    monkeypatch.setattr(linking, "MAX_ROWS", 7)

    assert run(place, declared(ids, "drivers")).counts == Counts(skipped=90, linked=90)

    assert table_of(place.store) == replay(place.objects, first)
    assert len(linked_rows(place)) == 90


def test_put_links_nobody(place: Place, declared: Declared) -> None:
    """What is put is what is there afterwards: no reference is added to it."""
    run(place, declared([P], "workers"))
    place.registry().put(manifest(P))
    assert table_of(place.store)[P]["datasets"] == manifest(P).as_json()["datasets"]
    assert linked_rows(place) == []


def test_a_writers_copy_will_do(place: Place, declared: Declared, tmp_path: Path) -> None:
    """A ring without the signing key links as well."""
    copy = tmp_path / "copy.json"
    create_ring(copy, place.fresh_ring().ring().writer_copy())
    run(place, declared([P], "workers"))
    evidence = ManifestEvidence(place.store.with_ring(KeyRingFile(copy)), "tester")

    assert backfill(place.store, declared([P], "drivers"), evidence=evidence).counts.linked == 1
