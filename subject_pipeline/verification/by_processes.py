"""Full verification by several processes, each of its own chunks: what one process finds, sooner.

Each process opens the store itself and holds one view from its first chunk to its last, as one process alone does. What
any of them has against the whole store is reported.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass
from queue import SimpleQueue

from subject_pipeline.errors import StoreError
from subject_pipeline.objects.protocol import ObjectInfo
from subject_pipeline.spawned import OwnProcess, spawned, worth
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline.verification.public_keys import PublicKeys
from subject_pipeline.verification.verifier import Verifier
from subject_pipeline.verification.views import AuditedStore
from subject_pipeline.verification.whole_store import Progress, Verification, finish

WORTH_A_PROCESS = 64 << 20
"""Bytes of logs that are verified in about the time in which a process starts and loads what it needs."""

_PARTS_A_PROCESS = 4
"""So that a process whose chunks take longer than they are large leaves others to the rest."""


@dataclass(frozen=True, slots=True)
class _Asked:
    store: SubjectStore
    public: PublicKeys | None
    chunks: tuple[str, ...]
    known_notes: tuple[str, ...]


_asked: _Asked
_verifier: Verifier | None = None


def processes_for(listed: Mapping[str, Mapping[int, ObjectInfo]]) -> int:
    """How many processes these logs are worth: one for small ones, at most one a core that this process may use."""
    size = sum(info.size for segments in listed.values() for info in segments.values())
    return max(1, min(len(listed), worth(size, WORTH_A_PROCESS)))


def verify_by_processes(
    store: SubjectStore,
    *,
    public: PublicKeys | None = None,
    processes: int | None = None,
    known_notes: Sequence[str] = (),
    progress: Progress | None = None,
) -> Verification:
    """Verify a whole store in full, as `whole_store.verify` does.

    Args:
        store: opened again by each process, at the same address.
        public: as in `whole_store.verify`.
        processes: so many, however small the logs are; None: as many as they are worth. One is this process.
        known_notes: signed notes of checkpoints that were kept elsewhere: each must be among the stored ones.
        progress: called with chunks done and chunks in all.

    Raises:
        KeyRingError: there is no usable key ring, or it is another store's; nothing is signed by these public keys.
        ConfigurationError: another chunk count is wanted than the store has.
        StoreError: the store cannot be read at all; or a process was ended from outside, so that not everything was
            verified.
    """
    started = time.perf_counter()
    audited = AuditedStore(store, public)
    chunks = audited.layout.chunks.names if audited.layout else ()
    verifier = Verifier(audited, chunks, incremental=False, known_notes=known_notes)
    listed = verifier.view.listing.segments if verifier.view else {}
    if processes is None:
        processes = processes_for(listed)
    parts = parts_of(listed, chunks, processes)
    found: Iterator[Verification]
    if processes == 1 or len(parts) == 1:
        found = (part_of(verifier, part) for part in parts)
    else:
        found = _verified_apart(store, public, parts, processes, known_notes)
    report = Verification(incremental=False, public=audited.public)
    done = 0
    for part, one in zip(parts, found, strict=True):
        report.join(one)
        done += len(part)
        if progress is not None:
            progress(done, len(chunks))
    finish(report, verifier, started)
    return report


def _verified_apart(
    store: SubjectStore,
    public: PublicKeys | None,
    parts: Sequence[Sequence[str]],
    processes: int,
    known_notes: Sequence[str],
) -> Iterator[Verification]:
    """The verification of each part, in their order, by processes that are started afresh: a store outlives no fork."""
    asked = _Asked(
        store,
        public,
        tuple(chunk for part in parts for chunk in part),
        tuple(known_notes),
    )
    free: SimpleQueue[OwnProcess] = SimpleQueue()

    def verified(part: Sequence[str]) -> Verification:
        process = free.get()
        try:
            return process.submit(_verify, part).result()
        finally:
            free.put(process)

    with ExitStack() as ended, ThreadPoolExecutor(processes) as threads:
        for _ in range(processes):
            free.put(ended.enter_context(spawned(_begin, asked)))
        futures = [threads.submit(verified, part) for part in parts]
        try:
            for future in futures:
                yield future.result()
        except BrokenProcessPool as error:
            raise StoreError(
                "a process that verified was ended, by lack of memory perhaps: not everything was verified; "
                "--processes 1 needs the least memory"
            ) from error
        finally:
            for future in futures:
                future.cancel()


def parts_of(listed: Mapping[str, Mapping[int, ObjectInfo]], chunks: Sequence[str], processes: int) -> list[list[str]]:
    """Chunks in parts of about the same size, in the same order: several a process, so that none waits for long."""
    sizes = [1 + sum(info.size for info in listed.get(chunk, {}).values()) for chunk in chunks]
    share = sum(sizes) / (processes * _PARTS_A_PROCESS)
    parts: list[list[str]] = [[]]
    filled = 0
    for chunk, size in zip(chunks, sizes, strict=True):
        if parts[-1] and filled + size > share:
            parts.append([])
            filled = 0
        parts[-1].append(chunk)
        filled += size
    return parts


def part_of(verifier: Verifier, chunks: Sequence[str]) -> Verification:
    """What was found in some chunks, and against the whole store where this verifier opened it."""
    report = Verification(incremental=False, public=verifier.audited.public)
    for found in verifier.each(chunks, lambda found: found):
        report.add(found)
    report.broken_logs += verifier.problems
    return report


def _begin(asked: _Asked) -> None:
    global _asked  # noqa: PLW0603 - a process of the pool has one verification
    _asked = asked


def _verify(chunks: Sequence[str]) -> Verification:
    global _verifier  # noqa: PLW0603 - and one view
    if _verifier is None:
        audited = AuditedStore(_asked.store, _asked.public)
        _verifier = Verifier(audited, _asked.chunks, incremental=False, known_notes=_asked.known_notes)
    return part_of(_verifier, chunks)
