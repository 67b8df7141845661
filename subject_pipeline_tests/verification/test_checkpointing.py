from collections.abc import Callable
from pathlib import Path

import pytest

from subject_pipeline.checkpoints.proofs import check_proof
from subject_pipeline.checkpoints.stored_checkpoints import CheckpointStore
from subject_pipeline.errors import CheckpointError, KeyRingError, StoreError, UnknownSubjectError
from subject_pipeline.keys.ring_file import KeyRingFile, create_ring
from subject_pipeline.manifests.frames import to_rows
from subject_pipeline.manifests.table import ManifestTable
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline.verification import checkpointing
from subject_pipeline.verification.checkpointing import CheckpointReport, prove, write_checkpoint
from subject_pipeline.verification.findings import ChunkFindings
from subject_pipeline.verification.log_verdicts import BrokenLog
from subject_pipeline.verification.views import AuditedStore
from subject_pipeline_tests.helpers.audit_stores import (
    LAYOUT,
    Place,
    assert_sound,
    event,
    failing,
    found_by,
    manifest,
    people,
)


def checkpoint(place: Place) -> CheckpointReport:
    """A checkpoint, as another process writes it, that holds."""
    report = write_checkpoint(place.store, place.fresh_ring())
    assert report.written is not None
    assert report.carried == []
    return report


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
    """A chain of one row, and a manifest without a row, are anchored again whatever became of others in their chunk."""
    row_alone, manifest_alone, both, other = people(1, 4)
    for one in (manifest_alone, both):
        place.registry().put(manifest(one))
    place.append(*(event(one, "e-0") for one in (row_alone, both, other)))
    entries = checkpoint(place).entries
    change(place, other)
    report = checkpoint(place)

    assert report.written is not None
    assert (entries, report.entries) == (4, 4)
    assert report.written.note.number == 1
    proofs = {one: prove(place.store, place.fresh_ring(), one) for one in (row_alone, manifest_alone, both, other)}
    assert {one: proof["seq"] for one, proof in proofs.items()} == {
        row_alone: 0,
        manifest_alone: -1,
        both: 0,
        other: 1 if change is _a_row else 0,
    }
    registered = {manifest_alone, both} | ({other} if change in {_a_manifest, _a_manifest_without_a_row} else set())
    proven = {check_proof(proof, proof["verifier"]) for proof in proofs.values()}
    assert {entry.candidate_id for entry in proven if entry.manifest_sha256} == registered
    assert_sound(place, incremental=True)
    assert_sound(place)


def test_who_is_gone_leaves_the_next_checkpoint_with_a_chain_alone(place: Place) -> None:
    """Whoever was deleted has a chain, which ends in the deletion, and no manifest."""
    gone, stays = people(1, 2)
    for one in (gone, stays):
        place.registry().put(manifest(one))
    place.append(event(gone, "e-0"))
    checkpoint(place)
    place.registry().delete(gone)
    assert checkpoint(place).entries == 2
    proof = prove(place.store, place.fresh_ring(), gone)
    proven = check_proof(proof, proof["verifier"])
    assert (proven.seq, proven.manifest_sha256) == (1, "")


def test_what_there_is_no_proof_of_is_said(place: Place) -> None:
    """No checkpoint yet, and nobody of that id in the last one."""
    here, never = people(1, 2)
    place.append(event(here, "e-0"))
    with pytest.raises(CheckpointError, match="there is no checkpoint yet"):
        prove(place.store, place.fresh_ring(), here)
    checkpoint(place)
    with pytest.raises(UnknownSubjectError, match=f"checkpoint 0 knows no subject '{never}'"):
        prove(place.store, place.fresh_ring(), never)


def test_a_checkpoint_needs_the_private_key(place: Place, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A writer's copy of the ring appends and verifies, and signs nothing."""
    place.append(event(people(0, 1)[0], "e-0"))
    path = tmp_path_factory.mktemp("copy") / "ring.json"
    create_ring(path, place.ring.ring().writer_copy())
    with pytest.raises(KeyRingError, match="has no private signing key"):
        write_checkpoint(place.store, KeyRingFile(path))
    assert list(place.store.objects.list("checkpoints/")) == []


def test_a_checkpoint_reports_its_verification(place: Place) -> None:
    """It is an incremental one, it counts the store's subjects, names the last checkpoint, and tells each chunk."""
    one, other = people(0, 1)[0], people(3, 1)[0]
    for candidate_id in (one, other):
        place.registry().put(manifest(candidate_id))
    told: list[tuple[int, int]] = []
    report = write_checkpoint(place.store, place.fresh_ring(), progress=lambda *done: told.append(done))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert (report.verification.incremental, report.verification.subjects) == (True, 2)
    assert report.verification.checkpoint is None
    assert 0 < report.verification.elapsed_s < 600
    assert checkpoint(place).verification.checkpoint == report.written


def test_a_roster_is_in_the_order_of_its_keys(place: Place) -> None:
    """Sorted by storage key, then id, whoever came first: the same people make the same root."""
    everybody = people(2, 30)
    place.append(*(event(one, "e-0") for one in everybody[::-1]))
    written = checkpoint(place).written
    assert written is not None
    layout, signing = place.store.layout(), place.ring.ring().signing
    assert layout is not None
    assert signing is not None
    roster = CheckpointStore(place.store.objects, layout.log_id, signing.public).roster(written, LAYOUT.names[2])
    assert [entry.candidate_id for entry in roster.entries] == sorted(everybody)


@pytest.mark.parametrize("kind", ["bad_checkpoint", "unreadable"])
def test_an_unchanged_chunk_whose_roster_is_lost_gets_no_next_checkpoint(place: Place, kind: str) -> None:
    """Where nothing changed the roster is needed for the next checkpoint alone; what became of it is said there."""
    place.append(event(people(1, 1)[0], "e-0"))
    checkpoint(place)
    (path,) = (place.folder / "checkpoints" / f"{0:012d}").glob(f"{LAYOUT.names[1]}-*")
    if kind == "bad_checkpoint":
        path.write_bytes(b"junk\n")
    else:
        place.objects.around = failing("get", path.name, StoreError("the store failed"))
    report = write_checkpoint(place.store, place.fresh_ring())
    assert report.written is None
    assert found_by(report.verification)["logs"] == {(LAYOUT.names[1], kind)}
    assert report.carried == [LAYOUT.names[1]]
    assert report.entries == 0


def test_what_verification_would_refuse_is_never_signed(place: Place) -> None:
    """Whatever way it got into what was found, an entry that cannot be read back makes no checkpoint."""
    place.append(event(people(1, 1)[0], "e-0"))
    audited = AuditedStore(place.store, place.fresh_ring())
    for wrong in ({"": "ab" * 32}, {"W-1": "no hash"}):
        found = ChunkFindings(LAYOUT.names[1], hashes=wrong)
        assert checkpointing._next_roster(audited, None, found) is None
        assert [one.kind for one in found.problems] == ["bad_checkpoint"]


@pytest.mark.parametrize(
    ("kind", "segment", "told"), [("bad_checkpoint", None, 1), ("bad_checkpoint", 3, 2), ("foreign", None, 2)]
)
def test_a_lost_roster_is_told_once(place: Place, kind: str, segment: int | None, told: int) -> None:
    """What was found of the chunk's checkpoint before is not told again; another problem takes nothing from it."""
    place.append(event(people(1, 1)[0], "e-0"))
    written = checkpoint(place).written
    (path,) = (place.folder / "checkpoints" / f"{0:012d}").glob(f"{LAYOUT.names[1]}-*")
    path.unlink()
    audited = AuditedStore(place.store, place.fresh_ring())
    found = ChunkFindings(LAYOUT.names[1], problems=[BrokenLog(LAYOUT.names[1], segment, kind, "found before")])
    assert checkpointing._next_roster(audited, written, found) is None
    assert [one.kind for one in found.problems] == [kind, "bad_checkpoint"][:told]


def test_a_store_that_was_never_written_gets_its_first_checkpoint(tmp_path: Path, ring: KeyRingFile) -> None:
    """With nothing in it: its layout is written, and from then on nothing can be taken away unnoticed."""
    report = write_checkpoint(SubjectStore.at(str(tmp_path / "new"), wanted_chunks=4), ring)
    assert report.written is not None
    assert (report.written.note.number, report.entries, len(report.written.leaves)) == (0, 0, 4)
