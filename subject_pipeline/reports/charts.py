"""A report's charts: as SVG to stand inside a page, and as PNG for where no SVG may stand.

The same numbers make the same bytes. Text stays text, so that it can be read out, searched and printed sharp.
"""

import datetime as dt
import io
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from subject_pipeline.audit.result_state import RESULT_STATES
from subject_pipeline.formats.shown_text import shown
from subject_pipeline.reports.numbers import OVERDUE, RETENTION_BANDS, ComplianceNumbers, Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAPER, INK, QUIET = "#ffffff", "#1a2330", "#4a5565"
RESULT_COLOURS = {"success": "#2a6496", "error": "#a85a00", "denied": "#a1161b", "not_found": "#5b6470"}
BAND_COLOURS = {OVERDUE: "#a1161b", **dict.fromkeys(RETENTION_BANDS[1:], "#2a6496")}
BAND_NAMES = dict(zip(RETENTION_BANDS, ("overdue", "0-30 days", "31-90 days", "91-365 days", "later"), strict=True))
RESULT_NAMES = {"success": "success", "error": "error", "denied": "denied", "not_found": "not found"}

_SVG = "http://www.w3.org/2000/svg"
_LINK = "{http://www.w3.org/1999/xlink}href"
_FONTS = "'DejaVu Sans', Verdana, 'Segoe UI', Arial, sans-serif"
_SETTINGS: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.parse_math": False,
    "svg.fonttype": "none",
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "figure.facecolor": PAPER,
}
_WIDTH = 7.2
_SHOWN_DAYS = 365
_DAILY_UP_TO = 62
_WEEK = 7
_ACTORS = 10
_LABEL = 34
_DOTS_PER_INCH = 100


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart in a page.

    Attributes:
        title: what it shows.
        text: the same in words, for who cannot see it.
        svg: an `svg` element that refers to nothing outside itself.
    """

    title: str
    text: str
    svg: str


Draw = Callable[["Axes"], None]


def accesses_chart(numbers: ComplianceNumbers) -> Chart | None:
    """Accesses over time by result; None where there was none within a year."""
    found = _periods(numbers)
    if found is None:
        return None
    period, counts = found
    busiest = max(counts, key=lambda start: (sum(counts[start].values()), start))
    text = (
        f"{sum(sum(one.values()) for one in counts.values()):,} accesses from {min(counts)} to "
        f"{numbers.time.date()}, a bar a {period}; the busiest is {busiest} with {sum(counts[busiest].values()):,}."
    )
    svg = _svg("accesses", f"Accesses by {period} and result", text, 2.7, _draw_accesses(counts, period))
    return Chart(f"Accesses by {period} and result", text, svg)


def accesses_png(numbers: ComplianceNumbers) -> bytes | None:
    """The same as a picture."""
    found = _periods(numbers)
    return None if found is None else _png(2.7, _draw_accesses(found[1], found[0]))


def retention_chart(numbers: ComplianceNumbers) -> Chart | None:
    """Subjects by when their retention ends; None where there is no subject."""
    counts = numbers.subjects.retention
    if not numbers.subjects.subjects:
        return None
    text = "; ".join(f"{BAND_NAMES[band]}: {counts[band]:,}" for band in RETENTION_BANDS)
    title = "Subjects by the end of their retention"

    def draw(axes: "Axes") -> None:
        names = [BAND_NAMES[band] for band in RETENTION_BANDS]
        values = [counts[band] for band in RETENTION_BANDS]
        bars = axes.barh(names, values, color=[BAND_COLOURS[band] for band in RETENTION_BANDS], height=0.62)
        axes.bar_label(bars, labels=[f"{value:,}" for value in values], padding=4)
        _horizontal(axes, max(values))

    return Chart(title, text, _svg("retention", title, text, 1.9, draw))


def actors_chart(numbers: ComplianceNumbers) -> Chart | None:
    """Accesses of the busiest actors by result; None where there was none."""
    actors = list(numbers.accesses.by_actor.items())[:_ACTORS]
    if not actors:
        return None
    totals = [sum(results.values()) for _, results in actors]
    text = "; ".join(f"{shown(name, _LABEL)}: {total:,}" for (name, _), total in zip(actors, totals, strict=True))
    title = "The busiest actors" if len(actors) < len(numbers.accesses.by_actor) else "Actors"

    def draw(axes: "Axes") -> None:
        places = range(len(actors))
        left = [0] * len(actors)
        for result in RESULT_STATES:
            values = [results[result] for _, results in actors]
            at, lengths, before = _seen(places, values, left)
            axes.barh(at, lengths, left=before, height=0.62, **_style(result))
            left = [before + value for before, value in zip(left, values, strict=True)]
        axes.set_yticks(places, [shown(name, _LABEL) for name, _ in actors])
        for place, total in zip(places, totals, strict=True):
            axes.annotate(f"{total:,}", (total, place), xytext=(4, 0), textcoords="offset points", va="center")
        _horizontal(axes, max(totals))
        _legend(axes)

    return Chart(title, text, _svg("actors", title, text, 0.75 + 0.29 * len(actors), draw))


def _periods(numbers: ComplianceNumbers) -> tuple[str, dict[dt.date, dict[str, int]]] | None:
    """Days or weeks of the last year, from the first that has an access, none left out."""
    today = numbers.time.date()
    days = {
        day: results
        for day, results in numbers.accesses.by_day.items()
        if dt.timedelta(0) <= today - day < dt.timedelta(days=_SHOWN_DAYS)
    }
    if not days:
        return None
    first = min(days)
    step = 1 if (today - first).days < _DAILY_UP_TO else _WEEK
    start = first - dt.timedelta(days=first.weekday() if step == _WEEK else 0)
    none: dict[str, int] = dict.fromkeys(RESULT_STATES, 0)
    counts = {start + dt.timedelta(days=offset): none.copy() for offset in range(0, (today - start).days + 1, step)}
    for day, results in days.items():
        at = start + dt.timedelta(days=(day - start).days // step * step)
        for result, count in results.items():
            counts[at][result] += count
    return ("day" if step == 1 else "week"), counts


def _draw_accesses(counts: Mapping[dt.date, Results], period: str) -> Draw:
    def draw(axes: "Axes") -> None:
        from matplotlib.ticker import MaxNLocator  # noqa: PLC0415 - as in `_figure`

        starts = list(counts)
        bottom = [0] * len(starts)
        for result in RESULT_STATES:
            values = [counts[start][result] for start in starts]
            at, lengths, before = _seen(range(len(starts)), values, bottom)
            axes.bar(at, lengths, bottom=before, width=0.8, **_style(result))
            bottom = [before + value for before, value in zip(bottom, values, strict=True)]
        every = -(-len(starts) // 9)
        axes.set_xticks(range(0, len(starts), every), [start.strftime("%d %b %y") for start in starts[::every]])
        axes.set_xlim(-0.8, max(len(starts), 8) - 0.2)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.set_ylabel(f"accesses a {period}")
        axes.set_axisbelow(True)
        axes.grid(axis="y", color="#d5dbe3", linewidth=0.6)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(length=0)
        _legend(axes)

    return draw


def _seen(
    places: Sequence[int], values: Sequence[int], before: Sequence[int]
) -> tuple[list[int], list[int], list[int]]:
    """Places, lengths and beginnings of the bars that have a length."""
    seen = [at for at, value in enumerate(values) if value]
    return [places[at] for at in seen], [values[at] for at in seen], [before[at] for at in seen]


def _style(result: str) -> dict[str, Any]:
    return {"color": RESULT_COLOURS[result], "label": RESULT_NAMES[result], "edgecolor": PAPER, "linewidth": 0.6}


def _legend(axes: "Axes") -> None:
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=4, frameon=False, handlelength=1.2, borderaxespad=0.2)


def _horizontal(axes: "Axes", longest: int) -> None:
    axes.invert_yaxis()
    axes.set_xlim(0, max(longest, 1) * 1.14)
    axes.xaxis.set_visible(False)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.tick_params(length=0)


@contextmanager
def _figure(height: float, salt: str, draw: Draw) -> Iterator["Figure"]:
    # Plots need no display, but a quarter of a second to import: who only loads the definitions does not pay it.
    import matplotlib as mpl  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    with mpl.rc_context(_SETTINGS | {"svg.hashsalt": salt}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # the reader's own fonts have it
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        draw(figure.add_subplot())
        yield figure


def _png(height: float, draw: Draw) -> bytes:
    out = io.BytesIO()
    with _figure(height, "png", draw) as figure:
        figure.savefig(out, format="png", dpi=_DOTS_PER_INCH, metadata={"Software": None})
    return out.getvalue()


def _svg(name: str, title: str, text: str, height: float, draw: Draw) -> str:
    out = io.BytesIO()
    with _figure(height, name, draw) as figure:
        figure.savefig(out, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    root = ET.fromstring(out.getvalue())  # noqa: S314 - our own, made a line above
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in {f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"} or (
                child.tag == f"{{{_SVG}}}defs" and all(one.tag == f"{{{_SVG}}}style" for one in child)
            ):
                parent.remove(child)
    root.set("style", "stroke-linejoin: round; stroke-linecap: butt")
    for element in root.iter():
        element.tag = element.tag.removeprefix(f"{{{_SVG}}}")
        if _LINK in element.attrib:
            element.set("href", element.attrib.pop(_LINK))
        if "style" in element.attrib:
            element.set("style", element.get("style", "").replace("'DejaVu Sans'", _FONTS))
        for attribute in ("id", "href", "clip-path", "style"):  # one page holds several charts
            _rename(element, attribute, name)
    for attribute in ("width", "height", "version"):
        root.attrib.pop(attribute, None)
    root.attrib.update(role="img", **{"aria-labelledby": f"chart-{name}-title chart-{name}-text"})
    for place, (tag, words) in enumerate((("title", title), ("desc", text))):
        element = ET.Element(tag, id=f"chart-{name}-{'title' if tag == 'title' else 'text'}")
        element.text = words
        root.insert(place, element)
    return ET.tostring(root, encoding="unicode")


def _rename(element: ET.Element, attribute: str, name: str) -> None:
    value = element.get(attribute)
    if value is None:
        return
    if attribute == "id":
        element.set("id", f"{name}-{value}")
    else:
        element.set(attribute, value.replace("url(#", f"url(#{name}-").replace("href=#", f"href=#{name}-"))
        if attribute == "href" and value.startswith("#"):
            element.set("href", f"#{name}-{value[1:]}")
