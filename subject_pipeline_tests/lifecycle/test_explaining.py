from typing import Any

import pytest

from subject_pipeline.decisions.decision import Kind
from subject_pipeline.decisions.policies import Policies
from subject_pipeline.keys.ring_file import KeyRingFile
from subject_pipeline.lifecycle.explaining import REGISTRATION, explained, in_words
from subject_pipeline_tests.helpers.lives import days_ago, hold, life
from subject_pipeline_tests.helpers.recorded_lives import LivedStore

POLICIES = Policies.parse(
    {
        "policies": {
            "active": {"keep": "30d", "from": "last_interaction"},
            "consented": {"first_of": [
                {"keep": "1y", "from": "consent_given"}, {"keep": "0d", "from": "consent_withdrawn"}]},
            "bipa": {"scope": "biometric", "first_of": [
                {"keep": "3y", "from": "last_interaction"}, {"keep": "0d", "from": "consent_withdrawn"}]},
        }
    }
)  # fmt: skip
NOW_TEXT = days_ago(0)


@pytest.fixture
def lived(tmp_path: Any, ring: KeyRingFile) -> LivedStore:
    """A store with one person, `W-1`, registered a hundred days ago, under `POLICIES`."""
    found = LivedStore.at(tmp_path / "store", ring, POLICIES)
    found.put(life())
    return found


def date(lived: LivedStore, scope: str = "general_pii") -> dict[str, Any]:
    """What explains a date of `W-1`."""
    found: dict[str, Any] = explained(lived.document("W-1"), lived.rows("W-1"), POLICIES, NOW_TEXT)["dates"][scope]
    return found


def test_a_date_from_registration(lived: LivedStore) -> None:
    """No row is needed for a first registration, so none is named."""
    found = date(lived)

    assert (found["explained"], found["policy"], found["rule"]) == (
        True,
        "4_year_default",
        {"keep": "1460d", "from": "registered"},
    )
    assert found["counted_from"] == {"what": "registered", "time": days_ago(100)}
    assert (found["row"], found["due"]) == (REGISTRATION, False)


@pytest.mark.long
def test_a_date_from_an_interaction_names_its_row(lived: LivedStore) -> None:
    """Not the row that set the policy, and not that of an earlier interaction that came later."""
    lived.decide(Kind.RETENTION_SET, policy="active")
    assert date(lived)["counted_from"]["what"] == "registered"
    assert date(lived)["due"]
    lived.decide(Kind.INTERACTION, ts=days_ago(2), decision_id="seen")
    lived.decide(Kind.INTERACTION, ts=days_ago(5))

    found = date(lived)
    assert found["counted_from"] == {"what": "last_interaction", "time": days_ago(2)}
    assert found["row"]["decision_id"] == "seen"
    assert (found["row"]["seq"], found["row"]["ts"], found["row"]["kind"]) == (1, days_ago(2), "interaction")
    assert found["until"] == days_ago(-28)
    assert not found["due"]


@pytest.mark.long
def test_of_two_rules_the_one_that_ends_first(lived: LivedStore) -> None:
    """A withdrawal ends what the consent would still allow."""
    lived.decide(Kind.CONSENT_GIVEN, ts=days_ago(50), scope="general_pii", version="1", decision_id="given")
    lived.decide(Kind.RETENTION_SET, policy="consented")
    assert date(lived)["row"]["decision_id"] == "given"
    lived.decide(Kind.CONSENT_WITHDRAWN, ts=days_ago(3), scope="general_pii", decision_id="withdrawn")

    found = date(lived)
    assert (found["row"]["decision_id"], found["counted_from"]["what"]) == ("withdrawn", "consent_withdrawn")
    assert (found["until"], found["due"]) == (days_ago(3), True)


@pytest.mark.long
def test_biometric_dates(lived: LivedStore) -> None:
    """Nothing is kept, then until the consent's own end, then until the policy's."""
    nothing = date(lived, "biometric")
    assert (nothing["until"], nothing["explained"], nothing["due"]) == (None, True, False)
    assert "never_collected" in nothing["why"]

    lived.decide(
        Kind.CONSENT_GIVEN, ts=days_ago(9), scope="biometric", version="1", until=days_ago(-9), decision_id="given"
    )
    until = date(lived, "biometric")
    assert (until["until"], until["policy"], until["rule"]) == (days_ago(-9), None, None)
    assert (until["counted_from"]["what"], until["row"]["decision_id"]) == ("until", "given")

    lived.decide(Kind.RETENTION_SET, policy="bipa")
    lived.decide(Kind.CONSENT_WITHDRAWN, ts=days_ago(1), scope="biometric", decision_id="withdrawn")
    policy = date(lived, "biometric")
    assert (policy["policy"], policy["row"]["decision_id"], policy["due"]) == ("bipa", "withdrawn", True)


def test_a_date_that_no_rule_gives_says_so() -> None:
    """Imported otherwise, under a policy that is gone, or under rules that were others."""
    imported = explained(life(retention={"general_pii_until": days_ago(7)}).as_json(), [], Policies(), NOW_TEXT)
    found = imported["dates"]["general_pii"]
    assert (found["explained"], found["row"], found["due"], found["would_be"]) == (False, None, True, days_ago(-1360))
    assert "no rule explains it" in in_words(imported)

    gone = explained(life(retention={"policy": "gone"}).as_json(), [], Policies(), NOW_TEXT)["dates"]["general_pii"]
    assert not gone["explained"]
    assert "gone is not declared" in gone["why"]

    given = {"status": "given", "retention_until": days_ago(1)}
    unruled = explained(life(consent={"biometric": given}).as_json(), [], Policies(), NOW_TEXT)["dates"]["biometric"]
    assert (unruled["explained"], unruled["due"]) == (False, True)
    assert unruled["why"] == "no policy and no consent says when, so no rule explains it"


@pytest.mark.long
def test_somebody_registered_again_is_counted_from_that_row(lived: LivedStore) -> None:
    """After a deletion a registration has a row, and what was before it no longer counts."""
    lived.decide(Kind.INTERACTION, ts=days_ago(1))
    lived.registry.delete("W-1")
    lived.put(life(created_at=days_ago(0), retention={"general_pii_until": days_ago(-1460)}))

    found = date(lived)
    assert (found["row"]["kind"], found["row"]["seq"]) == ("registered", 2)
    assert found["counted_from"] == {"what": "registered", "time": days_ago(0)}


def test_an_import_that_replaced_a_date_is_its_row(lived: LivedStore) -> None:
    """What an import set is explained by the row of the import."""
    lived.put(
        life(retention={"policy": "active", "last_interaction_at": days_ago(4), "general_pii_until": days_ago(-26)})
    )
    found = date(lived)
    assert (found["row"]["kind"], found["counted_from"]["time"]) == ("replaced", days_ago(4))


def test_holds_orders_and_restrictions_are_told() -> None:
    """In JSON and in words."""
    person = life(
        holds=[hold("H-1"), hold("H-2")],
        status="erasure_ordered",
        erasure_ordered_at=days_ago(2),
        restricted_at=days_ago(3),
        retention={"general_pii_until": days_ago(1)},
    )
    found = explained(person.as_json(), [], Policies(), NOW_TEXT)
    assert (found["held"], [one["hold_id"] for one in found["holds"]]) == (True, ["H-1", "H-2"])
    assert (found["erasure_ordered_at"], found["restricted_at"]) == (days_ago(2), days_ago(3))
    words = in_words(found)
    assert "due and held" in words
    assert f"held: H-1 since {days_ago(10)}, H-2 since" in words
    assert f"ordered: since {days_ago(2)}\nrestricted: since {days_ago(3)}" in words
    free = in_words(explained(life(status="restricted").as_json(), [], Policies(), NOW_TEXT))
    assert free.endswith("held: no\nordered: no\nrestricted: yes")


def test_rows_that_are_not_as_they_should_be_are_passed_over() -> None:
    """Nothing of the log was verified here."""
    given = life(
        retention={"policy": "consented", "general_pii_until": "2027-06-30T12:00:00.000000Z"},
        consent={"general_pii": {"status": "given", "given_at": NOW_TEXT}},
    )
    rows: list[dict[str, Any]] = [
        {},
        {"decision": 5},
        {"decision": {"kind": "replaced", "changes": 5}},
        {"decision": {"kind": "replaced", "changes": {"consent": 5, "retention": []}}},
        {"decision": {"kind": "replaced", "changes": {"consent": {"general_pii": 5}}}},
        {"decision": {}},
    ]
    found = explained(given.as_json(), rows, POLICIES, NOW_TEXT)["dates"]["general_pii"]
    assert (found["counted_from"]["what"], found["row"]) == ("consent_given", REGISTRATION)
