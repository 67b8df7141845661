"""Decisions made in a test's store."""

import itertools
from typing import Any

from subject_pipeline.decisions.decision import parse_decision
from subject_pipeline.lifecycle.applying import Decisions
from subject_pipeline.store.opened import SubjectStore

_ids = itertools.count()


def decide(store: SubjectStore, candidate_id: str, kind: str, ts: str, **fields: Any) -> None:
    """Apply one decision, which must be allowed."""
    order = {"decision_id": f"decided-{next(_ids)}", "candidate_id": candidate_id, "kind": kind, "ts": ts,
             "actor": "ada", **fields}  # fmt: skip
    (verdict,) = Decisions(store, "tester").apply([parse_decision(order)])
    assert verdict.outcome == "applied", verdict
