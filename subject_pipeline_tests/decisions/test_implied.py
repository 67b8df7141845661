"""Which decisions a change of a manifest amounts to."""

from typing import Any

import pytest

from subject_pipeline.decisions.decision import Kind
from subject_pipeline.decisions.implied import implied
from subject_pipeline.decisions.policies import Policies
from subject_pipeline.decisions.transitions import apply
from subject_pipeline_tests.helpers.decisions import DECIDED, decision, document, with_consent

GIVEN = {"status": "given", "version": "1", "given_at": DECIDED}
HELD: dict[str, Any] = {"holds": [{"hold_id": "case-1", "placed_at": DECIDED}]}
BEFORE: dict[Kind, dict[str, Any]] = {
    Kind.CONSENT_WITHDRAWN: with_consent("general_pii", **GIVEN),
    Kind.BIOMETRIC_DESTROYED: with_consent("biometric", **GIVEN),
    Kind.HOLD_RELEASED: document(**HELD),
    Kind.UNRESTRICTED: document(status="restricted", restricted_at=DECIDED),
    Kind.ERASURE_CANCELLED: document(status="erasure_ordered", erasure_ordered_at=DECIDED),
}
"""A manifest in which a kind is allowed, where a registered one is none."""
POLICIES = Policies.parse({"policies": {"short": {"keep": "30d", "from": "registered"}}})


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind != Kind.READMITTED])
def test_the_effect_of_each_decision_is_known_by_its_kind(kind: Kind) -> None:
    """And a registered manifest, of somebody new or not, has no decision's effect."""
    before = BEFORE.get(kind, document())
    policy = {"policy": "short"} if kind == Kind.RETENTION_SET else {}

    assert kind in implied(before, apply(before, decision(kind, **policy), POLICIES))
    assert not implied(before, before)
    assert not implied(None, document())


@pytest.mark.parametrize("scope", ["general_pii", "biometric"])
def test_a_consent_that_is_taken_back_to_the_beginning_has_the_effect_of_every_kind_about_it(scope: str) -> None:
    """No decision does that; so it takes four eyes where any of them does."""
    about = {Kind.CONSENT_GIVEN, Kind.CONSENT_REFUSED, Kind.CONSENT_WITHDRAWN, Kind.BIOMETRIC_DESTROYED}
    assert implied(with_consent(scope, **GIVEN), document()) >= about


def test_fields_about_which_nobody_decides_imply_nothing() -> None:
    """References, views, and what a newer program wrote."""
    other = document(datasets=[], safe_views=["v"], newer={"deep": [1]}, audit_log_path="elsewhere")
    other["consent"]["general_pii"]["seen_by"] = "HR"
    assert not implied(document(), other)
