"""A compliance report's numbers in long form, a row each: for files, and for further computing."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from subject_pipeline.audit.result_state import RESULT_STATES
from subject_pipeline.reports.numbers import ComplianceNumbers, Results


@dataclass(frozen=True, slots=True)
class Number:
    """One row of a report's numbers in long form.

    Attributes:
        section: which breakdown, such as `accesses_by_day`.
        name: the value that is broken down by, such as a day.
        part: a second one, such as a result; empty where there is none.
        value: the number; None where it is a text.
        text: a hash, a time or a reason; None where it is a number.
    """

    section: str
    name: str
    part: str = ""
    value: float | None = None
    text: str | None = None


def long_form(numbers: ComplianceNumbers) -> Iterator[Number]:
    """Every number of a report, a row each, in a fixed order."""
    subjects, accesses, reviews = numbers.subjects, numbers.accesses, numbers.subjects.reviews
    yield Number("report", "time", text=numbers.time.isoformat().replace("+00:00", "Z"))
    yield Number("report", "store", text=numbers.store)
    yield Number("report", "chunks", value=numbers.chunks)
    yield Number("report", "table_version", value=numbers.table_version)
    for name, value in numbers.headline.items():
        yield Number("headline", name, value=value)
    yield from _counts("subjects_by_status", subjects.by_status)
    yield from _counts("subjects_by_vertical", subjects.by_vertical)
    for scope, counts in reviews.consent.items():
        yield from _counts(f"subjects_by_{scope}_consent", counts)
    yield from _counts("consent_pending_by_age", reviews.pending)
    yield from _counts("subjects_by_policy", subjects.by_policy)
    yield from _counts("subjects_by_dataset", subjects.by_dataset)
    yield from _counts("retention_general_pii", subjects.retention)
    yield from _counts("retention_biometric", subjects.biometric_retention)
    yield from _counts("vanished_by_dataset", numbers.vanished or {})
    for month, kinds in accesses.decisions.items():
        yield from (Number("decisions_by_month", month, kind, count) for kind, count in kinds.items())
    yield from _results("accesses_by_day", {day.isoformat(): counts for day, counts in accesses.by_day.items()})
    yield from _counts("accesses_by_result", accesses.results)
    yield from _results("accesses_by_action", accesses.by_action)
    yield from _results("accesses_by_actor", accesses.by_actor)
    yield from _results("accesses_by_purpose", accesses.by_purpose)
    yield from _counts("accesses_for_other_purposes", accesses.other_purposes)
    yield from _counts("registry_rows_by_action", accesses.registry_rows)
    yield from _evidence(numbers)


def _evidence(numbers: ComplianceNumbers) -> Iterator[Number]:
    state, checkpoint, history = numbers.verification, numbers.checkpoint, numbers.history
    yield Number("verification", "mode", text="incremental")
    for name in ("chains", "rows", "broken", "unreadable", "problems"):
        yield Number("verification", name, value=getattr(state, name))
    yield from _counts("verification_problems_by_kind", state.by_kind)
    if checkpoint is not None:
        yield Number("checkpoint", "number", value=checkpoint.number)
        yield Number("checkpoint", "age_days", value=checkpoint.age_days)
        for name in ("root", "note_sha256", "time"):
            yield Number("checkpoint", name, text=getattr(checkpoint, name))
    if history is not None:
        since = history.full_since.isoformat().replace("+00:00", "Z") if history.full_since else "not every partition"
        yield Number("history", "fully_verified_since", text=since)
        yield Number("history", "partitions_never_fully_verified", value=len(history.never_full))
        yield from (Number("history", "red_partition", text=partition) for partition in history.red)


def _counts(section: str, counts: Mapping[str, int]) -> Iterator[Number]:
    for name, count in counts.items():
        yield Number(section, name, value=count)


def _results(section: str, rows: Mapping[str, Results]) -> Iterator[Number]:
    for name, counts in rows.items():
        for result in RESULT_STATES:
            yield Number(section, name, result, counts[result])
