"""A chunk's roster and leaf in the next checkpoint, from what a verification found."""

from collections.abc import Callable, Sequence

from subject_pipeline.checkpoints.anchored import AnchoredSubjects
from subject_pipeline.checkpoints.leaves import ChunkLeaf, files_hash
from subject_pipeline.checkpoints.rosters import GONE, Roster, RosterEntry
from subject_pipeline.formats.leaves import NO_HASH
from subject_pipeline.verification.findings import ChunkFindings
from subject_pipeline.verification.log_verdicts import EvidenceRow

Blind = Callable[[], str]
"""Gives 16 random bytes, base64url without padding; other ones at every call."""


def unchanged(found: ChunkFindings) -> bool:
    """Whether log and table are as the last checkpoint has them, so that nothing of them was read."""
    return found.log is None and found.hashes is None


def next_roster(found: ChunkFindings, anchored: AnchoredSubjects, blind: Blind) -> Roster:
    """The roster of a chunk in which nothing was found, made again from what was read, else as it was.

    Args:
        found: what was found.
        anchored: the last checkpoint's entries.
        blind: gives a new entry its blind.
    """
    log, named = found.log, found.named
    entries = dict(anchored.others(named))  # of whom nothing was read: they stay as they were
    before = anchored.entries(named)
    for candidate_id in named:
        known = before.get(candidate_id)
        end = log.chains.get(candidate_id) if log is not None else None
        if end is None:
            end = (known.seq, known.row_sha256) if known is not None else (-1, NO_HASH)
        if found.hashes is not None:
            manifest = found.hashes.get(candidate_id, "")
        else:
            manifest = known.manifest_sha256 if known is not None else ""
        state = _state(manifest, known, log.evidence.get(candidate_id, ()) if log is not None else ())
        entries[anchored.id_sha256(candidate_id)] = _entry(known, (*end, manifest, state), blind)
    return Roster.of(entries)


def next_leaf(found: ChunkFindings, before: ChunkLeaf, roster: Roster) -> ChunkLeaf:
    """The leaf of a chunk with this roster."""
    head = found.log.head if found.log is not None else None
    return ChunkLeaf(
        found.chunk,
        len(roster.entries),
        roster.root,
        head.number if head else before.segment,
        head.sha256 if head else before.segment_sha256,
        files_hash(found.segments),
        files_hash(found.table_files),
    )


def _state(manifest: str, known: RosterEntry | None, evidence: Sequence[EvidenceRow]) -> str:
    if manifest:
        return "present"
    if evidence:
        return evidence[-1].evidence.state if evidence[-1].evidence.deleted else "absent"
    return known.state if known is not None and known.state in GONE else "absent"


def _entry(known: RosterEntry | None, now: tuple[int, str, str, str], blind: Blind) -> RosterEntry:
    """The entry as it was, if nothing of it changed; another blind else, so that nobody can follow it by its hash."""
    return known if known is not None and known.known == now else RosterEntry(blind(), *now)
