"""Whether somebody may be shown for a purpose, and if not, why: pure, from the manifest alone."""

import datetime as dt
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from subject_pipeline.decisions.transitions import is_ordered, is_restricted
from subject_pipeline.gate.policy import Purpose
from subject_pipeline.manifests.manifest import VOCABULARY

CLOCKS_DIFFER = dt.timedelta(minutes=5)
"""By so much the clock of those who decide may be ahead."""


class Reason(StrEnum):
    """Why somebody may not be shown: the first of these that applies."""

    PURPOSE_NOT_ALLOWED = "purpose_not_allowed"
    UNREADABLE = "unreadable"
    UNKNOWN_SUBJECT = "unknown_subject"
    ERASURE_ORDERED = "erasure_ordered"
    RESTRICTED = "restricted"
    CONSENT_WITHDRAWN = "consent_withdrawn"
    CONSENT_MISSING = "consent_missing"
    VERTICAL_NOT_ALLOWED = "vertical_not_allowed"


def judge(purpose: Purpose | None, document: Mapping[str, Any] | None, latest: str) -> Reason | None:
    """Why a subject may not be shown; None: it may.

    Args:
        purpose: what the policy says of it; None: nothing.
        document: the manifest's JSON, which can be relied on; None: there is none.
        latest: a manifest that was changed later than this cannot be judged by this clock.
    """
    if purpose is None:
        return Reason.PURPOSE_NOT_ALLOWED
    if document is None:
        return Reason.UNKNOWN_SUBJECT
    if document["status"] not in VOCABULARY["status"] or document["updated_at"] > latest:
        return Reason.UNREADABLE
    statuses, consent = purpose.statuses, document["consent"]
    missing = [status for scope, allowed in purpose.required if (status := consent[scope]["status"]) not in allowed]
    found: Reason | None = None
    if is_ordered(document) and "erasure_ordered" not in statuses:
        found = Reason.ERASURE_ORDERED
    elif is_restricted(document) and "restricted" not in statuses:
        found = Reason.RESTRICTED
    elif missing:
        found = Reason.CONSENT_WITHDRAWN if "withdrawn" in missing else Reason.CONSENT_MISSING
    elif document["vertical"] not in purpose.verticals:
        found = Reason.VERTICAL_NOT_ALLOWED
    return found
