"""The retention clock."""

import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from subject_pipeline.decisions.policies import Policies, Rule
from subject_pipeline.decisions.retention import check_not_held, due
from subject_pipeline.decisions.transitions import apply
from subject_pipeline.errors import HeldError, PolicyError
from subject_pipeline.formats.times import format_time
from subject_pipeline_tests.helpers.decisions import DECIDED, REGISTERED, decision, document

BIPA = Policies.parse(
    {
        "policies": {
            "bipa": {
                "scope": "biometric",
                "first_of": [{"keep": "3y", "from": "last_interaction"}, {"keep": "0d", "from": "consent_withdrawn"}],
            },
            "short": {"keep": "30d", "from": "last_interaction"},
            "consented": {"keep": "1y", "from": "consent_given"},
        },
        "verticals": ["general"],
    }
)


@pytest.mark.parametrize(
    ("keep", "start", "end"),
    [
        ("1460d", "2026-01-01T00:00:00+00:00", "2029-12-31T00:00:00+00:00"),
        ("0d", "2026-01-01T00:00:00+00:00", "2026-01-01T00:00:00+00:00"),
        ("3y", "2026-05-17T10:11:12.131415+00:00", "2029-05-17T10:11:12.131415+00:00"),
        ("1y", "2024-02-29T00:00:00+00:00", "2025-02-28T00:00:00+00:00"),
        ("4y", "2024-02-29T00:00:00+00:00", "2028-02-29T00:00:00+00:00"),
        ("999999y", "2026-01-01T00:00:00+00:00", "9999-12-31T23:59:59.999999+00:00"),
        ("999999d", "9998-01-01T00:00:00+00:00", "9999-12-31T23:59:59.999999+00:00"),
    ],
)
def test_days_and_calendar_years(keep: str, start: str, end: str) -> None:
    """A year is a calendar year in UTC; 29 February becomes 28; no end is after the last moment."""
    rule = Rule.model_validate({"keep": keep, "from": "registered"})
    assert rule.ends(dt.datetime.fromisoformat(start)) == dt.datetime.fromisoformat(end)


@given(st.datetimes(timezones=st.just(dt.UTC)), st.integers(0, 999_999), st.sampled_from("dy"))
def test_any_rule_ends_after_it_starts(start: dt.datetime, number: int, unit: str) -> None:
    """Whatever the rule and the start, there is an end, and it is not before the start."""
    assert Rule.model_validate({"keep": f"{number}{unit}", "from": "registered"}).ends(start) >= start


def test_the_earliest_rule_with_a_date_counts() -> None:
    """Of `first_of`, rules whose date is not known yet do not count."""
    given_ = apply(document(), decision("consent_given", scope="biometric", until="2099-01-01T00:00:00Z"), BIPA)
    kept = apply(given_, decision("retention_set", policy="bipa"), BIPA)
    assert kept["consent"]["biometric"]["retention_until"] == "2029-01-01T00:00:00.000000Z"  # three years, registered
    seen = apply(kept, decision("interaction"), BIPA)
    assert seen["consent"]["biometric"]["retention_until"] == "2029-06-01T12:00:00.000000Z"
    withdrawn = apply(seen, decision("consent_withdrawn", scope="biometric"), BIPA)
    assert withdrawn["consent"]["biometric"]["retention_until"] == DECIDED


def test_of_the_consents_own_end_and_the_policy_the_earlier_wins_and_neither_is_forgotten() -> None:
    """A later interaction moves the policy's date, and then the consent's own end comes first."""
    given_ = apply(document(), decision("consent_given", scope="biometric", until="2029-03-01T00:00:00Z"), BIPA)
    kept = apply(given_, decision("retention_set", policy="bipa"), BIPA)
    assert kept["consent"]["biometric"]["retention_until"] == "2029-01-01T00:00:00.000000Z"
    seen = apply(kept, decision("interaction"), BIPA)
    assert seen["consent"]["biometric"]["retention_until"] == "2029-03-01T00:00:00.000000Z"


def test_general_dates_move_when_what_they_depend_on_does_and_not_otherwise() -> None:
    """A date that was imported stays until a decision changes what the policy counts from."""
    imported = document(retention={"general_pii_until": "2040-01-01T00:00:00.000000Z", "policy": "4_year_default"})
    assert apply(imported, decision("interaction"), BIPA)["retention"]["general_pii_until"].startswith("2040")
    short = apply(document(), decision("retention_set", policy="short"), BIPA)
    assert short["retention"]["general_pii_until"] == "2026-01-31T00:00:00.000000Z"
    seen = apply(short, decision("interaction"), BIPA)
    assert seen["retention"]["general_pii_until"] == "2026-07-01T12:00:00.000000Z"
    consented = apply(document(), decision("retention_set", policy="consented"), BIPA)
    assert consented["retention"]["general_pii_until"] == "2027-01-01T00:00:00.000000Z"  # no date: from registration
    given_ = apply(consented, decision("consent_given"), BIPA)
    assert given_["retention"]["general_pii_until"] == "2027-06-01T12:00:00.000000Z"


@pytest.mark.parametrize("basis", ["consent_given", "consent_withdrawn"])
def test_a_decision_on_a_consent_moves_a_general_date_that_counts_from_it(basis: str) -> None:
    """From either alone; a policy that counts from neither leaves the date as it was."""
    policies = Policies.parse({"policies": {"kept": {"keep": "30d", "from": basis}}})
    there = apply(document(), decision("retention_set", policy="kept"), policies)
    given_ = apply(there, decision("consent_given"), policies)
    withdrawn = apply(given_, decision("consent_withdrawn", ts="2026-08-01T00:00:00Z"), policies)
    assert withdrawn["retention"]["general_pii_until"] == (
        "2026-07-01T12:00:00.000000Z" if basis == "consent_given" else "2026-08-31T00:00:00.000000Z"
    )
    usual = apply(apply(document(), decision("consent_given"), BIPA), decision("consent_withdrawn"), BIPA)
    assert usual["retention"] == document()["retention"]


def test_what_is_declared_is_written_as_people_write_it_and_comes_back() -> None:
    """One rule stands by itself, the usual scope is not said; reading it again gives the same policies."""
    declared = BIPA.as_declared()
    assert declared["policies"]["short"] == {"keep": "30d", "from": "last_interaction"}
    assert declared["policies"]["bipa"]["scope"] == "biometric"
    assert len(declared["policies"]["bipa"]["first_of"]) == 2
    assert Policies.parse(declared).retention == BIPA.retention


def test_policies_have_one_text_whatever_the_order_of_their_kinds_and_do_not_change() -> None:
    """Its hash stands in rows."""
    kinds = ["unrestricted", "readmitted", "erasure_ordered", "hold_released", "classified"]
    policies = Policies.parse({"verticals": ["b", "a"], "four_eyes": kinds})
    four_eyes = '["classified","erasure_ordered","hold_released","readmitted","unrestricted"]'
    assert policies.canonical.decode() == f'{{"four_eyes":{four_eyes},"policies":{{}},"verticals":["b","a"]}}'
    with pytest.raises(ValidationError, match="frozen"):
        policies.verticals = ()  # type: ignore[misc]


def test_who_is_held_is_not_deleted_and_the_holds_are_named() -> None:
    """Nobody else is stopped."""
    check_not_held(document())
    held = document(holds=[{"hold_id": name, "placed_at": DECIDED} for name in ("case-1", "case-2")])
    with pytest.raises(HeldError, match=r"'P-1' is held \(case-1, case-2\) and was not deleted"):
        check_not_held(held)


def test_due_from_the_moment_of_the_date_on() -> None:
    """Due at the date itself, not a microsecond before; destroyed biometric data is never due."""
    until = document()["retention"]["general_pii_until"]
    before = format_time(dt.datetime.fromisoformat(until) - dt.timedelta(microseconds=1))
    assert (due(document(), before), due(document(), until)) == ((), ("general_pii",))
    biometric = apply(document(), decision("consent_given", scope="biometric", until="2027-01-01T00:00:00Z"), BIPA)
    assert due(biometric, "2027-01-01T00:00:00.000000Z") == ("biometric",)
    destroyed = apply(biometric, decision("biometric_destroyed"), BIPA)
    assert due(destroyed, "2027-01-01T00:00:00.000000Z") == ()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"policies": {"x": {"keep": "3m", "from": "registered"}}}, "policies.x.first_of.0.keep"),
        ({"policies": {"x": {"keep": "٣y", "from": "registered"}}}, "policies.x.first_of.0.keep"),
        ({"policies": {"x": {"keep": "3y", "from": "birth"}}}, "policies.x.first_of.0.from"),
        ({"policies": {"x": {"keep": "3y", "from": "registered", "first_of": []}}}, "either keep and from, or"),
        ({"policies": {"x": {"first_of": []}}}, "policies.x.first_of"),
        ({"policies": {"4_year_default": {"scope": "biometric", "keep": "1d", "from": "registered"}}}, "general_pii"),
        ({"policies": {"a b": {"keep": "3y", "from": "registered"}}}, "'a b' must be"),
        ({"verticals": "general"}, "verticals"),
        ({"verticals": {"general", "space"}}, "verticals: Input should be a valid tuple"),  # YAML's sets have no order
        ({"four_eyes": ["erased"]}, "'erased' is none of"),
        ({"retention": {}}, "retention"),
        ([], "the file"),
    ],
)
def test_a_policy_that_cannot_be_used_is_refused_with_its_place(value: Any, words: str) -> None:
    """The message says which part of the file is wrong."""
    with pytest.raises(PolicyError, match=words):
        Policies.parse(value)


def test_without_a_file_there_is_what_everybody_is_registered_with() -> None:
    """The default policy gives the date that registration writes."""
    assert Policies.parse(None) == Policies()
    assert Policies().vocabulary["vertical"] == ("unknown", "general", "healthcare")
    assert Policies().vocabulary["retention.policy"] == ("4_year_default",)
    until = document()["retention"]["general_pii_until"]
    assert dt.datetime.fromisoformat(until) == REGISTERED + dt.timedelta(days=1460)
    assert BIPA.vocabulary["retention.policy"] == ("4_year_default", "short", "consented")
    assert Policies().sha256 != BIPA.sha256
