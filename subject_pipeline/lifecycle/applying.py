"""Applying decisions: each is recorded in its subject's chain with its content, then the table follows.

Killed anywhere, it is completed by running it again: what is recorded counts as already applied, and is in the table.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from subject_pipeline.changes.evidence import ManifestEvidence
from subject_pipeline.decisions.decision import Decision
from subject_pipeline.decisions.policies import Policies
from subject_pipeline.decisions.stored_policies import stored_policies
from subject_pipeline.errors import KeyRingError
from subject_pipeline.lifecycle.decision_group import DecisionGroup
from subject_pipeline.lifecycle.judging import UNKNOWN, Verdict, rejected
from subject_pipeline.manifests.table import ManifestTable
from subject_pipeline.store.ids import refusal, storage_key
from subject_pipeline.store.opened import SubjectStore

_GROUP = 50_000
"""Decisions that one commit of the table applies, or one chunk's if those are more."""


class Decisions:
    """Applies decisions to the subjects of one store.

    Raises on use:
        KeyRingError: there is no key ring: every decision needs one, a writer's copy will do.
        PolicyError: the stored policies cannot be used.
    """

    def __init__(self, store: SubjectStore, actor: str) -> None:
        self._store = store
        self._evidence = ManifestEvidence(store, actor)

    def policies(self) -> Policies:
        """The policies in force."""
        return stored_policies(self._store)

    def apply(self, decisions: Sequence[Decision], *, dry_run: bool = False) -> list[Verdict]:
        """Apply decisions in their order; what is refused stops no other.

        Args:
            decisions: about any subjects.
            dry_run: judge them, and write nothing.

        Returns:
            What became of each, in order.

        Raises:
            KeyRingError: there is no usable key ring.
            PolicyError: the stored policies cannot be used.
            AuditLogError: a log is damaged; nothing of its chunk was changed.
            IncompleteError: decisions are recorded and not yet in the table; run it again, or `compact`.
            StoreError: the store failed; decisions of other chunks may be applied.
        """
        if not self._store.ring.configured:
            raise KeyRingError("a decision is recorded in the audit log: set SUBJECT_KEY_RING to the store's key ring")
        self._evidence.open()
        layout = self._store.layout()
        if layout is None:
            return [rejected(UNKNOWN)] * len(decisions)
        policies, homes = self.policies(), layout.chunks
        verdicts: list[Verdict] = [rejected(UNKNOWN)] * len(decisions)
        by_chunk: dict[str, list[int]] = defaultdict(list)
        for at, decision in enumerate(decisions):
            if refusal(decision.candidate_id, decision.candidate_id) is None:
                by_chunk[homes.chunk_of(storage_key(decision.candidate_id))].append(at)
        for chunks in chunk_groups(by_chunk):
            places = {chunk: by_chunk[chunk] for chunk in chunks}
            mine = {chunk: [decisions[at] for at in there] for chunk, there in places.items()}
            group = DecisionGroup(self._store, homes, self._evidence, policies, mine, dry_run)
            for chunk, found in group.run().items():
                for at, verdict in zip(places[chunk], found, strict=True):
                    verdicts[at] = verdict
        if not dry_run:
            ManifestTable(self._store).tidy()
        return verdicts

    def close(self) -> None:
        """Finish what the log's writer does in the background."""
        self._evidence.close()


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
