"""Checkpoints: the state that a verification found, signed, so that nothing of it can vanish unnoticed.

Nothing red turns green here: a chunk in which anything was found keeps its previous entries, and where the last
checkpoint itself does not hold, none is written.
"""

import contextlib
import datetime as dt
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from subject_pipeline.checkpoints import merkle
from subject_pipeline.checkpoints.checkpoint import NO_HASH, CheckpointNote, ChunkLeaf, RosterEntry, origin
from subject_pipeline.checkpoints.proofs import build_proof
from subject_pipeline.checkpoints.signed_notes import sign_note, verifier_line
from subject_pipeline.checkpoints.stored_checkpoints import Checkpoint, CheckpointStore, Roster
from subject_pipeline.errors import CheckpointError, ConflictError, KeyRingError, StoreError, UnknownSubjectError
from subject_pipeline.formats.times import format_time
from subject_pipeline.keys.ring_file import KeyRingFile
from subject_pipeline.objects.retries import retrying
from subject_pipeline.store.ids import storage_key
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline.verification.findings import ChunkFindings
from subject_pipeline.verification.log_verdicts import BrokenLog
from subject_pipeline.verification.verifier import CONCURRENCY, Verifier
from subject_pipeline.verification.views import AuditedStore
from subject_pipeline.verification.whole_store import Progress, Verification, finish

_BLOCKING = {"bad_checkpoint", "unreadable"}
"""Problems of the whole store under which nothing is signed."""


@dataclass(slots=True)
class CheckpointReport:
    """What writing a checkpoint found and did.

    Attributes:
        verification: the incremental verification that it rests on.
        written: the new checkpoint; None where the last one does not hold, or the store failed.
        carried: chunks whose previous entries were carried on, since something was found in them.
        pending: chunks whose previous entries were carried on for no worse reason than that a change is under way.
        entries: subjects in the new checkpoint.
    """

    verification: Verification
    written: Checkpoint | None = None
    carried: list[str] = field(default_factory=list)
    pending: list[str] = field(default_factory=list)
    entries: int = 0


def write_checkpoint(
    store: SubjectStore,
    ring: KeyRingFile,
    *,
    known_notes: Sequence[str] = (),
    progress: Progress | None = None,
    clock: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
    concurrency: int = CONCURRENCY,
) -> CheckpointReport:
    """Verify incrementally against the last checkpoint, then write the next.

    Args:
        store: what to anchor.
        ring: the keys, the private signing key among them.
        known_notes: signed notes of checkpoints that were kept elsewhere: each must be among the stored ones.
        progress: called after each chunk.
        clock: gives the note's time.
        concurrency: chunks at once, on a store that is not local.

    Raises:
        KeyRingError: there is no usable key ring, or it has no private signing key.
        ConflictError: other checkpoints kept being written meanwhile.
        StoreError: the store failed; whether the checkpoint is there is said.
    """
    store.layout_or_create()
    watch = progress or (lambda _done, _of: None)
    return retrying(lambda: _attempt(store, ring, known_notes, watch, clock, concurrency))


def _attempt(
    store: SubjectStore,
    ring: KeyRingFile,
    known_notes: Sequence[str],
    watch: Progress,
    clock: Callable[[], dt.datetime],
    concurrency: int,
) -> CheckpointReport:
    started = time.perf_counter()
    signing = ring.ring().signing
    if signing is None or signing.private is None:
        raise KeyRingError("this key ring has no private signing key: it is a writer's copy; sign with the whole ring")
    audited = AuditedStore(store, ring)
    if audited.layout is None:
        raise StoreError("the store's layout is gone")
    chunks = audited.layout.chunks.names
    verifier = Verifier(audited, chunks, incremental=True, known_notes=known_notes, clock=clock)
    previous = verifier.view.checkpoint if verifier.view else None
    draft = _Draft(audited, previous, blocked=any(one.kind in _BLOCKING for one in verifier.problems))
    report = CheckpointReport(Verification(incremental=True))
    leaves: dict[str, ChunkLeaf] = {}
    for done, (found, entries, leaf) in enumerate(
        verifier.each(chunks, draft.anchor, concurrency=concurrency), start=1
    ):
        watch(done, len(chunks))
        report.verification.add(found)
        report.entries += entries
        if not found.sound:
            report.carried.append(found.chunk)
        elif found.pending:
            report.pending.append(found.chunk)
        if leaf is not None:
            leaves[found.chunk] = leaf
    finish(report.verification, verifier, started)
    if len(leaves) == len(chunks):
        in_order = [leaves[chunk] for chunk in chunks]
        note = CheckpointNote(
            audited.layout.log_id,
            draft.number,
            merkle.root([leaf.leaf() for leaf in in_order]).hex(),
            format_time(clock()),
            previous.sha256 if previous else NO_HASH,
        )
        report.written = _signed(audited.checkpoints, note, in_order, signing.private)
        report.verification.elapsed_s = time.perf_counter() - started
    return report


@dataclass(frozen=True, slots=True)
class _Draft:
    """The next checkpoint, while the chunks that it is about are verified."""

    audited: AuditedStore
    previous: Checkpoint | None
    blocked: bool

    @property
    def number(self) -> int:
        return self.previous.note.number + 1 if self.previous else 0

    def anchor(self, found: ChunkFindings) -> tuple[ChunkFindings, int, ChunkLeaf | None]:
        """Write a chunk's roster; how many subjects are in it, and its leaf, None where nothing is to be signed."""
        roster = None if self.blocked else _next_roster(self.audited, self.previous, found)
        if roster is None:
            return found, 0, None
        leaf = self.audited.checkpoints.write_roster(self.number, found.chunk, roster)
        return found, len(roster.entries), leaf


def _signed(store: CheckpointStore, note: CheckpointNote, leaves: Sequence[ChunkLeaf], private: bytes) -> Checkpoint:
    signed = sign_note(note.text(), origin(note.log_id), private)
    if not store.write(note, signed, leaves):
        raise ConflictError(f"another checkpoint {note.number} was written meanwhile")
    with contextlib.suppress(StoreError):  # they only take room
        store.forget_old_rosters(note.number)
    return Checkpoint(note, signed, {leaf.chunk: leaf for leaf in leaves})


def _next_roster(audited: AuditedStore, previous: Checkpoint | None, found: ChunkFindings) -> Roster | None:
    """The chunk's roster in the next checkpoint; None where there can be none, which the findings then say."""
    try:
        return _roster(audited, previous, found)
    except (CheckpointError, StoreError) as error:
        kind = "bad_checkpoint" if isinstance(error, CheckpointError) else "unreadable"
        if not any(one.kind == kind and one.segment is None for one in found.problems):
            found.problems.append(BrokenLog(found.chunk, None, kind, str(error)))
        return None


def _roster(audited: AuditedStore, previous: Checkpoint | None, found: ChunkFindings) -> Roster:
    """The chunk's roster in the next checkpoint: made again where it was read and is settled, else as it was.

    A chunk with anything broken or pending keeps both halves of all its entries, and the state of its log: the chains'
    ends and the manifests that belong to them. Half of a state is none.

    Raises:
        CheckpointError: the previous roster does not hold, or what would be signed does not.
        StoreError: the previous roster cannot be read.
    """
    old = found.roster
    if old is None:
        old = audited.checkpoints.roster(previous, found.chunk) if previous else Roster()
    log = found.log
    if not found.sound or found.pending or (log is None and found.hashes is None):
        return old
    before = {entry.candidate_id: entry for entry in old.entries}
    chains = {entry.candidate_id: (entry.seq, entry.mac) for entry in old.entries if entry.seq >= 0}
    if log is not None:
        chains = {**chains, **log.chains} if found.resumed else dict(log.chains)
    hashes = found.hashes
    if hashes is None:
        hashes = {entry.candidate_id: entry.manifest_sha256 for entry in old.entries if entry.manifest_sha256}
    entries = []
    for candidate_id in chains.keys() | hashes.keys():
        seq, mac = chains.get(candidate_id, (-1, NO_HASH))
        known = before.get(candidate_id)
        key = known.storage_key if known else storage_key(candidate_id)
        entries.append(RosterEntry(candidate_id, key, seq, mac, hashes.get(candidate_id, "")))
    entries.sort(key=lambda entry: (entry.storage_key, entry.candidate_id))
    for entry in entries:
        if entry != before.get(entry.candidate_id):
            RosterEntry.parse(entry.leaf())  # what verification would refuse is never signed
    head = (log.head.number, log.head.sha256) if log is not None else (old.segment, old.segment_mac)
    return Roster(entries, found.segments, found.table_files, *head)


def prove(store: SubjectStore, ring: KeyRingFile, candidate_id: str) -> dict[str, Any]:
    """A self-contained proof that the head of a subject's chain is in the latest checkpoint.

    Raises:
        CheckpointError: there is no checkpoint, or it does not hold.
        UnknownSubjectError: the latest checkpoint does not know the subject.
        KeyRingError: there is no usable key ring.
        StoreError: the store failed.
    """
    audited = AuditedStore(store, ring)
    checkpoint = audited.checkpoints.latest(whole=False) if audited.layout else None
    if audited.layout is None or checkpoint is None or audited.signing is None:
        raise CheckpointError("there is no checkpoint yet: write one with `subject-pipeline audit checkpoint`")
    chunk = audited.layout.chunks.chunk_of(storage_key(candidate_id))
    roster = audited.checkpoints.roster(checkpoint, chunk)
    places = [at for at, entry in enumerate(roster.entries) if entry.candidate_id == candidate_id]
    if not places:
        raise UnknownSubjectError(
            f"checkpoint {checkpoint.note.number} knows no subject {candidate_id!r}: if its rows are newer, write "
            "another with `subject-pipeline audit checkpoint`"
        )
    leaves = [leaf.leaf() for leaf in checkpoint.leaves.values()]
    at = list(checkpoint.leaves).index(chunk)
    line = verifier_line(origin(audited.layout.log_id), audited.signing.public)
    return build_proof(checkpoint.signed, line, leaves, at, roster.entry_leaves(), places[0])
