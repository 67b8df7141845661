"""A report's charts as values: where each bar and each word stands. `templates/chart.svg.j2` writes them as SVG.

Lengths are in the drawing's own units, `WIDTH` of them across. The same numbers make the same drawing.
"""

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from subject_pipeline.audit.result_state import RESULT_STATES
from subject_pipeline.formats.shown_text import shown
from subject_pipeline.reports.numbers import OVERDUE, RETENTION_BANDS, ComplianceNumbers, Results
from subject_pipeline.reports.words import plural

PAPER, INK, LINE = "#ffffff", "#1a2330", "#7f8896"
RESULT_COLOURS = {"success": "#2a6496", "error": "#a85a00", "denied": "#a1161b", "not_found": "#5b6470"}
BAND_COLOURS = {OVERDUE: "#a1161b", **dict.fromkeys(RETENTION_BANDS[1:], "#2a6496")}
BAND_NAMES = dict(zip(RETENTION_BANDS, ("overdue", "0-30 days", "31-90 days", "91-365 days", "later"), strict=True))
RESULT_NAMES = {"success": "success", "error": "error", "denied": "denied", "not_found": "not found"}

WIDTH = 720
COLUMNS = 60
"""At most so many periods are drawn: days where these are few enough, else weeks, else months."""

_ACTORS, _NAME = 10, 50
_KEY, _LEGEND = 12, 26
_ROW, _BAR, _LONGEST = 34, 12, 600
_LEFT, _RIGHT, _FOOT, _TALLEST = 70, 684, 200, 150
_GAP, _SLOTS, _DATES, _STEPS = 0.15, 12, 7, 5

_PERIODS: Mapping[str, Callable[[dt.date], dt.date]] = {
    "day": lambda day: day,
    "week": lambda day: day - dt.timedelta(days=day.weekday()),
    "month": lambda day: day.replace(day=1),
}


@dataclass(frozen=True, slots=True)
class Bar:
    """One rectangle; what it counts, a result or a retention band, gives it its colour and hatching."""

    kind: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Label:
    """Words on a line that has its start, middle or end (`anchor`) at a point."""

    x: float
    y: float
    text: str
    anchor: str = "start"


@dataclass(frozen=True, slots=True)
class Drawing:
    """What is drawn.

    Attributes:
        height: of the whole.
        bars: of values above 0; their lengths are to each other as these values are.
        labels: everything that is written.
        keys: a square for each kind of bar that the legend explains.
        lines: x, y and length of the scale's lines.
    """

    height: float
    bars: Sequence[Bar]
    labels: Sequence[Label]
    keys: Sequence[Bar] = ()
    lines: Sequence[tuple[float, float, float]] = ()


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart of a page.

    Attributes:
        name: of the chart in its page, in letters.
        title: what it shows.
        text: the same in words, for anyone who cannot see it.
        note: what is not drawn; empty where everything is.
    """

    name: str
    title: str
    text: str
    drawing: Drawing
    note: str = ""


def accesses_chart(numbers: ComplianceNumbers) -> Chart | None:
    """Accesses over time by result, from the period of the first to the report's day; None where there is none to draw.

    Of a longer log the last `COLUMNS` months are drawn; the note counts what is older, or later than the report.
    """
    today = numbers.time.date()
    months = today.year * 12 + today.month - COLUMNS
    earliest = dt.date(months // 12, months % 12 + 1, 1)
    days = {day: results for day, results in numbers.accesses.by_day.items() if earliest <= day <= today}
    if not days:
        return None
    period, counts = _by_period(days, today)
    totals = {start: sum(results.values()) for start, results in counts.items()}
    busiest = max(totals, key=lambda start: (totals[start], start))
    drawn = sum(totals.values())
    text = (
        f"{plural(drawn, 'access')} from {min(days)} to {today}, a column a {period}. "
        f"The busiest is the {period} of {busiest} with {totals[busiest]:,}."
    )
    left_out = numbers.accesses.accesses - drawn
    note = f"Not drawn: {plural(left_out, 'access')} before {earliest} or after {today}." if left_out else ""
    return Chart("accesses", f"Accesses by {period} and result", text, _columns(counts, period), note)


def retention_chart(numbers: ComplianceNumbers) -> Chart | None:
    """Subjects by when their retention ends; None where there is no subject."""
    counts = numbers.subjects.retention
    if not numbers.subjects.subjects:
        return None
    rows = [(BAND_NAMES[band], {band: counts[band]}) for band in RETENTION_BANDS]
    return Chart("retention", "Subjects by the end of their retention", _words(rows), _rows(rows))


def actors_chart(numbers: ComplianceNumbers) -> Chart | None:
    """Accesses of the busiest actors by result; None where there was none."""
    actors = numbers.accesses.by_actor
    if not actors:
        return None
    # Cut twice: what is invisible grows when it is spelt out.
    rows = [(shown(shown(name), _NAME) or "(empty)", results) for name, results in list(actors.items())[:_ACTORS]]
    title = "Actors" if len(rows) == len(actors) else "The busiest actors"
    return Chart("actors", title, _words(rows), _rows(rows, _legend()))


def _words(rows: Sequence[tuple[str, Mapping[str, int]]]) -> str:
    return "; ".join(f"{name}: {sum(parts.values()):,}" for name, parts in rows)


def _by_period(days: Mapping[dt.date, Results], today: dt.date) -> tuple[str, dict[dt.date, dict[str, int]]]:
    """Accesses by the first day of each period from the first to today, none left out, in periods as short as fit."""
    first = min(days)
    every = [first + dt.timedelta(days=later) for later in range((today - first).days + 1)]
    periods = {period: dict.fromkeys(map(start, every)) for period, start in _PERIODS.items()}
    period = next(one for one, starts in periods.items() if len(starts) <= COLUMNS)
    counts: dict[dt.date, dict[str, int]] = {start: dict.fromkeys(RESULT_STATES, 0) for start in periods[period]}
    for day, results in days.items():
        for result in RESULT_STATES:
            counts[_PERIODS[period](day)][result] += results[result]
    return period, counts


def _columns(counts: Mapping[dt.date, Results], period: str) -> Drawing:
    """A stacked column a period, below a legend and beside a scale of whole numbers."""
    tallest = max(sum(results.values()) for results in counts.values())
    step = next(one * 10**power for power in count() for one in (1, 2, 5) if one * 10**power * _STEPS >= tallest)
    scale = _TALLEST / (step * -(-tallest // step))
    slot = (_RIGHT - _LEFT) / max(len(counts), _SLOTS)
    bars = [
        Bar(kind, _LEFT + slot * (place + _GAP / 2), _FOOT - (before + value) * scale, slot * (1 - _GAP), value * scale)
        for place, results in enumerate(counts.values())
        for kind, before, value in _stacked(results)
    ]
    marks = {value: _FOOT - value * scale for value in range(0, tallest + step, step)}
    dated = list(enumerate(counts))[:: -(-len(counts) // _DATES)]
    shape = "%Y-%m" if period == "month" else "%Y-%m-%d"
    legend = _legend()
    labels = [
        *legend.labels,
        Label(1, _LEGEND + 10, f"accesses a {period}"),
        *(Label(_LEFT - 8, y + 4, f"{value:,}", "end") for value, y in marks.items()),
        *(Label(_LEFT + slot * (place + 0.5), _FOOT + 18, start.strftime(shape), "middle") for place, start in dated),
    ]
    lines = [(_LEFT, y, _RIGHT - _LEFT) for y in marks.values()]
    return Drawing(_FOOT + 26, bars, labels, legend.keys, lines)


def _rows(rows: Sequence[tuple[str, Mapping[str, int]]], above: Drawing = Drawing(0, (), ())) -> Drawing:
    """A stacked bar a row, with the row's name above it and its total behind it, below what stands above them all."""
    scale = _LONGEST / max(1, *(sum(parts.values()) for _, parts in rows))
    bars: list[Bar] = []
    labels = [*above.labels]
    for place, (name, parts) in enumerate(rows):
        y, total = above.height + place * _ROW, sum(parts.values())
        labels += [Label(1, y + 12, name), Label(total * scale + 7, y + 17 + _BAR, f"{total:,}")]
        bars += [Bar(kind, 1 + before * scale, y + 18, value * scale, _BAR) for kind, before, value in _stacked(parts)]
    return Drawing(above.height + len(rows) * _ROW, bars, labels, above.keys)


def _stacked(parts: Mapping[str, int]) -> Iterator[tuple[str, int, int]]:
    """Each part that is above 0, with the sum of those before it."""
    before = 0
    for kind, value in parts.items():
        if value:
            yield kind, before, value
        before += value


def _legend() -> Drawing:
    """The results, side by side."""
    places = {result: 1 + place * 130 for place, result in enumerate(RESULT_STATES)}
    keys = [Bar(result, x, 2, _KEY, _KEY) for result, x in places.items()]
    return Drawing(_LEGEND, (), [Label(x + _KEY + 6, _KEY, RESULT_NAMES[result]) for result, x in places.items()], keys)
