"""A writer killed after its rows are in the log and before the table has them, and who comes next."""

import datetime as dt
import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from subject_pipeline.anchoring.checkpointing import write_checkpoint
from subject_pipeline.changes.settling import settle
from subject_pipeline.errors import (
    AmbiguousSubjectError,
    CollisionError,
    IncompleteError,
    UnknownSubjectError,
    VanishedFileError,
)
from subject_pipeline.lifecycle.applying import Decisions
from subject_pipeline.manifests.snapshot import Snapshot
from subject_pipeline.manifests.table import ManifestTable
from subject_pipeline.registry.backfill import backfill
from subject_pipeline.registry.imports.importing import import_manifests
from subject_pipeline.registry.maintenance import Compaction, compact
from subject_pipeline.registry.outcomes import ImportReport
from subject_pipeline.store.datasets import DatasetDeclaration
from subject_pipeline.store.ids import storage_key
from subject_pipeline_tests.conftest import KEY_COLUMN, Declared, Prepared
from subject_pipeline_tests.helpers.audit_stores import (
    LAYOUT,
    Place,
    PlugPulledError,
    assert_sound,
    event,
    manifest,
    people,
    place_in,
)
from subject_pipeline_tests.helpers.decisions import decision
from subject_pipeline_tests.helpers.recorded import (
    States,
    decisions_of,
    plug_pulled,
    registry_rows_of,
    replay,
    table_of,
)

P, OTHER = people(0, 2)
ELSEWHERE = people(1, 1)[0]
_LATER = dt.timedelta(minutes=6)


class Registered:
    """Three people who were registered without a row, the operations upon one of them, and what they do.

    Attributes:
        first: everybody's first manifest.
    """

    def __init__(self, place: Place, people: DatasetDeclaration) -> None:
        self.place, self.people = place, people
        self.first = table_of(place.store)

    def put(self, candidate_id: str = P, **fields: Any) -> bool:
        """Replace a manifest, or register it."""
        return self.place.registry().put(manifest(candidate_id, **fields))

    def delete(self, candidate_id: str = P) -> int:
        """Delete a manifest."""
        return self.place.registry().delete(candidate_id)

    def imported(self, candidate_id: str = P, **fields: Any) -> tuple[int, int, int, int]:
        """Import one manifest: inserted, replaced, unchanged, failed."""
        path = self.place.folder.parent / "in.jsonl"
        path.write_text(json.dumps(manifest(candidate_id, **fields).as_json()))
        report = ImportReport()
        import_manifests(self.place.store, path, report, self.place.evidence())
        return report.inserted, report.replaced, report.unchanged, report.failed

    def register(self) -> tuple[int, int, int]:
        """Register everybody again: inserted, skipped, failed."""
        counts = backfill(self.place.store, self.people, evidence=self.place.evidence()).counts
        return counts.inserted, counts.skipped, counts.failed

    def compact(self) -> Compaction:
        """Maintain the store."""
        return compact(self.place.store, self.place.evidence())

    def killed(self, operation: Callable[[], Any]) -> None:
        """The operation gets as far as the log."""
        before, table = len(registry_rows_of(self.place.objects)), table_of(self.place.store)
        with plug_pulled():
            if operation == self.register:
                assert operation() == (0, 0, 3), "a registration goes on, and counts whom it could not register"
            else:
                with pytest.raises(IncompleteError) as caught:
                    operation()
                assert isinstance(caught.value.__cause__, PlugPulledError)
        assert len(registry_rows_of(self.place.objects)) == before + 1
        assert table_of(self.place.store) == table

    def replayed(self) -> States:
        """What everybody's manifest must be by the log."""
        return replay(self.place.objects, self.first)

    def settled(self) -> States:
        """The table, which is as the log says and sound."""
        table = table_of(self.place.store)
        assert table == self.replayed()
        assert_sound(self.place)
        return table

    def kinds(self, age: dt.timedelta = _LATER) -> Mapping[str | None, str]:
        """What a verification finds of manifests, later; those that are pending too."""
        report = self.place.verify(clock=lambda: dt.datetime.now(dt.UTC) + age)
        broken: dict[str | None, str] = {one.candidate_id: one.kind for one in report.broken_manifests}
        return broken | {one.candidate_id: "pending" for one in report.pending}

    def came_back(self) -> None:
        """Delete P, to be registered again."""
        self.delete()


def registered(place: Place, people: DatasetDeclaration) -> Registered:
    """Register people without a row in the log yet, and record an access to P's data."""
    backfill(place.store, people, evidence=place.evidence())
    place.append(event(P, "e-1"))
    return Registered(place, people)


def three_people(folder: Path) -> None:
    """Fills a folder with a store where three people are registered, two of them in one chunk."""
    pl.DataFrame({KEY_COLUMN: [P, OTHER, ELSEWHERE]}).write_parquet(folder / "people.parquet")
    registered(place_in(folder), _people_of(folder))


def opened(folder: Path) -> Registered:
    """What `three_people` left in a folder, or a copy of it."""
    return Registered(place_in(folder), _people_of(folder))


def _people_of(folder: Path) -> DatasetDeclaration:
    return DatasetDeclaration(name="people", source=str(folder / "people.parquet"), key_column=KEY_COLUMN)


@pytest.fixture
def there(tmp_path: Path, prepared: Prepared) -> Registered:
    """Three people, two of them in one chunk."""
    prepared(three_people, tmp_path)
    return opened(tmp_path)


KILLED: dict[str, Callable[[Registered], None]] = {
    "put": lambda there: there.killed(partial(there.put, status="restricted")),
    "import": lambda there: there.killed(partial(there.imported, status="restricted")),
    "delete": lambda there: there.killed(there.delete),
    "register": lambda there: (there.came_back(), there.killed(there.register))[1],
}
_killed = pytest.mark.parametrize("killed", KILLED)


@pytest.mark.long
@_killed
def test_reading_settles_nothing(there: Registered, killed: str) -> None:
    """A get gives what the table has; verifications report, `pending` for five minutes and `unapplied` from then on."""
    assert write_checkpoint(there.place.fresh_store()).written
    KILLED[killed](there)
    before = table_of(there.place.store)

    assert there.kinds(dt.timedelta()) == {P: "pending"}
    assert there.kinds() == {P: "unapplied"}
    if P in before:
        assert there.place.registry().get(P).as_json() == before[P]
    else:
        with pytest.raises(UnknownSubjectError):
            there.place.registry().get(P)
    assert write_checkpoint(there.place.fresh_store()).pending == [LAYOUT.names[0]]
    assert table_of(there.place.store) == before


@_killed
def test_the_next_put_is_decided_on_what_is_recorded(there: Registered, killed: str) -> None:
    """Its row says what it changes of that; then log and table agree."""
    KILLED[killed](there)
    recorded = there.replayed().get(P)

    assert there.put(vertical="general") is (recorded is None)
    assert there.settled()[P]["vertical"] == "general"
    row = registry_rows_of(there.place.objects, P)[-1]
    assert row["decision"]["kind"] == ("registered" if recorded is None else "replaced")
    assert ("status" in row["decision"]["changes"]) == (recorded is None or recorded["status"] != "active")


@pytest.mark.long
@_killed
def test_the_next_delete_leaves_nobody(there: Registered, killed: str) -> None:
    """Also of somebody who was registered in the log alone; of somebody who is deleted there, without another row."""
    KILLED[killed](there)
    rows = len(registry_rows_of(there.place.objects, P))
    there.delete()

    assert P not in there.settled()
    assert len(registry_rows_of(there.place.objects, P)) == rows + (killed != "delete")
    with pytest.raises(UnknownSubjectError):
        there.delete()


@pytest.mark.long
@_killed
def test_the_next_import_is_decided_on_what_is_recorded(there: Registered, killed: str) -> None:
    """It counts by the log's manifest, not by the table's."""
    KILLED[killed](there)
    counts = there.imported(status="restricted", vertical="general")  # an import lifts no restriction

    assert counts == ((1, 0, 0, 0) if killed == "delete" else (0, 1, 0, 0))
    assert there.settled()[P]["vertical"] == "general"


@pytest.mark.long
def test_an_import_of_what_is_recorded_changes_nothing_and_settles_it(there: Registered) -> None:
    """Run again, it counts as unchanged, appends nothing, and the table follows."""
    KILLED["import"](there)
    rows = len(registry_rows_of(there.place.objects))
    assert there.imported(status="restricted") == (0, 0, 1, 0)
    assert there.settled()[P]["status"] == "restricted"
    assert len(registry_rows_of(there.place.objects)) == rows


@pytest.mark.long
@_killed
def test_the_next_registration_registers_whom_the_log_has_registered(there: Registered, killed: str) -> None:
    """Exactly as it was recorded. Anyone who has a manifest in the table is skipped, whatever the log says of them."""
    KILLED[killed](there)
    table, recorded = table_of(there.place.store), there.replayed()
    rows = len(registry_rows_of(there.place.objects))

    assert there.register() == ((1, 2, 0) if killed == "register" else (0, 3, 0))
    assert table_of(there.place.store) == (recorded if killed == "register" else table)
    assert len(registry_rows_of(there.place.objects)) == rows


@pytest.mark.long
@_killed
def test_compaction_settles_everybody(there: Registered, killed: str) -> None:
    """Once; and anyone who was deleted in the log alone comes back by a row that says so."""
    KILLED[killed](there)
    done = there.compact()
    assert (done.settled, done.unexplained) == (1, 0)
    assert (P in there.settled()) == (killed != "delete")
    done = there.compact()
    assert (done.settled, done.unexplained) == (0, 0)

    assert there.register() == ((1, 2, 0) if killed == "delete" else (0, 3, 0))
    there.settled()
    if killed == "delete":
        assert decisions_of(there.place.objects, P) == ["deleted", "registered"]


@pytest.mark.long
@pytest.mark.parametrize("killed", KILLED)
def test_what_is_done_with_others_settles_nobody_and_is_not_in_the_way(there: Registered, killed: str) -> None:
    """Of the same chunk and of another."""
    KILLED[killed](there)
    for one in (OTHER, ELSEWHERE):
        there.put(one, vertical="general")
        there.delete(one)
        there.imported(one, vertical="healthcare")
        assert there.kinds() == {P: "unapplied"}
    assert there.compact().settled == 1
    assert there.settled().keys() >= {OTHER, ELSEWHERE}


@pytest.mark.long
def test_many_killed_one_after_the_other_are_settled_as_one(there: Registered) -> None:
    """Put, deleted, registered, replaced, all in the log alone: the table goes to the last at once."""
    there.killed(partial(there.put, status="restricted"))
    there.killed(there.delete)
    there.killed(partial(there.put, vertical="general"))
    there.killed(partial(there.imported, vertical="healthcare"))
    assert decisions_of(there.place.objects, P) == ["replaced", "deleted", "registered", "replaced"]
    assert there.compact().settled == 1
    assert there.settled()[P]["vertical"] == "healthcare"


@pytest.mark.long
def test_manifests_are_written_and_deleted_in_one_compaction(there: Registered) -> None:
    """In several chunks, and both in one."""
    there.killed(partial(there.put, status="restricted"))
    there.killed(partial(there.delete, OTHER))
    there.killed(partial(there.put, ELSEWHERE, status="restricted"))
    assert there.compact().settled == 3
    assert there.settled().keys() == {P, ELSEWHERE}


def test_where_nothing_is_behind_the_table_is_opened_once(there: Registered, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not once for each chunk: every opening reads Delta's log, which in a bucket is a request a commit."""
    for one in (P, ELSEWHERE):
        there.place.registry().put(manifest(one, vertical="general"))
    opened: list[object] = []
    real = ManifestTable.snapshot
    monkeypatch.setattr(ManifestTable, "snapshot", lambda self: opened.append(self) or real(self))
    assert settle(there.place.store, there.place.evidence()) == (0, 0)
    assert len(opened) == 1


def test_a_table_that_was_vacuumed_under_the_look_is_looked_at_again(
    there: Registered, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is behind is settled all the same."""
    with plug_pulled(), pytest.raises(IncompleteError):
        there.place.registry().put(manifest(P, vertical="general"))
    real = Snapshot.rows
    first = iter([True])

    def rows(self: Snapshot, *arguments: Any) -> pl.DataFrame:
        if next(first, False):
            raise VanishedFileError("gone")
        return real(self, *arguments)

    monkeypatch.setattr(Snapshot, "rows", rows)
    assert settle(there.place.store, there.place.evidence()) == (1, 0)
    there.settled()


def test_compaction_without_keys_settles_nothing_and_works(there: Registered) -> None:
    """It does all the rest."""
    KILLED["put"](there)
    before = table_of(there.place.store)
    done = compact(there.place.store)
    assert (done.settled, done.unexplained) == (0, 0)
    assert table_of(there.place.store) == before


@pytest.mark.long
@pytest.mark.parametrize("where", ["a row", "the head"])
def test_a_damaged_log_keeps_no_other_chunk_from_being_settled(there: Registered, where: str) -> None:
    """Damage of the one is counted, the others follow their logs, and erased people go for good."""
    for one in (P, ELSEWHERE):
        there.killed(partial(there.put, one, status="restricted"))
    log = there.place.log()
    log.append([event(P, f"{number}") for number in range(3)])
    log.append([event(OTHER, "last")])
    log.close(index_after_bytes=0)
    chunk = LAYOUT.names[0]
    damaged = 1 if where == "a row" else 3
    key = f"audit/{chunk}/{damaged:012d}.jsonl"
    data = there.place.objects.get(key)
    assert data is not None
    there.place.objects.replace(key, data.replace(b'"actor"', b'"Actor"'))

    done = there.compact()
    assert (done.settled, done.unexplained) == (1, 1)
    table = table_of(there.place.store)
    assert (table[P]["status"], table[ELSEWHERE]["status"]) == ("active", "restricted")


def test_a_checkpoint_that_does_not_hold_keeps_its_chunks_from_being_settled_and_no_more(there: Registered) -> None:
    """What it had is not known, so nothing is settled on the word of the log alone; compaction does all else."""
    assert write_checkpoint(there.place.fresh_store()).written
    KILLED["put"](there)
    for item in list(there.place.objects.list("checkpoints/")):
        if item.key.endswith("note"):
            there.place.objects.replace(item.key, b"nothing")
    done = there.compact()
    assert (done.settled, done.unexplained) == (0, 1)


@pytest.mark.long
def test_another_id_that_took_the_storage_key_stops_nothing(place: Place, declared: Declared) -> None:
    """Anyone who is registered in the log alone and has lost the storage key is left, found, and can be deleted."""
    slash = next(
        one for one in (f"C/{number}" for number in range(99)) if LAYOUT.chunk_of(storage_key(one)) == "chunk-0"
    )
    line = storage_key(slash)
    there = registered(place, declared([slash]))
    there.first = table_of(place.store)
    place.registry().delete(slash)
    with plug_pulled(), pytest.raises(IncompleteError):
        there.put(slash)
    there.put(line)
    there.first |= table_of(place.store)

    done = there.compact()
    assert (done.settled, done.unexplained) == (0, 1)
    assert there.kinds() == {slash: "unapplied"}
    with pytest.raises(CollisionError):
        there.put(slash)
    (refused,) = Decisions(place.fresh_store(), "tester").apply([decision("restricted", slash)])
    assert refused.reason.startswith("another subject has got the storage key")
    there.delete(slash)
    assert there.settled().keys() == {line}
    assert there.compact().unexplained == 0


def test_nothing_is_created_where_nothing_was_recorded(place: Place) -> None:
    """Maintaining a store that has a log and no manifest makes no table."""
    place.append(event(P, "1"))
    assert compact(place.store, place.evidence()).settled == 0
    assert ManifestTable(place.store).snapshot() is None


def _rolled_back(there: Registered, saved: Any) -> None:
    """A writer to the bucket puts `subjects/` back."""
    for item in list(there.place.objects.list("subjects/")):
        if item.key not in saved:
            there.place.objects.delete(item.key)
    for key, data in saved.items():
        there.place.objects.replace(key, data)


def _saved(there: Registered) -> dict[str, bytes]:
    return {item.key: there.place.objects.get(item.key) or b"" for item in there.place.objects.list("subjects/")}


@pytest.mark.long
def test_a_table_rolled_back_to_before_the_last_checkpoint_is_found_and_left(there: Registered) -> None:
    """Neither compaction nor a change of one of them repairs it: what it lacks was anchored."""
    before = _saved(there)
    there.put(status="restricted")
    there.delete(OTHER)
    there.put("NEW-1")
    assert there.place.log().layout is not None
    assert write_checkpoint(there.place.fresh_store()).written
    there.put(status="erasure_ordered")
    _rolled_back(there, before)
    table = table_of(there.place.store)

    expected = {P: "changed", OTHER: "resurrected", None: "missing"}  # nobody names NEW-1 any more
    assert there.kinds() == expected
    done = there.compact()
    assert (done.settled, done.unexplained) == (0, 2)
    for one in (P, OTHER):
        with pytest.raises(AmbiguousSubjectError, match="audit verify"):
            there.put(one, vertical="general")
        assert there.imported(one, vertical="general") == (0, 0, 0, 1)
    with pytest.raises(AmbiguousSubjectError, match="audit verify"):
        there.delete()
    assert table_of(there.place.store) == table
    assert there.kinds() == expected

    there.delete(OTHER)  # as the log has it: that needs no other row, and may always be done
    assert decisions_of(there.place.objects, OTHER) == ["deleted"]
    assert there.kinds() == {P: "changed", None: "missing"}


@pytest.mark.long
def test_a_table_restored_to_the_last_checkpoint_follows_the_log_again(there: Registered) -> None:
    """All that it lacks was recorded after it."""
    there.put(status="restricted")
    assert write_checkpoint(there.place.fresh_store()).written
    anchored = _saved(there)
    there.put(status="erasure_ordered")
    there.delete(OTHER)
    _rolled_back(there, anchored)

    assert there.kinds() == {P: "unapplied", OTHER: "unapplied"}
    assert there.compact().settled == 2
    assert there.settled()[P]["status"] == "erasure_ordered"


@pytest.mark.long
def test_somebody_registered_after_their_chain_was_anchored_is_pending_then_settled(
    place: Place, declared: Declared
) -> None:
    """Accesses came first, then a checkpoint, then the registration without a row, then a change that was killed."""
    place.append(event(P, "e-0"))
    place.registry().put(manifest(ELSEWHERE))
    assert write_checkpoint(place.fresh_store()).written
    there = registered(place, declared([P]))
    KILLED["put"](there)
    assert there.kinds(dt.timedelta()) == {P: "pending"}
    assert there.kinds() == {P: "unapplied"}
    assert there.compact().settled == 1
    assert there.settled()[P]["status"] == "restricted"


@pytest.mark.long
def test_many_people_are_told_apart_by_one_reading_of_their_chunk(there: Registered) -> None:
    """However many changes are recorded and not applied, a verification reads the manifests a fixed number of times."""
    chunk = LAYOUT.names[0]
    crowd = people(0, 30)[2:]
    for one in crowd:
        there.put(one)
    evidence = there.place.evidence()
    evidence.open()
    path = there.place.folder.parent / "crowd.jsonl"
    path.write_text("".join(f"{json.dumps(manifest(one, status='restricted').as_json())}\n" for one in crowd))
    with plug_pulled(), pytest.raises(IncompleteError):
        import_manifests(there.place.store, path, evidence=evidence)
    reads = []
    with pytest.MonkeyPatch.context() as patch:
        real = Snapshot.judged_rows
        patch.setattr(Snapshot, "judged_rows", lambda self, names: reads.append(names) or real(self, names))
        assert there.kinds() == dict.fromkeys(crowd, "unapplied")
    assert len([names for names in reads if chunk in names]) <= 6
