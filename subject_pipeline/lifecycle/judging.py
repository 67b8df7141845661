"""Judging one subject's decisions, one after the other, upon what its chain records: pure, nothing is written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from subject_pipeline.changes.registry_rows import RegistryRow
from subject_pipeline.decisions.decision import Decision, Kind, matter_of
from subject_pipeline.decisions.policies import Policies
from subject_pipeline.decisions.transitions import apply, four_eyes
from subject_pipeline.errors import DecisionError

ADDED = frozenset({"recorded_at", "policies_sha256", "changes"})
"""What a row's `decision` holds beside the order itself."""


class Verdict(NamedTuple):
    """What became of one decision.

    Attributes:
        outcome: applied now, or before; or rejected.
        reason: why it was rejected, in words; empty where it was not.
    """

    outcome: Literal["applied", "already_applied", "rejected"]
    reason: str = ""


APPLIED, ALREADY_APPLIED = Verdict("applied"), Verdict("already_applied")


def rejected(reason: str) -> Verdict:
    """A decision that is not applied, and why."""
    return Verdict("rejected", reason)


@dataclass(slots=True)
class SubjectState:
    """One subject while its decisions are judged.

    Attributes:
        document: the manifest's JSON as it must be now; None: there is none.
        last: the seq of the last registry row; -1: there is none.
        since: the time of the last deletion, where that is the last registry row.
        erased: whether the last registry row is an erasure.
        orders: what was decided so far, by decision id.
        matters: the latest time decided for each matter.
    """

    document: Mapping[str, Any] | None
    last: int = -1
    since: str = ""
    erased: bool = False
    orders: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    matters: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, document: Mapping[str, Any] | None, rows: Sequence[RegistryRow]) -> "SubjectState":
        """The state that registry rows leave, with the manifest that they give."""
        state = cls(document)
        for row in rows:
            if "decision_id" in row.decision:
                state.note({name: value for name, value in row.decision.items() if name not in ADDED})
        if rows:
            evidence, decision = rows[-1]
            state.last, state.erased = evidence.seq, evidence.state == "erased"
            state.since = str(decision.get("recorded_at", "")) if evidence.deleted else ""
        return state

    def note(self, order: Mapping[str, Any]) -> None:
        """Remember a decision that is recorded."""
        self.orders[order["decision_id"]] = order
        matter = matter_of(order)
        if matter is not None:
            self.matters[matter] = max(self.matters.get(matter, ""), order["ts"])

    def judge(self, decision: Decision, policies: Policies, latest: str) -> dict[str, Any] | Verdict | None:
        """The manifest after a decision, None where it leaves none; or the verdict where it is not to be applied now.

        Args:
            decision: about this subject.
            policies: the store's.
            latest: a decision that claims a later time than this is rejected.
        """
        known = self.orders.get(decision.decision_id)
        if known is not None:
            return ALREADY_APPLIED if known == decision.order else rejected(_CONFLICTING)
        reason = self._refusal(decision, latest)
        if reason is not None:
            return rejected(reason)
        try:
            if self.document is not None:
                return apply(self.document, decision, policies)
        except DecisionError as error:
            return rejected(str(error))
        reason = four_eyes(decision, policies)
        return None if reason is None else rejected(reason)

    def _refusal(self, decision: Decision, latest: str) -> str | None:
        """Why a decision cannot be applied, whatever it does."""
        if decision.ts > latest:
            return "future: its time is more than five minutes ahead"
        if self.document is None and not (self.erased and decision.kind == Kind.READMITTED):
            return "erased: the person was erased; allowed is readmitted" if self.erased else UNKNOWN
        matter = decision.matter
        if matter is not None and decision.ts < self.matters.get(matter, ""):
            return f"stale: a decision on the same matter ({matter}) of {self.matters[matter]} is recorded"
        return None


_CONFLICTING = "conflicting: a decision of this subject with this id and other content is recorded"
UNKNOWN = "unknown subject: no manifest carries this id"
