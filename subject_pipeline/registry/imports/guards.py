"""What an import never does, whatever a document says: it undoes no decision that protects the person."""

from subject_pipeline.changes.replaying import Document
from subject_pipeline.decisions.transitions import is_ordered, is_restricted


def import_refusal(before: Document | None, after: Document) -> str | None:
    """Why a document may not replace a manifest; None where it may.

    Holds are released, restrictions lifted and orders cancelled by decisions alone, each with who decided it and why.

    Args:
        before: the manifest's JSON as it must be now; None: there is none.
        after: the document's.
    """
    if before is None:
        return None
    gone = _holds(before) - _holds(after)
    if gone:
        named = ", ".join(sorted(gone))
        return f"it would remove the hold {named}: release it first, with `subject-pipeline subjects release`"
    if is_ordered(before) and not is_ordered(after):
        return "it would cancel an erasure that is ordered: decide erasure_cancelled first"
    # A restriction that is a word alone gives way to a stronger word; with its time, it must be kept beside it.
    stronger = is_ordered(after) and not before.get("restricted_at")
    if is_restricted(before) and not (is_restricted(after) or stronger):
        return "it would lift a restriction: `subject-pipeline subjects unrestrict` first"
    return None


def _holds(document: Document) -> set[str]:
    return {hold["hold_id"] for hold in document.get("holds") or ()}
