"""Applying decisions: each is recorded in its subject's chain with its content, then the table follows.

Killed anywhere, it is completed by running it again: what is recorded counts as already applied, and is in the table.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice

from subject_pipeline.changes.evidence import ManifestEvidence
from subject_pipeline.decisions.decision import Decision
from subject_pipeline.decisions.policies import Policies
from subject_pipeline.decisions.stored_policies import stored_policies
from subject_pipeline.errors import IncompleteError, KeyRingError
from subject_pipeline.garbage import uncollected
from subject_pipeline.lifecycle.decision_group import DecisionGroup
from subject_pipeline.lifecycle.judging import UNKNOWN, Verdict, rejected
from subject_pipeline.manifests.table import ManifestTable
from subject_pipeline.spawned import OwnProcess, PinnedProcesses, worth
from subject_pipeline.store.chunks import ChunkLayout
from subject_pipeline.store.ids import refusal, storage_key
from subject_pipeline.store.opened import SubjectStore

_GROUP = 50_000
"""Decisions that one commit of the table applies, or one chunk's if those are more."""

WORTH_A_PROCESS = 4 << 20
"""Bytes of JSON lines that are applied in about twice the time in which a process starts and loads what it needs."""

_ENDED = (
    "a process that applied decisions was ended, by lack of memory perhaps: what it was given may be recorded; run it "
    "again"
)

ByChunk = Mapping[str, Sequence[Decision]]
Verdicts = dict[str, list[Verdict]]
"""What became of the decisions of each chunk, in their order."""

_decisions: "Decisions"


class Decisions:
    """Applies decisions to the subjects of one store.

    Args:
        store: whose; a decision is always recorded, for which a writer's copy of its key ring will do.
        actor: who is recorded where a decision names nobody.
        processes: how many apply; where more than one does, this one only waits.
    """

    def __init__(self, store: SubjectStore, actor: str, processes: int = 1) -> None:
        self._store = store
        self._actor = actor
        self._evidence = ManifestEvidence(store, actor)
        self._number = processes
        self._processes: PinnedProcesses | None = None

    def policies(self) -> Policies:
        """The policies in force."""
        return stored_policies(self._store)

    def apply(
        self, decisions: Sequence[Decision], *, dry_run: bool = False, known: dict[int, Verdict] | None = None
    ) -> list[Verdict]:
        """Apply decisions in their order; what is refused stops no other.

        Args:
            decisions: about any subjects.
            dry_run: judge them, and write nothing.
            known: gains what became of each, by its place, as far as it is known where this is interrupted or fails.

        Returns:
            What became of each, in order.

        Raises:
            KeyRingError: there is no usable key ring.
            PolicyError: the stored policies cannot be used.
            AuditLogError: a log is damaged; nothing of its chunk was changed.
            IncompleteError: decisions are recorded and not yet in the table, or may be; run it again, or `compact`.
            StoreError: the store failed; decisions of other chunks may be applied.
        """
        if not self._store.ring.configured:
            raise KeyRingError("a decision is recorded in the audit log: set SUBJECT_KEY_RING to the store's key ring")
        self._evidence.open()
        layout = self._store.layout()
        if layout is None:
            return [rejected(UNKNOWN)] * len(decisions)
        homes = layout.chunks
        places: dict[str, list[int]] = defaultdict(list)
        for at, decision in enumerate(decisions):
            if refusal(decision.candidate_id, decision.candidate_id) is None:
                places[homes.chunk_of(storage_key(decision.candidate_id))].append(at)
        by_chunk = {chunk: [decisions[at] for at in there] for chunk, there in places.items()}
        known = known if known is not None else {}
        found: Verdicts = {}
        try:
            if self._number > 1:
                self._apart(by_chunk, homes, found, dry_run=dry_run)
            else:
                self.of_chunks(by_chunk, homes, found, dry_run=dry_run)
        finally:
            for chunk, verdicts in found.items():
                known.update(zip(places[chunk], verdicts, strict=True))
        if not dry_run:
            ManifestTable(self._store).tidy()
        return [known.get(at) or rejected(UNKNOWN) for at in range(len(decisions))]

    def close(self) -> None:
        """Finish what the log's writer does in the background, and end the processes."""
        self._evidence.close()
        if self._processes is not None:
            self._processes.close(_close)

    def of_chunks(self, by_chunk: ByChunk, homes: ChunkLayout, found: Verdicts, *, dry_run: bool) -> None:
        """Apply decisions by this process, given by the chunks of their subjects; raises as `apply`.

        Args:
            by_chunk: the decisions.
            homes: the store's chunks.
            found: gains what became of them, group by group.
            dry_run: as in `apply`.
        """
        self._evidence.open()
        policies = self.policies()
        for mine in _groups(by_chunk):
            found |= DecisionGroup(self._store, homes, self._evidence, policies, mine, dry_run).run()

    def _apart(self, by_chunk: ByChunk, homes: ChunkLayout, found: Verdicts, *, dry_run: bool) -> None:
        """As `of_chunks`, by other processes; if one fails, or on Ctrl-C, what others have begun is done first."""
        if self._processes is None:
            self._processes = PinnedProcesses(homes.names, self._number, _begin, self._store, self._actor)
        todo = {process: _groups(own) for process, own in self._processes.parts(by_chunk)}
        under_way: dict[Future[Verdicts], OwnProcess] = {}
        idle = list(todo)
        try:
            while idle or under_way:
                for process in idle:
                    for mine in islice(todo[process], 1):
                        under_way[process.submit(_apply, mine, homes, dry_run=dry_run)] = process
                idle = []
                for done in wait(under_way, return_when=FIRST_COMPLETED).done:
                    idle.append(under_way.pop(done))
                    found |= done.result()
        except BrokenProcessPool as error:
            raise IncompleteError(_ENDED) from error
        finally:
            for done in wait(under_way).done:
                found |= done.result() if done.exception() is None else {}


def chunk_groups(by_chunk: Mapping[str, Sequence[object]]) -> Iterator[list[str]]:
    """Chunks that one commit of the table changes together, by what there is to do in each."""
    group: list[str] = []
    held = 0
    for chunk, places in sorted(by_chunk.items()):
        if group and held + len(places) > _GROUP:
            yield group
            group, held = [], 0
        group.append(chunk)
        held += len(places)
    if group:
        yield group


def _groups(by_chunk: ByChunk) -> Iterator[ByChunk]:
    for chunks in chunk_groups(by_chunk):
        yield {chunk: by_chunk[chunk] for chunk in chunks}


def processes_for(size: int) -> int:
    """How many processes so many bytes of decisions are worth: one for small files, at most one a core."""
    return worth(size, WORTH_A_PROCESS)


def _begin(store: SubjectStore, actor: str) -> None:
    global _decisions  # noqa: PLW0603 - a process applies to one store
    _decisions = Decisions(store, actor)


@uncollected()
def _apply(by_chunk: ByChunk, homes: ChunkLayout, *, dry_run: bool) -> Verdicts:
    found: Verdicts = {}
    _decisions.of_chunks(by_chunk, homes, found, dry_run=dry_run)
    return found


def _close() -> None:
    _decisions.close()
