"""What the log says of manifests, replayed with the standard library, and writers that die between log and table."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from subject_pipeline.manifests.commits import Commits
from subject_pipeline.manifests.frames import to_manifest
from subject_pipeline.manifests.table import ManifestTable
from subject_pipeline.objects.protocol import ObjectStore
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline_tests.helpers.audit_stores import PlugPulledError, rows_of

States = dict[str, dict[str, Any]]
"""Manifests' JSON by candidate id; anyone who is not in it has none."""


def hash_of(document: Mapping[str, Any]) -> str:
    """SHA-256 of canonical JSON, for documents of plain texts and integers."""
    text = json.dumps(document, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def registry_rows_of(objects: ObjectStore, candidate_id: str | None = None) -> list[dict[str, Any]]:
    """The registry's rows of everybody, or of one, in the logs' order."""
    return [row for row in rows_of(objects) if "decision" in row and candidate_id in {None, row["candidate_id"]}]


def decisions_of(objects: ObjectStore, candidate_id: str) -> list[str]:
    """The kinds of what was decided about somebody, in order."""
    return [row["decision"]["kind"] for row in registry_rows_of(objects, candidate_id)]


def table_of(store: SubjectStore) -> States:
    """The table's manifests; each person is there once."""
    snapshot = ManifestTable(store).snapshot()
    rows = [] if snapshot is None else list(snapshot.rows().iter_rows(named=True))
    found = {row["candidate_id"]: to_manifest(row).as_json() for row in rows}
    assert len(found) == len(rows), "somebody is there twice"
    return found


def replay(objects: ObjectStore, first: States) -> States:
    """Apply every registry row to the manifests before the first; each must give the hash that it names, and grow.

    Args:
        objects: the store's.
        first: the manifests of first registrations, which have no row.
    """
    states, times = dict(first), {name: one["updated_at"] for name, one in first.items()}
    for row in registry_rows_of(objects):
        name, decision = row["candidate_id"], row["decision"]
        assert decision["recorded_at"] > times.get(name, ""), row
        times[name] = decision["recorded_at"]
        if row["action"] == "manifest_deleted":
            assert decision.keys() == {"kind", "recorded_at"}
            assert (decision["kind"], name in states) == ("deleted", True), row
            del states[name]
            continue
        if "decision_id" not in decision:
            linked = {"dataset"} if decision["kind"] == "linked" else set()
            assert decision.keys() == {"kind", "recorded_at", "changes"} | linked
            assert decision["kind"] in ({"replaced", "linked"} if name in states else {"registered"}), row
        document = states.get(name, {}) | decision["changes"]
        states[name] = {
            field: value for field, value in document.items() if decision["changes"].get(field, 0) is not None
        }
        assert hash_of(states[name]) == row["manifest_sha256"], row
        assert states[name]["updated_at"] == decision["recorded_at"]
    return states


@contextmanager
def plug_pulled() -> Iterator[None]:
    """Nothing is committed to the table meanwhile: what is recorded is recorded, and its writer is gone."""

    def killed(*_: Any) -> None:
        raise PlugPulledError("the plug was pulled")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Commits, "settle", killed)
        yield
