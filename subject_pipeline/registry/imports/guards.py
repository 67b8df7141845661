"""What an import never does, whatever a document says.

It undoes no decision that protects the person, and makes none that takes four eyes.
"""

from collections.abc import Set as AbstractSet

from subject_pipeline.changes.replaying import Document
from subject_pipeline.decisions.decision import Kind
from subject_pipeline.decisions.implied import implied
from subject_pipeline.decisions.transitions import is_ordered, is_restricted


def import_refusal(before: Document | None, after: Document, four_eyes: AbstractSet[Kind]) -> str | None:
    """Why a document may not become the manifest; None where it may.

    Holds are released, restrictions lifted and orders cancelled by decisions alone, each with who decided it and why.
    What takes four eyes is decided by two people, and an import is one person's; of somebody new too, since anyone who
    is imported with an order would be erased, and never registered.

    Args:
        before: the manifest's JSON as it must be now; None: there is none.
        after: the document's.
        four_eyes: the kinds that take them.
    """
    undone = None if before is None else _undone(before, after)
    if undone is not None:
        return undone
    both = sorted(four_eyes & implied(before, after)) if four_eyes else []
    if both:
        return (
            f"it would have the effect of {', '.join(both)}, which takes four eyes: import it without, and decide that "
            "with approved_by"
        )
    return None


def _undone(before: Document, after: Document) -> str | None:
    """Which decision that protects the person would be undone, in words."""
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
