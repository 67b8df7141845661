"""What each decision does, and in which states it is allowed: every cell of kind and state."""

import copy
from typing import Any

import pytest

from subject_pipeline.decisions.decision import Kind
from subject_pipeline.decisions.policies import Policies
from subject_pipeline.decisions.transitions import apply, is_ordered, is_restricted
from subject_pipeline.errors import DecisionError
from subject_pipeline.manifests.manifest import SubjectManifest
from subject_pipeline_tests.helpers.decisions import DECIDED, decision, document, with_consent

USUAL = Policies()
EARLIER = "2026-02-01T00:00:00.000000Z"
HELD = {"holds": [{"hold_id": "case-1", "placed_at": EARLIER}]}
ORDERED = {"status": "erasure_ordered", "erasure_ordered_at": EARLIER}
RESTRICTED = {"status": "restricted", "restricted_at": EARLIER}

STATES: dict[str, dict[str, Any]] = {
    "active": {},
    "restricted": RESTRICTED,
    "restricted by a word alone": {"status": "restricted"},
    "held": HELD,
    "ordered": ORDERED,
    "ordered by a word alone": {"status": "erasure_ordered"},
    "ordered and restricted": {**RESTRICTED, **ORDERED},
    "ordered and held": {**ORDERED, **HELD},
}
FREE = {"active", "restricted", "restricted by a word alone", "held"}
EVERY = set(STATES)
RESTRICTIONS = {"restricted", "restricted by a word alone"}
ALLOWED: dict[Kind, set[str]] = {
    Kind.CONSENT_GIVEN: FREE,
    Kind.CONSENT_REFUSED: FREE,
    Kind.CONSENT_WITHDRAWN: set(),  # nothing was given
    Kind.BIOMETRIC_DESTROYED: set(),  # nothing was collected
    Kind.CLASSIFIED: FREE,
    Kind.RETENTION_SET: FREE,
    Kind.INTERACTION: FREE,
    Kind.HOLD_PLACED: EVERY - {"held", "ordered and held"},
    Kind.HOLD_RELEASED: {"held", "ordered and held"},
    Kind.RESTRICTED: FREE - RESTRICTIONS,
    Kind.UNRESTRICTED: RESTRICTIONS,
    Kind.ERASURE_ORDERED: FREE,
    Kind.ERASURE_CANCELLED: EVERY - FREE,
    Kind.READMITTED: set(),  # nobody here is erased
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("kind", Kind)
def test_each_kind_is_allowed_in_its_states_and_refused_in_words_elsewhere(kind: Kind, state: str) -> None:
    """What is allowed leaves a manifest that can be written, what is not says why; neither changes its input."""
    before = document(**STATES[state])
    kept = copy.deepcopy(before)
    if state in ALLOWED[kind]:
        after = apply(before, decision(kind), USUAL)
        assert SubjectManifest.parse(after).as_json() == after
    else:
        with pytest.raises(DecisionError, match=r"^not allowed: .{20}"):
            apply(before, decision(kind), USUAL)
    assert before == kept


@pytest.mark.parametrize(
    ("scope", "status", "kinds"),
    [
        ("general_pii", "pending_backfill_review", {Kind.CONSENT_GIVEN, Kind.CONSENT_REFUSED}),
        ("general_pii", "given", {Kind.CONSENT_GIVEN, Kind.CONSENT_WITHDRAWN}),
        ("general_pii", "refused", {Kind.CONSENT_GIVEN}),
        ("general_pii", "withdrawn", {Kind.CONSENT_GIVEN}),
        ("biometric", "never_collected", {Kind.CONSENT_GIVEN, Kind.CONSENT_REFUSED}),
        ("biometric", "given", {Kind.CONSENT_GIVEN, Kind.CONSENT_WITHDRAWN, Kind.BIOMETRIC_DESTROYED}),
        ("biometric", "refused", {Kind.CONSENT_GIVEN}),
        ("biometric", "withdrawn", {Kind.CONSENT_GIVEN, Kind.BIOMETRIC_DESTROYED}),
        ("biometric", "destroyed", {Kind.CONSENT_GIVEN}),
    ],
)
def test_each_state_of_a_consent_allows_some_kinds(scope: str, status: str, kinds: set[Kind]) -> None:
    """Every cell of a consent: the status after it, or a refusal."""
    consents = {
        Kind.CONSENT_GIVEN: "given",
        Kind.CONSENT_REFUSED: "refused",
        Kind.CONSENT_WITHDRAWN: "withdrawn",
        **({Kind.BIOMETRIC_DESTROYED: "destroyed"} if scope == "biometric" else {}),
    }
    for kind, becomes in consents.items():
        before = with_consent(scope, status=status)
        fields = {} if kind == Kind.BIOMETRIC_DESTROYED else {"scope": scope}
        if kind in kinds:
            assert apply(before, decision(kind, **fields), USUAL)["consent"][scope]["status"] == becomes
        else:
            with pytest.raises(DecisionError, match="not allowed: "):
                apply(before, decision(kind, **fields), USUAL)


@pytest.mark.parametrize("scope", ["general_pii", "biometric"])
def test_withdrawing_what_was_never_given_names_the_way_to_refuse(scope: str) -> None:
    """The message names what to do instead."""
    with pytest.raises(DecisionError, match="--refuse"):
        apply(document(), decision("consent_withdrawn", scope=scope), USUAL)


def test_each_refusal_says_what_stands_in_the_way() -> None:
    """An order that is there already, another order, a consent that was withdrawn before."""
    for kind, words in [("erasure_ordered", "it is ordered already"), ("classified", "an erasure is ordered")]:
        with pytest.raises(DecisionError, match=f"^not allowed: {words}; allowed now: .*erasure_cancelled"):
            apply(document(**ORDERED), decision(kind), USUAL)
    with pytest.raises(DecisionError, match=r"consent to general_pii is withdrawn, not given$"):
        apply(with_consent("general_pii", status="withdrawn"), decision("consent_withdrawn"), USUAL)


def test_a_biometric_consent_that_was_imported_without_an_end_gets_one() -> None:
    """With the same version, too: what is new is the end."""
    imported = with_consent("biometric", status="given", version="2")
    after = apply(imported, decision("consent_given", scope="biometric"), USUAL)
    assert after["consent"]["biometric"]["until"] == "2029-01-01T00:00:00.000000Z"


def test_a_consent_holds_its_version_and_times() -> None:
    """Given, withdrawn, given again: each with its time."""
    given = apply(document(), decision("consent_given"), USUAL)
    assert given["consent"]["general_pii"] == {
        "status": "given", "version": "2", "given_at": DECIDED, "withdrawn_at": None,
    }  # fmt: skip
    later = "2026-07-01T00:00:00.000000Z"
    withdrawn = apply(given, decision("consent_withdrawn", ts=later), USUAL)
    assert withdrawn["consent"]["general_pii"] == {
        "status": "withdrawn", "version": "2", "given_at": DECIDED, "withdrawn_at": later,
    }  # fmt: skip
    assert apply(withdrawn, decision("consent_given"), USUAL) == given


def test_the_same_version_is_not_given_twice_but_a_biometric_consent_may_last_longer() -> None:
    """Another version, or a later end, is another consent."""
    given = apply(document(), decision("consent_given"), USUAL)
    with pytest.raises(DecisionError, match="allowed with another version, or withdrawn"):
        apply(given, decision("consent_given"), USUAL)
    apply(given, decision("consent_given", version="3"), USUAL)

    biometric = apply(document(), decision("consent_given", scope="biometric"), USUAL)
    with pytest.raises(DecisionError, match="or with a later until"):
        apply(biometric, decision("consent_given", scope="biometric"), USUAL)
    longer = apply(biometric, decision("consent_given", scope="biometric", until="2030-01-01T00:00:00Z"), USUAL)
    assert longer["consent"]["biometric"]["retention_until"] == "2030-01-01T00:00:00.000000Z"


def test_what_was_destroyed_has_no_date_any_more() -> None:
    """Nothing is left that could become due."""
    given = apply(document(), decision("consent_given", scope="biometric"), USUAL)
    destroyed = apply(given, decision("biometric_destroyed"), USUAL)["consent"]["biometric"]
    assert (destroyed["status"], destroyed["retention_until"], destroyed.get("until")) == ("destroyed", None, None)


def test_nothing_is_destroyed_while_a_hold_stands() -> None:
    """The hold is named; once it is released, destruction is allowed."""
    held = {**apply(document(), decision("consent_given", scope="biometric"), USUAL), **HELD}
    with pytest.raises(DecisionError, match=r"held \(case-1\)"):
        apply(held, decision("biometric_destroyed"), USUAL)
    released = apply(held, decision("hold_released"), USUAL)
    apply(released, decision("biometric_destroyed"), USUAL)


@pytest.mark.parametrize("restricted", [RESTRICTED, {"status": "restricted"}, {}])
def test_a_cancelled_order_falls_back_to_what_was_there(restricted: dict[str, Any]) -> None:
    """A restriction survives, also one that was imported as a word alone."""
    before = document(**restricted)
    ordered = apply(before, decision("erasure_ordered"), USUAL)
    assert (ordered["status"], ordered["erasure_ordered_at"]) == ("erasure_ordered", DECIDED)
    after = apply(ordered, decision("erasure_cancelled"), USUAL)
    assert after["status"] == before["status"]
    assert "erasure_ordered_at" not in after
    assert ("restricted_at" in after) == bool(restricted)


def test_a_restriction_stands_beside_an_order() -> None:
    """While an erasure is ordered, the person is still restricted; what is refused says which holds there are."""
    both = document(**STATES["ordered and restricted"])
    assert (is_ordered(both), is_restricted(both), is_restricted(document(**ORDERED))) == (True, True, False)
    with pytest.raises(DecisionError, match="holds there are: none"):
        apply(document(), decision("hold_released"), USUAL)
    with pytest.raises(DecisionError, match="holds there are: case-1"):
        apply(document(**STATES["held"]), decision("hold_released", hold_id="case-2"), USUAL)


def test_a_policy_is_set_in_its_scope_with_its_date() -> None:
    """Of general data and of biometric data, each without touching the other."""
    policies = Policies.parse(
        {
            "policies": {
                "short": {"keep": "10d", "from": "registered"},
                "bio": {"scope": "biometric", "keep": "20d", "from": "registered"},
            }
        }
    )
    short = apply(document(), decision("retention_set", policy="short"), policies)
    assert short["retention"] == {"general_pii_until": "2026-01-11T00:00:00.000000Z", "policy": "short"}
    assert short["consent"] == document()["consent"]
    given = apply(document(), decision("consent_given", scope="biometric"), policies)
    bio = apply(given, decision("retention_set", policy="bio"), policies)
    assert bio["retention"] == document()["retention"]
    assert (bio["consent"]["biometric"]["policy"], bio["consent"]["biometric"]["retention_until"]) == (
        "bio", "2026-01-21T00:00:00.000000Z",
    )  # fmt: skip


def test_fields_without_a_value_are_not_there() -> None:
    """What was placed and released leaves the manifest as it was."""
    before = document()
    for there, back in [("hold_placed", "hold_released"), ("restricted", "unrestricted")]:
        assert apply(apply(before, decision(there), USUAL), decision(back), USUAL) == before


def test_a_hold_keeps_its_time_and_reason_and_others_stay() -> None:
    """Releasing one hold leaves the others."""
    first = apply(document(), decision("hold_placed", reason="lawsuit"), USUAL)
    both = apply(first, decision("hold_placed", hold_id="case-2"), USUAL)
    assert both["holds"] == [
        {"hold_id": "case-1", "placed_at": DECIDED, "reason": "lawsuit"},
        {"hold_id": "case-2", "placed_at": DECIDED},
    ]
    assert apply(both, decision("hold_released"), USUAL)["holds"] == both["holds"][1:]
    with pytest.raises(DecisionError, match=r"no such hold; holds there are: case-1, case-2$"):
        apply(both, decision("hold_released", hold_id="case-3"), USUAL)


def test_an_interaction_is_the_latest_there_was() -> None:
    """An older one, recorded later, changes nothing."""
    after = apply(document(), decision("interaction"), USUAL)
    assert after["retention"]["last_interaction_at"] == DECIDED
    earlier = apply(after, decision("interaction", ts=EARLIER), USUAL)
    assert earlier == after


def test_only_declared_verticals_and_policies_are_taken() -> None:
    """The message lists the words that there are."""
    with pytest.raises(DecisionError, match="unknown, general, healthcare"):
        apply(document(), decision("classified", vertical="space"), USUAL)
    with pytest.raises(DecisionError, match="there are 4_year_default"):
        apply(document(), decision("retention_set", policy="bipa"), USUAL)
    assert apply(document(), decision("classified", vertical="unknown"), USUAL)["vertical"] == "unknown"
    space = Policies.parse({"verticals": ["space"]})
    assert apply(document(), decision("classified", vertical="space"), space)["vertical"] == "space"


@pytest.mark.parametrize("approved_by", [None, "dpo", " DPO "])
def test_four_eyes_need_another_name(approved_by: str | None) -> None:
    """Nobody, and the actor written otherwise, are not a second person; other kinds need none."""
    strict = Policies.parse({"four_eyes": ["erasure_ordered"]})
    with pytest.raises(DecisionError, match="takes four eyes"):
        apply(document(), decision("erasure_ordered", approved_by=approved_by), strict)
    apply(document(), decision("erasure_ordered", approved_by="counsel"), strict)
    apply(document(), decision("restricted", approved_by=approved_by), strict)
