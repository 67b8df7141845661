"""What is said of one decision about one person, from the state that rows leave."""

import pytest

from subject_pipeline.audit.segment import Evidence
from subject_pipeline.changes.registry_rows import RegistryRow
from subject_pipeline.decisions.policies import Policies
from subject_pipeline.lifecycle.judging import UNKNOWN, SubjectState, Verdict
from subject_pipeline_tests.helpers.decisions import DECIDED, decision, document

LATEST = "2026-12-31T00:00:00.000000Z"
ERASED = RegistryRow(Evidence(4, "", "erased"), {"kind": "erased", "recorded_at": DECIDED})
DELETED = RegistryRow(Evidence(4, "", "deleted"), {"kind": "deleted", "recorded_at": DECIDED})
REPLACED = RegistryRow(Evidence(5, "0" * 64, "present"), {"kind": "replaced", "recorded_at": DECIDED})


def test_only_who_was_erased_is_readmitted_and_nothing_else_is_decided_about_them() -> None:
    """None: there is no manifest after it, and nothing against it."""
    erased = SubjectState.of(None, [ERASED])
    assert (erased.erased, erased.judge(decision("readmitted"), Policies(), LATEST)) == (True, None)
    refused = Verdict("rejected", "erased: the person was erased; allowed is readmitted")
    assert erased.judge(decision("restricted"), Policies(), LATEST) == refused
    for unknown in (SubjectState(None), SubjectState.of(None, [DELETED])):
        for kind in ("readmitted", "restricted"):
            assert unknown.judge(decision(kind), Policies(), LATEST) == Verdict("rejected", UNKNOWN)


@pytest.mark.parametrize(("row", "since", "last"), [(ERASED, DECIDED, 4), (DELETED, DECIDED, 4), (REPLACED, "", 5)])
def test_the_time_of_a_deletion_counts_only_while_it_stands(row: RegistryRow, since: str, last: int) -> None:
    """A manifest says itself when it was changed."""
    state = SubjectState.of(document() if row is REPLACED else None, [ERASED, row])
    assert (state.since, state.last) == (since, last)
