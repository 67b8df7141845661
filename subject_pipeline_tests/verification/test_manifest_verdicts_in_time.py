import datetime as dt
from dataclasses import replace

import pytest

from subject_pipeline.verification.log_verdicts import EvidenceRow
from subject_pipeline.verification.manifest_verdicts import Recent
from subject_pipeline_tests.verification.test_manifest_verdicts import (
    ID,
    M0,
    M1,
    M2,
    NO,
    OTHER,
    deleted,
    judged,
    updated,
)

NOW = dt.datetime(2026, 6, 30, 12, tzinfo=dt.UTC)
RECENT = Recent.at(NOW)
MICROSECOND = dt.timedelta(microseconds=1)
FIVE = dt.timedelta(minutes=5)


def written(row: EvidenceRow, at: dt.datetime) -> EvidenceRow:
    """The row in a segment of this time."""
    return replace(row, written_at=f"{at:%Y-%m-%dT%H:%M:%S.%fZ}")


def kinds(actual: str, *rows: EvidenceRow, recent: Recent | None = RECENT) -> list[str]:
    """What is found of one subject."""
    return [one.kind for one in judged({ID: actual} if actual else {}, {}, {ID: rows}, recent=recent)]


@pytest.mark.parametrize(
    ("at", "kind"),
    [
        (NOW, "pending"),
        (NOW - FIVE, "pending"),
        (NOW - FIVE - MICROSECOND, "unapplied"),
        (NOW + FIVE, "pending"),
        (NOW + FIVE + MICROSECOND, "unapplied"),
    ],
)
def test_an_announcement_is_pending_for_five_minutes(at: dt.datetime, kind: str) -> None:
    """To either side of now, to the microsecond; where nobody says what now is, none is pending."""
    for actual, *before, row in ((M0, updated(M1, M0)), (NO, deleted(1), updated(M1, NO, 2)), (M0, deleted())):
        assert kinds(actual, *before, written(row, at)) == [kind]
        assert kinds(actual, *before, written(row, at), recent=None) == ["unapplied"]
        assert kinds(actual, *before, row) == ["unapplied"], "a segment that does not say when it was written"


def test_the_last_announcement_says_whether_it_is_under_way() -> None:
    """An older one before it makes nothing stale, a newer one before it nothing pending."""
    old, new = NOW - 2 * FIVE, NOW
    assert kinds(M0, written(updated(M1, M0, 1), old), written(updated(M2, M0, 2), new)) == ["pending"]
    assert kinds(M0, written(updated(M1, M0, 1), new), written(updated(M2, M0, 2), old)) == ["unapplied"]


def test_only_what_is_not_applied_can_be_pending() -> None:
    """A manifest that no announcement explains is broken, however young the last one is."""
    assert kinds(OTHER, written(updated(M1, M0), NOW)) == ["changed"]
    assert kinds(NO, written(updated(M1, M0), NOW)) == ["missing"]
    assert kinds(OTHER, updated(M1, M0, 4), written(deleted(), NOW)) == ["resurrected"]
    assert kinds(M1, written(updated(M1, M0), NOW)) == []
