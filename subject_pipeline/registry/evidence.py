"""Evidence: what the registry announces in the audit log before it changes the table of manifests.

A change or a deletion of an existing manifest is announced, and so is a registration of somebody who was deleted
according to the log; any other first registration needs no row.

The caller pins the table's version, announces, and commits against that version; on a conflict it repeats
all of this. So everything in the table was announced before, and an operation that was killed in between shows as
`unapplied` until it is run again.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from subject_pipeline.audit.events import AccessEvent, evidence_event
from subject_pipeline.audit.log import AuditLog
from subject_pipeline.audit.segment import NO_PRIOR, PRIOR_LENGTH, ChainHead
from subject_pipeline.audit.stored_segments import AuditSegments
from subject_pipeline.errors import AuditLogError, IncompleteError, KeyRingError, StoreError
from subject_pipeline.keys.ring_file import KeyRingFile
from subject_pipeline.manifests.hashes import manifest_hashes
from subject_pipeline.objects.overlapping import at_once, overlapped
from subject_pipeline.store.opened import SubjectStore


@dataclass(frozen=True, slots=True)
class Change:
    """A manifest's hash before and after; empty where there is none."""

    candidate_id: str
    before: str
    after: str


_CHUNKS_AT_ONCE = 16


def _has_evidence(chains: Mapping[str, ChainHead], change: Change) -> bool:
    chain = chains.get(change.candidate_id)
    return chain is not None and chain.evidence is not None


def incomplete(what: str, error: StoreError) -> IncompleteError:
    """The error of a change that is announced in the log, or begun in another way, and not in the table."""
    return IncompleteError(f"{what} was begun and is not done: run it again to complete it. {error}")


class ManifestEvidence:
    """Announces changes of manifests once the store has, or can have, an audit log."""

    def __init__(self, store: SubjectStore, ring: KeyRingFile, actor: str) -> None:
        self._store = store
        self._ring = ring
        self._actor = actor
        self._log: AuditLog | None = None

    def open(self) -> bool:
        """Whether changes must be announced: yes, once there is a key ring; no in a store that never had a log.

        Raises:
            KeyRingError: the store has an audit log, and there is no key ring to write it with.
            StoreError: the store failed.
        """
        if self._ring.configured:
            self._ring.ring()
            if self._log is None:
                self._log = AuditLog(self._store, self._ring)
            return True
        if AuditSegments(self._store.objects).exist():
            raise KeyRingError(
                "this store has an audit log, in which a change of a manifest must be announced: set SUBJECT_KEY_RING "
                "to its key ring"
            )
        return False

    def chains(self, chunk: str, candidate_ids: Sequence[str]) -> Mapping[str, ChainHead]:
        """Where these subjects' chains end now; those without one are left out.

        Raises:
            AuditLogError: the log is damaged.
            StoreError: the store failed.
        """
        return self._log.chunk_state(chunk).chains(candidate_ids) if self._log else {}

    def announce_returning(self, rows: pl.DataFrame) -> dict[str, AuditLogError]:
        """Announce each registration of a subject that has a registry row in the log; others need none.

        Args:
            rows: `TABLE_SCHEMA`, of people who have no manifest at the version that the rows will be committed against.

        Returns:
            The chunks whose log is damaged, each with its error: which of their people come back is not known, so none
            of them may be registered. All other chunks are announced.

        Raises:
            StoreError: the store failed.
        """
        log = self._log
        damaged: dict[str, AuditLogError] = {}
        if log is None:
            return damaged

        def returning(part: pl.DataFrame) -> tuple[str, pl.DataFrame, Mapping[str, ChainHead] | AuditLogError]:
            chunk = str(part["chunk"][0])
            try:
                chains = log.chunk_state(chunk).with_evidence(part["candidate_id"].to_list())
            except AuditLogError as error:
                return chunk, part, error
            return chunk, part.filter(pl.col("candidate_id").is_in(list(chains))), chains

        parts = rows.partition_by("chunk", maintain_order=True)
        for chunk, part, chains in overlapped(returning, parts, at_once(self._store.objects, _CHUNKS_AT_ONCE)):
            if isinstance(chains, AuditLogError):
                damaged[chunk] = chains
            elif chains:
                hashes = zip(part["candidate_id"], manifest_hashes(part), strict=True)
                self.announce(chunk, [Change(one, "", digest) for one, digest in hashes], chains)
        return damaged

    def announce(self, chunk: str, changes: Sequence[Change], chains: Mapping[str, ChainHead]) -> bool:
        """Append a row for each change that needs one and is not announced already; on disk when this returns.

        A first registration needs none; one after a deletion, or after any other announcement, does.

        Args:
            chunk: that of all these subjects.
            changes: what is about to be committed.
            chains: as `chains` gave them after the table's version was pinned.

        Returns:
            Whether the log now announces any of them.

        Raises:
            AuditLogError: the log is damaged.
            StoreError: the store failed.
        """
        if self._log is None:
            return False
        events = [event for change in changes if (event := self._event(change, chains.get(change.candidate_id)))]
        if events:
            self._log.append_to(chunk, events, unique=True)
        return bool(events) or any(change.before or _has_evidence(chains, change) for change in changes)

    def close(self) -> None:
        """Finish what the log's writer does in the background."""
        if self._log is not None:
            self._log.close()

    def _event(self, change: Change, chain: ChainHead | None) -> AccessEvent | None:
        last = chain.evidence if chain else None
        prior = change.before[:PRIOR_LENGTH] or NO_PRIOR
        if last is None and not change.before:
            return None
        announced = last is not None and last.deleted == (not change.after) and last.sha256 == change.after
        # A deletion is announced already only if it was of this manifest: it may have been registered again since.
        if announced and last is not None and (change.after or last.prior == prior):
            return None
        if self._log is None:
            return None
        now = self._log.now()
        kind = "deleted" if not change.after else "replaced" if change.before else "registered"
        return evidence_event(
            candidate_id=change.candidate_id,
            event_id=f"{prior}.{uuid.uuid4().hex[:16]}",
            ts=now,
            actor=self._actor,
            manifest_sha256=change.after or None,
            decision={"kind": kind, "recorded_at": now},
        )
