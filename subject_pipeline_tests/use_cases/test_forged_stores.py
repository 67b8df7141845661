"""Whoever can write to a store and has no key: names, links and sizes that would pass for what was written."""

from pathlib import Path

import pytest

from subject_pipeline.storage.audit_segments import AuditSegments
from subject_pipeline.storage.checkpoints import note_key
from subject_pipeline.use_cases.checkpointing import write_checkpoint
from subject_pipeline_tests.use_cases.audit_stores import LAYOUT, Place, assert_sound, event, found_by, manifest, people

CHUNK = LAYOUT.names[0]
SUBJECT = people(0, 1)[0]
FULL_WIDTH = str.maketrans("0123456789", "".join(chr(0xFF10 + digit) for digit in range(10)))
ARABIC = str.maketrans("0123456789", "".join(chr(0x0660 + digit) for digit in range(10)))
MODES = pytest.mark.parametrize("incremental", [False, True], ids=["full", "incremental"])


@pytest.fixture
def anchored(place: Place) -> Place:
    """A store with a log of three segments in one chunk, and a checkpoint of it."""
    place.registry().put(manifest(SUBJECT))
    for number in range(3):
        place.append(event(SUBJECT, f"e-{number}"))
    _checkpoint(place)
    return place


def _checkpoint(place: Place) -> bool:
    return write_checkpoint(place.store, place.fresh_ring()).verification.sound


def _segment(place: Place, number: int) -> Path:
    return place.folder / AuditSegments.key(CHUNK, number)


def _edit(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"result":"success"', b'"result":"denied"', 1))


@MODES
def test_a_twin_of_a_segment_hides_no_edit(anchored: Place, incremental: bool) -> None:
    """The unedited bytes under a key in full-width digits: the edit is found, and so is the twin, also later."""
    path = _segment(anchored, 0)
    path.with_name(path.name.translate(FULL_WIDTH)).write_bytes(path.read_bytes())
    _edit(path)
    for _ in range(2):
        found = found_by(anchored.verify(incremental=incremental))
        assert {(CHUNK, "foreign_object"), (CHUNK, "bad_segment")} <= found["logs"]
        assert found["chains"] == {SUBJECT: "bad_mac"}
        assert not _checkpoint(anchored)


@pytest.mark.parametrize(
    "key", ["checkpoints/²/x", note_key(0).translate(FULL_WIDTH), note_key(1).translate(FULL_WIDTH)]
)
def test_a_stray_object_below_checkpoints_blocks_nothing(anchored: Place, key: str) -> None:
    """Checkpoints go on being written and verified, and the stray object stays."""
    anchored.objects.create(key, b"stray")
    for _ in range(3):
        assert _checkpoint(anchored)
    assert_sound(anchored)
    assert_sound(anchored, incremental=True)
    assert anchored.objects.get(key) == b"stray"


def test_twins_of_an_index_do_not_hide_it(anchored: Place) -> None:
    """Objects with other digits, which sort behind ASCII, cost nobody the reading of a whole log."""
    log = anchored.log()
    log.append([event(SUBJECT, "e-last")])
    log.close(index_after_bytes=0)
    folder = f"audit_index/{CHUNK}/heads/"
    for item in list(anchored.objects.list(folder)):
        for digits in (FULL_WIDTH, ARABIC):
            anchored.objects.create(folder + item.key.removeprefix(folder).translate(digits), b"junk")
    index = anchored.log().index.newest(log.layout.log_id, CHUNK)
    assert index is not None
    assert index.head.number == 3
