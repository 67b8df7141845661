import datetime as dt
import itertools
from typing import Any

import pytest

from subject_pipeline.formats.times import format_time
from subject_pipeline.gate.judging import CLOCKS_DIFFER, Reason, judge
from subject_pipeline.gate.policy import GatePolicy, Purpose
from subject_pipeline_tests.helpers.lives import NOW, days_ago, life

GIVEN = {"general_pii": {"status": "given"}}


def purpose(**fields: Any) -> Purpose:
    """A purpose that is for people who gave their consent, in one vertical."""
    return GatePolicy.model_validate({"purposes": {"p": {"verticals": ["general"], **fields}}}).purposes["p"]


def judged(asked: Purpose | None = None, now: dt.datetime = NOW, **changes: Any) -> Reason | None:
    """What is decided of a manifest that allows it, but for these changes."""
    document = life(**{"vertical": "general", "consent": GIVEN, **changes}).as_json()
    return judge(asked or purpose(), document, format_time(now + CLOCKS_DIFFER))


def test_whoever_the_policy_is_for_may_be_shown() -> None:
    """No reason speaks against it."""
    assert judged() is None


ALONE: dict[Reason, dict[str, Any]] = {
    Reason.UNREADABLE: {"updated_at": days_ago(-1)},
    Reason.ERASURE_ORDERED: {"status": "erasure_ordered", "erasure_ordered_at": days_ago(1)},
    Reason.RESTRICTED: {"restricted_at": days_ago(1)},
    Reason.CONSENT_WITHDRAWN: {"consent": {"general_pii": {"status": "withdrawn"}}},
    Reason.CONSENT_MISSING: {"consent": {"general_pii": {"status": "pending_backfill_review"}}},
    Reason.VERTICAL_NOT_ALLOWED: {"vertical": "unknown"},
}


@pytest.mark.parametrize(("first", "second"), list(itertools.combinations(ALONE, 2)), ids=lambda reason: reason)
def test_the_first_reason_that_applies_is_given(first: Reason, second: Reason) -> None:
    """In the order of the design, whatever else applies."""
    if {first, second} == {Reason.CONSENT_WITHDRAWN, Reason.CONSENT_MISSING}:
        both: dict[str, Any] = {
            "consent": {"general_pii": {"status": "pending_backfill_review"}, "biometric": {"status": "withdrawn"}}
        }
        assert judged(purpose(consent={"general_pii": ["given"], "biometric": ["given"]}), **both) == first
    else:
        assert judged(**{**ALONE[second], **ALONE[first]}) == first
    assert judged(**ALONE[second]) == second


def test_the_order_is_that_of_the_design() -> None:
    """As rows and callers have it."""
    assert list(Reason) == [
        "purpose_not_allowed", "unreadable", "unknown_subject", "erasure_ordered", "restricted", "consent_withdrawn",
        "consent_missing", "vertical_not_allowed",
    ]  # fmt: skip
    assert judge(None, None, "") == "purpose_not_allowed"
    assert judge(purpose(), None, "") == "unknown_subject"


@pytest.mark.parametrize("status", ["refused", "pending_backfill_review", "a newer writer's"])
def test_consent_that_is_not_what_the_policy_names_is_missing(status: str) -> None:
    """Also where the program does not know the word."""
    assert judged(consent={"general_pii": {"status": status}}) == Reason.CONSENT_MISSING


def test_each_scope_that_is_named_is_asked_for() -> None:
    """And no other: a withdrawal of what the purpose does not need does not count."""
    biometric = purpose(consent={"general_pii": ["given"], "biometric": ["given"]})
    withdrawn = {**GIVEN, "biometric": {"status": "withdrawn"}}
    assert judged(biometric) == Reason.CONSENT_MISSING
    assert judged(biometric, consent=withdrawn) == Reason.CONSENT_WITHDRAWN
    assert judged(consent=withdrawn) is None
    assert judged(purpose(consent={}), consent={"general_pii": {"status": "withdrawn"}}) is None
    assert judged(purpose(consent={"general_pii": ["given", "withdrawn"]}), **ALONE[Reason.CONSENT_WITHDRAWN]) is None


def test_statuses_that_a_purpose_is_for_do_not_speak_against_it() -> None:
    """Of somebody who is restricted and ordered to be erased, both must be named."""
    both = {**ALONE[Reason.ERASURE_ORDERED], **ALONE[Reason.RESTRICTED]}
    asked = [["active"], ["active", "restricted"], ["active", "erasure_ordered"]]
    assert [judged(purpose(statuses=one), **both) for one in asked] == [
        Reason.ERASURE_ORDERED, Reason.ERASURE_ORDERED, Reason.RESTRICTED,
    ]  # fmt: skip
    assert judged(purpose(statuses=["active", "restricted", "erasure_ordered"]), **both) is None


@pytest.mark.parametrize(("minutes", "reason"), [(5, None), (5.01, Reason.UNREADABLE)])
def test_a_manifest_from_later_is_judged_as_far_as_clocks_differ(minutes: float, reason: Reason | None) -> None:
    """By a clock that went back, nobody knows what has been decided since."""
    assert judged(updated_at=days_ago(-minutes / 1_440)) is reason
