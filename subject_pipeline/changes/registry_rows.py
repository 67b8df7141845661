"""The registry's rows of some subjects, read back to be replayed: only rows that lead to the known end of a chain."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from subject_pipeline.audit.chunk_state import ChunkState
from subject_pipeline.audit.index.records import subject_digest
from subject_pipeline.audit.row_form import row_of
from subject_pipeline.audit.segment import ChainHead, Evidence, Segment, evidence_of
from subject_pipeline.audit.stored_segments import AuditSegments
from subject_pipeline.errors import AuditLogError, StoreError
from subject_pipeline.formats.leaves import NO_HASH


class RegistryRow(NamedTuple):
    """One registry row: what the manifest is after it, and the decision that made it so."""

    evidence: Evidence
    decision: Mapping[str, Any]


def registry_rows(
    segments: AuditSegments, state: ChunkState, wanted: Mapping[bytes, ChainHead]
) -> dict[str, list[RegistryRow]]:
    """The registry rows of some subjects, by candidate id, in their chains' order.

    Args:
        segments: the store's.
        state: of the chunk that all of them belong to.
        wanted: where their chains end, by their digests.

    Raises:
        AuditLogError: the rows that are there are not the chains whose ends are known.
        StoreError: the store failed.
    """
    found: dict[str, list[RegistryRow]] = {}
    for row, _ in chain_rows(segments, state, wanted):
        evidence = evidence_of(row["seq"], row["action"], row.get("manifest_sha256"), row.get("decision"))
        if evidence is not None:
            found.setdefault(row["candidate_id"], []).append(RegistryRow(evidence, row["decision"]))
    return found


def chain_rows(
    segments: AuditSegments, state: ChunkState, wanted: Mapping[bytes, ChainHead]
) -> Iterator[tuple[dict[str, Any], str]]:
    """Every row of some subjects' chains with its leaf hash, in the log's order; otherwise as `registry_rows`.

    A chain counts only once all rows were taken: whether it ends where it is known to end is looked at last.
    """
    ends = dict.fromkeys(wanted, (-1, NO_HASH))
    chunk = state.head.chunk
    for number, data in segments.read(chunk, state.segments_of(wanted.keys())):
        if isinstance(data, StoreError):
            raise data
        for line, leaf in _lines(data):
            row = row_of(line)
            if row is None:
                raise AuditLogError(f"a row of {segments.key(chunk, number)} is damaged; {_ADVICE}")
            candidate_id = row["candidate_id"]
            digest = subject_digest(candidate_id)
            if digest not in wanted:
                continue
            seq, before = ends[digest]
            if (row["seq"], row["prev"]) != (seq + 1, before):
                raise AuditLogError(f"the chain of {candidate_id!r} is broken at row {seq + 1}; {_ADVICE}")
            ends[digest] = (seq + 1, leaf.hex())
            yield row, leaf.hex()
    if any(ends[digest] != (head.seq, head.sha256) for digest, head in wanted.items()):
        raise AuditLogError(f"a chain in the log of {chunk} does not end as it is known to end; {_ADVICE}")


def _lines(data: bytes | None) -> list[tuple[bytes, bytes]]:
    """The rows' bytes of a segment, each with its leaf hash; none of one that is gone."""
    if data is None:
        return []
    segment = Segment.parse(data)
    return list(zip(segment.inners, segment.leaves, strict=True))


_ADVICE = "nothing is changed on the word of a damaged log; see `subject-pipeline audit verify`"
