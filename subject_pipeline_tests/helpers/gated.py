"""A store behind the gate: people, decisions about them, and the rows that the gate leaves."""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from subject_pipeline.audit.log import AuditLog
from subject_pipeline.formats.times import format_time
from subject_pipeline.gate import SubjectGate
from subject_pipeline.gate.policy_file import read_policy
from subject_pipeline.lifecycle.erasure.erasing import Erasures
from subject_pipeline.lifecycle.erasure.group import Order
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline_tests.helpers.audit_stores import Place, manifest, place_in, rows_of
from subject_pipeline_tests.helpers.decided import decide

GIVEN = {
    "consent": {"general_pii": {"status": "given", "version": "1"}, "biometric": {"status": "never_collected"}},
    "vertical": "general",
}
"""Whom the purpose `scheduling` may show."""

POLICY = """\
purposes:
  scheduling: {consent: {general_pii: [given]}, verticals: [general], statuses: [active], others: drop}
  payroll: {consent: {general_pii: [given]}, verticals: [general]}
ids: {worker_id: W-, candidate_id: ""}
"""


def days(count: float) -> str:
    """So many days before now: when something was decided that counts as done by now."""
    return format_time(dt.datetime.now(dt.UTC) - dt.timedelta(days=count))


@dataclass(frozen=True, slots=True)
class Gated:
    """A place whose people may be shown, and the policy's file."""

    place: Place
    policy: Path

    def open(self, policy: str = POLICY, place: Place | None = None) -> SubjectGate:
        """A gate of the store as another process opens it, but for its hooks."""
        self.policy.write_text(policy, encoding="utf-8")
        where = place or self.place
        return SubjectGate(AuditLog(where.fresh_store()), read_policy(self.policy), actor="assistant")

    def opened(self, **options: Any) -> SubjectGate:
        """A gate of the store by its address."""
        self.policy.write_text(POLICY, encoding="utf-8")
        return SubjectGate.open(
            str(self.place.folder), policy=self.policy, key_ring=self.place.ring.path, actor="assistant", **options
        )

    def put(self, *candidate_ids: str, **fields: Any) -> None:
        """Register people, or change them without an order."""
        registry = self.place.registry()
        for one in candidate_ids:
            registry.put(manifest(one, **{**GIVEN, **fields}))

    def decide(self, candidate_id: str, kind: str, **fields: Any) -> None:
        """Record and apply a decision, as another process does."""
        store = SubjectStore.at(str(self.place.folder), ring=self.place.fresh_ring())
        decide(store, candidate_id, kind, days(0), **fields)

    def withdraw(self, candidate_id: str) -> None:
        """The person withdraws their consent."""
        self.decide(candidate_id, "consent_withdrawn", scope="general_pii")

    def erase(self, candidate_id: str) -> None:
        """The person is erased."""
        store = SubjectStore.at(str(self.place.folder), ring=self.place.fresh_ring())
        assert Erasures(store, "tester").erase([candidate_id], Order("tester")).erased == 1

    def rows(self, candidate_id: str | None = None) -> list[dict[str, Any]]:
        """The rows of accesses, of all or of somebody."""
        return [
            row
            for row in rows_of(self.place.objects)
            if not row["action"].startswith("manifest_") and candidate_id in {None, row["candidate_id"]}
        ]

    def results(self, candidate_id: str) -> list[str]:
        """The results of somebody's accesses; of a denial its reason."""
        return [row.get("reason", row["result"]) for row in self.rows(candidate_id)]


def gated_in(folder: Path, *candidate_ids: str) -> Gated:
    """A store of four chunks with hooks, whose people may be shown."""
    made = Gated(place_in(folder), folder / "gate.yaml")
    made.put(*candidate_ids)
    return made
