"""Replaying: what a subject's manifest must be, by the registry's rows of it and the manifest that the table has.

The log decides and the table follows. Rows that are recorded and not applied are applied here, one after the other, and
each must give the manifest whose hash it names.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from subject_pipeline.changes.registry_rows import RegistryRow
from subject_pipeline.errors import AmbiguousSubjectError, ResurrectedError
from subject_pipeline.manifests.hashes import document_hash

Document = Mapping[str, Any]
"""A manifest's JSON."""


class Anchored(NamedTuple):
    """What the last checkpoint has of a subject.

    Attributes:
        seq: of its chain's last row; -1: it has no chain.
        sha256: its manifest's hash; empty: it has none.
    """

    seq: int = -1
    sha256: str = ""


NOTHING_ANCHORED = Anchored()


class Standing(NamedTuple):
    """What is recorded of one subject.

    Attributes:
        last: the seq of its last registry row; -1: there is none.
        behind: the table does not have what is recorded.
        document: where it is behind, what the table must have; None: nothing.
        since: the time of the last deletion; empty where the manifest itself says when it was changed.
    """

    last: int = -1
    behind: bool = False
    document: Document | None = None
    since: str = ""


def changes_between(before: Document | None, after: Document) -> dict[str, Any]:
    """The top-level fields in which a manifest differs from the one before, with their values; null: gone."""
    before = before or {}
    changed = {name: value for name, value in after.items() if name not in before or not _same(before[name], value)}
    return changed | dict.fromkeys(before.keys() - after.keys())


def replayed(document: Document | None, decision: Mapping[str, Any]) -> Document:
    """The manifest after a decision that leaves one."""
    changes = decision.get("changes", {})
    kept = {name: value for name, value in (document or {}).items() if name not in changes}
    return kept | {name: value for name, value in changes.items() if value is not None}


def _same(one: object, other: object) -> bool:
    """Whether two JSON values are written alike: to Python, 1, 1.0 and true are equal."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if type(one) is str:
        return one == other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(value, other[name]) for name, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return one == other


def standing(
    candidate_id: str, stored: Document | None, rows: Sequence[RegistryRow], anchored: Anchored = NOTHING_ANCHORED
) -> Standing:
    """What is recorded of a subject that has registry rows.

    Rows that the last checkpoint covers are never applied again: the table must have what its state had, or what a
    later row left. Of somebody of whom neither it nor an older row knows a manifest, the first row after it may have
    been applied to any, since a first registration needs no row.

    Args:
        candidate_id: whose.
        stored: the table's manifest; None: it has none.
        rows: its registry rows, in order; at least one.
        anchored: what the last checkpoint has of it.

    Raises:
        AmbiguousSubjectError: the table's manifest is none that the rows, or what they were applied to, explain; or it
            lacks what the last checkpoint's state had.
        ResurrectedError: likewise, of somebody who is deleted according to the last row.
    """
    last = rows[-1]
    since = str(last.decision.get("recorded_at", "")) if last.evidence.deleted else ""
    digest = "" if stored is None else document_hash(stored)
    if digest == last.evidence.sha256:
        return Standing(last.evidence.seq, since=since)
    newer = [row for row in rows if row.evidence.seq > anchored.seq]
    applied = next((at for at in reversed(range(len(newer))) if newer[at].evidence.sha256 == digest), -1)
    first = not anchored.sha256 and len(newer) == len(rows)
    if applied < 0 and not (newer and (first or digest == anchored.sha256)):
        raise unexplained(candidate_id, deleted=last.evidence.deleted)
    document = stored
    for row in newer[applied + 1 :]:
        document = None if row.evidence.deleted else replayed(document, row.decision)
        if document is not None and document_hash(document) != row.evidence.sha256:
            raise unexplained(candidate_id, deleted=last.evidence.deleted)
    return Standing(last.evidence.seq, behind=True, document=document, since=since)


def unexplained(candidate_id: str, *, deleted: bool = False) -> AmbiguousSubjectError:
    """The error of a subject whose manifest in the table is none that was recorded or signed."""
    kind = ResurrectedError if deleted else AmbiguousSubjectError
    return kind(
        f"the manifest of {candidate_id!r} is none that the audit log explains, so nothing was changed: find out who "
        "wrote to subjects/, with `subject-pipeline audit verify`, and restore the table"
    )
