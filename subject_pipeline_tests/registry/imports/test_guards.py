"""An import undoes no decision that protects the person, and makes none that takes four eyes."""

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
    store_policies(place.store, Policies.parse(rules))

    assert imported(place, tmp_path, **ours).inserted == 1
    assert imported(place, tmp_path, vertical="healthcare").failed == 1


ORDERED = {"status": "erasure_ordered", "erasure_ordered_at": JUNE}
GIVEN = {"consent": {"general_pii": {"status": "given", "version": "2", "given_at": JUNE}}}


def four_eyes(place: Place, *kinds: str) -> None:
    """Let some kinds of decisions take four eyes."""
    store_policies(place.store, Policies.parse({"four_eyes": list(kinds)}))


@pytest.mark.parametrize("before", [None, {}], ids=["somebody new", "somebody registered"])
@pytest.mark.parametrize(
    ("kind", "after"),
    [
        ("erasure_ordered", ORDERED),
        ("erasure_ordered", {"status": "erasure_ordered"}),
        ("erasure_ordered", {"erasure_ordered_at": JUNE}),
        ("hold_placed", {"holds": [HOLD]}),
        ("consent_given", GIVEN),
        ("classified", {"vertical": "healthcare"}),
        ("retention_set", {"retention": {"general_pii_until": "2026-07-01T00:00:00.000000Z"}}),
    ],
)
def test_what_takes_four_eyes_is_not_imported(
    place: Place, tmp_path: Path, before: dict[str, Any] | None, kind: str, after: dict[str, Any]
) -> None:
    """Neither for somebody new nor for somebody registered; what has no such effect is."""
    if before is not None:
        assert imported(place, tmp_path, **before).inserted == 1
    four_eyes(place, kind)
    stored = table_of(place.store)

    report = imported(place, tmp_path, **after)

    assert (report.failed, report.replaced, report.inserted) == (1, 0, 0)
    assert kind in report.failures[0].reason
    assert "four eyes" in report.failures[0].reason
    assert table_of(place.store) == stored
    four_eyes(place, "erasure_cancelled")
    report = imported(place, tmp_path, **after)
    assert (report.failed, report.replaced + report.inserted) == (0, 1)


@pytest.mark.long
def test_somebody_deleted_is_not_imported_with_an_order_either(place: Place, tmp_path: Path) -> None:
    """A deletion takes no second person, so it must not open the way."""
    imported(place, tmp_path)
    four_eyes(place, "erasure_ordered")
    place.registry().delete("P")

    assert imported(place, tmp_path, **ORDERED).failed == 1
    assert imported(place, tmp_path).inserted == 1


def test_what_was_decided_before_is_imported_again_under_four_eyes(place: Place, tmp_path: Path) -> None:
    """An order that stands already is not made by the import; other fields change beside it."""
    imported(place, tmp_path, **ORDERED)
    four_eyes(place, "erasure_ordered", "consent_given")

    assert imported(place, tmp_path, **ORDERED, vertical="general").replaced == 1
    later = {**ORDERED, "erasure_ordered_at": "2026-07-01T00:00:00.000000Z"}
    assert imported(place, tmp_path, **later, vertical="general").failed == 1
