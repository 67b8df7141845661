"""What a compliance report says, as values: how many, on which consent, until when, and who touched it.

It counts and names nobody, so it may lie where ids may not, and outlive anyone who is erased.

All of it is in this one file, longer than most, so that a report's whole content can be read from top to bottom.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from subject_pipeline.audit.result_state import RESULT_STATES
from subject_pipeline.lifecycle.lists.review_counts import ReviewCounts

PURPOSES = 10_000
"""Purposes are free text: at most so many are counted by name, those that the log has later are counted together."""

RECENT_DAYS = 30

OVERDUE = "overdue"
RETENTION_BANDS = (OVERDUE, "within_30_days", "within_90_days", "within_365_days", "later")
"""Disjoint, in the order of time: a date due in 31 days is `within_90_days` alone."""

Results = Mapping[str, int]
"""Accesses by result, each of the four present."""


@dataclass(frozen=True, slots=True)
class SubjectNumbers:
    """Counts over all manifests of one version of the table.

    Attributes:
        reviews: consents by status, each scope's most frequent first, and what waits for a decision.
        by_status: and the two after it: subjects by that field's value.
        by_dataset: subjects of each dataset; one of several counts in each, one of none under an empty name.
        retention: general personal data, subjects by `RETENTION_BANDS`.
        biometric_retention: the same of biometric data that is there and has such a date.
        overdue: subjects of whom anything is past its date, held or not, each once.
        pending_too_long: subjects whose consent is undecided for longer than `pending_days`.
        pending_days: how long consent may be undecided.
    """

    reviews: ReviewCounts = field(default_factory=ReviewCounts)
    by_status: Mapping[str, int] = field(default_factory=dict)
    by_vertical: Mapping[str, int] = field(default_factory=dict)
    by_policy: Mapping[str, int] = field(default_factory=dict)
    by_dataset: Mapping[str, int] = field(default_factory=dict)
    retention: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(RETENTION_BANDS, 0))
    biometric_retention: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(RETENTION_BANDS, 0))
    overdue: int = 0
    pending_too_long: int = 0
    pending_days: float = 0.0

    @property
    def subjects(self) -> int:
        """Manifests there are."""
        return self.reviews.subjects

    @property
    def consent_pending(self) -> int:
        """Subjects whose consent to general personal data is undecided."""
        return sum(self.reviews.pending.values())

    @property
    def overdue_unheld(self) -> int:
        """Subjects of whom anything is past its date, and whom no legal hold keeps."""
        return self.overdue - self.reviews.due_held

    def due_within(self, band: str) -> int:
        """General retention dates from the report's time up to the end of a band."""
        ahead = RETENTION_BANDS[1:-1]
        totals = dict(zip(ahead, accumulate(self.retention[one] for one in ahead), strict=True))
        return totals[band]


@dataclass(frozen=True, slots=True)
class AccessNumbers:
    """Counts over all rows of the logs as they are stored; whether they are genuine is verification's business.

    An access is a row that is not the registry's own (`manifest_*`).

    Attributes:
        by_day: accesses by UTC day and result, in the days' order.
        by_action: by action and result, the most frequent first.
        by_actor: likewise by actor.
        by_purpose: likewise by purpose, at most `PURPOSES` of them; accesses without one have an empty name.
        other_purposes: accesses for any further purpose, by result.
        recent: by result, of the last `RECENT_DAYS` days.
        registry_rows: rows of the registry's own, by action.
        decisions: by the month of their time, UTC, the latest first, then by kind, the most frequent first; what
            registration records by itself is no decision.
        erased: subjects whose last row of the registry's own is an erasure.
        subjects: who was accessed at all.
        unregistered: subjects that have rows other than denied ones, but neither a manifest nor a row that records its
            deletion.
        questionable: accesses that were answered although a consent was withdrawn, use was restricted, or erasure was
            ordered or done.
        segments: objects read.
        unreadable_rows: lines that are no row.
        unreadable_segments: why each object could not be read that the store did not give.
    """

    by_day: Mapping[dt.date, Results] = field(default_factory=dict)
    by_action: Mapping[str, Results] = field(default_factory=dict)
    by_actor: Mapping[str, Results] = field(default_factory=dict)
    by_purpose: Mapping[str, Results] = field(default_factory=dict)
    other_purposes: Results = field(default_factory=lambda: dict.fromkeys(RESULT_STATES, 0))
    recent: Results = field(default_factory=lambda: dict.fromkeys(RESULT_STATES, 0))
    registry_rows: Mapping[str, int] = field(default_factory=dict)
    decisions: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    erased: int = 0
    subjects: int = 0
    unregistered: int = 0
    segments: int = 0
    unreadable_rows: int = 0
    unreadable_segments: Sequence[str] = ()
    questionable: int = 0

    @property
    def results(self) -> dict[str, int]:
        """All accesses by result."""
        return {result: sum(one[result] for one in self.by_day.values()) for result in RESULT_STATES}

    @property
    def accesses(self) -> int:
        """All accesses."""
        return sum(self.results.values())


def rate(results: Results, result: str) -> float:
    """The share of a result, from 0 to 1; 0 where there was no access."""
    total = sum(results.values())
    return results[result] / total if total else 0.0


@dataclass(frozen=True, slots=True)
class VerificationState:
    """What the report's own incremental verification looked at and found.

    Attributes:
        chains: chains that were read and judged, which are those that changed since the checkpoint.
        rows: lines that were read.
        broken: chains that are not as they were written.
        unreadable: chains that the store did not give.
        problems: everything found.
        by_kind: what was found in chains, logs and manifests, by kind in the order of the alphabet.
    """

    chains: int = 0
    rows: int = 0
    broken: int = 0
    unreadable: int = 0
    problems: int = 0
    by_kind: Mapping[str, int] = field(default_factory=dict)

    @property
    def resurrected(self) -> int:
        """Manifests that stand although their chain says that they were deleted."""
        return self.by_kind.get("resurrected", 0)


@dataclass(frozen=True, slots=True)
class CheckpointState:
    """The last signed checkpoint, which everything was compared with.

    Attributes:
        note_sha256: of the whole signed note: quote it to fix the state of the store at that time.
        age_days: from its time to the report's.
    """

    number: int
    root: str
    note_sha256: str
    time: str
    age_days: float


@dataclass(frozen=True, slots=True)
class VerificationHistory:
    """What Dagster's event log knows of earlier verifications.

    Attributes:
        full_since: every partition was fully verified at this time or later; None: not every one ever was.
        never_full: partitions that no recorded full verification covers, sorted.
        red: partitions whose last verification found something, sorted.
    """

    full_since: dt.datetime | None
    never_full: Sequence[str] = ()
    red: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class ComplianceNumbers:
    """One report's numbers as of its time.

    Attributes:
        time: of the report, UTC.
        store: the store's address, without credentials.
        chunks: how many the store has; 0: nothing was ever written.
        table_version: of the manifests' table; None where there is none.
        checkpoint: None where there is none, or none that holds.
        history: None where Dagster's event log was not at hand.
        certificates: of erasures, that lie in the store.
        vanished: by dataset, subjects that were not in its source when all of its rows were last read; None where
            Dagster's event log was not at hand.
    """

    time: dt.datetime
    store: str
    chunks: int
    table_version: int | None
    subjects: SubjectNumbers
    accesses: AccessNumbers
    verification: VerificationState
    checkpoint: CheckpointState | None
    history: VerificationHistory | None = None
    certificates: int = 0
    vanished: Mapping[str, int] | None = None

    @property
    def headline(self) -> dict[str, int | float]:
        """The numbers to watch over time."""
        subjects, accesses, reviews = self.subjects, self.accesses, self.subjects.reviews
        numbers: dict[str, int | float] = {
            "subjects": subjects.subjects,
            "retention_overdue": subjects.overdue,
            "retention_overdue_held": reviews.due_held,
            "retention_due_30_days": subjects.due_within("within_30_days"),
            "retention_due_90_days": subjects.due_within("within_90_days"),
            "retention_due_365_days": subjects.due_within("within_365_days"),
            "consent_pending": subjects.consent_pending,
            "consent_pending_too_long": subjects.pending_too_long,
            "held": reviews.held,
            "restricted": reviews.restricted,
            "erasure_ordered": reviews.ordered,
            "erased": accesses.erased,
            "certificates": self.certificates,
            "resurrected": self.verification.resurrected,
            "accesses": accesses.accesses,
            "accesses_30_days": sum(accesses.recent.values()),
            "denied_rate": round(rate(accesses.results, "denied"), 6),
            "error_rate": round(rate(accesses.results, "error"), 6),
            "denied_rate_30_days": round(rate(accesses.recent, "denied"), 6),
            "error_rate_30_days": round(rate(accesses.recent, "error"), 6),
            "accessed_subjects": accesses.subjects,
            "unregistered_subjects": accesses.unregistered,
            "questionable_accesses": accesses.questionable,
            "unreadable_rows": accesses.unreadable_rows,
            "unreadable_segments": len(accesses.unreadable_segments),
            "verification_problems": self.verification.problems,
        }
        if self.vanished is not None:
            numbers["vanished"] = sum(self.vanished.values())
        if self.checkpoint is not None:
            numbers["checkpoint"] = self.checkpoint.number
            numbers["checkpoint_age_days"] = round(self.checkpoint.age_days, 3)
        return numbers
