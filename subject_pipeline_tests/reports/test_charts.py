import datetime as dt
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subject_pipeline.audit.result_state import RESULT_STATES
from subject_pipeline.lifecycle.lists.review_counts import ReviewCounts
from subject_pipeline.reports.charts import (
    COLUMNS,
    WIDTH,
    Chart,
    accesses_chart,
    actors_chart,
    retention_chart,
)
from subject_pipeline.reports.numbers import (
    RETENTION_BANDS,
    AccessNumbers,
    ComplianceNumbers,
    SubjectNumbers,
    VerificationState,
)
from subject_pipeline.reports.page import svg

NOW = dt.datetime(2026, 11, 24, 3, 15, tzinfo=dt.UTC)
TODAY = NOW.date()
SVG = "{http://www.w3.org/2000/svg}"

COUNTS = st.integers(0, 10**12)
RESULTS = st.fixed_dictionaries(dict.fromkeys(RESULT_STATES, COUNTS)).filter(lambda one: sum(one.values()) > 0)
DAYS = st.dictionaries(st.integers(0, 2_500).map(lambda ago: TODAY - dt.timedelta(days=ago)), RESULTS, min_size=1)


def numbers(
    by_day: Mapping[dt.date, Any] = {}, by_actor: Mapping[str, Any] = {}, retention: Mapping[str, int] | None = None
) -> ComplianceNumbers:
    """A report of these numbers."""
    subjects = SubjectNumbers()
    if retention is not None:
        subjects = SubjectNumbers(ReviewCounts(sum(retention.values())), retention=retention)
    accesses = AccessNumbers(by_day=by_day, by_actor=by_actor)
    return ComplianceNumbers(NOW, "file:///store", 4, 7, subjects, accesses, VerificationState(), None)


def one(**results: int) -> dict[str, int]:
    """Accesses by result."""
    return {**dict.fromkeys(RESULT_STATES, 0), **results}


def drawn(chart: Chart | None) -> Chart:
    """A chart that there must be, with every bar and label inside it and every label short."""
    assert chart is not None
    for bar in (*chart.drawing.bars, *chart.drawing.keys):
        assert -0.01 <= bar.x <= bar.x + bar.width <= WIDTH
        assert -0.01 <= bar.y <= bar.y + bar.height <= chart.drawing.height
    for label in chart.drawing.labels:
        assert 0 <= label.x <= WIDTH
        assert 0 < label.y < chart.drawing.height
        assert len(label.text) <= 50
    return chart


def per_unit(lengths_and_values: list[tuple[float, int]]) -> None:
    """Each length is the same multiple of its value."""
    length, value = max(lengths_and_values, key=lambda pair: pair[1])
    for other, count in lengths_and_values:
        assert other == pytest.approx(length * count / value)


@given(st.dictionaries(st.text(max_size=8), RESULTS, min_size=1, max_size=14))
def test_rows_are_as_long_as_their_counts(by_actor: dict[str, Any]) -> None:
    """Each part of a bar begins where the one before ended, and its length is to every other's as their counts are."""
    chart = drawn(actors_chart(numbers(by_actor=by_actor)))
    values = [value for results in list(by_actor.values())[:10] for value in results.values() if value]
    assert len(values) == len(chart.drawing.bars)
    per_unit(list(zip((bar.width for bar in chart.drawing.bars), values, strict=True)))
    rows: dict[float, float] = {}
    for bar in chart.drawing.bars:
        assert bar.x == pytest.approx(rows.get(bar.y, 1))
        rows[bar.y] = bar.x + bar.width


@given(DAYS)
def test_columns_are_as_high_as_their_counts(by_day: dict[dt.date, Any]) -> None:
    """At most sixty columns, whose parts have heights that are to each other as their counts are; nothing is lost."""
    chart = drawn(accesses_chart(numbers(by_day)) or accesses_chart(numbers({TODAY: one(success=1)})))
    columns: dict[float, float] = {}
    for bar in chart.drawing.bars:
        assert bar.y + bar.height == pytest.approx(columns.get(bar.x, 200))
        columns[bar.x] = bar.y
    assert 1 <= len(columns) <= COLUMNS
    assert len({round(bar.width, 6) for bar in chart.drawing.bars}) == 1


def test_parts_of_a_column_are_stacked_in_proportion() -> None:
    """Of 8 and 2 one is four times as high as the other, on a scale that ends with a whole number."""
    chart = drawn(accesses_chart(numbers({TODAY: one(success=8, denied=2)})))
    assert {bar.kind: bar.height for bar in chart.drawing.bars} == {"success": 120, "denied": 30}
    assert [label.text for label in chart.drawing.labels if label.anchor == "end"] == ["0", "2", "4", "6", "8", "10"]


@pytest.mark.parametrize(
    ("ago", "period", "columns"),
    [(0, "day", 1), (59, "day", 60), (60, "week", 10), (400, "week", 58), (1095, "month", 37)],
)
def test_the_chart_starts_where_the_events_start(ago: int, period: str, columns: int) -> None:
    """The first column has the first event, the last one the report's day, and the period is the shortest that fits."""
    first = TODAY - dt.timedelta(days=ago)
    chart = drawn(accesses_chart(numbers({first: one(success=3), TODAY: one(denied=1)})))
    total = 1 if ago == 0 else 4
    words = f"{total} access{'es' if total > 1 else ''} from {first} to 2026-11-24, a column a {period}."
    assert chart.text.startswith(words)
    assert chart.title == f"Accesses by {period} and result"
    assert f"accesses a {period}" in [label.text for label in chart.drawing.labels]
    places = sorted({bar.x for bar in chart.drawing.bars})
    slot = chart.drawing.bars[0].width / 0.85
    assert round((places[-1] - places[0]) / slot) == columns - 1
    assert places[0] < 70 + slot
    assert chart.note == ""


def test_what_is_too_old_or_yet_to_come_is_counted_in_a_note() -> None:
    """Sixty months are drawn; one stray event of 1970 does not make them empty."""
    days = {
        dt.date(1, 1, 1): one(error=1),
        TODAY - dt.timedelta(days=9): one(success=3),
        dt.date(9999, 12, 31): one(error=1),
    }
    chart = drawn(accesses_chart(numbers(days)))
    assert chart.title == "Accesses by day and result"
    assert chart.note == "Not drawn: 2 accesses before 2021-12-01 or after 2026-11-24."
    assert accesses_chart(numbers({dt.date(1970, 1, 1): one(error=1)})) is None


def test_nothing_has_no_chart() -> None:
    """Without subjects, accesses or actors there is nothing to draw."""
    assert [draw(numbers()) for draw in (accesses_chart, actors_chart, retention_chart)] == [None, None, None]


def test_retention_is_a_bar_a_band_that_has_subjects() -> None:
    """A band without subjects has its name and its 0, and no bar."""
    counts = dict(zip(RETENTION_BANDS, (4, 0, 2, 0, 1), strict=True))
    chart = drawn(retention_chart(numbers(retention=counts)))
    assert [(bar.kind, bar.width) for bar in chart.drawing.bars] == [
        ("overdue", 600), ("within_90_days", 300), ("later", 150)
    ]  # fmt: skip
    assert [label.text for label in chart.drawing.labels] == [
        "overdue", "4", "0-30 days", "0", "31-90 days", "2", "91-365 days", "0", "later", "1"
    ]  # fmt: skip
    assert chart.text == "overdue: 4; 0-30 days: 0; 31-90 days: 2; 91-365 days: 0; later: 1"


@given(st.lists(st.text(max_size=80), min_size=1, max_size=10, unique=True))
def test_a_drawing_is_xml_whatever_the_names_are(names: list[str]) -> None:
    """It parses, names nothing outside itself, and has each name as text and nowhere else."""
    chart = drawn(actors_chart(numbers(by_actor={name: one(success=1, denied=2) for name in names})))
    text = svg(chart)
    assert text == svg(chart)
    root = ET.fromstring(text)  # noqa: S314 - our own
    assert root.tag == f"{SVG}svg"
    written = [element.text for element in root.iter(f"{SVG}text")]
    assert written == [label.text for label in chart.drawing.labels]
    assert {element.tag.removeprefix(SVG) for element in root.iter()} == {
        "svg", "title", "desc", "defs", "pattern", "path", "rect", "g", "text"
    }  # fmt: skip
    ids = {element.attrib["id"] for element in root.iter() if "id" in element.attrib}
    assert set(root.attrib["aria-labelledby"].split()) <= ids
    for element in root.iter():
        for name, value in element.attrib.items():
            assert not name.startswith("on")
            assert "href" not in name
            assert "url(" not in value or value[5:-1] in ids
