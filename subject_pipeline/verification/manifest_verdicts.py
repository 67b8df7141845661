"""Verdicts over manifests: each compared with what the registry's rows, or the last checkpoint, say of it.

Expected is what the last registry row after the checkpoint says, else what the checkpoint's roster says, else what the
last registry row says. A manifest that is there although absence is expected is a new registration, which needs no row;
but never after a deletion, which the roster's state remembers: a person who was deleted comes back by a row that
records it.
"""

import datetime as dt
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from subject_pipeline.audit.segment import Evidence
from subject_pipeline.changes.registry_rows import RegistryRow
from subject_pipeline.changes.replaying import Document, standing
from subject_pipeline.checkpoints.rosters import GONE, RosterEntry
from subject_pipeline.errors import AmbiguousSubjectError
from subject_pipeline.formats.times import format_time
from subject_pipeline.manifests.hashes import document_hash
from subject_pipeline.verification.log_verdicts import EvidenceRow

_UNDER_WAY = dt.timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class BrokenManifest:
    """A manifest that is not as expected.

    Attributes:
        candidate_id: None where it is about a file, the manifests of a whole chunk, a row without an id, or somebody
            whom neither log nor table names any more.
        kind: `changed` or `missing` without the registry; `resurrected`: deleted, and there again unrecorded;
            `unapplied`: recorded in the log, not in the table; `duplicate` or `misplaced`: rows that no honest writer
            makes; `unreadable`; `pending`: recorded just now, so neither broken nor fine.
        id_sha256: the name that the checkpoint's roster has for somebody without an id; None otherwise.
    """

    candidate_id: str | None
    kind: str
    detail: str
    id_sha256: str | None = None

    @property
    def subject(self) -> str | None:
        """Whom it is about, by the best name that is known; None where it is about nobody in particular."""
        return self.candidate_id or self.id_sha256


class Recent(NamedTuple):
    """The times between which a registry row counts as written just now, RFC 3339."""

    since: str
    until: str

    @classmethod
    def at(cls, now: dt.datetime) -> "Recent":
        """Five minutes to either side of a time: a writer's clock may be ahead."""
        return cls(format_time(now - _UNDER_WAY), format_time(now + _UNDER_WAY))


def judge_manifests(
    present: Mapping[str, str],
    roster: Mapping[str, RosterEntry],
    evidence: Mapping[str, Sequence[EvidenceRow]],
    *,
    unjudged: Collection[str] = (),
    recent: Recent | None = None,
    document: Callable[[str], Document | None] = lambda _: None,
) -> list[BrokenManifest]:
    """Compare a chunk's manifests with what they must be.

    Args:
        present: the hash of every manifest in the table, by candidate id.
        roster: the last checkpoint's entries; empty where there is none.
        evidence: the registry's rows, in order.
        unjudged: subjects whose evidence may be incomplete, since their chains are broken, or whose rows of the table
            break its rules.
        recent: what was recorded then, and is not yet applied, is `pending`; None: nothing is.
        document: reads the table's manifest of somebody, where its hash alone does not tell what it is.

    Returns:
        One for each subject that has a problem, sorted by candidate id.
    """
    found = []
    changed = {one for one, entry in roster.items() if present.get(one, "") != entry.manifest_sha256}
    for candidate_id in sorted((changed | evidence.keys()) - set(unjudged)):
        rows, entry, actual = evidence.get(candidate_id, ()), roster.get(candidate_id), present.get(candidate_id, "")
        problem = _problem(candidate_id, actual, entry, rows, document)
        if problem is not None:
            kind, detail = problem
            if kind == "unapplied" and recent and recent.since <= rows[-1].written_at <= recent.until:
                kind = "pending"
            found.append(BrokenManifest(candidate_id, kind, detail))
    return found


def judge_unnamed(others: Iterable[tuple[str, RosterEntry]]) -> list[BrokenManifest]:
    """The problems of those whom neither log nor table names: anchored with a manifest, and nothing says where it went.

    Args:
        others: the entries, by `id_sha256`.
    """
    return [BrokenManifest(None, *_MISSING, id_hash) for id_hash, entry in others if entry.state == "present"]


def _problem(
    candidate_id: str,
    actual: str,
    entry: RosterEntry | None,
    rows: Sequence[EvidenceRow],
    document: Callable[[str], Document | None],
) -> tuple[str, str] | None:
    anchored = entry.manifest_sha256 if entry is not None else None
    newer = [row for row in rows if entry is None or row.seq > entry.seq]
    if newer:
        last = newer[-1].evidence
        if actual == last.sha256:
            return None
        before = {anchored} | {row.evidence.sha256 for row in newer[:-1]}
        first = not anchored and len(newer) == len(rows)  # registered since, which needs no row
        known = actual in before or (first and _leads_on(candidate_id, actual, newer, document))
        return _not_as_recorded(actual, last, behind=known)
    if actual and ((entry and entry.state in GONE) or (rows and rows[-1].evidence.deleted)):
        return _RESURRECTED
    return _against_roster(actual, anchored)


_MISSING = (
    "missing",
    "the last checkpoint has its manifest, the table does not, and no row records a deletion",
)
_SETTLE = "`subjects compact`, or the next change of it, settles that"
_RESURRECTED = (
    "resurrected",
    "its log records that it was deleted, and no row that it was registered again: was subjects/ restored?",
)


def _against_roster(actual: str, anchored: str | None) -> tuple[str, str] | None:
    if not anchored or actual == anchored:
        return None
    if not actual:
        return _MISSING
    return "changed", "its manifest is not the one of the last checkpoint, and no row records a change"


def _leads_on(
    candidate_id: str, actual: str, rows: Sequence[EvidenceRow], document: Callable[[str], Document | None]
) -> bool:
    """Whether a manifest that was registered without a row is what these rows, one after the other, were applied to."""
    stored = document(candidate_id) if actual else None
    if stored is None or document_hash(stored) != actual:
        return False
    try:
        return standing(candidate_id, stored, [RegistryRow(row.evidence, row.decision) for row in rows]).behind
    except AmbiguousSubjectError:
        return False


def _not_as_recorded(actual: str, last: Evidence, *, behind: bool) -> tuple[str, str]:
    if last.deleted:
        kind, detail = "unapplied", f"its log records that it was deleted, the table still has it; {_SETTLE}"
        return (kind, detail) if behind else _RESURRECTED
    if behind:
        return "unapplied", f"its log records a change that the table does not have; {_SETTLE}"
    if not actual:
        return "missing", "its log records a manifest, the table has none"
    return "changed", "its manifest is not the one that its log records"
