"""One subject's whole chain as it is stored: every row in its one form and linked to the row before."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from subject_pipeline.audit.reading import show
from subject_pipeline.audit.row_form import row_of
from subject_pipeline.audit.segment import evidence_of
from subject_pipeline.changes.registry_rows import RegistryRow
from subject_pipeline.checkpoints.anchored import AnchoredSubjects
from subject_pipeline.checkpoints.rosters import RosterEntry
from subject_pipeline.errors import AuditLogError, CanonicalJsonError, KeyRingError
from subject_pipeline.formats.canonical_json import canonical_json
from subject_pipeline.formats.leaves import NO_HASH, leaf_hash
from subject_pipeline.store.ids import storage_key
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline.verification.views import AuditedStore

Row = Mapping[str, Any]
"""One row of the log, as its JSON has it."""


class Anchoring(NamedTuple):
    """What the latest checkpoint covers of one subject.

    Attributes:
        number: the checkpoint's.
        time: when it was made, RFC 3339.
        entry: what it has of the subject; None: nothing.
    """

    number: int
    time: str
    entry: RosterEntry | None

    @property
    def seq(self) -> int:
        """The last row that it covers; -1: none."""
        return self.entry.seq if self.entry is not None else -1


def chain(store: SubjectStore, candidate_id: str) -> list[Row]:
    """Every row of a subject, in order; MACs and checkpoints are for `audit verify` to look at.

    With a key ring only the segments that the audit index names are read.

    Raises:
        AuditLogError: the rows that are there are not a chain.
        StoreError: the store failed.
    """
    rows: list[Row] = []
    before = NO_HASH
    for line in show(store, candidate_id):
        try:
            inner = canonical_json(line["row"])
        except CanonicalJsonError:
            inner = b""
        row = row_of(inner)
        if row is None or (row["seq"], row["prev"]) != (len(rows), before):
            raise AuditLogError(
                f"the chain of {candidate_id!r} is broken at row {len(rows)}, so its history cannot be told: see "
                "`subject-pipeline audit verify`"
            )
        before = leaf_hash(inner).hex()
        rows.append(row)
    return rows


def registry_rows(rows: Iterable[Row]) -> list[RegistryRow]:
    """The registry's rows among a chain's."""
    found = []
    for row in rows:
        evidence = evidence_of(row["seq"], row["action"], row.get("manifest_sha256"), row.get("decision"))
        if evidence is not None:
            found.append(RegistryRow(evidence, row["decision"]))
    return found


def anchoring(store: SubjectStore, candidate_id: str) -> Anchoring | None:
    """What the latest checkpoint covers of a subject; None where there is none, or no key that could check one.

    Raises:
        CheckpointError: the latest checkpoint does not hold.
        StoreError: the store failed.
    """
    if not store.ring.configured:
        return None
    try:
        audited = AuditedStore(store)
        if audited.layout is None:
            return None
        checkpoints = audited.checkpoints
    except KeyRingError:
        return None
    latest = checkpoints.latest(whole=False)
    if latest is None:
        return None
    roster = checkpoints.roster(latest.leaves[audited.layout.chunks.chunk_of(storage_key(candidate_id))])
    anchored = AnchoredSubjects(audited.layout.log_id, roster)
    return Anchoring(latest.number, latest.time, anchored.entry(candidate_id))
