"""Checkpoints: the state that a verification found, signed, so that nothing of it can vanish unnoticed.

Nothing red turns green here: a chunk in which anything was found is carried, which means that the leaf of its last
sound state is named again, and said to be so. Where the last checkpoint itself does not hold, none is written. A chunk
in which nothing changed is named again likewise, and neither its roster nor its log is read.

Nothing is signed that verification would refuse: what is about to be signed is parsed again.

It is longer than other files because the order from verdict to signature is what has to be reviewed.
"""

import contextlib
import datetime as dt
import secrets
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from subject_pipeline.anchoring.forgetting import GIVEN_UP_AFTER, forget, unlisted
from subject_pipeline.anchoring.next_roster import next_leaf, next_roster, unchanged
from subject_pipeline.anchoring.signing import Signer
from subject_pipeline.anchoring.writing import CheckpointWriter
from subject_pipeline.checkpoints.anchored import AnchoredSubjects
from subject_pipeline.checkpoints.leaves import ChunkLeaf, leaves_text, parse_leaves, state_root
from subject_pipeline.checkpoints.rosters import BLIND_BYTES, Roster
from subject_pipeline.checkpoints.statement import NEVER, Statement
from subject_pipeline.checkpoints.stored_checkpoints import Checkpoint
from subject_pipeline.checkpoints.tree.head import TreeHead
from subject_pipeline.checkpoints.tree.merkle import root_of_hashes
from subject_pipeline.errors import CheckpointError, ConflictError, KeyRingError, StoreError
from subject_pipeline.formats.leaves import leaf_hash
from subject_pipeline.formats.times import format_time
from subject_pipeline.objects.retries import retrying
from subject_pipeline.store.chunks import ChunkLayout
from subject_pipeline.store.layout import StoreLayout
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline.verification.findings import ChunkFindings
from subject_pipeline.verification.log_verdicts import BrokenLog
from subject_pipeline.verification.verifier import CONCURRENCY, Verifier
from subject_pipeline.verification.views import AuditedStore
from subject_pipeline.verification.whole_store import Progress, Verification, finish

_BLOCKING = {"bad_checkpoint", "unreadable"}
"""Problems of the whole store under which nothing is signed."""

_CLOCK_MAY_BE_BEHIND = dt.timedelta(minutes=5)
_TICK = dt.timedelta(microseconds=1)

Clock = Callable[[], dt.datetime]


@dataclass(slots=True)
class CheckpointReport:
    """What writing a checkpoint found and did.

    Attributes:
        verification: the incremental verification that it rests on.
        written: the new checkpoint; None where the last one does not hold, or the store failed.
        carried: chunks whose last sound state still stands, since something was found in them.
        pending: chunks whose last state still stands for no worse reason than that a change is under way.
        entries: subjects in the new checkpoint.
    """

    verification: Verification
    written: Checkpoint | None = None
    carried: list[str] = field(default_factory=list)
    pending: list[str] = field(default_factory=list)
    entries: int = 0


def write_checkpoint(
    store: SubjectStore,
    *,
    known_notes: Sequence[str] = (),
    retire: str | None = None,
    progress: Progress | None = None,
    clock: Clock = lambda: dt.datetime.now(dt.UTC),
    concurrency: int = CONCURRENCY,
) -> CheckpointReport:
    """Verify incrementally against the last checkpoint, then write the next.

    Args:
        store: what to anchor.
        known_notes: signed notes of checkpoints that were kept elsewhere: each must be among the stored ones.
        retire: the id of a key of rows and segments that goes out of use with this checkpoint; none is written while a
            chunk would be carried.
        progress: called after each chunk.
        clock: gives the checkpoint's time.
        concurrency: chunks at once, on a store that is not local.

    Raises:
        KeyRingError: there is no usable key ring, it has no private signing key, or the key is retired already.
        CheckpointError: this machine's clock is behind the last checkpoint's time, or its signer is another.
        ConflictError: other checkpoints kept being written meanwhile.
        StoreError: the store failed, or it took more than six hours; whether the checkpoint is there is said.
    """
    store.layout_or_create()
    watch = progress or (lambda _done, _of: None)
    return retrying(lambda: _attempt(AuditedStore(store), known_notes, retire, watch, clock, concurrency))


def _attempt(
    audited: AuditedStore,
    known_notes: Sequence[str],
    retire: str | None,
    watch: Progress,
    clock: Clock,
    concurrency: int,
) -> CheckpointReport:
    started, began = time.perf_counter(), clock()
    if audited.layout is None:
        audited.hold_layout()
        raise StoreError("the store's layout is gone")
    chunks = audited.layout.chunks.names
    signer = Signer.of(audited.store.ring, audited.layout.log_id)
    verifier = Verifier(audited, chunks, incremental=True, known_notes=known_notes, clock=clock)
    previous = verifier.view.checkpoint if verifier.view else None
    blocked = verifier.view is None or any(one.kind in _BLOCKING for one in verifier.problems)
    draft = _Draft(audited.layout, CheckpointWriter(audited.store.objects), previous, blocked=blocked)
    if previous is not None and retire is not None and retire in previous.statement.retired_keys:
        at = previous.statement.retired_keys[retire]
        raise KeyRingError(f"the key {retire} is retired already, since checkpoint {at}")
    if not blocked:
        draft.next_time(began)  # which refuses a clock that is behind before everything is verified
    report = CheckpointReport(Verification(incremental=True))
    leaves: dict[str, ChunkLeaf] = {}
    for done, (found, leaf) in enumerate(verifier.each(chunks, draft.anchor, concurrency=concurrency), start=1):
        watch(done, len(chunks))
        report.verification.add(found)
        leaves[found.chunk] = leaf
        if not found.sound:
            report.carried.append(found.chunk)
        elif found.pending:
            report.pending.append(found.chunk)
    finish(report.verification, verifier, started)
    carried = [*report.carried, *report.pending]
    if not (blocked or (retire and carried)):
        if previous is not None:
            leaves = unlisted(audited.store.objects, leaves, previous.leaves)
        retired = {retire} if retire else set()
        stated = draft.statement(leaves, carried, signer.line, draft.next_time(clock()), retired)
        if max(dt.timedelta(seconds=time.perf_counter() - started), clock() - began) > GIVEN_UP_AFTER:
            raise StoreError("no checkpoint was written: the attempt took more than six hours, start another")
        report.written = _write(audited, previous, stated, leaves, signer)
        report.entries = sum(leaf.subjects for leaf in leaves.values())
        with contextlib.suppress(StoreError, CheckpointError):  # what is needed no more only takes room
            forget(audited.store.objects, audited.checkpoints, report.written, clock())
        report.verification.elapsed_s = time.perf_counter() - started
    return report


@dataclass(frozen=True, slots=True)
class _Draft:
    """The next checkpoint, while the chunks that it is about are verified."""

    layout: StoreLayout
    writer: CheckpointWriter
    previous: Checkpoint | None
    blocked: bool

    def anchor(self, found: ChunkFindings) -> tuple[ChunkFindings, ChunkLeaf]:
        """The chunk's leaf in the next checkpoint; a roster that it names for the first time is written."""
        before = self.previous.leaves[found.chunk] if self.previous else ChunkLeaf.empty(found.chunk)
        if self.blocked or not found.sound or found.pending or unchanged(found):
            return found, before
        try:
            return found, self._anchored_again(found, before)
        except (CheckpointError, StoreError) as error:
            kind = "bad_checkpoint" if isinstance(error, CheckpointError) else "unreadable"
            found.problems.append(BrokenLog(found.chunk, None, kind, str(error)))
            return found, before

    def _anchored_again(self, found: ChunkFindings, before: ChunkLeaf) -> ChunkLeaf:
        anchored = found.anchored or AnchoredSubjects(self.layout.log_id, Roster())
        roster = next_roster(found, anchored, _blind)
        leaf = ChunkLeaf.parse(next_leaf(found, before, roster).text())
        if leaf.roster_root != before.roster_root:
            self.writer.roster(leaf, roster)
        return leaf

    def next_time(self, now: dt.datetime) -> str:
        """The time of the next checkpoint, which is later than that of the one before.

        Raises:
            CheckpointError: the clock is more than five minutes behind it.
        """
        if self.previous is None:
            return format_time(now)
        last = dt.datetime.fromisoformat(self.previous.time)
        if now < last - _CLOCK_MAY_BE_BEHIND:
            raise CheckpointError(
                f"no checkpoint was written: this machine's clock says {format_time(now)}, and checkpoint "
                f"{self.previous.number} was made at {self.previous.time}: correct the clock (NTP), then try again"
            )
        return format_time(max(now, last + _TICK))

    def statement(
        self, leaves: Mapping[str, ChunkLeaf], carried: Sequence[str], signer: str, at: str, retired: Collection[str]
    ) -> Statement:
        """What the next checkpoint states.

        Raises:
            CheckpointError: it would not hold.
        """
        old = self.previous.statement if self.previous else None
        standing = old.number if old else NEVER
        stated = Statement(
            log_id=self.layout.log_id,
            number=standing + 1,
            time=at,
            chunks=self.layout.chunk_count,
            state_root=state_root(leaves[chunk] for chunk in self.layout.chunks.names),
            signers=[signer],
            carried={chunk: old.carried.get(chunk, standing) if old else NEVER for chunk in carried},
            retired_keys={**(old.retired_keys if old else {}), **dict.fromkeys(retired, standing + 1)},
        )
        stated = Statement.parse(stated.text())
        if old is not None:
            stated.hold_after(old)
        return stated


def _write(
    audited: AuditedStore,
    previous: Checkpoint | None,
    stated: Statement,
    leaves: Mapping[str, ChunkLeaf],
    signer: Signer,
) -> Checkpoint:
    """Write and sign a checkpoint over rosters that are there.

    Raises:
        ConflictError: another was written meanwhile.
    """
    hashes = [*(previous.hashes if previous else ()), leaf_hash(stated.text())]
    head = TreeHead(stated.log_id, len(hashes), root_of_hashes(hashes).hex())
    expected = previous.statement.signers if previous else stated.signers
    note = signer.sign(head, expected)
    audited.checkpoints.trusted.opened(note, expected)
    names = ChunkLayout(stated.chunks).names
    ordered = parse_leaves(leaves_text(leaves[name] for name in names), names=names, root=stated.state_root)
    writer = CheckpointWriter(audited.store.objects)
    if previous is None or previous.statement.state_root != stated.state_root:
        writer.leaves(stated.state_root, ordered.values())
    if not writer.checkpoint(stated, note):
        raise ConflictError(f"another checkpoint {stated.number} was written meanwhile")
    signer.signed(head, stated.time)
    return Checkpoint(stated, head, note, hashes, ordered)


def _blind() -> str:
    return secrets.token_urlsafe(BLIND_BYTES)
