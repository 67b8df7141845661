"""Erasing people: ordered, then recorded in their chains, then taken out of the table and of what is staged.

Killed anywhere, it is completed by running it again: an order that stands is not given twice, and of somebody whose
chain ends in an erasure whatever is still there is removed.
"""

import datetime as dt
from collections import defaultdict
from collections.abc import Sequence

from subject_pipeline.changes.evidence import ManifestEvidence
from subject_pipeline.decisions.transitions import is_ordered
from subject_pipeline.errors import KeyRingError
from subject_pipeline.formats.times import format_time
from subject_pipeline.garbage import uncollected
from subject_pipeline.lifecycle.applying import Decisions, chunk_groups
from subject_pipeline.lifecycle.erasure.group import Erasure, Group, Order
from subject_pipeline.lifecycle.erasure.selecting import ordered
from subject_pipeline.manifests.table import ManifestTable
from subject_pipeline.objects.retries import retrying
from subject_pipeline.store.chunks import ChunkLayout
from subject_pipeline.store.ids import refusal, storage_key
from subject_pipeline.store.opened import SubjectStore


class Erasures:
    """Erases subjects of one store.

    Args:
        store: whose.
        actor: who is named where no order names anybody.
    """

    def __init__(self, store: SubjectStore, actor: str) -> None:
        self._store = store
        self._decisions = Decisions(store, actor)
        self._evidence = ManifestEvidence(store, actor)

    @uncollected()
    def erase(self, candidate_ids: Sequence[str], order: Order, *, dry_run: bool = False) -> Erasure:
        """Order each of these people to be erased, unless it is ordered, and carry the orders out.

        Args:
            candidate_ids: whom; named twice is named once.
            order: by whom, and why.
            dry_run: say what would be done, and write nothing.

        Raises:
            KeyRingError: there is no usable key ring.
            PolicyError: the stored policies cannot be used.
            AuditLogError: a log is damaged; nothing of its chunk was changed.
            IncompleteError: erasures are recorded and not done; run it again, or `compact`.
            StoreError: the store failed; people of other chunks may be erased.
        """
        if not self._store.ring.configured:
            raise KeyRingError("an erasure is recorded in the audit log: set SUBJECT_KEY_RING to the store's key ring")
        self._evidence.open()
        layout = self._store.layout()
        done = Erasure()
        by_chunk: dict[str, list[str]] = defaultdict(list)
        chunks = layout.chunks if layout else ChunkLayout()
        for one in dict.fromkeys(candidate_ids):
            if layout is None or refusal(one, one) is not None:
                done.unknown.append(one)
            else:
                by_chunk[chunks.chunk_of(storage_key(one))].append(one)
        for names in chunk_groups(by_chunk):
            group = Group(self._store, chunks, self._evidence, {name: by_chunk[name] for name in names})
            self._ordered(group, order, done, dry_run=dry_run)
            if not dry_run:
                group.carry_out(order, self._decisions.policies().sha256)
            group.tell(done)
        if not dry_run:
            ManifestTable(self._store).tidy()
        return done

    def _ordered(self, group: "Group", order: Order, done: Erasure, *, dry_run: bool) -> None:
        """Record the orders that do not stand yet, and note why others are refused."""
        found = retrying(lambda: group.look()[1])
        wanted = [
            one for one, that in found.items() if not that.refused and that.document and not is_ordered(that.document)
        ]
        now = format_time(dt.datetime.now(dt.UTC))
        verdicts = self._decisions.apply([order.decision(one, now) for one in wanted], dry_run=dry_run)
        for one, verdict in zip(wanted, verdicts, strict=True):
            if verdict.outcome == "rejected":
                group.refused[one] = verdict.reason
            else:
                done.ordered += 1
        if dry_run:
            group.judge(found, ordered=set(wanted) - group.refused.keys())

    def close(self) -> None:
        """Finish what the log's writers do in the background; every registration looks for who was erased."""
        self._decisions.close()
        self._evidence.close(index=True)


def carry_out_orders(store: SubjectStore, actor: str) -> Erasure:
    """Erase everybody whose erasure is ordered and whom no hold keeps; raises as `Erasures.erase`.

    Args:
        store: whose.
        actor: who carries the orders out.
    """
    store.ring.ring()
    evidence = ManifestEvidence(store, actor)
    evidence.open()
    erasures = Erasures(store, actor)
    try:
        return erasures.erase(ordered(store, evidence), Order(actor))
    finally:
        erasures.close()
