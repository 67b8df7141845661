"""What the audit log says of one chunk's manifests, beside what the table has."""

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import Any

import polars as pl

from subject_pipeline.audit.chunk_state import ChunkState
from subject_pipeline.audit.index.records import subject_digest
from subject_pipeline.audit.segment import ChainHead
from subject_pipeline.audit.stored_segments import AuditSegments
from subject_pipeline.candidates.columns import key_hash_expr
from subject_pipeline.changes.anchored import LastCheckpoint
from subject_pipeline.changes.registry_rows import RegistryRow, registry_rows
from subject_pipeline.changes.replaying import Anchored, Standing, standing, unexplained
from subject_pipeline.errors import AmbiguousSubjectError, ManifestError
from subject_pipeline.manifests.frames import to_manifest
from subject_pipeline.manifests.hashes import manifest_hashes

Standings = Mapping[str, Standing | AmbiguousSubjectError]
"""By candidate id; an error in the place of somebody whose manifest the log does not explain."""


class RecordedChunk:
    """One chunk's chains as they were when this was made; of a store without a log, nothing.

    Args:
        checkpoint: what they are compared with.
        log: the segments and the chunk's state; None: there is no log.
    """

    def __init__(self, checkpoint: LastCheckpoint, log: tuple[AuditSegments, ChunkState] | None) -> None:
        self._checkpoint = checkpoint
        self._log = log

    @property
    def has_registry_rows(self) -> bool:
        """Whether anybody in the chunk has a registry row."""
        return bool(self._recorded)

    @cached_property
    def _recorded(self) -> dict[bytes, ChainHead]:
        """Where the chains end of those who have a registry row, by their digests."""
        return {} if self._log is None else self._log[1].with_evidence()

    @cached_property
    def _hashes(self) -> pl.Series:
        """XXH64 of the storage keys of those who have a registry row."""
        found = set[int]() if self._log is None else self._log[1].key_hashes()
        return pl.Series(sorted(found), dtype=pl.UInt64)

    @cached_property
    def erased_heads(self) -> dict[bytes, ChainHead]:
        """Where the chains end of those whose last registry row is an erasure, by their digests."""
        return {} if self._log is None else self._log[1].with_evidence("erased")

    def erased_hashes(self) -> set[int]:
        """XXH64 of the storage keys of all of them, and perhaps of some others."""
        return set() if self._log is None else self._log[1].key_hashes("erased")

    def among(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Those of some rows that may be of somebody who has a registry row: all who have one, and nearly nobody else.

        By column, so that a million rows of whom few are recorded cost no digest each.

        Args:
            rows: column `storage_key`.
        """
        if self._hashes.is_empty():
            return rows.clear()
        return rows.filter(key_hash_expr("storage_key").is_in(self._hashes.implode()))

    def erased(self, candidate_ids: Collection[str]) -> set[str]:
        """Those of some subjects whose last registry row is an erasure: they are not registered again."""
        heads = self.erased_heads
        return {one for one in candidate_ids if subject_digest(one) in heads} if heads else set()

    def roots(self, candidate_ids: Collection[str]) -> dict[str, str]:
        """The hash of the first row of each of these subjects; those without a chain are left out."""
        if self._log is None:
            return {}
        return {one: head.root for one, head in self._log[1].chains(candidate_ids).items()}

    def standings(self, stored: pl.DataFrame, candidate_ids: Collection[str]) -> Standings:
        """What is recorded of those among some subjects who have a registry row.

        Args:
            stored: `TABLE_SCHEMA`, the table's rows of those who have one.
            candidate_ids: whom it is about.

        Raises:
            AuditLogError: the log is damaged, or the last checkpoint does not hold.
            StoreError: the store failed.
        """
        if self._log is None or not (recorded := self._recorded):
            return {}
        names = {digest: one for one in candidate_ids if (digest := subject_digest(one)) in recorded}
        if not names:
            return {}
        return self._judged(*self._log, stored, {digest: recorded[digest] for digest in names}, names)

    def standings_to_change(self, stored: pl.DataFrame, candidate_ids: Collection[str]) -> Standings:
        """As `standings`; an error of anyone without a registry row whose manifest is not the last checkpoint's.

        The row of a change vouches for the whole manifest that it leaves. So nothing is changed upon what somebody
        edited, or the edit would be on record by it.
        """
        found = self.standings(stored, candidate_ids)
        if self._log is None:
            return found
        rows = stored.filter(pl.col("candidate_id").is_in([one for one in candidate_ids if one not in found]))
        if rows.is_empty():
            return found
        anchored = self._checkpoint.states(self._log[1].head.chunk)
        hashes = zip(rows["candidate_id"], manifest_hashes(rows), strict=True)
        edited = (one for one, sha256 in hashes if anchored(one).sha256 not in {None, "", sha256})
        return {**found, **{one: unexplained(one) for one in edited}}

    def histories(self, candidate_ids: Collection[str]) -> dict[str, list[RegistryRow]]:
        """The registry rows of those among some subjects who have any, in order.

        Raises:
            AuditLogError: the log is damaged.
            StoreError: the store failed.
        """
        if self._log is None or not (recorded := self._recorded):
            return {}
        wanted = {digest: recorded[digest] for digest in map(subject_digest, candidate_ids) if digest in recorded}
        return registry_rows(*self._log, wanted) if wanted else {}

    def all_histories(self) -> dict[str, list[RegistryRow]]:
        """The registry rows of everybody in the chunk who has any; otherwise as `histories`."""
        if self._log is None or not (recorded := self._log[1].with_evidence()):
            return {}
        return registry_rows(*self._log, recorded)

    def unsettled(self, stored: pl.DataFrame) -> Standings:
        """Everyone who is recorded otherwise than the table has it; otherwise as `standings`.

        Args:
            stored: `TABLE_SCHEMA`, all rows of the chunk.
        """
        if self._log is None or not (recorded := self._recorded):
            return {}
        theirs = self.among(stored)["candidate_id"]
        names = {digest: one for one in theirs if (digest := subject_digest(one)) in recorded}
        # Anyone who is gone from both is not looked for: an erasure is read once, not at every maintenance.
        doubtful = {digest: head for digest, head in recorded.items() if digest in names or not _is_gone(head)}
        found = self._judged(*self._log, stored, doubtful, names)
        return {one: that for one, that in found.items() if not isinstance(that, Standing) or that.behind}

    def anchored(self, stored: pl.DataFrame) -> set[str]:
        """Those of some subjects whose manifest is, as the table has it, what the last checkpoint has of them.

        Args:
            stored: `TABLE_SCHEMA`, their rows.

        Raises:
            AuditLogError: the last checkpoint does not hold.
            StoreError: the store failed.
        """
        if self._log is None or stored.is_empty():
            return set()
        anchored = self._checkpoint.states(self._log[1].head.chunk)
        hashes = zip(stored["candidate_id"], manifest_hashes(stored), strict=True)
        return {one for one, sha256 in hashes if anchored(one).sha256 == sha256}

    def _judged(
        self,
        segments: AuditSegments,
        state: ChunkState,
        stored: pl.DataFrame,
        recorded: Mapping[bytes, ChainHead],
        names: Mapping[bytes, str],
    ) -> Standings:
        """The standing of everybody recorded; rows are read only of those whom the table has otherwise."""
        rows = stored.filter(pl.col("candidate_id").is_in(list(names.values())))
        hashes = dict(zip(rows["candidate_id"], manifest_hashes(rows), strict=True))
        found: dict[str, Standing | AmbiguousSubjectError] = {}
        unclear: dict[bytes, ChainHead] = {}
        for digest, head in recorded.items():
            last, name = head.evidence, names.get(digest)
            if last is not None and name is not None and not last.deleted and hashes.get(name) == last.sha256:
                found[name] = Standing(last.seq)
            else:
                unclear[digest] = head
        if not unclear:
            return found
        doubted = {
            row["candidate_id"]: row
            for row in rows.iter_rows(named=True)
            if subject_digest(row["candidate_id"]) in unclear
        }
        anchored = self._checkpoint.states(state.head.chunk)
        for name, changes in registry_rows(segments, state, unclear).items():
            found[name] = _standing(name, doubted.get(name), changes, anchored(name))
        return found


def _is_gone(head: ChainHead) -> bool:
    return head.evidence is not None and head.evidence.deleted


def _standing(
    name: str, stored: Mapping[str, Any] | None, rows: Sequence[RegistryRow], anchored: Anchored
) -> Standing | AmbiguousSubjectError:
    try:
        return standing(name, None if stored is None else to_manifest(stored).as_json(), rows, anchored)
    except AmbiguousSubjectError as error:
        return error
    except ManifestError as error:
        return AmbiguousSubjectError(f"the manifest of {name!r} is damaged: {error}")
