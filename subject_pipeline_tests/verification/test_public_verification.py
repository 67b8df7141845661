"""Verification with nothing but a verifier line: what it finds, what it cannot, and whose word it does not take."""

import base64
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from subject_pipeline.anchoring.writing import CheckpointWriter
from subject_pipeline.audit.segment import ChainHead, LogHead, Segment, write_segment
from subject_pipeline.checkpoints.leaves import ChunkLeaf, state_root
from subject_pipeline.checkpoints.rosters import Roster, id_sha256
from subject_pipeline.checkpoints.signed_notes import sign_note, verifier_line
from subject_pipeline.checkpoints.tree import merkle
from subject_pipeline.checkpoints.tree.head import TreeHead, origin
from subject_pipeline.errors import ConfigurationError, KeyRingError
from subject_pipeline.formats.leaves import leaf_hash
from subject_pipeline.keys.marks import marks_path
from subject_pipeline.keys.ring import SigningKey
from subject_pipeline.keys.rotation import rotate_signing_key
from subject_pipeline.store.layout import LAYOUT_KEY, checkpoint_key, note_key
from subject_pipeline.verification.public_keys import PublicKeys
from subject_pipeline.verification.whole_store import verify
from subject_pipeline_tests.conftest import Prepared
from subject_pipeline_tests.helpers.tampering import (
    MODES,
    RING,
    SUBJECTS,
    TIME,
    Auditee,
    eight_subjects,
    event,
    found,
    manifest,
)

SEED = b"s" * 32
NOT_SIGNED = "nothing here is signed by this key"


@pytest.fixture
def auditee(tmp_path: Path, prepared: Prepared) -> Auditee:
    """Eight subjects, anchored, then written on."""
    prepared(eight_subjects, tmp_path)
    return Auditee(tmp_path)


def test_it_needs_no_ring(auditee: Auditee) -> None:
    """All that a checkpoint anchors is verified, what is newer is counted, and nothing secret was at hand."""
    (auditee.folder / "ring.json").unlink()
    marks_path(auditee.folder / "ring.json").unlink()
    report = auditee.verify_as("public")
    assert report.sound, found(report)
    assert (report.public, report.incremental) == (True, False)
    assert (report.chains, report.intact, report.rows) == (len(SUBJECTS), len(SUBJECTS), 3 * len(SUBJECTS) + 2)
    assert (report.unanchored, report.unanchored_manifests) == (1, 0)
    assert report.checkpoint is not None


@pytest.mark.long
def test_it_counts_as_the_ring_does(auditee: Auditee) -> None:
    """Rows and manifests that are newer than the checkpoint are counted alike, put, changed or deleted."""
    auditee.registry.put(manifest("P-3", status="moved"))
    auditee.registry.delete("P-4")
    auditee.registry.put(manifest("P-first"))
    for mode in ("full", "public"):
        report = auditee.verify_as(mode)
        assert report.sound, found(report)
        assert (report.unanchored, report.unanchored_manifests) == (3, 3), mode
    auditee.checkpoint()
    report = auditee.verify_as("public")
    assert (report.unanchored, report.unanchored_manifests) == (0, 0)


def test_other_digits_of_a_mac_are_all_that_it_does_not_find(auditee: Auditee) -> None:
    """The MAC is the one thing that no hash covers; another form of it is found."""
    path = auditee.segment("P-3")
    data = path.read_bytes()
    header, row, *rest = data.split(b"\n")
    other = [b'{"mac":"' + b"0" * 64 + line[72:] for line in (header, row)]
    path.write_bytes(b"\n".join([*other, *rest]))
    assert auditee.verify_as("public").sound
    kinds = {kind for _, kind in found(auditee.verify_as("full"))}
    assert kinds == {"bad_mac", "bad_segment"}
    path.write_bytes(data.replace(row[:72], b'{"mac":"' + b"A" * 64))
    assert {kind for _, kind in found(auditee.verify_as("public"))} == {"malformed"}


def _forge_rows_beyond(auditee: Auditee) -> str:
    """One more segment, with right hashes and links and without the key; returns its chunk."""
    chunk = auditee.chunk("P-3")
    state = auditee.log.chunk_state(chunk)
    chains = state.chains(["P-3"])
    made = write_segment(
        *(state.head, chains, [event("P-3", "forged")]), key_id=RING.active, key=b"x" * 32, written_at=TIME,
        random=os.urandom,
    )  # fmt: skip
    auditee.segment("P-3", state.head.number + 1).write_bytes(made.data)
    return chunk


def test_forged_rows_beyond_the_checkpoint_are_counted_and_not_believed(auditee: Auditee) -> None:
    """Without keys nobody can tell them from right ones, so they are unanchored; the ring tells them."""
    chunk = _forge_rows_beyond(auditee)
    report = auditee.verify_as("public")
    assert report.sound
    assert report.unanchored == 2
    for mode in ("full", "incremental"):
        assert found(auditee.verify_as(mode)) == {("P-3", "bad_mac"), (chunk, "bad_segment")}
    assert auditee.checkpoint().carried == [chunk], "and no signer anchors them"


@pytest.mark.parametrize("mode", MODES)
def test_rows_that_no_checkpoint_anchors_can_be_cut_off_unnoticed(auditee: Auditee, mode: str) -> None:
    """The documented limit: the log then looks as it did when the checkpoint was made."""
    assert b"e-after" in auditee.last_segment("P-2").read_bytes()
    auditee.last_segment("P-2").unlink()
    report = auditee.verify_as(mode)
    assert report.sound
    assert report.unanchored == 0
    auditee.last_segment("P-2").unlink()
    assert ("P-2", "truncated") in found(auditee.verify_as(mode)), "one that is anchored is missed"


def test_rows_beyond_the_checkpoint_keep_the_rules(auditee: Auditee) -> None:
    """A forged row that does not follow is broken even without keys."""
    chunk = auditee.chunk("P-3")
    head = auditee.log.chunk_state(chunk).head
    made = write_segment(head, {}, [event("P-3", "forged")], key_id=RING.active, key=b"x" * 32, written_at=TIME,
                         random=os.urandom)  # fmt: skip
    auditee.segment("P-3", head.number + 1).write_bytes(made.data)
    assert found(auditee.verify_as("public")) == {("P-3", "bad_seq")}


def test_a_lost_layout_is_found_and_the_rest_is_verified(auditee: Auditee) -> None:
    """Log id and number of chunks come from the line and the checkpoint; anyone who has the ring is refused."""
    text = (auditee.root / LAYOUT_KEY).read_bytes()
    for damaged in (None, b"{}", text.replace(auditee.log_id.encode(), b"e" * 32)):
        (auditee.root / LAYOUT_KEY).unlink(missing_ok=True)
        if damaged is not None:
            (auditee.root / LAYOUT_KEY).write_bytes(damaged)
        report = auditee.verify_as("public")
        assert {who for who, _ in found(report)} == {"store"}
        assert (report.intact, report.subjects) == (len(SUBJECTS), len(SUBJECTS))


def test_a_twin_of_a_checkpoint_with_another_chunk_count_means_nothing(auditee: Auditee) -> None:
    """The one counts that makes the note's root; both modes go by it."""
    report = auditee.verify_as("public")
    assert report.checkpoint is not None
    text = replace(report.checkpoint.statement, chunks=8).text()
    path = auditee.root / checkpoint_key(0, leaf_hash(text).hex())
    path.parent.mkdir()
    path.write_bytes(text)
    for mode in ("full", "incremental", "public"):
        assert auditee.verify_as(mode).sound, mode
    shutil.rmtree((auditee.root / checkpoint_key(0, report.checkpoint.hashes[-1].hex())).parent)
    for mode in ("full", "incremental", "public"):
        assert ("store", "bad_checkpoint") in found(auditee.verify_as(mode)), mode


def _sign_a_roster(auditee: Auditee, change: Callable[[ChunkLeaf, Roster], tuple[ChunkLeaf, bytes]]) -> None:
    """What the signer could sign: the next checkpoint with P-3's roster changed, everything else as it is."""
    chunk = auditee.chunk("P-3")
    report = auditee.checkpoint()
    assert report.written is not None
    last = report.written
    leaves = dict(last.leaves)
    path = auditee.root / "checkpoints/rosters" / chunk / leaves[chunk].roster_root
    roster = Roster.parse(path.read_bytes(), subjects=leaves[chunk].subjects, root=leaves[chunk].roster_root)
    leaves[chunk], text = change(leaves[chunk], roster)
    (path.parent / leaves[chunk].roster_root).write_bytes(text)
    root = state_root(leaves.values())
    stated = replace(last.statement, number=last.number + 1, time="2099-01-01T00:00:00.000000Z", state_root=root)
    hashes = [*last.hashes, leaf_hash(stated.text())]
    head = TreeHead(auditee.log_id, len(hashes), merkle.root_of_hashes(hashes).hex())
    writer = CheckpointWriter(auditee.store.objects)
    writer.leaves(root, leaves.values())
    assert writer.checkpoint(stated, sign_note(head.text(), origin(auditee.log_id), SEED))


def _without_p3(auditee: Auditee) -> Callable[[ChunkLeaf, Roster], tuple[ChunkLeaf, bytes]]:
    def change(leaf: ChunkLeaf, roster: Roster) -> tuple[ChunkLeaf, bytes]:
        gone = id_sha256(auditee.log_id, "P-3")
        made = Roster.of({one: entry for one, entry in roster.entries.items() if one != gone})
        return replace(leaf, subjects=len(made.entries), roster_root=made.root), made.text

    return change


def _doubled(leaf: ChunkLeaf, roster: Roster) -> tuple[ChunkLeaf, bytes]:
    leaves = [roster.leaves[0], *roster.leaves]
    text = roster.text
    return (
        replace(leaf, subjects=len(leaves), roster_root=merkle.root(leaves).hex()),
        text.partition(b"\n")[0] + b"\n" + text,
    )


@pytest.mark.parametrize("mode", ["full", "public"])
def test_a_signer_who_leaves_somebody_out_contradicts_the_log(auditee: Auditee, mode: str) -> None:
    """An absence that the signer made up shows: the log has rows of somebody whom the roster does not have."""
    _sign_a_roster(auditee, _without_p3(auditee))
    assert (auditee.chunk("P-3"), "bad_checkpoint") in found(auditee.verify_as(mode))


@pytest.mark.parametrize("mode", ["full", "public"])
def test_a_signer_who_doubles_somebody_has_no_roster(auditee: Auditee, mode: str) -> None:
    """An unsorted roster is none, anyone who signed it."""
    _sign_a_roster(auditee, _doubled)
    assert found(auditee.verify_as(mode)) == {(auditee.chunk("P-3"), "bad_checkpoint")}


def test_a_writer_of_the_ring_cannot_rewrite_what_is_anchored(auditee: Auditee) -> None:
    """Right MACs over another history than the anchored one: every mode says rewritten."""
    folder = auditee.segment("P-3").parent
    head = LogHead(auditee.log_id, folder.name)
    chains: dict[str, ChainHead] = {}
    for path in sorted(folder.iterdir()):
        rows = [row for _, row in Segment.parse(path.read_bytes()).rows()]
        events = [event(row["candidate_id"], row["event_id"], actor="nobody") for row in rows]
        made = write_segment(head, chains, events, key_id=RING.active, key=RING.active_key, written_at=TIME,
                             random=os.urandom)  # fmt: skip
        path.write_bytes(made.data)
        head = made.head
        chains |= made.chains
    for mode in ("full", "public"):
        assert ("P-3", "rewritten") in found(auditee.verify_as(mode))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("wrong", [{"result": "fine"}, {"ts": "yesterday"}, {"action": "manifest_forged"}])
def test_a_row_that_no_honest_writer_makes_is_found_by_its_form(
    auditee: Auditee, mode: str, wrong: dict[str, Any]
) -> None:
    """Its MAC is right, and so are its segment's and all links and counts."""
    state = auditee.log.chunk_state(auditee.chunk("P-3"))
    made = write_segment(
        *(state.head, state.chains(["P-3"]), [event("P-3", "odd")._replace(**wrong)]),
        key_id=RING.active, key=RING.active_key, written_at=TIME, random=os.urandom,
    )  # fmt: skip
    auditee.segment("P-3", state.head.number + 1).write_bytes(made.data)
    assert found(auditee.verify_as(mode)) == {("P-3", "malformed")}


@pytest.mark.long
def test_an_older_line_verifies_after_a_rotation(auditee: Auditee) -> None:
    """The chain of signers leads from it to the current one; both lines together do too."""
    rotate_signing_key(auditee.ring.path, b"n" * 32)
    auditee.ring.reload()
    new = verifier_line(origin(auditee.log_id), SigningKey.of_seed(b"n" * 32).public)
    assert auditee.checkpoint().written is not None
    assert auditee.verify_as("public", new).sound, "the new key has signed the hand-over too"
    assert auditee.checkpoint().written is not None
    for lines in ([auditee.line], [new], [new, auditee.line]):
        assert auditee.verify_as("public", *lines).sound
    note = auditee.root / note_key(1)
    kept = [line for line in note.read_text(encoding="utf-8").splitlines(keepends=True) if not _by(line, auditee.line)]
    note.write_text("".join(kept), encoding="utf-8")
    assert found(auditee.verify_as("public", new)) == {("store", "bad_checkpoint")}, "the hand-over is not signed"


def _by(line: str, verifier: str) -> bool:
    name, key_id, _ = verifier.split("+", 2)
    _, _, encoded = line.removeprefix("\u2014 ").partition(" ")
    return line.startswith(f"\u2014 {name} ") and base64.b64decode(encoded)[:4].hex() == key_id


def test_another_keys_line_is_refused(auditee: Auditee) -> None:
    """Nothing is said of a store of which the key says nothing: another key, another log, or no note at all."""
    stranger = SigningKey.of_seed(b"o" * 32).public
    for line in (verifier_line(origin(auditee.log_id), stranger), verifier_line(origin("f" * 32), stranger)):
        with pytest.raises(KeyRingError, match=NOT_SIGNED):
            auditee.verify_as("public", line)
    shutil.rmtree(auditee.root / "checkpoints")
    with pytest.raises(KeyRingError, match=NOT_SIGNED):
        auditee.verify_as("public")


def test_a_known_keys_bad_signature_is_a_finding(auditee: Auditee) -> None:
    """Not a call that is wrong: the note names the key."""
    note = auditee.root / note_key(0)
    text = note.read_text(encoding="utf-8")
    note.write_text(text.replace("\n1\n", "\n2\n", 1), encoding="utf-8")
    assert found(auditee.verify_as("public")) == {("store", "bad_checkpoint")}


@pytest.mark.parametrize("lines", [(), ("no line",), ("a+b+c",), ("example.com/log+00000000+AAAA",)])
def test_what_is_no_line_of_one_log_is_refused(lines: tuple[str, ...]) -> None:
    """As are lines of two logs."""
    with pytest.raises(ConfigurationError, match="cannot verify with"):
        PublicKeys.of(lines)
    two = [verifier_line(origin(log_id * 32), SigningKey.of_seed(SEED).public) for log_id in "ab"]
    with pytest.raises(ConfigurationError, match="of one log"):
        PublicKeys.of(two)
    with pytest.raises(ConfigurationError, match="cannot verify with"):
        PublicKeys.of([verifier_line("example.com/log", SigningKey.of_seed(SEED).public)])


def test_it_is_always_full(auditee: Auditee) -> None:
    """What the signer read before is the signer's word."""
    with pytest.raises(ConfigurationError, match="always full"):
        verify(auditee.store, public=PublicKeys.of([auditee.line]), incremental=True)


def test_a_store_rolled_back_whole_is_found_by_a_note_kept_elsewhere(auditee: Auditee) -> None:
    """Alone it looks like a younger store; with Dagster's copy of the note, or the signer's mark, it does not."""
    earlier = auditee.folder / "earlier"
    shutil.copytree(auditee.root, earlier)
    written = auditee.checkpoint().written
    assert written is not None
    shutil.rmtree(auditee.root)
    shutil.copytree(earlier, auditee.root)
    assert auditee.verify_as("public").sound
    assert found(auditee.verify_as("public", known_notes=[written.note])) == {("store", "bad_checkpoint")}
    assert found(auditee.verify_as("full")) == {("store", "bad_checkpoint")}, "by the ring's mark"
    marks_path(auditee.ring.path).unlink()
    assert auditee.verify_as("full").sound
