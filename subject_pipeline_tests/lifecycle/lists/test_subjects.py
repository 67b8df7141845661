from typing import Any

import pytest

from subject_pipeline.errors import ConfigurationError
from subject_pipeline.lifecycle.lists.subjects import SUBJECT_SCHEMA, Conditions, in_words, parse_consents
from subject_pipeline.manifests.manifest import VOCABULARY
from subject_pipeline_tests.helpers.lives import NOW, days_ago, hold, life, rows_of

_OTHER = {"name": "second", "key_column": "id", "key_value": "x"}
_PEOPLE = [
    life("plain"),
    life("held", holds=[hold()], retention={"general_pii_until": days_ago(1)}),
    life("ordered", status="erasure_ordered", erasure_ordered_at=days_ago(2), vertical="healthcare"),
    life("withdrawn", consent={"general_pii": {"status": "withdrawn"}}, vertical="retired"),
    life(
        "biometric",
        datasets=[_OTHER],
        consent={"biometric": {"status": "given", "retention_until": days_ago(0)}},
    ),
    life("destroyed", consent={"biometric": {"status": "destroyed", "retention_until": days_ago(9)}}),
]


def listed(**conditions: Any) -> set[str]:
    """The ids of those who meet conditions, found in two frames."""
    rows = rows_of(_PEOPLE)
    frames = iter([rows.head(3), rows.tail(-3)])
    met = Conditions(**conditions).met(frames, NOW)
    return {one for part in met for one in part["candidate_id"]}


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({}, {one.candidate_id for one in _PEOPLE}),
        ({"status": "erasure_ordered"}, {"ordered"}),
        ({"status": "restricted"}, set()),
        ({"held": True}, {"held"}),
        ({"due": True}, {"held", "biometric"}),
        ({"due": True, "held": True}, {"held"}),
        ({"vertical": "healthcare"}, {"ordered"}),
        ({"vertical": "retired"}, {"withdrawn"}),
        ({"vertical": "general"}, set()),
        ({"dataset": "second"}, {"biometric"}),
        ({"dataset": "empty", "declared": {**VOCABULARY, "dataset": ["empty"]}}, set()),
        ({"consent": {"general_pii": "withdrawn"}}, {"withdrawn"}),
        ({"consent": {"general_pii": "pending_backfill_review", "biometric": "given"}}, {"biometric"}),
    ],
)
def test_conditions(conditions: dict[str, Any], expected: set[str]) -> None:
    """All of those given must be met; a word that is declared, or in some manifest, may find nobody."""
    assert listed(**conditions) == expected


@pytest.mark.parametrize(
    ("conditions", "there"),
    [
        ({"status": "deleted"}, "active, erasure_ordered, restricted"),
        ({"vertical": "health"}, "general, healthcare, retired, unknown"),
        ({"dataset": "peple"}, "people, second"),
        ({"consent": {"biometric": "granted"}}, "destroyed, given, never_collected, refused, withdrawn"),
    ],
)
def test_a_word_that_there_is_not_is_refused_with_those_that_there_are(conditions: dict[str, Any], there: str) -> None:
    """Finding nobody would look like an answer."""
    with pytest.raises(ConfigurationError, match=f"there are: {there}$"):
        listed(**conditions)


def test_subjects_in_words() -> None:
    """One row has all that the filters look at."""
    rows = in_words(rows_of(_PEOPLE), NOW)

    assert rows.schema == SUBJECT_SCHEMA
    assert rows.row(1, named=True) == {
        "candidate_id": "held",
        "status": "active",
        "vertical": "unknown",
        "consent_general_pii": "pending_backfill_review",
        "consent_biometric": "never_collected",
        "policy": "4_year_default",
        "general_pii_until": days_ago(1),
        "biometric_until": None,
        "due": ["general_pii"],
        "held": True,
        "datasets": ["people"],
        "created_at": days_ago(100),
    }
    assert rows["due"].to_list() == [[], ["general_pii"], [], [], ["biometric"], []]


def test_consents() -> None:
    """One status of a scope, and only of the scopes that there are."""
    assert parse_consents(["general_pii=given", "biometric=refused"]) == {
        "general_pii": "given",
        "biometric": "refused",
    }
    for wrong in (["given"], ["pii=given"], ["general_pii=given", "general_pii=refused"]):
        with pytest.raises(ConfigurationError, match="--consent"):
            parse_consents(wrong)
