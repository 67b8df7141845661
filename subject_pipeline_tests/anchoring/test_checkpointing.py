import datetime as dt
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from subject_pipeline.anchoring import checkpointing
from subject_pipeline.anchoring.checkpointing import CheckpointReport, write_checkpoint
from subject_pipeline.anchoring.proving import prove
from subject_pipeline.anchoring.writing import CheckpointWriter
from subject_pipeline.checkpoints.leaves import ChunkLeaf
from subject_pipeline.checkpoints.proofs import check_proof
from subject_pipeline.checkpoints.rosters import Roster, RosterEntry, id_sha256
from subject_pipeline.checkpoints.signed_notes import verifier_line
from subject_pipeline.checkpoints.stored_checkpoints import Checkpoint, CheckpointStore
from subject_pipeline.checkpoints.tree.head import origin
from subject_pipeline.errors import CheckpointError, KeyRingError, StoreError, UnknownSubjectError
from subject_pipeline.keys.ring_file import KeyRingFile, create_ring
from subject_pipeline.manifests.frames import to_rows
from subject_pipeline.manifests.table import ManifestTable
from subject_pipeline.registry.maintenance import compact
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline.verification.findings import ChunkFindings, store_wide
from subject_pipeline.verification.views import AuditedStore
from subject_pipeline_tests.helpers.audit_stores import (
    LAYOUT,
    Place,
    assert_sound,
    event,
    failing,
    found_by,
    holding,
    manifest,
    people,
)

CHUNK = LAYOUT.names[1]


def checkpoint(place: Place, **options: Any) -> CheckpointReport:
    """A checkpoint, as another process writes it, that holds."""
    report = write_checkpoint(place.fresh_store(), **options)
    assert report.written is not None
    assert report.carried == []
    return report


def written(place: Place, **options: Any) -> Checkpoint:
    """The same; what was written."""
    made = checkpoint(place, **options).written
    assert made is not None
    return made


def checkpoints(place: Place) -> CheckpointStore:
    """The store's checkpoints as its ring sees them."""
    return AuditedStore(place.fresh_store()).checkpoints


def entries(place: Place, *candidate_ids: str) -> list[RosterEntry | None]:
    """What the latest checkpoint has of some subjects."""
    store, layout = checkpoints(place), place.store.layout()
    latest = store.latest(whole=True)
    assert latest is not None
    assert layout is not None
    found: dict[str, RosterEntry] = {}
    for leaf in latest.leaves.values():
        found.update(store.roster(leaf).entries)
    return [found.get(id_sha256(layout.log_id, one)) for one in candidate_ids]


def proven(place: Place, candidate_id: str) -> RosterEntry:
    """The entry that a proof of somebody's head proves."""
    layout, signing = place.store.layout(), place.ring.ring().signing
    assert layout is not None
    assert signing is not None
    made = prove(place.fresh_store(), candidate_id)
    entry = check_proof(json.loads(json.dumps(made.proof)), verifier_line(origin(layout.log_id), signing.public)).entry
    assert entry is not None
    return entry


def _a_row(place: Place, other: str) -> None:
    place.append(event(other, "e-more"))


def _a_manifest(place: Place, other: str) -> None:
    place.registry().put(manifest(other))


def _a_manifest_without_a_row(place: Place, other: str) -> None:
    ManifestTable(place.store).snapshot_or_create().insert(to_rows([manifest(other)], LAYOUT))


def _nothing(_place: Place, _other: str) -> None:
    pass


CHANGES = [_nothing, _a_row, _a_manifest, _a_manifest_without_a_row]


@pytest.mark.parametrize("change", CHANGES, ids=lambda one: one.__name__.strip("_"))
def test_who_did_not_change_stays_in_the_next_checkpoint(place: Place, change: Callable[[Place, str], None]) -> None:
    """A chain of one row, and a manifest without a row, are anchored again whatever became of others in their chunk.

    Their entries stay as they were, blinds too; anyone who changed has another blind.
    """
    everybody = row_alone, manifest_alone, both, other = people(1, 4)
    for one in (manifest_alone, both):
        place.registry().put(manifest(one))
    place.append(*(event(one, "e-0") for one in (row_alone, both, other)))
    assert checkpoint(place).entries == 4
    before = entries(place, *everybody)
    change(place, other)
    report = checkpoint(place)

    assert report.written is not None
    assert (report.entries, report.written.number, report.written.statement.carried) == (4, 1, {})
    after = entries(place, *everybody)
    assert after[:3] == before[:3]
    assert (after[3] == before[3]) == (change is _nothing)
    assert before[3] is not None
    assert after[3] is not None
    assert (after[3].blind == before[3].blind) == (change is _nothing)
    found = {one: proven(place, one) for one in everybody}
    assert {one: entry.seq for one, entry in found.items()} == {
        row_alone: 0,
        manifest_alone: -1,
        both: 0,
        other: 1 if change is _a_row else 0,
    }
    registered = {manifest_alone, both} | ({other} if change in {_a_manifest, _a_manifest_without_a_row} else set())
    assert {one for one, entry in found.items() if entry.state == "present"} == registered
    assert {one for one, entry in found.items() if entry.state == "absent"} == {*everybody} - registered
    assert_sound(place, incremental=True)
    assert_sound(place)


@pytest.mark.long
def test_who_is_gone_leaves_the_next_checkpoint_with_a_chain_alone(place: Place) -> None:
    """Anyone who was deleted has a chain, which ends in the deletion, and the state of it, until they come back."""
    gone, stays = people(1, 2)
    for one in (gone, stays):
        place.registry().put(manifest(one))
    place.append(event(gone, "e-0"))
    checkpoint(place)
    place.registry().delete(gone)
    assert checkpoint(place).entries == 2
    assert (proven(place, gone).seq, proven(place, gone).state) == (1, "deleted")
    place.append(event(gone, "e-1"), event(stays, "e-2"))
    checkpoint(place)
    assert (proven(place, gone).seq, proven(place, gone).state) == (2, "deleted"), "of a log read from there on"
    compact(place.store)
    checkpoint(place)
    assert proven(place, gone).state == "deleted", "of a table alone"
    place.registry().put(manifest(gone))
    checkpoint(place)
    assert (proven(place, gone).seq, proven(place, gone).state) == (3, "present")
    assert_sound(place)


@pytest.mark.parametrize("step", ["nothing", "a row", "another's row", "a compaction"])
def test_somebody_deleted_does_not_come_back_unseen_whatever_was_read(place: Place, step: str) -> None:
    """Put into the table without a word after the checkpoint that has the deletion: found without reading the log."""
    gone, other = people(1, 2)
    for one in (gone, other):
        place.registry().put(manifest(one))
    place.registry().delete(gone)
    checkpoint(place)
    ManifestTable(place.store).snapshot_or_create().insert(to_rows([manifest(gone)], LAYOUT))
    if step == "a row":
        place.append(event(gone, "e-1"))
    elif step == "another's row":
        place.append(event(other, "e-1"))
    elif step == "a compaction":
        compact(place.store)
    for incremental in (True, False):
        assert found_by(place.verify(incremental=incremental))["manifests"] == {gone: "resurrected"}
    assert found_by(place.verify_publicly())["manifests"] == {gone: "resurrected"}
    read = [key for done, key in place.objects.calls if done == "get" and key.startswith("audit/")]
    place.objects.calls.clear()
    report = write_checkpoint(place.fresh_store())
    assert report.carried == [CHUNK]
    again = {key for done, key in place.objects.calls if done == "get" and key.startswith(f"audit/{CHUNK}/")}
    # What is new of the log; and of who was accessed, the rows that say whether that should have been.
    assert len(again) == {"a row": 2, "another's row": 1}.get(step, 0), f"of {read}"


def test_a_first_registration_after_a_checkpoint_needs_no_row(place: Place) -> None:
    """Somebody with rows, whom the checkpoint has as never registered, is no resurrection, and is counted."""
    one = people(1, 1)[0]
    place.append(event(one, "e-0"))
    checkpoint(place)
    _a_manifest_without_a_row(place, one)
    for incremental in (True, False):
        assert assert_sound(place, incremental=incremental).unanchored_manifests == 1
    assert place.verify_publicly().unanchored_manifests == 1
    checkpoint(place)
    assert assert_sound(place).unanchored_manifests == 0


def test_what_there_is_no_proof_of_is_said(place: Place) -> None:
    """No checkpoint yet, and nobody of that id in the last one."""
    here, never = people(1, 2)
    place.append(event(here, "e-0"))
    with pytest.raises(CheckpointError, match="there is no checkpoint yet"):
        prove(place.fresh_store(), here)
    checkpoint(place)
    with pytest.raises(UnknownSubjectError, match=f"checkpoint 0 knows no subject '{never}'"):
        prove(place.fresh_store(), never)


def test_a_checkpoint_needs_the_private_key(place: Place, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A writer's copy of the ring appends and verifies, and signs nothing."""
    place.append(event(people(0, 1)[0], "e-0"))
    path = tmp_path_factory.mktemp("copy") / "ring.json"
    create_ring(path, place.ring.ring().writer_copy())
    with pytest.raises(KeyRingError, match="has no private signing key"):
        write_checkpoint(place.store.with_ring(KeyRingFile(path)))
    assert list(place.store.objects.list("checkpoints/")) == []


def test_a_checkpoint_reports_its_verification(place: Place) -> None:
    """It is an incremental one, it counts the store's subjects, names the last checkpoint, and tells each chunk."""
    one, other = people(0, 1)[0], people(3, 1)[0]
    for candidate_id in (one, other):
        place.registry().put(manifest(candidate_id))
    told: list[tuple[int, int]] = []
    report = write_checkpoint(place.fresh_store(), progress=lambda *done: told.append(done))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert (report.verification.incremental, report.verification.subjects) == (True, 2)
    assert report.verification.checkpoint is None
    assert 0 < report.verification.elapsed_s < 600
    latest = checkpoint(place).verification.checkpoint
    assert latest is not None
    assert report.written is not None
    assert (latest.statement, latest.note) == (report.written.statement, report.written.note)


def test_a_roster_names_nobody(place: Place) -> None:
    """No id stands anywhere below `checkpoints/`; entries are sorted by the hashes of ids."""
    everybody = people(2, 3_000)[-30:]  # ids of six characters are in no hash by chance
    place.append(*(event(one, "e-0") for one in everybody[::-1]))
    made = written(place)
    roster = checkpoints(place).roster(made.leaves[LAYOUT.names[2]])
    assert len(roster.entries) == len(everybody)
    assert list(roster.entries) == sorted(id_sha256(made.statement.log_id, one) for one in everybody)
    for one in everybody:
        assert holding(place.folder / "checkpoints", one.encode()) == []
    assert len({entry.blind for entry in roster.entries.values()}) == len(everybody)


def test_an_idle_checkpoint_reads_no_roster_and_writes_two_small_objects(place: Place) -> None:
    """Statement and note; the tree grows, the state stays."""
    for one in people(1, 3):
        place.registry().put(manifest(one))
        place.append(event(one, "e-0"))
    first = written(place)
    place.objects.calls.clear()
    second = written(place)
    calls = place.objects.calls
    assert [key.rpartition("/")[2] for done, key in calls if done == "create"] == ["checkpoint.json", "note"]
    assert not [key for done, key in calls if done in {"delete", "replace"}]
    assert not [key for done, key in calls if done == "get" and key.startswith(("audit/", "checkpoints/rosters/"))]
    assert (second.number, second.statement.state_root) == (1, first.statement.state_root)
    assert second.root != first.root
    assert second.time > first.time


def test_only_a_changed_chunk_is_written_again(place: Place) -> None:
    """One roster, the leaves, the statement and the note."""
    for chunk in LAYOUT.names:
        place.append(event(people(chunk, 1)[0], "e-0"))
    first = written(place)
    place.append(event(people(1, 1)[0], "e-1"))
    place.objects.calls.clear()
    second = written(place)
    created = [key.split("/")[1] for done, key in place.objects.calls if done == "create"]
    assert created == ["rosters", "leaves", "000000000001", "000000000001"]
    assert [chunk for chunk in LAYOUT.names if first.leaves[chunk] != second.leaves[chunk]] == [CHUNK]


def test_a_compaction_writes_no_roster(place: Place) -> None:
    """Other files, the same subjects: another leaf over the same roster."""
    for one in people(1, 2):
        place.registry().put(manifest(one))
    first = written(place)
    compact(place.store)
    place.objects.calls.clear()
    second = written(place)
    assert first.leaves[CHUNK].table_files_sha256 != second.leaves[CHUNK].table_files_sha256
    assert first.leaves[CHUNK].roster_root == second.leaves[CHUNK].roster_root
    assert not [key for done, key in place.objects.calls if done == "create" and "rosters/" in key]


def _edit(path: Path) -> bytes:
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"result":"success"', b'"result":"denied"', 1))
    return data


def test_a_carried_chunk_says_whose_state_still_stands(place: Place) -> None:
    """Until it is whole again it names the checkpoint of its last sound state, through any number of checkpoints."""
    one, other = people(1, 1)[0], people(2, 1)[0]
    place.append(event(one, "e-0"), event(other, "e-0"))
    sound = written(place)
    place.append(event(one, "e-1"), event(other, "e-1"))
    path = place.folder / "audit" / CHUNK / f"{1:012d}.jsonl"
    before = _edit(path)
    for number in (1, 2):
        place.append(event(other, f"e-{number + 1}"))
        report = write_checkpoint(place.fresh_store())
        assert report.written is not None
        assert (report.carried, report.written.statement.carried) == ([CHUNK], {CHUNK: 0})
        assert report.written.leaves[CHUNK] == sound.leaves[CHUNK]
        assert proven(place, other).seq == number + 1
    path.write_bytes(before)
    assert written(place).statement.carried == {}
    assert proven(place, one).seq == 1


def test_a_chunk_that_never_was_sound_has_an_empty_leaf(place: Place) -> None:
    """It is said to be of no checkpoint, and nothing is proven of it, least of all that somebody is not there."""
    one, other = people(1, 1)[0], people(2, 1)[0]
    place.append(event(one, "e-0"), event(other, "e-0"))
    _edit(place.folder / "audit" / CHUNK / f"{0:012d}.jsonl")
    for _ in range(2):
        report = write_checkpoint(place.fresh_store())
        assert report.written is not None
        assert report.written.statement.carried == {CHUNK: -1}
        assert report.written.leaves[CHUNK] == ChunkLeaf.empty(CHUNK)
        with pytest.raises(CheckpointError, match="no state of this chunk was ever signed"):
            prove(place.fresh_store(), one, "absence")


@pytest.mark.parametrize("kind", ["bad_checkpoint", "unreadable"])
def test_a_changed_chunk_whose_roster_is_lost_is_carried(place: Place, kind: str) -> None:
    """Where nothing changed the roster is not needed; once something has, what became of it is said."""
    one = people(1, 1)[0]
    place.append(event(one, "e-0"))
    checkpoint(place)
    (path,) = (place.folder / "checkpoints" / "rosters" / CHUNK).iterdir()
    if kind == "bad_checkpoint":
        path.write_bytes(b"junk\n")
    else:
        place.objects.around = failing("get", path.name, StoreError("the store failed"))
    checkpoint(place)
    place.append(event(one, "e-1"))
    report = write_checkpoint(place.fresh_store())
    assert report.carried == [CHUNK]
    assert found_by(report.verification)["logs"] == {(CHUNK, kind)}
    assert report.entries == 1


def test_a_roster_that_cannot_be_written_carries_its_chunk(place: Place) -> None:
    """The store failed, or other bytes are there: never signed over, and said."""
    place.append(event(people(1, 1)[0], "e-0"), event(people(2, 1)[0], "e-0"))
    place.objects.around = failing("create", f"rosters/{CHUNK}/", StoreError("the store failed"))
    report = write_checkpoint(place.fresh_store())
    assert report.written is not None
    assert report.written.statement.carried == {CHUNK: -1}
    assert found_by(report.verification)["logs"] == {(CHUNK, "unreadable")}


def test_what_verification_would_refuse_is_never_signed(place: Place) -> None:
    """Whatever way it got into what was found, an entry that cannot be read back makes no roster."""
    place.append(event(people(1, 1)[0], "e-0"))
    layout = place.store.layout()
    assert layout is not None
    draft = checkpointing._Draft(layout, CheckpointWriter(place.objects), None, blocked=False)
    found = ChunkFindings(CHUNK, hashes={"W-1": "no hash"})
    assert draft.anchor(found) == (found, ChunkLeaf.empty(CHUNK))
    assert [one.kind for one in found.problems] == ["bad_checkpoint"]
    assert list(place.objects.list("checkpoints/")) == []


@pytest.mark.parametrize(
    ("behind", "refused"), [(-1, False), (0, False), (299, False), (300, False), (301, True), (86_400, True)]
)
def test_time_only_grows(place: Place, behind: int, refused: bool) -> None:
    """A clock up to five minutes behind gives the time before and a microsecond; one further behind is refused."""
    now = dt.datetime(2026, 6, 30, 12, tzinfo=dt.UTC)
    first = written(place, clock=lambda: now)
    assert first.time == "2026-06-30T12:00:00.000000Z"
    late = now - dt.timedelta(seconds=behind)
    if refused:
        with pytest.raises(CheckpointError, match=r"this machine's clock says .*: correct the clock"):
            write_checkpoint(place.fresh_store(), clock=lambda: late, progress=lambda *_: pytest.fail("verified first"))
        assert written(place, clock=lambda: now).number == 1
    else:
        second = written(place, clock=lambda: late)
        assert second.time == ("2026-06-30T12:00:01.000000Z" if behind < 0 else "2026-06-30T12:00:00.000001Z")


@pytest.mark.parametrize(
    ("kind", "signed"), [("unreadable", False), ("bad_checkpoint", False), ("foreign_object", True)]
)
def test_nothing_is_signed_over_a_whole_store_that_does_not_hold(
    place: Place, monkeypatch: pytest.MonkeyPatch, kind: str, signed: bool
) -> None:
    """A store that could not be read, or whose checkpoint is bad; a stray object is told, and signed beside."""
    view = AuditedStore.view

    def with_problem(self: AuditedStore, *args: Any, **options: Any) -> Any:
        found, problems = view(self, *args, **options)
        return found, [*problems, store_wide(kind, "as it is")]

    checkpoint(place)
    monkeypatch.setattr(AuditedStore, "view", with_problem)
    report = write_checkpoint(place.fresh_store())
    assert (report.written is not None) is signed
    assert report.entries == 0, "nobody is in it"


def test_how_long_the_machine_is_up_is_no_matter(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what passed since the attempt began counts towards the six hours."""
    monkeypatch.setattr(time, "perf_counter", lambda: 1e9)
    assert written(place).number == 0


def test_an_attempt_is_given_up_after_six_hours(place: Place) -> None:
    """Long before what it wrote may go, and before anything is signed."""
    now = iter(dt.datetime(2026, 6, 30, 12, tzinfo=dt.UTC) + dt.timedelta(hours=4 * at) for at in range(100))
    with pytest.raises(StoreError, match="took more than six hours"):
        write_checkpoint(place.fresh_store(), clock=lambda: next(now))
    assert not [key for done, key in place.objects.calls if done == "create" and key.endswith("/note")]
    assert written(place).number == 0


def test_a_killed_attempt_blocks_nothing(place: Place) -> None:
    """Killed before any of its objects: the number is free, and what it left means nothing."""
    place.append(event(people(1, 1)[0], "e-0"))
    for part in ("/note", "checkpoint.json", "leaves/", "rosters/"):
        place.objects.around = failing("create", part, StoreError("killed here"))
        if part == "rosters/":
            assert write_checkpoint(place.fresh_store()).carried == [CHUNK]
            break
        with pytest.raises(StoreError, match="killed here"):
            write_checkpoint(place.fresh_store())
        assert_sound(place)
    place.objects.around = lambda _done, _key, run: run()
    assert written(place).number == 1
    assert_sound(place)


def test_a_store_that_was_never_written_gets_its_first_checkpoint(tmp_path: Path, ring: KeyRingFile) -> None:
    """With nothing in it: its layout is written, and from then on nothing can be taken away unnoticed."""
    report = write_checkpoint(SubjectStore.at(str(tmp_path / "new"), wanted_chunks=4, ring=ring))
    assert report.written is not None
    assert (report.written.number, report.entries, len(report.written.leaves)) == (0, 0, 4)


def test_a_chain_of_somebody_whom_nobody_names_is_missed_by_its_hash(place: Place) -> None:
    """Their rows are gone: the checkpoint knows them by a hash, and so does anyone who asks for them by id."""
    gone, stays = people(1, 2)
    place.append(event(gone, "e-0"))
    made = written(place)
    name = id_sha256(made.statement.log_id, gone)
    (place.folder / "audit" / CHUNK / f"{0:012d}.jsonl").unlink()
    for incremental in (True, False):
        report = place.verify(incremental=incremental)
        assert [(one.candidate_id, one.id_sha256, one.kind) for one in report.broken_chains] == [
            (None, name, "missing")
        ]
        assert (report.chains, report.broken, report.intact, report.homes) == (1, 1, 0, {name: CHUNK})
    asked = place.verify(candidate_ids=[gone])
    assert [one.id_sha256 for one in asked.broken_chains] == [name]
    assert asked.unknown == []
    other = place.verify(candidate_ids=[stays])
    assert (other.broken_chains, other.unknown) == ([], [stays])


@pytest.mark.long
def test_a_manifest_of_somebody_whom_nobody_names_is_missed_by_its_hash(place: Place) -> None:
    """A first registration has no row; taken out of the table, it is only in the checkpoint."""
    gone, stays = people(1, 2)
    for one in (gone, stays):
        place.registry().put(manifest(one))
    made = written(place)
    DeltaTable(str(place.folder / "subjects")).delete(f"candidate_id = '{gone}'")
    name = id_sha256(made.statement.log_id, gone)
    for incremental in (True, False):
        report = place.verify(incremental=incremental)
        found = [(one.candidate_id, one.id_sha256, one.kind) for one in report.broken_manifests]
        assert found == [(None, name, "missing")]
    assert write_checkpoint(place.fresh_store()).carried == [CHUNK]


def test_a_stored_roster_is_what_is_signed(place: Place) -> None:
    """Read back from the store it makes the leaf's root."""
    place.append(*(event(one, "e-0") for one in people(1, 5)))
    leaf = written(place).leaves[CHUNK]
    data = place.objects.get(f"checkpoints/rosters/{CHUNK}/{leaf.roster_root}")
    assert data is not None
    assert Roster.parse(data, subjects=5, root=leaf.roster_root).text == data
