import datetime as dt
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from subject_pipeline.manifests.frames import to_rows
from subject_pipeline.manifests.manifest import SubjectManifest
from subject_pipeline.reports import counting
from subject_pipeline.reports.counting import (
    MANIFEST_COLUMNS,
    ROW_SCHEMA,
    AccessCounts,
    SegmentCounts,
    SubjectCounts,
)
from subject_pipeline.reports.long_form import long_form
from subject_pipeline.reports.numbers import (
    AccessNumbers,
    CheckpointState,
    ComplianceNumbers,
    SubjectNumbers,
    VerificationState,
    rate,
)
from subject_pipeline.store.chunks import ChunkLayout

NOW = dt.datetime(2026, 11, 24, 3, 15, tzinfo=dt.UTC)
LAYOUT = ChunkLayout(1)
SECOND = dt.timedelta(seconds=1)


def subject(candidate_id: str, until: dt.datetime, **fields: Any) -> SubjectManifest:
    """A manifest whose retention ends at a time."""
    value = {"candidate_id": candidate_id, "created_at": NOW, "updated_at": NOW, "schema": "subject_manifest.v1"}
    return SubjectManifest.parse({**value, "retention": {"general_pii_until": until}, **fields})


def counted(*manifests: SubjectManifest, pending_days: float = 30) -> SubjectNumbers:
    """Their numbers."""
    counts = SubjectCounts(NOW, pending_days)
    counts.add(to_rows(manifests, LAYOUT).select(MANIFEST_COLUMNS))
    return counts.numbers()


def rows(*values: tuple[Any, ...]) -> pl.DataFrame:
    """Rows of a segment."""
    return pl.DataFrame(values, schema=ROW_SCHEMA, orient="row")


def row(candidate_id: str = "a", ts: str = "2026-11-24T00:00:00.000000Z", actor: str | None = "ada",
        action: str = "read", result: str = "success", purpose: str | None = None,
        kind: str | None = None) -> tuple[Any, ...]:  # fmt: skip
    """One row."""
    return candidate_id, ts, actor, action, result, purpose, {"kind": kind}


def accessed(*segments: pl.DataFrame, registered: tuple[str, ...] = ()) -> AccessNumbers:
    """The numbers of one chunk."""
    counts = AccessCounts(NOW)
    counts.add([SegmentCounts.of(one) for one in segments], pl.Series(registered, dtype=pl.String))
    return counts.numbers()


def test_retention_is_overdue_from_its_second_on() -> None:
    """A date that is the report's time is overdue, one after it is not yet, and bands end with their last second."""
    days = {0: NOW, -1: NOW - SECOND, 30: NOW + dt.timedelta(days=30), 31: NOW + dt.timedelta(days=30, seconds=1)}
    days |= {90: NOW + dt.timedelta(days=90), 365: NOW + dt.timedelta(days=365)}
    days |= {366: NOW + dt.timedelta(days=365, seconds=1)}
    numbers = counted(*(subject(f"P-{name}", until) for name, until in days.items()))
    assert numbers.retention == {
        "overdue": 2,
        "within_30_days": 1,
        "within_90_days": 2,
        "within_365_days": 1,
        "later": 1,
    }
    assert [numbers.due_within(f"within_{name}_days") for name in (30, 90, 365)] == [1, 3, 4]


def test_biometric_data_has_its_own_date() -> None:
    """Who has no such date is in no band, nor who has no such data left; who is overdue in both is one subject."""
    past = NOW - dt.timedelta(days=10)
    both = {"biometric": {"status": "given", "retention_until": past}}
    later, gone = NOW + SECOND, {"biometric": {"status": "destroyed", "retention_until": past}}
    numbers = counted(
        subject("both", past, consent=both),
        subject("late", later, consent=both),
        subject("gone", later, consent=gone),
        subject("none", later),
    )
    assert numbers.biometric_retention["overdue"] == 2
    assert sum(numbers.biometric_retention.values()) == 2
    assert numbers.overdue == 2
    assert numbers.reviews.due == {"general_pii": 1, "biometric": 2}


def test_who_is_overdue_and_held_waits_for_nobody() -> None:
    """Both are counted; what is left to do is about the others."""
    hold = {"hold_id": "H-1", "placed_at": "2026-11-01T00:00:00Z"}
    numbers = counted(subject("held", NOW, holds=[hold]), subject("late", NOW), subject("no", NOW + SECOND))
    assert (numbers.overdue, numbers.reviews.due_held, numbers.overdue_unheld) == (2, 1, 1)


def test_consent_is_pending_too_long_after_so_many_days() -> None:
    """From the manifest's making on; a decided one never is."""
    old, young = NOW - dt.timedelta(days=30, seconds=1), NOW - dt.timedelta(days=30)
    pending = "pending_backfill_review"
    consents = {"old": (pending, old), "young": (pending, young), "given": ("given", old)}
    numbers = counted(
        *(
            subject(name, NOW, created_at=made, consent={"general_pii": {"status": status}})
            for name, (status, made) in consents.items()
        )
    )
    assert numbers.consent_pending == 2
    assert numbers.pending_too_long == 1


def test_frames_add_up() -> None:
    """Of several frames everybody is counted once, and the most frequent value comes first."""
    counts = SubjectCounts(NOW, 30)
    for part in range(3):
        verticals = ["general"] if part == 0 else ["healthcare", "general"]
        manifests = [subject(f"P-{part}-{one}", NOW, vertical=one) for one in verticals]
        counts.add(to_rows(manifests, LAYOUT).select(MANIFEST_COLUMNS))
    numbers = counts.numbers()
    assert numbers.overdue == numbers.subjects == 5
    assert list(numbers.by_vertical.items()) == [("general", 3), ("healthcare", 2)]
    assert numbers.reviews.consent["general_pii"] == {"pending_backfill_review": 5}


def test_decisions_are_counted_by_month_and_kind() -> None:
    """In the month of their own time, the latest first; what the registry records by itself is none."""

    def decided(kind: str | None, ts: str = "2026-10-31T23:59:59.999999Z") -> tuple[Any, ...]:
        return row(action="manifest_updated", kind=kind, ts=ts)

    kinds = ["hold_placed", "consent_given", "consent_given", "registered", "linked", "replaced", None, "made_up"]
    november = decided("erasure_ordered", "2026-11-01T00:00:00.000000Z")
    numbers = accessed(rows(*map(decided, kinds), row(kind="classified"), november))
    assert [(month, list(kinds.items())) for month, kinds in numbers.decisions.items()] == [
        ("2026-11", [("erasure_ordered", 1)]),
        ("2026-10", [("consent_given", 2), ("hold_placed", 1)]),
    ]


def test_who_stays_erased_is_counted() -> None:
    """Whose last row of the registry's own is the erasure, in whichever segment; nobody of them is unregistered."""

    def gone(candidate_id: str, kind: str) -> tuple[Any, ...]:
        return row(candidate_id, action="manifest_deleted", kind=kind)

    numbers = accessed(
        rows(gone("stays", "erased"), gone("back", "erased"), gone("deleted", "deleted")),
        rows(gone("back", "readmitted"), row("stays", result="denied")),
    )
    assert (numbers.erased, numbers.unregistered) == (1, 0)


def test_the_registrys_own_rows_are_no_accesses() -> None:
    """They are counted by action; a subject who has nothing else was not accessed, and is known to the log."""
    numbers = accessed(rows(row("a"), row("b", action="manifest_updated"), row("b", action="manifest_updated")))
    assert numbers.accesses == 1
    assert numbers.registry_rows == {"manifest_updated": 2}
    assert numbers.subjects == 1
    assert numbers.unregistered == 2


def test_who_was_deleted_is_not_unregistered() -> None:
    """A deletion announced last excuses the missing manifest; one that a change follows does not."""
    numbers = accessed(
        rows(row("gone"), row("back"), row("back", action="manifest_deleted"), row("here")),
        rows(row("gone", action="manifest_deleted"), row("back", action="manifest_updated")),
        registered=("here",),
    )
    assert numbers.unregistered == 1, "the one that is back"


def test_rows_that_are_none_are_counted_apart() -> None:
    """A missing field, an unknown result and a day that no calendar has make a row unreadable, and nothing else."""
    bad = [row(actor=None), row(result="fine"), row(ts="2026-13-01T00:00:00Z"), row(ts="yesterday")]
    numbers = accessed(rows(row(), *bad))
    assert (numbers.accesses, numbers.unreadable_rows) == (1, 4)


def test_the_last_thirty_days_end_today() -> None:
    """Today is the thirtieth; what is older, or yet to come, is in the whole alone."""
    days = ["2026-10-25", "2026-10-26", "2026-11-24", "2026-11-25"]
    numbers = accessed(rows(*(row(ts=f"{day}T12:00:00.000000Z", result="denied") for day in days)))
    assert (numbers.accesses, numbers.recent["denied"]) == (4, 2)
    assert [day.isoformat() for day in numbers.by_day] == days


ANY_ROW = st.builds(
    row,
    st.sampled_from(["a", "b", "c", "=d"]),
    st.sampled_from(["2026-11-24T00:00:00Z", "2026-11-01T10:00:00Z", "never"]),
    st.sampled_from(["ada", "bob", None]),
    st.sampled_from(["read", "export", "manifest_updated", "manifest_deleted"]),
    st.sampled_from(["success", "denied", "error", "not_found", "other"]),
    st.sampled_from(["audit", "care", "research", "<b>", "", None]),
    st.sampled_from(["hold_placed", "erased", "registered", None]),
)


@pytest.mark.long
@given(st.lists(ANY_ROW, min_size=1, max_size=30), st.data())
def test_numbers_do_not_depend_on_where_segments_end(values: list[tuple[Any, ...]], data: st.DataObject) -> None:
    """One segment or several of the same rows in the same order give the same numbers, but for the segments' own."""
    at = data.draw(st.integers(0, len(values)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counting, "PURPOSES", data.draw(st.integers(0, 6)))
        one, two = accessed(rows(*values), registered=("a",)), accessed(
            rows(*values[:at]), rows(*values[at:]), registered=("a",)
        )  # fmt: skip
    assert (one.segments, two.segments) == (1, 2)
    same = [
        "by_day",
        "by_action",
        "by_actor",
        "by_purpose",
        "other_purposes",
        "recent",
        "registry_rows",
        "decisions",
        "erased",
        "subjects",
    ]
    for name in [*same, "unregistered", "unreadable_rows"]:
        assert getattr(one, name) == getattr(two, name), name
    assert one.accesses + sum(one.registry_rows.values()) + one.unreadable_rows == len(values)
    assert sum(sum(counts.values()) for counts in one.by_actor.values()) == one.accesses
    by_purpose = sum(sum(counts.values()) for counts in [*one.by_purpose.values(), one.other_purposes])
    assert by_purpose == one.accesses


def test_purposes_are_counted_as_they_were_given() -> None:
    """By result, the most frequent first; those without one have an empty name, the registry's rows none."""
    numbers = accessed(
        rows(
            row(purpose="care"), row(purpose="care", result="denied"), row(purpose=""), row(), row(),
            row(purpose="x" * 5_000), row(action="manifest_updated", purpose="care"),
        )
    )  # fmt: skip
    none = dict.fromkeys(("success", "error", "denied", "not_found"), 0)
    assert list(numbers.by_purpose.items()) == [
        ("", {**none, "success": 3}),
        ("care", {**none, "success": 1, "denied": 1}),
        ("x" * 1_024, {**none, "success": 1}),
    ]
    assert numbers.other_purposes == none


def test_purposes_beyond_ten_thousand_are_counted_together() -> None:
    """Those that the log has first are named, every access is counted, and a named purpose is counted to the end."""
    first = rows(*(row(purpose=f"ticket {number}") for number in range(9_999)))
    second = rows(*(row(purpose=f"ticket {number}", result="denied") for number in range(9_990, 10_010)))
    numbers = accessed(first, second)
    assert len(numbers.by_purpose) == 10_000
    assert numbers.by_purpose["ticket 9990"] == {"success": 1, "error": 0, "denied": 1, "not_found": 0}
    assert "ticket 9999" in numbers.by_purpose
    assert "ticket 10000" not in numbers.by_purpose
    assert numbers.other_purposes["denied"] == 10


def test_a_subject_counts_in_each_of_its_datasets_once() -> None:
    """Two keys of one dataset are one, and who is in none is under an empty name."""
    refer = {"key_column": "id", "key_value": "1"}
    both = [{"name": "workers", **refer}, {"name": "agents", **refer}, {"name": "workers", **refer, "key_value": "2"}]
    numbers = counted(
        subject("both", NOW, datasets=both), subject("one", NOW, datasets=both[:1]), subject("none", NOW)
    )  # fmt: skip
    assert list(numbers.by_dataset.items()) == [("workers", 2), ("", 1), ("agents", 1)]


def test_the_long_form_has_every_number_once() -> None:
    """No section repeats a name and part, every row has a number or a text, and the headline is in it."""
    numbers = ComplianceNumbers(
        NOW,
        "file:///store",
        4,
        7,
        counted(subject("a", NOW), subject("b", NOW - SECOND)),
        accessed(
            rows(
                row("a"),
                row("a", action="export", result="denied", purpose="care"),
                row("b", actor="bob"),
                row("b", action="manifest_updated", kind="hold_placed"),
            )
        ),
        VerificationState(2, 3, problems=1, by_kind={"bad_mac": 1}),
        CheckpointState(1, "ab", "cd", "2026-11-23T00:00:00Z", 1.0),
    )
    found = list(long_form(numbers))
    keys = [(one.section, one.name, one.part) for one in found]
    assert len(set(keys)) == len(keys)
    assert all((one.value is None) != (one.text is None) for one in found)
    values = {(one.section, one.name, one.part): one.value for one in found}
    assert values["accesses_by_action", "export", "denied"] == 1
    assert values["accesses_by_day", "2026-11-24", "success"] == 2
    assert values["accesses_by_purpose", "care", "denied"] == 1
    assert values["accesses_by_purpose", "", "success"] == 2
    assert values["accesses_for_other_purposes", "denied", ""] == 0
    assert values["subjects_by_dataset", "", ""] == 2
    assert values["decisions_by_month", "2026-11", "hold_placed"] == 1
    assert values["consent_pending_by_age", "under_30_days", ""] == 2
    assert values["verification_problems_by_kind", "bad_mac", ""] == 1
    assert {name: values["headline", name, ""] for name in numbers.headline} == numbers.headline
    assert numbers.headline["denied_rate"] == round(1 / 3, 6)
    assert rate(dict.fromkeys(("success", "error", "denied", "not_found"), 0), "denied") == 0
