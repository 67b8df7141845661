"""Anyone who can write to a store and has no key: names, links and sizes that would pass for what was written."""

import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from subject_pipeline.anchoring.checkpointing import write_checkpoint
from subject_pipeline.audit.events import MAX_FIELDS, MAX_TEXT, AccessEvent
from subject_pipeline.audit.group_commit import row_size
from subject_pipeline.audit.segment import MAX_BYTES, LogHead, write_segment
from subject_pipeline.audit.stored_segments import MAX_STORED_BYTES, AuditSegments
from subject_pipeline.errors import OutcomeUnknownError, StoreError
from subject_pipeline.registry.backfill import backfill
from subject_pipeline.store.layout import note_key
from subject_pipeline.verification.whole_store import Verification
from subject_pipeline_tests.conftest import Declared
from subject_pipeline_tests.helpers.audit_stores import LAYOUT, Place, assert_sound, event, found_by, manifest, people

CHUNK = LAYOUT.names[0]
SUBJECT = people(0, 1)[0]
FULL_WIDTH = str.maketrans("0123456789", "".join(chr(0xFF10 + digit) for digit in range(10)))
ARABIC = str.maketrans("0123456789", "".join(chr(0x0660 + digit) for digit in range(10)))
MODES = pytest.mark.parametrize("mode", ["full", "incremental", "public"])


@pytest.fixture
def anchored(place: Place) -> Place:
    """A store with a log of three segments in one chunk, and a checkpoint of it."""
    place.registry().put(manifest(SUBJECT))
    for number in range(3):
        place.append(event(SUBJECT, f"e-{number}"))
    _checkpoint(place)
    return place


def _checkpoint(place: Place) -> bool:
    return write_checkpoint(place.fresh_store()).verification.sound


def _verified(place: Place, mode: str) -> Verification:
    return place.verify_publicly() if mode == "public" else place.verify(incremental=mode == "incremental")


def _segment(place: Place, number: int) -> Path:
    return place.folder / AuditSegments.key(CHUNK, number)


def _edit(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"result":"success"', b'"result":"denied"', 1))


@MODES
def test_a_twin_of_a_segment_hides_no_edit(anchored: Place, mode: str) -> None:
    """The unedited bytes under a key in full-width digits: the edit is found, and so is the twin, also later."""
    path = _segment(anchored, 0)
    path.with_name(path.name.translate(FULL_WIDTH)).write_bytes(path.read_bytes())
    _edit(path)
    for _ in range(2):
        found = found_by(_verified(anchored, mode))
        assert {(CHUNK, "foreign_object"), (CHUNK, "bad_segment")} <= found["logs"]
        assert found["chains"] == {SUBJECT: "bad_prev" if mode == "public" else "bad_mac"}
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


def _as_a_link(path: Path) -> None:
    elsewhere = path.parents[2] / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def _as_a_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _as_a_giant(path: Path) -> None:
    os.truncate(path, MAX_STORED_BYTES + 1)


TURNS = pytest.mark.parametrize("turn", [_as_a_link, _as_a_fifo, _as_a_giant])


@MODES
@TURNS
def test_what_is_no_segment_in_a_segments_place_is_found(
    anchored: Place, turn: Callable[[Path], None], mode: str
) -> None:
    """It is neither read nor taken for unchanged, by this run and those after it, and no checkpoint covers it."""
    turn(_segment(anchored, 1))
    for _ in range(2):
        report = _verified(anchored, mode)
        assert not report.sound
        assert (CHUNK, "unreadable") in found_by(report)["logs"]
        assert not _checkpoint(anchored)


@TURNS
def test_nobody_appends_to_a_log_that_holds_no_segment_in_a_segments_place(
    anchored: Place, turn: Callable[[Path], None]
) -> None:
    """A writer that reads the log is refused with the object's key, and knows that nothing was written."""
    turn(_segment(anchored, 1))
    with pytest.raises(StoreError, match=AuditSegments.key(CHUNK, 1)) as caught:
        anchored.append(event(SUBJECT, "e-later"))
    assert not isinstance(caught.value, OutcomeUnknownError)
    assert not _segment(anchored, 3).exists()


@MODES
def test_a_link_from_before_the_checkpoint_hides_no_edit_after_it(anchored: Place, mode: str) -> None:
    """The link's own metadata never change, what it points to does: nothing of it was ever believed."""
    path = _segment(anchored, 1)
    _as_a_link(path)
    _checkpoint(anchored)
    _edit(path.parents[2] / "elsewhere")
    report = _verified(anchored, mode)
    assert not report.sound
    assert (CHUNK, "unreadable") in found_by(report)["logs"]


@MODES
def test_a_linked_folder_in_a_logs_place_is_found(anchored: Place, mode: str) -> None:
    """The whole log of a chunk, moved away and linked to."""
    folder = _segment(anchored, 0).parent
    folder.rename(anchored.folder / "elsewhere")
    folder.symlink_to(anchored.folder / "elsewhere")
    report = _verified(anchored, mode)
    assert not report.sound
    with pytest.raises(StoreError, match="is a symbolic link"):
        anchored.append(event(SUBJECT, "e-later"))


def test_a_giant_in_a_segments_place_is_not_held_in_memory(anchored: Place) -> None:
    """Its listed size is enough to refuse it."""
    os.truncate(_segment(anchored, 1), 1 << 40)
    tracemalloc.start()
    try:
        assert not anchored.verify().sound
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("length", [1, 2, 3, 5, MAX_TEXT])
def test_the_largest_segment_that_can_be_written_is_small_enough_to_be_read(length: int) -> None:
    """JSON makes at most six bytes of a character that the writer counts, its punctuation among them."""
    text = "\x01" * length
    worst = AccessEvent(
        *(text, text, "2026-06-30T12:00:00.000000Z", text, text, "not_found"),
        *(text, (text,) * MAX_FIELDS, text, text, "f" * 64),
        reason=text,
        manifest_sha256="f" * 64,
        decision={"kind": text, text: [text, 2**53 - 1]},
    )
    counted = row_size(worst)
    head = LogHead("a" * 32, "chunk-00000", 999_999_999_998)
    one, two = (
        len(
            write_segment(
                head, {}, [worst] * rows, key_id="k" * 32, key=b"k" * 32, written_at=worst.ts, random=os.urandom
            ).data
        )
        for rows in (1, 2)
    )
    assert two - one <= 6 * counted
    assert one - (two - one) < MAX_STORED_BYTES - 6 * MAX_BYTES


def test_one_damaged_log_stops_the_registration_of_its_own_people_alone(anchored: Place, declared: Declared) -> None:
    """Of nobody else: who could damage one object would otherwise stop all registrations."""
    _edit(_segment(anchored, 0))
    here, elsewhere = people(0, 3)[1:], people(1, 2)
    result = backfill(anchored.store, declared([*here, *elsewhere]), evidence=anchored.evidence())
    assert (result.counts.inserted, result.counts.failed) == (2, 2)
    assert {failure.candidate_id for failure in result.failures} == set(here)
    assert all("is damaged" in failure.reason and failure.kind == "not_written" for failure in result.failures)
    assert {anchored.registry().get(one).candidate_id for one in elsewhere} == set(elsewhere)
