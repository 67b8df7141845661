from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subject_pipeline.decisions.decision import BIOMETRIC, GENERAL_PII
from subject_pipeline.decisions.policies import Policies
from subject_pipeline.decisions.retention import biometric_ends, general_ends, holds_biometrics
from subject_pipeline.keys.ring_file import KeyRingFile
from subject_pipeline.lifecycle.applying_policies import PolicyEffect, _counted, effect_of
from subject_pipeline.manifests.manifest import SubjectManifest
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline_tests.conftest import ManyGroups
from subject_pipeline_tests.helpers.lives import LIVES, days_ago, life, rows_of
from subject_pipeline_tests.helpers.recorded_lives import LivedStore

POLICIES = Policies.parse(
    {
        "policies": {
            "short": {"first_of": [
                {"keep": "30d", "from": "last_interaction"}, {"keep": "1y", "from": "consent_given"}]},
            "bipa": {"scope": "biometric", "keep": "3y", "from": "last_interaction"},
        },
        "verticals": ["general"],
    }
)  # fmt: skip


def differs(document: dict[str, Any]) -> bool:
    """Whether a date is not what the policies give."""
    general, biometric = general_ends(document, POLICIES), biometric_ends(document, POLICIES)
    consent = document["consent"][BIOMETRIC]
    return (general is not None and general.time != document["retention"][f"{GENERAL_PII}_until"]) or (
        holds_biometrics(document) and biometric is not None and biometric.time != consent["retention_until"]
    )


@pytest.mark.long
@given(st.lists(LIVES, max_size=5))
def test_counts_are_those_of_the_documents(manifests: list[SubjectManifest]) -> None:
    """By column as one by one."""
    documents = [one.as_json() for one in manifests]
    found = _counted(iter([rows_of(manifests)]), POLICIES)

    assert found.subjects == len(documents)
    assert found.dates_differ == sum(map(differs, documents))
    general = [one["retention"]["policy"] == "gone" for one in documents]
    biometric = [one["consent"]["biometric"].get("policy") == "gone" for one in documents]
    vertical = [one["vertical"] == "elsewhere" for one in documents]
    assert found.undeclared == sum(map(any, zip(general, biometric, vertical, strict=True)))
    assert sum(found.undeclared_policies.values()) == sum(general) + sum(biometric)
    assert sum(found.undeclared_verticals.values()) == sum(vertical)


@pytest.mark.parametrize(
    ("keep", "differ"), [("1460d", 0), ("1459d", 2), ("4y", 2)]
)  # four calendar years have 1461 days
def test_only_dates_that_would_be_others_count(keep: str, differ: int) -> None:
    """The default policy declared as it is changes nothing."""
    policies = Policies.parse({"policies": {"4_year_default": {"keep": keep, "from": "registered"}}})
    people = [life("W-1"), life("W-2"), life("W-3", retention={"policy": "gone"})]
    found = _counted(iter([rows_of(people)]), policies)
    assert (found.dates_differ, found.undeclared_policies) == (differ, {"gone": 1})


@pytest.mark.long
def test_a_whole_store_is_counted_group_by_group(tmp_path: Path, ring: KeyRingFile, many_groups: ManyGroups) -> None:
    """Every group of chunks counts once."""
    many_groups(2)
    lived = LivedStore.at(tmp_path / "store", ring)
    lived.put(*(life(f"W-{number}") for number in range(6)))
    lived.put(life("late", retention={"general_pii_until": days_ago(1)}), life("v", vertical="elsewhere"))

    found = effect_of(lived.store, POLICIES)
    assert found == PolicyEffect(8, 1, 1, {}, {"elsewhere": 1})


def test_a_store_without_manifests_has_nothing_to_change(store: SubjectStore) -> None:
    """Policies may come first."""
    assert effect_of(store, POLICIES) == PolicyEffect()
