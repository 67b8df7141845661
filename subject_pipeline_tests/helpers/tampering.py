"""A store of eight subjects to audit, what is done to it by who has no right to, and what of that must be found."""

import atexit
import os
import re
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from deltalake import DeltaTable

from subject_pipeline.anchoring.checkpointing import CheckpointReport, write_checkpoint
from subject_pipeline.audit.events import AccessEvent, new_event
from subject_pipeline.audit.log import AuditLog
from subject_pipeline.audit.segment import LogHead, Segment, write_segment
from subject_pipeline.audit.stored_segments import AuditSegments
from subject_pipeline.changes.evidence import ManifestEvidence
from subject_pipeline.checkpoints.signed_notes import verifier_line
from subject_pipeline.checkpoints.tree.head import origin
from subject_pipeline.formats.leaves import leaf_hash
from subject_pipeline.keys.ring import KeyRing
from subject_pipeline.keys.ring_file import KeyRingFile, create_ring
from subject_pipeline.manifests.manifest import SubjectManifest
from subject_pipeline.registry.subjects import SubjectRegistry
from subject_pipeline.store.layout import LAYOUT_KEY, checkpoint_key, note_key
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline.verification.public_keys import PublicKeys
from subject_pipeline.verification.whole_store import Verification, verify

SUBJECTS = [f"P-{number}" for number in range(8)]
TIME = "2026-01-02T03:04:05.000000Z"
RING = KeyRing.new(b"k" * 32, b"s" * 32)


MODES = ("full", "incremental", "public")
"""The ways to verify."""

Traces = set[tuple[str, str]]
"""What must be found: who, which chunk or `store`, and the kind."""


class Auditee:
    """A store with manifests, rows and a key ring, and what one does to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ring = KeyRingFile(folder / "ring.json")
        self.store = SubjectStore.at(str(folder / "store"), wanted_chunks=4, ring=self.ring)
        self.log = AuditLog(self.store)
        self.log_id = self.log.layout.log_id  # read now, whatever becomes of it
        self.registry = SubjectRegistry(self.store, ManifestEvidence(self.store, "test"))

    def evidence(self) -> ManifestEvidence:
        """Announces changes."""
        return ManifestEvidence(self.store, "test")

    @property
    def root(self) -> Path:
        """The store's folder."""
        return self.folder / "store"

    def append(self, candidate_id: str, event_id: str, **fields: Any) -> None:
        """One row."""
        self.log.append([event(candidate_id, event_id, **fields)])

    def verify(self, *, incremental: bool = False, **options: Any) -> Verification:
        """One verification."""
        return verify(self.store, incremental=incremental, **options)

    @property
    def line(self) -> str:
        """The verifier line of the ring that the store began with."""
        assert RING.signing is not None
        return verifier_line(origin(self.log_id), RING.signing.public)

    def verify_as(self, mode: str, *lines: str, **options: Any) -> Verification:
        """One verification, as another process does it that knows nothing yet, in one of the modes."""
        store = SubjectStore.at(str(self.root), ring=KeyRingFile(self.ring.path))
        if mode == "public":
            return verify(store, public=PublicKeys.of(lines or [self.line]), **options)
        return verify(store, incremental=mode == "incremental", **options)

    def checkpoint(self, **options: Any) -> CheckpointReport:
        """One checkpoint."""
        return write_checkpoint(self.store, **options)

    def chunk(self, candidate_id: str) -> str:
        """A subject's chunk."""
        return self.log.layout.chunks.chunk_of(candidate_id)

    def segment(self, candidate_id: str, number: int = 0) -> Path:
        """A segment of a subject's log."""
        return self.root / AuditSegments.key(self.chunk(candidate_id), number)

    def last_segment(self, candidate_id: str) -> Path:
        """The last segment of a subject's log."""
        return max(self.segment(candidate_id).parent.iterdir())


def event(candidate_id: str, event_id: str, **fields: Any) -> AccessEvent:
    """An event, its result success unless it is told otherwise."""
    value = {"ts": "2026-06-30T12:00:00Z", "actor": "agent:1", "action": "view", "result": "success"}
    return new_event(candidate_id=candidate_id, event_id=event_id, **{**value, **fields})


def manifest(candidate_id: str, **fields: Any) -> SubjectManifest:
    """A manifest."""
    value = {"candidate_id": candidate_id, "created_at": TIME, "updated_at": TIME}
    return SubjectManifest.parse({**value, "retention": {"general_pii_until": TIME}, **fields})


def eight_subjects(folder: Path) -> None:
    """Eight subjects with three rows each, one of them changed by the registry; anchored, then written on."""
    create_ring(folder / "ring.json", RING)
    made = Auditee(folder)
    for candidate_id in SUBJECTS:
        made.registry.put(manifest(candidate_id))
    for number in range(3):
        made.log.append([event(candidate_id, f"e-{number}") for candidate_id in SUBJECTS])
    made.registry.put(manifest("P-1", status="on_hold"))
    assert made.checkpoint().verification.sound
    made.append("P-2", "e-after")


@cache
def _another() -> Auditee:
    """Another store of the same subjects under the same keys, made once; nobody writes to it."""
    folder = Path(mkdtemp())
    atexit.register(shutil.rmtree, folder)
    eight_subjects(folder)
    return Auditee(folder)


def found(report: Verification) -> Traces:
    """Everything that was found: who or what, and its kind."""
    return {
        *((str(one.subject), one.kind) for one in report.broken_chains),
        *((one.chunk or "store", one.kind) for one in report.broken_logs),
        *((str(one.subject), one.kind) for one in report.broken_manifests),
    }


def change_a_row(auditee: Auditee) -> Traces:
    """A row's text."""
    path = auditee.segment("P-3")
    text = path.read_text(encoding="utf-8")
    before, after = text.split('"candidate_id":"P-3"')
    path.write_text(before + '"candidate_id":"P-3"' + after.replace("success", "denied", 1), encoding="utf-8")
    return {("P-3", "bad_mac"), (auditee.chunk("P-3"), "bad_segment")}


def drop_the_tail(auditee: Auditee) -> Traces:
    """The log's last segments."""
    auditee.last_segment("P-3").unlink()
    auditee.last_segment("P-3").unlink()
    return {(auditee.chunk("P-3"), "truncated"), ("P-3", "truncated")}


def drop_a_middle_segment(auditee: Auditee) -> Traces:
    """One in the middle."""
    auditee.segment("P-3", 1).unlink()
    return {(auditee.chunk("P-3"), "missing_segment"), ("P-3", "bad_seq")}


def swap_two_segments(auditee: Auditee) -> Traces:
    """The first two of a log, each whole."""
    first, second = (auditee.segment("P-3", number) for number in (0, 1))
    before = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(before)
    return {(auditee.chunk("P-3"), "bad_segment"), ("P-3", "bad_seq")}


def repeat_a_row(auditee: Auditee) -> Traces:
    """A row's line once more behind it, MAC and all."""
    path = auditee.segment("P-3")
    lines = [[line] * (1 + (b'"candidate_id":"P-3"' in line)) for line in path.read_bytes().splitlines(keepends=True)]
    path.write_bytes(b"".join(line for same in lines for line in same))
    return {(auditee.chunk("P-3"), "bad_segment"), ("P-3", "bad_seq")}


def repeat_a_segment(auditee: Auditee) -> Traces:
    """The first one once more at the end."""
    last = auditee.last_segment("P-3")
    number = int(last.name.partition(".")[0]) + 1
    auditee.segment("P-3", number).write_bytes(auditee.segment("P-3").read_bytes())
    return {(auditee.chunk("P-3"), "bad_segment"), ("P-3", "bad_seq")}


def drop_a_log(auditee: Auditee) -> Traces:
    """A whole chunk's log."""
    shutil.rmtree(auditee.segment("P-3").parent)
    return {(auditee.chunk("P-3"), "missing"), ("P-3", "missing")}


def drop_everything(auditee: Auditee) -> Traces:
    """All logs."""
    shutil.rmtree(auditee.root / "audit")
    return {*((candidate_id, "missing") for candidate_id in SUBJECTS), (auditee.chunk("P-3"), "missing")}


def rewrite_with_the_key(auditee: Auditee) -> Traces:
    """A whole log, with right MACs and links."""
    path = auditee.segment("P-3")
    head = LogHead(auditee.log.layout.log_id, path.parent.name)
    rows = [row for file in sorted(path.parent.iterdir()) for _, row in Segment.parse(file.read_bytes()).rows()]
    shutil.rmtree(path.parent)
    events = [event(row["candidate_id"], row["event_id"], actor="nobody", action=row["action"]) for row in rows
              if not row["action"].startswith("manifest_")]  # fmt: skip
    path.parent.mkdir()
    made = write_segment(head, {}, events, key_id=RING.active, key=RING.active_key, written_at=TIME,
                         random=os.urandom)  # fmt: skip
    path.write_bytes(made.data)
    return {("P-3", "rewritten")}


def foreign_object(auditee: Auditee) -> Traces:
    """An object among segments."""
    (auditee.segment("P-3").parent / "note.txt").write_text("hello", encoding="utf-8")
    return {(auditee.chunk("P-3"), "foreign_object")}


def edit_a_manifest(auditee: Auditee) -> Traces:
    """A manifest that no row announced."""
    DeltaTable(str(auditee.root / "subjects")).update(
        updates={"status": "'forgotten'"}, predicate="candidate_id = 'P-3'"
    )
    return {("P-3", "changed")}


def edit_an_announced_manifest(auditee: Auditee) -> Traces:
    """One that a row announced."""
    DeltaTable(str(auditee.root / "subjects")).update(
        updates={"status": "'forgotten'"}, predicate="candidate_id = 'P-1'"
    )
    return {("P-1", "changed")}


def remove_a_manifest(auditee: Auditee) -> Traces:
    """From the table."""
    DeltaTable(str(auditee.root / "subjects")).delete("candidate_id = 'P-3'")
    return {("P-3", "missing")}


def drop_the_note(auditee: Auditee) -> Traces:
    """An earlier note."""
    auditee.checkpoint()
    (auditee.root / "checkpoints" / f"{0:012d}" / "note").unlink()
    return {("store", "bad_checkpoint")}


def edit_the_note(auditee: Auditee) -> Traces:
    """A note's text."""
    path = auditee.root / "checkpoints" / f"{0:012d}" / "note"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("\n1\n", "\n2\n"), encoding="utf-8")
    return {("store", "bad_checkpoint")}


def drop_the_leaves(auditee: Auditee) -> Traces:
    """The leaves of all chunks."""
    (path,) = (auditee.root / "checkpoints" / "leaves").iterdir()
    path.unlink()
    return {("store", "bad_checkpoint")}


def drop_the_statement(auditee: Auditee) -> Traces:
    """A checkpoint.json."""
    (path,) = (auditee.root / "checkpoints" / f"{0:012d}").glob("*/checkpoint.json")
    path.unlink()
    return {("store", "bad_checkpoint")}


def a_chunk_of_another_store(auditee: Auditee) -> Traces:
    """Its leaf, roster and log, all sound in themselves and under the same keys."""
    chunk = auditee.chunk("P-3")
    other = _another()
    for part in (f"audit/{chunk}", f"checkpoints/rosters/{chunk}"):
        shutil.rmtree(auditee.root / part)
        shutil.copytree(other.root / part, auditee.root / part)
    (ours,), (theirs,) = ((one.root / "checkpoints/leaves").iterdir() for one in (auditee, other))
    pairs = zip(ours.read_bytes().split(b"\n"), theirs.read_bytes().split(b"\n"), strict=True)
    ours.write_bytes(b"\n".join(their if chunk.encode() in their else our for our, their in pairs))
    return {("store", "bad_checkpoint"), (chunk, "bad_segment")}


def a_log_and_roster_of_another_store(auditee: Auditee) -> Traces:
    """The same with the leaves left alone."""
    (leaves,) = (auditee.root / "checkpoints/leaves").iterdir()
    kept = leaves.read_bytes()
    a_chunk_of_another_store(auditee)
    leaves.write_bytes(kept)
    return {(auditee.chunk("P-3"), "bad_checkpoint"), (auditee.chunk("P-3"), "bad_segment")}


def the_leaves_of_another_store(auditee: Auditee) -> Traces:
    """All of them, under the same keys."""
    other = _another()
    (ours,), (theirs,) = ((one.root / "checkpoints/leaves").iterdir() for one in (auditee, other))
    ours.write_bytes(theirs.read_bytes())
    return {("store", "bad_checkpoint")}


def _edit_a_roster(auditee: Auditee, edit: Callable[[list[bytes]], list[bytes]]) -> Traces:
    chunk = auditee.chunk("P-3")
    auditee.append("P-3", "e-so-that-it-is-read")
    (path,) = (auditee.root / "checkpoints/rosters" / chunk).iterdir()
    path.write_bytes(b"".join(edit(path.read_bytes().splitlines(keepends=True))))
    return {(chunk, "bad_checkpoint")}


def leave_somebody_out_of_a_roster(auditee: Auditee) -> Traces:
    """One line less."""
    return _edit_a_roster(auditee, lambda lines: lines[1:])


def double_somebody_in_a_roster(auditee: Auditee) -> Traces:
    """One line twice, in place of another."""
    return _edit_a_roster(auditee, lambda lines: [lines[0], lines[0], *lines[2:]])


def show_a_carried_chunk_as_current(auditee: Auditee) -> Traces:
    """A `checkpoint.json` that no longer says that a chunk is carried, named by its new content."""
    stray = auditee.segment("P-3").parent / "stray"
    stray.write_text("x", encoding="utf-8")
    assert auditee.checkpoint().carried == [auditee.chunk("P-3")]
    stray.unlink()
    (path,) = (auditee.root / "checkpoints" / f"{1:012d}").glob("*/checkpoint.json")
    text = path.read_bytes()
    changed = text.replace(f'"{auditee.chunk("P-3")}":0'.encode(), b"", 1)
    assert changed != text
    path.unlink()
    _put_statement(auditee, 1, changed)
    return {("store", "bad_checkpoint")}


def _put_statement(auditee: Auditee, number: int, text: bytes) -> None:
    path = auditee.root / checkpoint_key(number, leaf_hash(text).hex())
    path.parent.mkdir(parents=True)
    path.write_bytes(text)


def put_an_older_note_under_a_newer_number(auditee: Auditee) -> Traces:
    """A right note of an earlier checkpoint."""
    auditee.checkpoint()
    old, new = (auditee.root / note_key(number) for number in (0, 1))
    new.write_bytes(old.read_bytes())
    return {("store", "bad_checkpoint")}


def roll_the_checkpoints_back_alone(auditee: Auditee) -> Traces:
    """An earlier signed state over a log that goes on, with the newest checkpoint's note taken away in the middle."""
    auditee.checkpoint()
    auditee.checkpoint()
    (auditee.root / note_key(1)).unlink()
    return {("store", "bad_checkpoint")}


def another_log_id_in_the_layout(auditee: Auditee) -> Traces:
    """So that the store's own log seems another's."""
    path = auditee.root / LAYOUT_KEY
    path.write_text(path.read_text(encoding="utf-8").replace(auditee.log.layout.log_id, "e" * 32), encoding="utf-8")
    return {("store", "bad_checkpoint")}


def another_chunk_count_in_the_layout(auditee: Auditee) -> Traces:
    """So that everybody seems misplaced."""
    path = auditee.root / LAYOUT_KEY
    text = path.read_text(encoding="utf-8")
    path.write_text(re.sub(r'"chunk_count": ?4', '"chunk_count":8', text), encoding="utf-8")
    assert path.read_text(encoding="utf-8") != text
    return {("store", "bad_checkpoint")}


Tampering = Callable[[Auditee], Traces]

TAMPERINGS: list[Tampering] = [
    change_a_row, swap_two_segments, repeat_a_row, repeat_a_segment,
    drop_the_tail, drop_a_middle_segment, drop_a_log, drop_everything, rewrite_with_the_key,
    foreign_object, edit_a_manifest, edit_an_announced_manifest, remove_a_manifest, drop_the_note, edit_the_note,
    drop_the_leaves, drop_the_statement, a_chunk_of_another_store, a_log_and_roster_of_another_store,
    the_leaves_of_another_store,
    leave_somebody_out_of_a_roster, double_somebody_in_a_roster, show_a_carried_chunk_as_current,
    put_an_older_note_under_a_newer_number, roll_the_checkpoints_back_alone, another_log_id_in_the_layout,
    another_chunk_count_in_the_layout,
]  # fmt: skip

WITHOUT_KEYS: dict[Tampering, dict[tuple[str, str], tuple[str, str]]] = {
    change_a_row: {("P-3", "bad_mac"): ("P-3", "bad_prev")}
}
"""What is found by another kind where MACs cannot be verified: a changed row by the row that links to it."""


def traces(tampering: Tampering, auditee: Auditee, mode: str) -> Traces:
    """Tamper with a store; returns what a verification in this mode must find."""
    other = WITHOUT_KEYS.get(tampering, {}) if mode == "public" else {}
    return {other.get(one, one) for one in tampering(auditee)}
