from collections.abc import Callable

import pytest

from subject_pipeline.domain.proofs import check_proof
from subject_pipeline.errors import CheckpointError, KeyRingError, UnknownSubjectError
from subject_pipeline.storage.key_ring_file import KeyRingFile, create_ring
from subject_pipeline.use_cases.checkpointing import CheckpointReport, prove, write_checkpoint
from subject_pipeline_tests.use_cases.audit_stores import Place, assert_sound, event, manifest, people


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


def _nothing(_place: Place, _other: str) -> None:
    pass


@pytest.mark.parametrize("change", [_nothing, _a_row, _a_manifest], ids=lambda one: one.__name__.strip("_"))
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
    for one, proof in proofs.items():
        proven = check_proof(proof, proof["verifier"])
        assert (proven.manifest_sha256 != "") == (
            one in {manifest_alone, both} or (one, change) == (other, _a_manifest)
        )
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
