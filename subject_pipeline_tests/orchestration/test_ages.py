import datetime as dt

from hypothesis import given
from hypothesis import strategies as st

from subject_pipeline.orchestration.ages import freshness

NOW = dt.datetime(2026, 11, 24, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)


def test_what_is_within_the_limit_is_fresh() -> None:
    """The limit itself is still recent; a moment more is not."""
    last = {"a": NOW - 8 * DAY, "b": NOW - 8 * DAY - dt.timedelta(seconds=1)}
    found = freshness(last, ["a", "b"], now=NOW, within=8 * DAY)
    assert [one.partition for one in found.stale] == ["b"]
    assert found.oldest_days is not None
    assert found.oldest_days > 8


def test_what_never_was_comes_first_then_the_oldest() -> None:
    """The table begins with what is worst."""
    last = {"b": NOW - 10 * DAY, "c": NOW - 20 * DAY, "d": NOW}
    found = freshness(last, ["a", "b", "c", "d"], now=NOW, within=8 * DAY)
    assert [(one.partition, one.days) for one in found.stale] == [("a", None), ("c", 20), ("b", 10)]
    assert (found.never, found.oldest_days) == (1, 20)


def test_nothing_known_is_stale() -> None:
    """Silence since the beginning is no health."""
    found = freshness({}, ["a"], now=NOW, within=DAY)
    assert (len(found.stale), found.never, found.oldest_days) == (1, 1, None)


def test_partitions_that_are_no_more_are_ignored() -> None:
    """Only what is asked about counts."""
    assert freshness({"gone": NOW - 99 * DAY, "a": NOW}, ["a"], now=NOW, within=DAY).stale == []


def test_a_clock_that_was_set_back_makes_no_negative_age() -> None:
    """What lies in the future was just done."""
    found = freshness({"a": NOW + DAY}, ["a"], now=NOW, within=DAY)
    assert (found.stale, found.oldest_days) == ([], 0)


@given(st.dictionaries(st.sampled_from("abcdef"), st.floats(0, 30)), st.floats(1, 20))
def test_every_partition_is_either_fresh_or_stale(ages: dict[str, float], within: float) -> None:
    """Stale are exactly those unknown or beyond the limit."""
    last = {name: NOW - dt.timedelta(days=age) for name, age in ages.items()}
    limit = dt.timedelta(days=within)
    found = freshness(last, "abcdef", now=NOW, within=limit)
    assert {one.partition for one in found.stale} == {
        name for name in "abcdef" if name not in last or NOW - last[name] > limit
    }
