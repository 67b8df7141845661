import datetime as dt
import json
import shutil
from pathlib import Path

import pytest

from subject_pipeline.anchoring.checkpointing import write_checkpoint
from subject_pipeline.anchoring.last_checkpoint import stored_checkpoint
from subject_pipeline.checkpoints.signed_notes import opened_by, parse_verifier_line
from subject_pipeline.checkpoints.stored_checkpoints import Checkpoint, CheckpointStore
from subject_pipeline.checkpoints.trusted_keys import TrustedKeys
from subject_pipeline.errors import CheckpointError, KeyRingError
from subject_pipeline.keys.marks import Mark, marks_path, raise_mark, read_marks
from subject_pipeline.keys.ring import KeyRing
from subject_pipeline.keys.ring_file import KeyRingFile, create_ring, read_ring, replace_ring
from subject_pipeline.keys.rotation import rotate_ring, rotate_signing_key
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline.verification.whole_store import verify
from subject_pipeline_tests.helpers.audit_stores import LAYOUT, Place, assert_sound, event, found_by, people

MODES = pytest.mark.parametrize("incremental", [False, True], ids=["full", "incremental"])
CHUNK = LAYOUT.names[1]
SOMEBODY = people(1, 1)[0]
NEW_SEED = b"n" * 32


@pytest.fixture
def place(place: Place) -> Place:
    """A row of somebody, anchored."""
    place.append(event(SOMEBODY, "e-0"))
    _written(place)
    return place


def _written(place: Place) -> Checkpoint:
    made = write_checkpoint(place.fresh_store()).written
    assert made is not None
    return made


def _lines(place: Place) -> tuple[str, ...]:
    layout = place.store.layout()
    assert layout is not None
    return TrustedKeys.of_ring(read_ring(place.ring.path), layout.log_id).lines


def _signers(made: Checkpoint, lines: tuple[str, ...]) -> list[bool]:
    keys = [parse_verifier_line(line) for line in lines]
    signed = opened_by(made.note, keys)[1]
    return [key in signed for key in keys]


def _restored(place: Place, tmp_path: Path) -> Checkpoint:
    """The whole store as it was before one more checkpoint; that checkpoint."""
    copy = tmp_path / "copy"
    shutil.copytree(place.folder, copy)
    place.append(event(SOMEBODY, "e-late"))
    lost = _written(place)
    shutil.rmtree(place.folder)
    shutil.copytree(copy, place.folder)
    return lost


def test_a_signing_key_is_handed_over_by_one_checkpoint(place: Place) -> None:
    """The next checkpoint names the new line alone and is signed with both; the private half goes with it."""
    (old,) = _lines(place)
    rotate_signing_key(place.ring.path, NEW_SEED)
    assert_sound(place)
    lines = new, former = _lines(place)
    assert former == old
    assert read_ring(place.ring.path).outgoing is not None
    changing = _written(place)
    assert (list(changing.statement.signers), _signers(changing, lines)) == ([new], [True, True])
    assert read_ring(place.ring.path).outgoing is None
    after = _written(place)
    assert (list(after.statement.signers), _signers(after, lines)) == ([new], [True, False])
    for incremental in (False, True):
        assert_sound(place, incremental=incremental)
    for line in lines:
        reader = CheckpointStore(place.objects, after.statement.log_id, LAYOUT, TrustedKeys((line,)))
        for whole in (False, True):
            found = reader.latest(whole=whole)
            assert found is not None
            assert found.number == 2


@MODES
def test_a_writers_copy_from_before_or_amid_the_change_verifies(
    place: Place, tmp_path_factory: pytest.TempPathFactory, incremental: bool
) -> None:
    """It follows the chain of signers."""
    folder = tmp_path_factory.mktemp("copies")
    create_ring(folder / "before.json", read_ring(place.ring.path).writer_copy())
    rotate_signing_key(place.ring.path, NEW_SEED)
    create_ring(folder / "amid.json", read_ring(place.ring.path).writer_copy())
    for step in range(3):
        for name in ("amid.json", *(["before.json"] if step == 0 else [])):
            copy = Place(place.store.with_ring(KeyRingFile(folder / name)), place.objects)
            assert_sound(copy, incremental=incremental)
        _written(place)


@MODES
def test_a_ring_from_before_the_change_signs_nothing_more(place: Place, tmp_path: Path, incremental: bool) -> None:
    """A stolen or restored copy of it is refused as a signer, and told that its key is out of use."""
    stolen = tmp_path / "ring" / "stolen.json"
    create_ring(stolen, read_ring(place.ring.path))
    rotate_signing_key(place.ring.path, NEW_SEED)
    _written(place)
    old = Place(place.store.with_ring(KeyRingFile(stolen)), place.objects)
    assert found_by(old.verify(incremental=incremental))["logs"] == {(None, "bad_checkpoint")}
    assert write_checkpoint(place.store.with_ring(KeyRingFile(stolen))).written is None
    assert_sound(place, incremental=incremental)


@MODES
def test_a_history_without_the_change_is_refused(place: Place, tmp_path: Path, incremental: bool) -> None:
    """Anyone who has the old private key signs on from before the change: the new ring names other signers."""
    stolen, before = tmp_path / "ring" / "stolen.json", tmp_path / "before"
    create_ring(stolen, read_ring(place.ring.path))
    shutil.copytree(place.folder, before)
    rotate_signing_key(place.ring.path, NEW_SEED)
    _written(place)
    refused = write_checkpoint(place.store.with_ring(KeyRingFile(stolen)))
    assert refused.written is None
    assert "names no signing key of this ring as its signer" in refused.verification.broken_logs[0].detail
    shutil.rmtree(place.folder)
    shutil.copytree(before, place.folder)
    assert write_checkpoint(SubjectStore.at(str(place.folder), ring=KeyRingFile(stolen))).written is not None
    marks_path(place.ring.path).unlink()  # which would tell it too
    assert found_by(place.verify(incremental=incremental))["logs"] == {(None, "bad_checkpoint")}


def test_the_former_key_stays_while_another_store_needs_it(place: Place, tmp_path: Path) -> None:
    """One ring may sign several stores; the private half goes with the last of them that names the new key."""
    other = SubjectStore.at(str(tmp_path / "other"), wanted_chunks=2)
    assert write_checkpoint(other.with_ring(place.fresh_ring())).written is not None
    rotate_signing_key(place.ring.path, NEW_SEED)
    _written(place)
    _written(place)
    assert read_ring(place.ring.path).outgoing is not None
    assert write_checkpoint(other.with_ring(place.fresh_ring())).written is not None
    assert read_ring(place.ring.path).outgoing is None
    assert write_checkpoint(other.with_ring(place.fresh_ring())).written is not None
    _written(place)


def test_a_mark_follows_every_checkpoint(place: Place) -> None:
    """Size, root and time of what was signed last, in a file of its own beside the ring."""
    made = _written(place)
    signing = place.ring.ring().signing
    assert signing is not None
    expected = Mark(2, made.root, made.time, signing.public.hex())
    assert read_marks(place.ring.path) == {made.statement.log_id: expected}


@MODES
def test_a_store_rolled_back_with_its_checkpoints_contradicts_the_mark(
    place: Place, tmp_path: Path, incremental: bool
) -> None:
    """Nothing in the store tells it, and no note was kept: the ring that signs knows, and signs nothing over it."""
    _restored(place, tmp_path)
    report = place.verify(incremental=incremental)
    assert found_by(report)["logs"] == {(None, "bad_checkpoint")}
    assert "this ring signed it last: checkpoint 1, known from elsewhere, is gone" in report.broken_logs[0].detail
    assert write_checkpoint(place.fresh_store()).written is None
    with pytest.raises(CheckpointError, match="this ring signed it last"):
        stored_checkpoint(place.fresh_store())
    create_ring(tmp_path / "copy-of-ring" / "copy.json", read_ring(place.ring.path).writer_copy())
    copy = Place(place.store.with_ring(KeyRingFile(tmp_path / "copy-of-ring" / "copy.json")), place.objects)
    assert_sound(copy, incremental=incremental)


@MODES
def test_checkpoints_that_are_gone_altogether_contradict_the_mark(place: Place, incremental: bool) -> None:
    """An empty folder is no new store to a ring that signed it."""
    shutil.rmtree(place.folder / "checkpoints")
    assert found_by(place.verify(incremental=incremental))["logs"] == {(None, "bad_checkpoint")}
    assert write_checkpoint(place.fresh_store()).written is None


def test_another_history_of_the_same_length_contradicts_the_mark(place: Place, tmp_path: Path) -> None:
    """Signed by the same key, with a copy of the ring that has no mark: sizes are the same, roots are not.

    A note that was kept elsewhere contradicts it too, anyone who verifies.
    """
    twin = tmp_path / "twin" / "ring.json"
    create_ring(twin, read_ring(place.ring.path))
    lost = _restored(place, tmp_path)
    assert write_checkpoint(place.store.with_ring(KeyRingFile(twin))).written is not None
    report = place.verify()
    assert "is not the one that is stored" in report.broken_logs[0].detail
    assert verify(place.store.with_ring(KeyRingFile(twin))).sound
    for told in (verify(place.store.with_ring(KeyRingFile(twin)), known_notes=[lost.note]),
                 place.verify_publicly(known_notes=[lost.note])):  # fmt: skip
        assert found_by(told)["logs"] == {(None, "bad_checkpoint")}
    assert write_checkpoint(place.fresh_store()).written is None


def test_without_a_mark_a_ring_goes_on(place: Place) -> None:
    """A new ring, or one whose mark is lost: the next checkpoint begins another; one that is behind is raised."""
    marks_path(place.ring.path).unlink()
    assert _written(place).number == 1
    mark = next(iter(read_marks(place.ring.path).values()))
    assert mark.size == 2
    made = _written(place)
    marks_path(place.ring.path).unlink()
    raise_mark(place.ring.path, made.statement.log_id, mark)
    assert_sound(place)
    assert _written(place).number == 3


def test_a_damaged_mark_stops_signing(place: Place) -> None:
    """What was signed last is not known."""
    marks_path(place.ring.path).write_text("{}")
    for act in (lambda: _written(place), place.verify):
        with pytest.raises(KeyRingError, match=r"high-water mark .* is damaged"):
            act()


def test_a_mark_that_cannot_be_written_is_said_after_the_note(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checkpoint is there, and the next one finds it."""

    def refused(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("subject_pipeline.keys.marks.replace_private_file", refused)
        with pytest.raises(KeyRingError, match=r"checkpoint 1 is written and signed, but .*No space left"):
            _written(place)
    assert _written(place).number == 2


def _rotated(place: Place) -> str:
    """Another active key; the id of the one before."""
    old = read_ring(place.ring.path).active
    rotate_ring(place.ring.path, b"2" * 32)
    return old


@MODES
def test_a_retired_key_writes_nothing_that_is_accepted(place: Place, incremental: bool, tmp_path: Path) -> None:
    """What it wrote until then verifies; a row of it after that is red, in its chain and its log."""
    create_ring(tmp_path / "stale" / "ring.json", read_ring(place.ring.path).writer_copy())
    old = _rotated(place)
    place.append(event(SOMEBODY, "e-1"))
    report = write_checkpoint(place.fresh_store(), retire=old)
    assert report.written is not None
    assert report.written.statement.retired_keys == {old: 1}
    place.append(event(SOMEBODY, "e-2"))
    for _ in range(3):
        assert_sound(place, incremental=incremental)
        assert _written(place).statement.retired_keys == {old: 1}
    stale = Place(place.store.with_ring(KeyRingFile(tmp_path / "stale" / "ring.json")), place.objects)
    stale.append(event(people(2, 1)[0], "e-stale"))
    for found in map(found_by, (place.verify(incremental=incremental), place.verify_publicly())):
        assert found["chains"] == {people(2, 1)[0]: "retired_key"}
        assert found["logs"] == {(LAYOUT.names[2], "bad_segment")}
    assert write_checkpoint(place.fresh_store()).carried == [LAYOUT.names[2]]


def test_no_key_is_retired_while_a_chunk_would_be_carried(place: Place) -> None:
    """Its leaf would not say how far the key was used."""
    old = _rotated(place)
    place.append(event(SOMEBODY, "e-1"))
    path = place.folder / "audit" / CHUNK / f"{1:012d}.jsonl"
    data = path.read_bytes()
    path.write_bytes(data.replace(b"success", b"denied", 1))
    report = write_checkpoint(place.fresh_store(), retire=old)
    assert (report.written, report.carried) == (None, [CHUNK])
    path.write_bytes(data)
    assert write_checkpoint(place.fresh_store(), retire=old).written is not None
    with pytest.raises(KeyRingError, match=f"the key {old} is retired already, since checkpoint 1"):
        write_checkpoint(place.fresh_store(), retire=old)


def test_a_retired_keys_leaves_outlive_everything(place: Place) -> None:
    """However many days and checkpoints later."""
    old = _rotated(place)
    assert write_checkpoint(place.fresh_store(), retire=old).written is not None
    for day in range(2, 6):
        place.append(event(SOMEBODY, f"e-{day}"))
        later = dt.datetime.now(dt.UTC) + dt.timedelta(days=day)
        made = write_checkpoint(place.fresh_store(), clock=lambda later=later: later).written  # type: ignore[misc]
        assert made is not None
    assert_sound(place)


def test_a_ring_is_read_again_after_a_rotation(place: Place) -> None:
    """The same opened ring file signs on after its former key went."""
    ring = place.fresh_ring()
    rotate_signing_key(ring.path, NEW_SEED)
    for _ in range(3):
        assert write_checkpoint(place.store.with_ring(ring)).written is not None
    replace_ring(ring.path, KeyRing.parse(json.dumps(json.loads(ring.path.read_text())).encode()))
    assert_sound(place)
