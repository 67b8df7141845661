"""Suppression: anyone who was erased by what the log says is neither staged nor registered, until readmitted."""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from subject_pipeline.audit.index.records import subject_digest
from subject_pipeline.candidates.columns import key_hash_expr
from subject_pipeline.changes.evidence import ManifestEvidence
from subject_pipeline.errors import AuditLogError
from subject_pipeline.objects.overlapping import at_once, overlapped
from subject_pipeline.store.opened import SubjectStore

_CHUNKS_AT_ONCE = 16

SUPPRESSED = "erased, and so not registered again: readmit the person first"


@dataclass(frozen=True, slots=True)
class Suppression:
    """Everybody who is erased, as the chains said at one time.

    Attributes:
        hashes: XXH64 of their storage keys, which by column finds few others.
        digests: of their ids.
    """

    hashes: pl.Series
    digests: frozenset[bytes]

    @classmethod
    def of(cls, store: SubjectStore, evidence: ManifestEvidence) -> "Suppression":
        """Look whom the store's log has as erased.

        Of a chunk whose log is damaged nothing is known: nobody is registered there, so nobody need be suppressed.

        Raises:
            KeyRingError: there is an audit log, and no usable key ring.
            StoreError: the store failed.
        """
        layout = store.layout()
        hashes: set[int] = set()
        digests: set[bytes] = set()

        def look(chunk: str) -> tuple[set[int], Sequence[bytes]]:
            try:
                recorded = evidence.recorded(chunk, past_end=False)  # registration looks once more, and past it
                heads = recorded.erased_heads
            except AuditLogError:
                return set(), ()
            return (recorded.erased_hashes(), tuple(heads)) if heads else (set(), ())

        if evidence.open() and layout is not None:
            for theirs, heads in overlapped(look, layout.chunks.names, at_once(store.objects, _CHUNKS_AT_ONCE)):
                hashes |= theirs
                digests.update(heads)
        return cls(pl.Series(sorted(hashes), dtype=pl.UInt64), frozenset(digests))

    def kept(self, candidates: pl.DataFrame) -> pl.DataFrame:
        """The candidates of some who are not erased.

        Args:
            candidates: columns `storage_key` and `candidate_id`.
        """
        if not self.digests:
            return candidates
        maybe = candidates.filter(key_hash_expr("storage_key").is_in(self.hashes.implode()))["candidate_id"]
        erased = [one for one in maybe if subject_digest(one) in self.digests]
        return candidates.filter(~pl.col("candidate_id").is_in(erased)) if erased else candidates
