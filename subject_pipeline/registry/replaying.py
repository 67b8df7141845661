"""Replaying: what a subject's manifest must be, by the registry's rows of it and the manifest that the table has.

The log decides and the table follows. Rows that are recorded and not applied are applied here, one after the other, and
each must give the manifest whose hash it names.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from subject_pipeline.audit.registry_rows import RegistryRow
from subject_pipeline.errors import AmbiguousSubjectError
from subject_pipeline.manifests.hashes import document_hash

Document = Mapping[str, Any]
"""A manifest's JSON."""


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
    changed = {name: value for name, value in after.items() if name not in before or before[name] != value}
    return changed | dict.fromkeys(before.keys() - after.keys())


def replayed(document: Document | None, decision: Mapping[str, Any]) -> Document:
    """The manifest after a decision that leaves one."""
    changes = decision.get("changes", {})
    kept = {name: value for name, value in (document or {}).items() if name not in changes}
    return kept | {name: value for name, value in changes.items() if value is not None}


def standing(candidate_id: str, stored: Document | None, rows: Sequence[RegistryRow], anchored: int) -> Standing:
    """What is recorded of a subject that has registry rows.

    Args:
        candidate_id: whose.
        stored: the table's manifest; None: it has none.
        rows: its registry rows, in order; at least one.
        anchored: the seq up to which the last checkpoint has its chain; -1: it has none.

    Raises:
        AmbiguousSubjectError: the table's manifest is none that the rows, or what they were applied to, explain; or it
            lacks what the last checkpoint's state had.
    """
    last = rows[-1]
    since = str(last.decision.get("recorded_at", "")) if last.evidence.deleted else ""
    digest = "" if stored is None else document_hash(stored)
    if digest == last.evidence.sha256:
        return Standing(last.evidence.seq, since=since)
    applied = next((at for at in reversed(range(len(rows))) if rows[at].evidence.sha256 == digest), -1)
    if rows[applied + 1].evidence.seq <= anchored:
        raise _unexplained(candidate_id)
    document = stored
    for row in rows[applied + 1 :]:
        document = None if row.evidence.deleted else replayed(document, row.decision)
        if document is not None and document_hash(document) != row.evidence.sha256:
            raise _unexplained(candidate_id)
    return Standing(last.evidence.seq, behind=True, document=document, since=since)


def _unexplained(candidate_id: str) -> AmbiguousSubjectError:
    return AmbiguousSubjectError(
        f"the manifest of {candidate_id!r} is none that the audit log explains, so nothing was changed: find out who "
        "wrote to subjects/, with `subject-pipeline audit verify`, and restore the table"
    )
