"""Verification of a whole store, or of some of its chunks or subjects: what was found, counted and named."""

import datetime as dt
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from subject_pipeline.audit.result_state import RESULT_STATES
from subject_pipeline.checkpoints.stored_checkpoints import Checkpoint
from subject_pipeline.errors import ConfigurationError, StoreError
from subject_pipeline.manifests.table import ManifestTable
from subject_pipeline.store.ids import storage_key
from subject_pipeline.store.layout import StoreLayout
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline.verification.chunk import Clock
from subject_pipeline.verification.findings import ChunkFindings
from subject_pipeline.verification.log_verdicts import BrokenChain, BrokenLog
from subject_pipeline.verification.manifest_verdicts import BrokenManifest
from subject_pipeline.verification.public_keys import PublicKeys
from subject_pipeline.verification.questionable import Questionable
from subject_pipeline.verification.verifier import CONCURRENCY, Verifier
from subject_pipeline.verification.views import AuditedStore

Progress = Callable[[int, int], None]
"""Called with chunks done and chunks in all."""

Watch = Callable[[ChunkFindings, int, int], None]
"""Called with a chunk's findings, chunks done and chunks in all."""


@dataclass(slots=True)
class Verification:
    """What one verification found; `intact + broken + unreadable = chains`.

    Attributes:
        incremental: only what changed since the last checkpoint was read.
        subjects: manifests in the table.
        chains: chains that were judged: in an incremental one those whose log was read.
        rows: lines read.
        public: with public keys alone: MACs were looked at for their form, and everything else as with the ring.
        unanchored: rows of segments that no checkpoint anchors yet.
        unanchored_manifests: manifests that rest on such rows, or on no row, or are gone by such a row.
        checkpoint: the one that everything was compared with.
        questionable: accesses that should not have been, of rows that were read; an incremental one has those recorded
            since the checkpoint. They are no fault of the record, which is sound all the same.
        unknown: subjects asked for that have neither rows nor a manifest.
        pending: manifests with a change that was recorded just now; neither broken nor fine, and looked for next time.
        homes: the chunks that broken chains and manifests were found in, by candidate id, or `id_sha256` without one.
    """

    incremental: bool
    public: bool = False
    unanchored: int = 0
    unanchored_manifests: int = 0
    subjects: int = 0
    chains: int = 0
    rows: int = 0
    unreadable: int = 0
    broken_chains: list[BrokenChain] = field(default_factory=list)
    broken_logs: list[BrokenLog] = field(default_factory=list)
    broken_manifests: list[BrokenManifest] = field(default_factory=list)
    pending: list[BrokenManifest] = field(default_factory=list)
    unregistered: list[str] = field(default_factory=list)
    questionable: list[Questionable] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    homes: dict[str, str] = field(default_factory=dict)
    checkpoint: Checkpoint | None = None
    results: dict[str, int] = field(default_factory=lambda: dict.fromkeys(RESULT_STATES, 0))
    elapsed_s: float = 0.0

    @property
    def broken(self) -> int:
        """Chains that are not as they were written."""
        return len(self.broken_chains)

    @property
    def intact(self) -> int:
        """Chains in which nothing was found."""
        return self.chains - self.broken - self.unreadable

    @property
    def sound(self) -> bool:
        """Nothing is broken or unreadable; something may be pending."""
        return not (self.broken_chains or self.broken_logs or self.broken_manifests or self.unreadable)

    def add(self, found: ChunkFindings, only: Collection[str] = ()) -> None:
        """Count one chunk's findings; with `only`, its chains and manifests of these subjects, and what is nobody's."""
        asked = {found.anchored.id_sha256(one): one for one in only} if found.anchored else {}

        def counts(one: BrokenManifest) -> bool:
            nobodys = one.candidate_id is None and one.id_sha256 is None
            return not only or nobodys or one.candidate_id in only or one.id_sha256 in asked

        self.broken_logs += found.logs
        self.broken_manifests += filter(counts, found.manifests)
        self.pending += filter(counts, found.pending)
        self.homes.update({one.subject: found.chunk for one in found.manifests if one.subject})
        self.unanchored += found.unanchored
        self.unanchored_manifests += found.unanchored_manifests
        self.unregistered += [one for one in found.unregistered if not only or one in only]
        self.questionable += [one for one in found.questionable if not only or one.candidate_id in only]
        log = found.log
        if log is None:
            return
        judged = log.chains.keys() | log.broken.keys() | log.unreadable
        wanted = judged & set(only) if only else judged
        unreadable = {one for one in log.unreadable_unnamed if not only or one in asked}
        unnamed = [one for one in log.broken_unnamed if not only or one.id_sha256 in asked]
        self.chains += len(wanted) + len(unreadable) + len(unnamed)
        self.rows += log.rows
        self.unreadable += len(log.unreadable & wanted) + len(unreadable)
        broken = [one for candidate_id, one in sorted(log.broken.items()) if candidate_id in wanted] + unnamed
        self.broken_chains += broken
        self.homes.update({one.subject: found.chunk for one in broken if one.subject})
        for result, count in log.results.items():
            self.results[result] += count

    def join(self, other: "Verification") -> None:
        """Add what was found in other chunks; what stands against the whole store counts once, found by any."""
        known = {one for one in self.broken_logs if one.chunk is None}
        self.broken_logs += [one for one in other.broken_logs if one not in known]
        for name in _LISTS:
            getattr(self, name).extend(getattr(other, name))
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.homes.update(other.homes)
        for result, count in other.results.items():
            self.results[result] += count


_LISTS = ("broken_chains", "broken_manifests", "pending", "unregistered", "questionable")
_COUNTS = ("unanchored", "unanchored_manifests", "chains", "rows", "unreadable")


def verify(  # noqa: PLR0913 - options, named at the call
    store: SubjectStore,
    *,
    public: PublicKeys | None = None,
    chunks: Sequence[str] | None = None,
    candidate_ids: Sequence[str] = (),
    incremental: bool = False,
    whole: Collection[str] = (),
    known_notes: Sequence[str] = (),
    watch: Watch | None = None,
    concurrency: int = CONCURRENCY,
    clock: Clock = lambda: dt.datetime.now(dt.UTC),
) -> Verification:
    """Verify a store's audit log and manifests; problems are data, not errors.

    Args:
        store: where they are, with the key ring.
        public: these keys alone, whatever ring the store has: MACs cannot be verified, and what no checkpoint anchors
            yet is counted as such.
        chunks: only these; None: all.
        candidate_ids: only the chains and manifests of these subjects, wherever the table has them, and the logs that
            they are in.
        incremental: read only what the last checkpoint does not have; not with public keys, since what the signer
            read is the signer's word.
        whole: chunks to read whole all the same.
        known_notes: signed notes of checkpoints that were kept elsewhere: each must be among the stored ones.
        watch: given each chunk's findings, with chunks done and chunks in all.
        concurrency: chunks at once, on a store that is not local.
        clock: this machine's time, which tells what was recorded just now.

    Raises:
        KeyRingError: there is no usable key ring, or it is another store's; nothing is signed by these public keys.
        ConfigurationError: another chunk count is wanted than the store has, or a chunk is named that it does not have.
        StoreError: the store cannot be read at all.
    """
    started = time.perf_counter()
    if public and incremental:
        raise ConfigurationError("public verification is always full: it takes nobody's word for what was read before")
    audited = AuditedStore(store, public)
    wanted = _wanted(audited.store, audited.layout, chunks, candidate_ids)
    verifier = Verifier(audited, wanted, incremental=incremental, known_notes=known_notes, clock=clock)
    report = Verification(incremental, audited.public)
    seen: set[str] = set()
    each = verifier.each(wanted, lambda found: found, whole=whole, concurrency=concurrency)
    for done, found in enumerate(each, start=1):
        report.add(found, only=candidate_ids)
        if watch is not None:
            watch(found, done, len(wanted))
        if candidate_ids:
            seen.update(one for one in candidate_ids if found.log is None or found.knows(one))
    report.unknown = [candidate_id for candidate_id in candidate_ids if candidate_id not in seen]
    finish(report, verifier, started)
    return report


def finish(report: Verification, verifier: Verifier, started: float) -> None:
    """Complete a report with what concerns the whole store."""
    if verifier.view is not None:
        report.subjects = verifier.view.manifests.count
        report.checkpoint = verifier.view.checkpoint
    known = set(verifier.problems)
    report.broken_logs = [*verifier.problems, *(one for one in report.broken_logs if one not in known)]
    report.elapsed_s = time.perf_counter() - started


def _wanted(
    store: SubjectStore, layout: StoreLayout | None, chunks: Sequence[str] | None, candidate_ids: Sequence[str]
) -> list[str]:
    if layout is None:
        return []
    if candidate_ids:
        homes = [layout.chunks.chunk_of(storage_key(candidate_id)) for candidate_id in candidate_ids]
        chunks = [*homes, *_elsewhere(store, candidate_ids)]
    if chunks is None:
        return list(layout.chunks.names)
    return [layout.chunks.names[index] for index in layout.chunks.indices(chunks)]


def _elsewhere(store: SubjectStore, candidate_ids: Sequence[str]) -> list[str]:
    """The chunks in which the table has a row of any of these subjects: a copy may be where it does not belong."""
    try:
        return ManifestTable(store).read(lambda snapshot: snapshot.chunks_holding(candidate_ids), [])
    except StoreError:
        return []  # verification finds the table unreadable too, and says so
