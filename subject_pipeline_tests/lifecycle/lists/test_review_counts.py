from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subject_pipeline.decisions.decision import SCOPES
from subject_pipeline.decisions.retention import due, is_held
from subject_pipeline.decisions.transitions import is_ordered, is_restricted
from subject_pipeline.formats.times import format_time
from subject_pipeline.lifecycle.lists.review_counts import AGES, ReviewCounts, review_counts
from subject_pipeline.manifests.manifest import SubjectManifest
from subject_pipeline_tests.helpers.lives import LIVES, NOW, days_ago, life, rows_of


@pytest.mark.long
@given(st.lists(LIVES, max_size=5), st.integers(0, 5))
def test_counts_are_those_of_the_documents_and_add_up(manifests: list[SubjectManifest], cut: int) -> None:
    """By column as one by one, in one part or in two."""
    documents = [one.as_json() for one in manifests]
    over = [due(one, format_time(NOW)) for one in documents]
    found = review_counts(rows_of(manifests), NOW)

    assert found == review_counts(rows_of(manifests[:cut]), NOW) + review_counts(rows_of(manifests[cut:]), NOW)
    assert found.subjects == len(documents)
    for scope in SCOPES:
        assert found.consent[scope] == Counter(one["consent"][scope]["status"] for one in documents)
        assert found.due[scope] == sum(scope in theirs for theirs in over)
    pending = sum(one["consent"]["general_pii"]["status"] == "pending_backfill_review" for one in documents)
    assert sum(found.pending.values()) == pending
    assert found.due_held == sum(bool(theirs) and is_held(one) for one, theirs in zip(documents, over, strict=True))
    assert found.held == sum(map(is_held, documents))
    assert found.ordered == sum(map(is_ordered, documents))
    assert found.restricted == sum(map(is_restricted, documents))
    assert found.unclassified == sum(one["vertical"] == "unknown" for one in documents)


def test_pending_by_age() -> None:
    """An age belongs to the band that begins with it; only general consent can be pending."""
    ages = [0, 29.99, 30, 89, 90, 364, 365, 1000]
    people = [life(f"W-{age}", created_at=days_ago(age)) for age in ages]
    decided = life("decided", consent={"general_pii": {"status": "given"}})

    found = review_counts(rows_of([*people, decided]), NOW)
    assert list(found.pending.items()) == list(zip(AGES, [2, 2, 2, 2], strict=True))


def test_nothing_counts_as_nothing() -> None:
    """Of no rows, every count is there and 0."""
    assert review_counts(rows_of([]), NOW) == ReviewCounts()
