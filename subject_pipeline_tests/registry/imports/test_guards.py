"""An import undoes no decision that protects the person."""

from pathlib import Path
from typing import Any

import pytest

from subject_pipeline.decisions.policies import Policies
from subject_pipeline.decisions.stored_policies import store_policies
from subject_pipeline.registry.imports.importing import import_manifests
from subject_pipeline.registry.outcomes import ImportReport
from subject_pipeline_tests.helpers.audit_stores import JUNE, Place, manifest
from subject_pipeline_tests.helpers.recorded import table_of

HOLD = {"hold_id": "case-7", "placed_at": JUNE}


def imported(place: Place, folder: Path, **fields: Any) -> ImportReport:
    """Import one manifest."""
    path = folder / "in.json"
    path.write_text(manifest("P", **fields).to_json())
    return import_manifests(place.store, path, evidence=place.evidence())


@pytest.mark.parametrize(
    ("before", "after", "word"),
    [
        ({"holds": [HOLD]}, {}, "hold case-7"),
        ({"holds": [HOLD]}, {"holds": [{**HOLD, "hold_id": "another"}]}, "hold case-7"),
        ({"status": "restricted", "restricted_at": JUNE}, {}, "restriction"),
        ({"status": "restricted"}, {}, "restriction"),
        ({"status": "restricted", "restricted_at": JUNE}, {"status": "erasure_ordered"}, "restriction"),
        ({"status": "erasure_ordered", "erasure_ordered_at": JUNE}, {"status": "active"}, "cancel"),
        ({"status": "erasure_ordered"}, {"status": "restricted", "restricted_at": JUNE}, "cancel"),
    ],
)
def test_what_would_undo_a_decision_fails_in_words(
    place: Place, tmp_path: Path, before: dict[str, Any], after: dict[str, Any], word: str
) -> None:
    """The manifest stays as it was."""
    assert imported(place, tmp_path, **before).inserted == 1
    stored = table_of(place.store)

    report = imported(place, tmp_path, **after)

    assert (report.failed, report.replaced, report.inserted) == (1, 0, 0)
    assert word in report.failures[0].reason
    assert report.failures[0].candidate_id == "P"
    assert table_of(place.store) == stored


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"holds": [HOLD]}, {"holds": [HOLD, {**HOLD, "hold_id": "another"}]}),
        ({"status": "restricted", "restricted_at": JUNE}, {"status": "restricted", "restricted_at": JUNE}),
        ({}, {"status": "erasure_ordered", "erasure_ordered_at": JUNE}),
        ({"status": "restricted"}, {"status": "erasure_ordered"}),
    ],
)
def test_what_keeps_or_adds_to_it_replaces(
    place: Place, tmp_path: Path, before: dict[str, Any], after: dict[str, Any]
) -> None:
    """A later document that has all of it is taken."""
    imported(place, tmp_path, **before)
    assert imported(place, tmp_path, **after, vertical="general").replaced == 1


def test_the_words_are_those_that_the_stored_policies_declare(place: Place, tmp_path: Path) -> None:
    """A vertical and a policy of our own are words once they are declared, and not before."""
    ours = {"vertical": "finance", "retention": {"general_pii_until": JUNE, "policy": "short"}}
    assert imported(place, tmp_path, **ours).failed == 1
    rules = {"verticals": ["finance"], "policies": {"short": {"keep": "30d", "from": "registered"}}}
    store_policies(place.objects, place.ring, Policies.parse(rules))

    assert imported(place, tmp_path, **ours).inserted == 1
    assert imported(place, tmp_path, vertical="healthcare").failed == 1
