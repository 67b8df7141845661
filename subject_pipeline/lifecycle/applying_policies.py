"""What other policies would mean for the manifests that there are: counted, and nothing is moved."""

import datetime as dt
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from subject_pipeline.decisions.decision import BIOMETRIC, GENERAL_PII
from subject_pipeline.decisions.policies import Policies
from subject_pipeline.decisions.retention import biometric_ends, general_ends, holds_biometrics
from subject_pipeline.formats.times import format_time
from subject_pipeline.lifecycle.lists.life_columns import CONSENT, LIFE_COLUMNS, POLICY, UNTIL, Frames, added
from subject_pipeline.lifecycle.lists.reading import read_manifests
from subject_pipeline.store.opened import SubjectStore

_GENERAL = pl.col("consent").struct.field(GENERAL_PII).struct
_CLOCK = {
    "created_at": pl.col("created_at"),
    "given_at": _GENERAL.field("given_at"),
    "withdrawn_at": _GENERAL.field("withdrawn_at"),
    "policy": POLICY,
    "last_interaction_at": added("retention.last_interaction_at"),
    "status": CONSENT[BIOMETRIC],
    **{
        f"biometric_{name}": added(f"consent.biometric.{name}")
        for name in ("given_at", "withdrawn_at", "until", "policy")
    },
    GENERAL_PII: UNTIL[GENERAL_PII],
    BIOMETRIC: UNTIL[BIOMETRIC],
}
"""What dates depend on, and the dates. Of many subjects it is the same: those registered in one run have one."""


@dataclass(frozen=True, slots=True)
class PolicyEffect:
    """What policies would change.

    Attributes:
        subjects: how many there are.
        dates_differ: of how many a date would be another if it were computed now.
        undeclared: how many carry a policy or a vertical that is not declared.
        undeclared_policies: subjects by such a policy; of two that one subject carries, each is counted.
        undeclared_verticals: subjects by such a vertical.
    """

    subjects: int = 0
    dates_differ: int = 0
    undeclared: int = 0
    undeclared_policies: Mapping[str, int] = field(default_factory=Counter)
    undeclared_verticals: Mapping[str, int] = field(default_factory=Counter)


def effect_of(store: SubjectStore, policies: Policies) -> PolicyEffect:
    """What policies would change for all manifests of a store, in memory that does not grow with their number.

    Raises:
        AmbiguousSubjectError: the table has a row that no honest writer makes.
        StoreError: the store failed.
    """
    return read_manifests(store, LIFE_COLUMNS, lambda frames: _counted(frames, policies))


def _counted(frames: Frames, policies: Policies) -> PolicyEffect:
    subjects = differ = undeclared = 0
    by_policy: Counter[str] = Counter()
    by_vertical: Counter[str] = Counter()
    general = list(policies.vocabulary["retention.policy"])
    biometric = [name for name, policy in policies.retention.items() if policy.scope == BIOMETRIC]
    verticals = list(policies.vocabulary["vertical"])
    for rows in frames:
        subjects += rows.height
        differ += _differing(rows, policies)
        other = rows.select(
            policy=_unless(POLICY, general),
            biometric=_unless(added("consent.biometric.policy"), biometric),
            vertical=_unless(pl.col("vertical"), verticals),
        )
        undeclared += other.filter(pl.any_horizontal(pl.all().is_not_null())).height
        for name, counts in (("policy", by_policy), ("biometric", by_policy), ("vertical", by_vertical)):
            counts.update(dict(other.drop_nulls(name).group_by(name).len().iter_rows()))
    return PolicyEffect(subjects, differ, undeclared, by_policy, by_vertical)


def _unless(word: pl.Expr, declared: list[str]) -> pl.Expr:
    """A word that is not declared; null where it is."""
    return pl.when(~word.is_in(declared)).then(word)


def _differing(rows: pl.DataFrame, policies: Policies) -> int:
    """How many have another date than the policies give: the clock is asked once for all who have the same."""
    same = rows.select(value.alias(name) for name, value in _CLOCK.items()).group_by(pl.all()).len("subjects")
    return sum(clock["subjects"] for clock in same.iter_rows(named=True) if _differs(clock, policies))


def _differs(clock: Mapping[str, object], policies: Policies) -> bool:
    consent = {"given_at": _text(clock["given_at"]), "withdrawn_at": _text(clock["withdrawn_at"])}
    names = ("given_at", "withdrawn_at", "until", "policy")
    document = {
        "created_at": _text(clock["created_at"]),
        "consent": {
            GENERAL_PII: consent,
            BIOMETRIC: {"status": clock["status"], **{name: clock[f"biometric_{name}"] for name in names}},
        },
        "retention": {"policy": clock["policy"], "last_interaction_at": clock["last_interaction_at"]},
    }
    ends = {GENERAL_PII: general_ends(document, policies)}
    if holds_biometrics(document):
        ends[BIOMETRIC] = biometric_ends(document, policies)
    return any(end is not None and end.time != _text(clock[scope]) for scope, end in ends.items())


def _text(time: object) -> str | None:
    """A time of the table as a manifest's JSON has it."""
    return format_time(time) if isinstance(time, dt.datetime) else None
