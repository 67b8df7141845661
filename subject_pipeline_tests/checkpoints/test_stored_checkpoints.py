import datetime as dt
from dataclasses import replace
from typing import Any, cast

import pytest

from subject_pipeline.anchoring.forgetting import forget
from subject_pipeline.anchoring.writing import CheckpointWriter
from subject_pipeline.checkpoints import statement
from subject_pipeline.checkpoints.leaves import ChunkLeaf, leaves_text
from subject_pipeline.checkpoints.rosters import Roster
from subject_pipeline.checkpoints.signed_notes import MAX_NOTE_BYTES, sign_note
from subject_pipeline.checkpoints.stored_checkpoints import CheckpointStore
from subject_pipeline.checkpoints.tree.head import TreeHead, origin
from subject_pipeline.checkpoints.trusted_keys import TrustedKeys
from subject_pipeline.errors import CheckpointError, StoreError
from subject_pipeline.formats.leaves import leaf_hash
from subject_pipeline.objects.protocol import ObjectStore
from subject_pipeline.store.chunks import ChunkLayout
from subject_pipeline.store.layout import checkpoint_key, leaves_key, note_key, roster_key
from subject_pipeline_tests.helpers.forging import (
    LAYOUT,
    LOG,
    OTHER_LOG,
    OTHER_SEED,
    SEED,
    THIRD_SEED,
    Forger,
    leaf,
    line_of,
    roster,
)

WHOLE = pytest.mark.parametrize("whole", [False, True], ids=["newest", "whole"])
CHUNK = LAYOUT.names[0]


@pytest.fixture
def forger(objects: ObjectStore) -> Forger:
    """A store without a checkpoint."""
    return Forger(objects)


def refused(forger: Forger, words: str, *, whole: bool = False, seeds: tuple[bytes, ...] = ()) -> None:
    """The newest checkpoint is an error in these words, and no older one takes its place."""
    with pytest.raises(CheckpointError, match=words):
        forger.store(*seeds).latest(whole=whole)


@WHOLE
def test_what_was_written_is_read(forger: Forger, whole: bool) -> None:
    """The newest checkpoint is the last that was written, with its leaves in order and its rosters."""
    assert forger.store().latest(whole=whole) is None
    *_, note = forger.write(3)
    latest = forger.latest(whole=whole)
    assert (latest.statement, latest.note, latest.head) == (forger.statements[-1], note, forger.head())
    assert list(latest.leaves) == list(LAYOUT.names)
    assert list(latest.hashes) == forger.hashes()
    for chunk in LAYOUT.names:
        assert forger.store().roster(latest.leaves[chunk]) == roster(chunk, 2)
    assert forger.store().earlier(latest, 1) == forger.statements[1]
    assert forger.store().leaves(forger.statements[0])[CHUNK] == leaf(CHUNK, 0)


def test_objects_keep_their_names(forger: Forger) -> None:
    """Notes and statements by number, rosters and leaves by what they hold: one LIST gives the tree's leaf hashes."""
    forger.write(1)
    (stated,) = forger.statements
    assert forger.keys() == [
        checkpoint_key(0, forger.hashes()[0].hex()),
        "checkpoints/000000000000/note",
        leaves_key(stated.state_root),
        *(roster_key(chunk, roster(chunk, 0).root) for chunk in LAYOUT.names),
    ]
    assert checkpoint_key(7, "ab" * 32) == f"checkpoints/000000000007/{'ab' * 32}/checkpoint.json"
    assert leaves_key("cd" * 32) == f"checkpoints/leaves/{'cd' * 32}"
    assert roster_key("chunk-0", "ef" * 32) == f"checkpoints/rosters/chunk-0/{'ef' * 32}"


@WHOLE
def test_losers_and_twins_are_in_nobodys_way(forger: Forger, whole: bool) -> None:
    """Where a number has several checkpoint.jsons its note decides; what has another name is not looked at."""
    forger.write(3)
    before = forger.latest()
    for number in range(4):
        loser = forger.stated(number, time="2026-07-01T00:00:00.000000Z")
        forger.objects.create(checkpoint_key(number, leaf_hash(loser.text()).hex()), loser.text())
        forger.objects.create(checkpoint_key(number, "0" * 64), b"junk")
    twelve = "\uff10" * 12
    for stray in ("README", f"{twelve}/note", f"000000000009/{'AB' * 32}/checkpoint.json", "000000000003/x/note"):
        forger.objects.create(f"checkpoints/{stray}", b"junk")
    assert forger.latest(whole=whole) == before


@WHOLE
def test_a_statement_is_what_its_name_and_its_note_say(forger: Forger, whole: bool) -> None:
    """Gone, changed under its name, or another one under a name of its own: the newest checkpoint does not hold."""
    forger.write(2)
    below = "checkpoints/000000000001/"
    key = checkpoint_key(1, forger.hashes()[1].hex())
    text = forger.objects.get(key)
    assert text is not None
    forger.objects.replace(key, text.replace(b":01.", b":02."))
    refused(forger, "the checkpoint.json of checkpoint 1 is not what it is named after", whole=whole)
    forger.objects.delete(key)
    refused(forger, "the checkpoint.json of checkpoint 1 is gone", whole=whole)
    other = forger.stated(1, carried={CHUNK: 0})
    forger.objects.create(checkpoint_key(1, leaf_hash(other.text()).hex()), other.text())
    refused(forger, "the note of checkpoint 1 has another root than the stored checkpoints make", whole=whole)
    forger.objects.create(checkpoint_key(1, "ab" * 32), b"junk")
    refused(forger, "the checkpoint.json of checkpoint 1 is gone", whole=whole)
    assert any(item.key.startswith(below) for item in forger.objects.list(below))


@WHOLE
@pytest.mark.parametrize("gone", [0, 1])
def test_no_note_may_be_missing_before_a_later_one(forger: Forger, gone: int, whole: bool) -> None:
    """There is no falling back to an earlier checkpoint."""
    forger.write(3)
    forger.objects.delete(note_key(gone))
    refused(forger, f"the note of checkpoint {gone} is gone, later ones are there", whole=whole)


@WHOLE
def test_an_older_note_under_a_newer_number_is_refused(forger: Forger, whole: bool) -> None:
    """It has a number, a size and a root of its own."""
    first, second = forger.write(2)
    forger.put(1, first)
    refused(forger, "the note of checkpoint 1 says that it is number 0", whole=whole)
    forger.put(1, second)
    forger.objects.create(note_key(2), second.encode())
    refused(forger, "the checkpoint.json of checkpoint 2 is gone", whole=whole)


def test_every_note_is_looked_at_where_the_whole_is(forger: Forger) -> None:
    """A note of another history, further back: the newest root proves the tree without it, the whole wants it."""
    notes = forger.write(4)
    elsewhere = sign_note(TreeHead(LOG, 2, "d" * 64).text(), origin(LOG), SEED)
    forger.put(1, elsewhere)
    assert forger.latest(whole=False).number == 3
    refused(forger, "the note of checkpoint 1 has another root", whole=True)
    forger.put(1, notes[0])
    refused(forger, "the note of checkpoint 1 says that it is number 0", whole=True)
    forger.put(1, notes[1])
    assert forger.latest(whole=True).number == 3


@WHOLE
def test_a_note_is_of_this_log_and_signed_by_its_signer(forger: Forger, whole: bool) -> None:
    """The same key under another log's name, another key, no signature, and bytes that are no text."""
    forger.write(1)
    stated = forger.stated(1)
    head = forger.head(stated)
    other_log = replace(head, log_id=OTHER_LOG)
    forger.add(stated)
    for note, words in (
        (sign_note(other_log.text(), origin(LOG), SEED), "is of another log"),
        (sign_note(other_log.text(), origin(OTHER_LOG), SEED), "does not hold: .*not signed by the key"),
        (sign_note(head.text(), origin(LOG), OTHER_SEED), "does not hold: .*not signed by the key"),
        (head.text(), "does not hold"),
        ("", "does not hold"),
    ):
        forger.put(1, note)
        refused(forger, f"the note of checkpoint 1 {words}", whole=whole)
    forger.objects.replace(note_key(1), b"\xff\xfe")
    refused(forger, "the note of checkpoint 1 does not hold: it is no text", whole=whole)


@WHOLE
def test_a_checkpoint_follows_from_the_one_before(forger: Forger, whole: bool) -> None:
    """Signed or not: not earlier, and with every retired key still retired."""
    forger.add(forger.stated(0, retired_keys={"0" * 16: 0}))
    forger.add(forger.stated(1))
    refused(forger, "checkpoint 1 does not follow from the one before it: its retired_keys", whole=whole)


@WHOLE
def test_a_store_of_other_chunks_is_none_of_this_checkpoint(forger: Forger, whole: bool) -> None:
    """Anyone who changes the layout's count finds out that it was signed."""
    forger.write(1)
    store = CheckpointStore(forger.objects, LOG, ChunkLayout(3), TrustedKeys((line_of(SEED),)))
    with pytest.raises(CheckpointError, match="of another place, log or layout"):
        store.latest(whole=whole)


def test_leaves_make_the_state_root(forger: Forger) -> None:
    """Sound leaves that are not those that were signed are refused: rolled back, dropped, doubled, or out of order."""
    forger.write(2)
    key = leaves_key(forger.statements[-1].state_root)
    old, new = leaf(CHUNK, 0), leaf(CHUNK, 1)
    last = leaf(LAYOUT.names[1], 1)
    for leaves in ([old, last], [new], [last, new], [new, new], []):
        forger.objects.replace(key, leaves_text(leaves))
        refused(forger, "the leaves of checkpoint 1 do not hold")
    forger.objects.delete(key)
    refused(forger, "the leaves of checkpoint 1 are gone")


def _swapped(lines: list[bytes]) -> list[bytes]:
    return lines[::-1]


def _left_out(lines: list[bytes]) -> list[bytes]:
    return lines[:1]


def _doubled(lines: list[bytes]) -> list[bytes]:
    return [lines[0], lines[0]]


def _older(lines: list[bytes]) -> list[bytes]:
    return roster(CHUNK, 0).text.splitlines()


def _of_another_chunk(lines: list[bytes]) -> list[bytes]:
    return roster(LAYOUT.names[1], 1).text.splitlines()


@pytest.mark.parametrize("forged", [_swapped, _left_out, _doubled, _older, _of_another_chunk])
def test_a_roster_is_what_its_leaf_says(forger: Forger, forged: Any) -> None:
    """A roster in which all lines are sound, but which is not the one that was signed, is refused."""
    forger.write(2)
    latest = forger.latest()
    key = roster_key(CHUNK, latest.leaves[CHUNK].roster_root)
    lines = forged(roster(CHUNK, 1).text.splitlines())
    forger.objects.replace(key, b"".join(line + b"\n" for line in lines))
    with pytest.raises(CheckpointError, match=f"the roster '{key}' does not hold"):
        forger.store().roster(latest.leaves[CHUNK])
    forger.objects.delete(key)
    with pytest.raises(CheckpointError, match=f"the roster '{key}' is gone"):
        forger.store().roster(latest.leaves[CHUNK])
    assert forger.store().roster(ChunkLeaf.empty(CHUNK)) == Roster(), "nothing is read for nobody"


def test_giants_are_not_read(forger: Forger) -> None:
    """What is signed bounds the size of everything else; a larger object is refused unread."""
    forger.write(1)
    latest = forger.latest()
    giant = b"x" * (MAX_NOTE_BYTES + 1)
    for key, read in (
        (roster_key(CHUNK, latest.leaves[CHUNK].roster_root), lambda: forger.store().roster(latest.leaves[CHUNK])),
        (leaves_key(latest.statement.state_root), lambda: forger.store().latest(whole=False)),
        (checkpoint_key(0, forger.hashes()[0].hex()), lambda: forger.store().latest(whole=False)),
        (note_key(0), lambda: forger.store().latest(whole=False)),
    ):
        before = forger.objects.get(key)
        assert before is not None
        forger.objects.replace(key, giant)
        with pytest.raises(StoreError, match="more than the"):
            read()
        forger.objects.replace(key, before)
    carried = dict.fromkeys(ChunkLayout(1 << 12).names, -1)
    large = replace(
        latest.statement, chunks=1 << 12, carried=carried, signers=[line_of(bytes([at]) * 32) for at in range(16)]
    )
    assert len(large.text()) < statement.max_bytes(1 << 12)


def test_a_head_known_from_elsewhere_is_the_stored_one_or_named(forger: Forger) -> None:
    """Compared by log, size and root; other signatures make no other head, and an older one must be a part."""
    first, last = forger.write(2)
    store, latest = forger.store(), forger.latest()
    cosigned = last + sign_note("else\n", "witness", OTHER_SEED)[6:]
    assert store.contradictions(latest, [first, last, cosigned]) == []
    known = forger.head()
    for head, words in (
        (replace(known, root="e" * 64), "checkpoint 1, known from elsewhere, is not the one that is stored"),
        (replace(known, size=1), "checkpoint 0, known from elsewhere, is not the one that is stored"),
        (replace(known, size=3), "checkpoint 2, known from elsewhere, is gone: the store has 2 checkpoints"),
        (replace(known, log_id=OTHER_LOG), "checkpoint 1, known from elsewhere, is of another log"),
    ):
        assert store.contradiction(latest, head) == words
    assert (
        store.contradiction(None, known) == "checkpoint 1, known from elsewhere, is gone: the store has 0 checkpoints"
    )
    for strange in (sign_note(known.text(), origin(LOG), OTHER_SEED), "no note"):
        (reason,) = store.contradictions(latest, [strange])
        assert reason.startswith("a note known from elsewhere is none of this store's log: ")


def rotated(forger: Forger) -> None:
    """Two checkpoints under a first key, a change of keys that both have signed, and one under the second alone."""
    forger.add()
    forger.add()
    forger.add(forger.stated(2, OTHER_SEED), OTHER_SEED, SEED)
    forger.add(forger.stated(3, OTHER_SEED), OTHER_SEED)


@WHOLE
@pytest.mark.parametrize("seeds", [(SEED,), (OTHER_SEED,), (OTHER_SEED, SEED)])
def test_a_reader_of_any_line_follows_the_chain_of_signers(
    forger: Forger, seeds: tuple[bytes, ...], whole: bool
) -> None:
    """An older line leads on to the newest checkpoint, and a newer one back."""
    rotated(forger)
    latest = forger.store(*seeds).latest(whole=whole)
    assert latest is not None
    assert latest.number == 3
    with pytest.raises(CheckpointError, match="no checkpoint is signed by a key that is trusted here"):
        forger.store(THIRD_SEED).latest(whole=whole)


@WHOLE
def test_a_key_that_went_out_of_use_signs_no_further_checkpoint(forger: Forger, whole: bool) -> None:
    """Though it verified earlier ones, and though a reader trusts it."""
    rotated(forger)
    forger.add(forger.stated(4, SEED), SEED)
    for seeds in ((SEED,), (OTHER_SEED, SEED)):
        refused(forger, "signed by a key that the checkpoint before it does not name", whole=whole, seeds=seeds)


@WHOLE
def test_a_key_that_went_out_of_use_signs_no_other_history(forger: Forger, whole: bool) -> None:
    """Anyone with the old private key and the bucket can make a history without the change; this ring knows better."""
    forger.write(3)
    assert forger.store(SEED).latest(whole=whole) is not None
    with pytest.raises(CheckpointError, match="checkpoint 2 names no signing key of this ring as its signer"):
        forger.store(OTHER_SEED, SEED, in_force=True).latest(whole=whole)


@WHOLE
def test_a_change_of_keys_is_signed_by_the_former_key(forger: Forger, whole: bool) -> None:
    """A new key cannot put itself in force."""
    forger.add()
    forger.add(forger.stated(1, OTHER_SEED), OTHER_SEED)
    refused(
        forger, "signed by a key that the checkpoint before it does not name", whole=whole, seeds=(OTHER_SEED, SEED)
    )
    refused(forger, "is not signed by the key", whole=whole)


def test_retired_keys_end_where_the_chunk_was_when_they_went(forger: Forger) -> None:
    """By the leaves of that checkpoint, which stay; without them nothing is known, and that is said."""
    forger.add()
    assert forger.store().retired(forger.latest()) == {chunk: {} for chunk in LAYOUT.names}
    forger.add(forger.stated(1, retired_keys={"1" * 16: 1}))
    for number in range(2, 5):
        forger.add(forger.stated(number, retired_keys={"1" * 16: 1}))
    assert forger.store().retired(forger.latest()) == {chunk: {"1" * 16: 1} for chunk in LAYOUT.names}
    forger.objects.delete(leaves_key(forger.statements[1].state_root))
    with pytest.raises(CheckpointError, match="the leaves of checkpoint 1 are gone"):
        forger.store().retired(forger.latest())


def test_a_beaten_checkpoint_says_so(forger: Forger) -> None:
    """Of two with one number the first stands, and the other learns it; the same again is no other."""
    note = forger.add()
    writer = CheckpointWriter(forger.objects)
    assert writer.checkpoint(forger.statements[0], note)
    other = forger.stated(0, time="2026-07-01T12:00:00.000000Z")
    assert not writer.checkpoint(other, sign_note(TreeHead(LOG, 1, "a" * 64).text(), origin(LOG), SEED))
    for whole in (False, True):
        assert forger.latest(whole=whole).note == note


def test_nothing_is_signed_over_other_bytes(forger: Forger) -> None:
    """A place that is named by its content and holds other bytes is an error in words, and no note follows."""
    stated, made = forger.stated(0), leaf(CHUNK, 0)
    writer = CheckpointWriter(forger.objects)
    for key, write in (
        (roster_key(CHUNK, made.roster_root), lambda: writer.roster(made, roster(CHUNK, 0))),
        (leaves_key(stated.state_root), lambda: writer.leaves(stated.state_root, [made])),
        (checkpoint_key(0, leaf_hash(stated.text()).hex()), lambda: writer.checkpoint(stated, "note")),
    ):
        forger.objects.replace(key, b"other")
        with pytest.raises(StoreError, match=f"cannot write '{key}': other bytes are there"):
            write()
    assert forger.objects.get(note_key(0)) is None


def _later(**ago: float) -> dt.datetime:
    return dt.datetime.now(dt.UTC) + dt.timedelta(**ago)


def test_nothing_goes_in_its_first_day(forger: Forger) -> None:
    """An attempt at the next checkpoint may count on it."""
    forger.write(4)
    before = forger.keys()
    forget(forger.objects, forger.store(), forger.latest(), _later(hours=23))
    assert forger.keys() == before


def test_what_no_checkpoint_needs_goes_after_a_day(forger: Forger) -> None:
    """Leaves and rosters of all but the last two and those at which a key was retired, and statements that lost."""
    for number in range(5):
        retired = {"1" * 16: 1} if number else {}
        forger.add(forger.stated(number, retired_keys=retired))
    loser = checkpoint_key(2, "0" * 64)
    strangers = ("checkpoints/x/note", "checkpoints/README", f"checkpoints/leaves/{'AB' * 32}", f"{loser}.old")
    for key in (
        loser,
        checkpoint_key(5, "0" * 64),
        leaves_key("0" * 64),
        roster_key("chunk-0fffa", "0" * 64),
        *strangers,
    ):
        forger.objects.create(key, b"x")
    forget(forger.objects, forger.store(), forger.latest(), _later(days=1, minutes=5))
    kept = {
        *(note_key(number) for number in range(5)),
        *(checkpoint_key(number, one.hex()) for number, one in enumerate(forger.hashes())),
        *(leaves_key(forger.statements[number].state_root) for number in (1, 3, 4)),
        *(roster_key(chunk, roster(chunk, number).root) for chunk in LAYOUT.names for number in (1, 3, 4)),
        *strangers,
    }
    assert set(forger.keys()) == kept
    assert forger.store().retired(forger.latest(whole=True))[CHUNK] == {"1" * 16: 1}


def test_nothing_goes_where_what_is_needed_is_not_known(forger: Forger) -> None:
    """An earlier checkpoint whose leaves are gone keeps everything."""
    forger.write(3)
    latest = forger.latest()
    forger.objects.delete(leaves_key(forger.statements[1].state_root))
    before = forger.keys()
    with pytest.raises(CheckpointError, match="the leaves of checkpoint 1 are gone"):
        forget(forger.objects, forger.store(), latest, _later(days=2))
    assert forger.keys() == before


@pytest.mark.parametrize("name", ["note", "checkpoint.json"])
def test_what_goes_while_it_is_read_is_told(forger: Forger, name: str) -> None:
    """Listed and gone a moment later: an error of ours, as for whatever else is gone."""
    forger.write(2)

    class Going:
        def __getattr__(self, name: str) -> Any:
            return getattr(forger.objects, name)

        def get(self, key: str, *, limit: int | None = None) -> bytes | None:
            going = key.startswith(f"checkpoints/{1:012d}/") and key.endswith(f"/{name}")
            return None if going else forger.objects.get(key, limit=limit)

    store = CheckpointStore(cast("ObjectStore", Going()), LOG, LAYOUT, TrustedKeys((line_of(SEED),)))
    for whole in (False, True):
        with pytest.raises(CheckpointError, match=f"the {name} of checkpoint 1 is gone"):
            store.latest(whole=whole)


@pytest.mark.parametrize("missed", ["checkpoints/000000000001/note", "/checkpoint.json"])
def test_what_one_list_lacks_and_the_next_has_is_not_gone(forger: Forger, missed: str) -> None:
    """A LIST in pages beside a signer may show a note and not what was written before it."""
    forger.write(3)
    lists = []

    class Paged:
        def __getattr__(self, name: str) -> Any:
            return getattr(forger.objects, name)

        def list(self, prefix: str) -> Any:
            lists.append(prefix)
            found = list(forger.objects.list(prefix))
            return [item for item in found if len(lists) > 1 or not item.key.endswith(missed)]

    store = CheckpointStore(cast("ObjectStore", Paged()), LOG, LAYOUT, TrustedKeys((line_of(SEED),)))
    latest = store.latest(whole=True)
    assert latest is not None
    assert (latest.number, len(lists)) == (2, 2)


def test_a_forged_note_far_ahead_is_a_gap_and_costs_no_memory(forger: Forger) -> None:
    """A note of an absurd number is told as the gap that it makes, at once."""
    forger.write(2)
    forger.objects.create(note_key(999_999_999_999), b"forged")
    refused(forger, "the note of checkpoint 2 is gone, later ones are there")
