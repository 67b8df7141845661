"""Verdicts over manifests: each held to what the registry's own evidence, or the last checkpoint, says of it.

Expected is what the last evidence row after the checkpoint says, else what the checkpoint's roster says, else what the
last evidence row says. A manifest that is there though absence is expected is a new registration, which needs no row.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from subject_pipeline.domain.audit_segments import NO_PRIOR, PRIOR_LENGTH, Evidence
from subject_pipeline.domain.audit_verdicts import EvidenceRow
from subject_pipeline.domain.checkpoints import RosterEntry


@dataclass(frozen=True, slots=True)
class BrokenManifest:
    """A manifest that is not as expected.

    Attributes:
        candidate_id: None where the manifests of a whole chunk could not be read.
        kind: `changed` or `missing` behind the registry's back; `unapplied`: announced in the log, not in the table;
            `unreadable`.
    """

    candidate_id: str | None
    kind: str
    detail: str


def judge_manifests(
    present: Mapping[str, str],
    roster: Mapping[str, RosterEntry],
    evidence: Mapping[str, Sequence[EvidenceRow]],
    *,
    unjudged: Collection[str] = (),
) -> list[BrokenManifest]:
    """Hold a chunk's manifests to what they must be.

    Args:
        present: the hash of every manifest in the table, by candidate id.
        roster: the last checkpoint's entries; empty where there is none.
        evidence: the registry's rows, in order.
        unjudged: subjects whose evidence may be incomplete, since their chains are broken.

    Returns:
        One for each subject that has a problem, sorted by candidate id.
    """
    found = []
    for candidate_id in sorted(roster.keys() | evidence.keys()):
        if candidate_id in unjudged:
            continue
        entry = roster.get(candidate_id)
        rows = [row.evidence for row in evidence.get(candidate_id, ()) if entry is None or row.seq > entry.seq]
        actual = present.get(candidate_id, "")
        anchored = entry.manifest_sha256 if entry is not None else None
        problem = _against_evidence(actual, rows, anchored) if rows else _against_roster(actual, anchored)
        if problem is not None:
            found.append(BrokenManifest(candidate_id, *problem))
    return found


def _against_roster(actual: str, anchored: str | None) -> tuple[str, str] | None:
    if not anchored or actual == anchored:
        return None
    if not actual:
        return "missing", "the last checkpoint has its manifest, the table does not, and no row announces a deletion"
    return "changed", "its manifest is not the one of the last checkpoint, and no row announces a change"


def _against_evidence(actual: str, rows: Sequence[Evidence], anchored: str | None) -> tuple[str, str] | None:
    last = rows[-1]
    earlier = {row.sha256 for row in rows[:-1] if row.sha256} | ({anchored} if anchored else set())
    as_before = bool(actual) and (actual[:PRIOR_LENGTH] == last.prior or actual in earlier)
    if last.deleted:
        return ("unapplied", "its log announces a deletion, the table still has the manifest") if as_before else None
    if actual == last.sha256:
        return None
    if as_before or (not actual and last.prior == NO_PRIOR):
        return "unapplied", "its log announces a change that the table does not have: run the operation again"
    if not actual:
        return "missing", "its log announces a manifest, the table has none"
    return "changed", "its manifest is not the one that its log announces"
