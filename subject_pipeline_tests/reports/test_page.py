import datetime as dt
import itertools
import re
from collections import Counter
from dataclasses import replace

import click
import pytest

from subject_pipeline.cli.main import cli
from subject_pipeline.lifecycle.lists.review_counts import AGES, ReviewCounts
from subject_pipeline.reports.charts import RESULT_COLOURS
from subject_pipeline.reports.numbers import (
    AccessNumbers,
    CheckpointState,
    ComplianceNumbers,
    SubjectNumbers,
    VerificationHistory,
    VerificationState,
)
from subject_pipeline.reports.page import page
from subject_pipeline.reports.words import findings, lists
from subject_pipeline_tests.helpers.html_pages import Element, Style, contrast, parse

NOW = dt.datetime(2026, 11, 24, 3, 15, tzinfo=dt.UTC)
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "=cmd()",
    "$x$ \\frac{a}{b} 50%",
    "\N{GRINNING FACE} emoji",
    "\u05e9\u05dc\u05d5\u05dd",
    "\u202egnp.exe",
    "zero\u200bwidth",
    "nul\x00 and \x1b[31m",
    "{{ 7 * 7 }}{% raw %}",
    "very long " * 40,
    "</title></svg></style><b>",
    "]]>--><!--",
    "a&amp;b",
]
EMPTY = ComplianceNumbers(
    NOW, "file:///store", 0, None, SubjectNumbers(pending_days=30), AccessNumbers(), VerificationState(), None
)


def results(success: int, *, denied: int = 0) -> dict[str, int]:
    """Accesses by result."""
    return {"success": success, "error": 1, "denied": denied, "not_found": 2}


def hostile(days: int = 40) -> ComplianceNumbers:
    """A report in which every text that comes from outside tries something."""
    counts = dict.fromkeys(HOSTILE, 3)
    bands = {"overdue": 14, "within_30_days": 1, "within_90_days": 2, "within_365_days": 3, "later": 4}
    consent = {scope: Counter(counts) for scope in ("general_pii", "biometric")}
    reviews = ReviewCounts(24, consent, dict.fromkeys(AGES, 3), dict.fromkeys(consent, 9), 4, 5, 6, 7, 8)
    subjects = SubjectNumbers(reviews, counts, counts, counts, counts, bands, bands, 14, 14, 30)
    accesses = AccessNumbers(
        {(NOW - dt.timedelta(days=ago)).date(): results(ago + 1, denied=2) for ago in reversed(range(days))},
        {one: results(4) for one in HOSTILE},
        {one: results(40 - at, denied=at) for at, one in enumerate(HOSTILE)},
        {one: results(4) for one in ["", "(none given)", *HOSTILE]},
        results(2),
        results(90),
        {"manifest_updated": 3},
        {"2026-11": {"consent_given": 2_000, "hold_placed": 1}, "2026-10": {"erased": 1}},
        1,
        14,
        14,
        7,
        1,
        [f"cannot read {one}" for one in HOSTILE],
    )
    return ComplianceNumbers(
        NOW,
        f"file:///{HOSTILE[1]}",
        4,
        7,
        subjects,
        accesses,
        VerificationState(14, 30, 14, 0, 14, {"bad_mac": 13, "resurrected": 1}),
        CheckpointState(3, "ab" * 32, "cd" * 32, "2026-11-23T01:30:12.000000Z", 1.07),
        VerificationHistory(NOW - dt.timedelta(days=2), (), ("chunk-1",)),
    )


SOUND = replace(
    hostile(1),
    store="s3://bucket/store",
    subjects=SubjectNumbers(ReviewCounts(1), {"active": 1}, {"unknown": 1}, {"p": 1}),
    accesses=AccessNumbers({NOW.date(): results(1)}, {"read": results(1)}, {"ada": results(1)}, recent=results(1)),
    verification=VerificationState(),
)
BAD = hostile()
YEAR = hostile(300)
REPORTS = pytest.mark.parametrize("numbers", [EMPTY, SOUND, BAD, YEAR], ids=["empty", "day", "bad", "year"])


_PAGES: dict[int, str] = {}


def shown(numbers: ComplianceNumbers) -> str:
    """The page of one of these four, drawn once for all tests that look at it."""
    if id(numbers) not in _PAGES:
        _PAGES[id(numbers)] = page(numbers)
    return _PAGES[id(numbers)]


@REPORTS
def test_headings_are_in_order(numbers: ComplianceNumbers) -> None:
    """One h1, no level is skipped, no heading is empty, and the page says its language and title."""
    root = parse(shown(numbers))
    headings = list(root.all("h1", "h2", "h3", "h4"))
    levels = [int(one.tag[1]) for one in headings]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert all(one.text.strip() for one in headings)
    (html,) = root.all("html")
    assert html.attributes["lang"] == "en"
    (title,) = (one for one in root.all("title") if one.inside("head"))
    assert title.text == "Compliance report of 24 November 2026"


@REPORTS
def test_tables_say_what_their_cells_are(numbers: ComplianceNumbers) -> None:
    """Each has a caption of its own, a header for every column, and rows as wide as that, named by their first cell."""
    tables = list(parse(shown(numbers)).all("table"))
    captions = [next(one.all("caption")).text.strip() for one in tables]
    assert len(set(captions)) == len(captions) > 10
    for table in tables:
        assert isinstance(table.children[1], Element)
        assert table.children[1].tag == "caption"
        (head,) = table.all("thead")
        columns = list(head.all("th"))
        assert all(one.attributes["scope"] == "col" and one.text.strip() for one in columns)
        (body,) = table.all("tbody")
        assert list(body.all("tr"))
        for row in body.all("tr"):
            cells = list(row.all("th", "td"))
            assert sum(int(one.attributes.get("colspan", "1")) for one in cells) == len(columns)
            if len(cells) > 1:
                assert (cells[0].tag, cells[0].attributes["scope"]) == ("th", "row")
            assert all(one.tag == "td" for one in cells[1:])
            assert all(one.text.strip() for one in cells)


@REPORTS
@pytest.mark.parametrize("medium", ["screen", "print"])
def test_every_text_can_be_read(numbers: ComplianceNumbers, medium: str) -> None:
    """The contrast of each text to what is behind it is at least 4.5, in the page and in its charts."""
    root = parse(shown(numbers))
    (sheet,) = root.all("style")
    style = Style(sheet.text, medium)
    pairs = set()
    for element in root.all():
        if not element.own_text or element.inside("head") or element.inside("svg"):
            continue
        pairs.add((style.color(element), style.background(element)))
    for text in (one for chart in root.all("svg") for one in chart.all("text")):
        pairs.add((next(one.attributes["fill"] for one in text.ancestors if "fill" in one.attributes), "#ffffff"))
    assert len(pairs) >= 4
    assert {pair: contrast(*pair) for pair in pairs if contrast(*pair) < 4.5} == {}


def test_the_contrast_check_itself_finds_what_is_pale() -> None:
    """Grey on white fails it, a class wins over a tag, and a print rule counts in print alone."""
    root = parse('<p class="pale">x</p><p>y</p>')
    style = Style(
        "p { color: #1a2330; } .pale { color: #aaaaaa; } @media print { p { background: #000000; } }", "screen"
    )
    pale, dark = root.all("p")
    assert contrast(style.color(pale), style.background(pale)) < 2.4
    assert contrast(style.color(dark), style.background(dark)) > 15
    assert Style("@media print { p { background: #000000; } }", "print").background(dark) == "#000000"
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


def test_charts_can_be_told_apart_from_the_paper() -> None:
    """Every colour in a chart has a contrast of at least 3 to the paper, and each result a colour of its own."""
    used = {
        one.attributes[name]
        for chart in parse(shown(BAD)).all("svg")
        for one in chart.all()
        for name in ("fill", "stroke")
        if one.attributes.get(name, "url").startswith("#")
    }
    assert set(RESULT_COLOURS.values()) < used
    assert {one for one in used - {"#ffffff"} if contrast(one, "#ffffff") < 3} == set()
    assert len(set(RESULT_COLOURS.values())) == len(RESULT_COLOURS)


def test_results_can_be_told_apart_in_grey() -> None:
    """One result is plain and each other is hatched in its own way, as the legend shows; every bar has an outline."""
    chart = next(one for one in parse(shown(BAD)).all("svg") if list(one.all("pattern")))
    hatches = [next(one.all("path")).attributes["d"] for one in chart.all("pattern")]
    assert len(set(hatches)) == len(hatches) == len(RESULT_COLOURS) - 1
    groups = [one for one in chart.all("g") if list(one.all("rect"))]
    assert len({one.attributes["fill"] for one in groups}) == len(groups) == len(RESULT_COLOURS)
    assert {one.attributes["stroke"] for one in groups} == set(RESULT_COLOURS.values())


@pytest.mark.parametrize("numbers", [SOUND, hostile()], ids=["day", "bad"])
def test_charts_are_told_in_words_too(numbers: ComplianceNumbers) -> None:
    """Each is an image with a title and a description, named by ids that the page has once, and has a caption."""
    root = parse(shown(numbers))
    ids = [one.attributes["id"] for one in root.all() if "id" in one.attributes]
    assert len(ids) == len(set(ids))
    charts = list(root.all("svg"))
    assert len(charts) == 3
    for chart in charts:
        assert chart.attributes["role"] == "img"
        named = chart.attributes["aria-labelledby"].split()
        words = {one.attributes["id"]: one.text for one in chart.all("title", "desc")}
        assert list(words) == named
        assert all(words.values())
        assert chart.parent is not None
        assert next(chart.parent.all("figcaption")).text
    for one in root.all():
        for reference in re.findall(r"url\(#([^)]+)\)", " ".join(one.attributes.values())):
            assert reference in ids
        if one.attributes.get("href", "").startswith("#"):
            assert one.attributes["href"][1:] in ids


@REPORTS
def test_a_page_asks_for_nothing_outside_itself(numbers: ComplianceNumbers) -> None:
    """No element loads or links to anything, no style does, and the page forbids itself to."""
    html = shown(numbers)
    root = parse(html)
    for one in root.all():
        assert one.tag not in {"script", "link", "img", "iframe", "object", "embed", "base", "form", "image"}
        assert not [name for name in one.attributes if name.startswith("on")]
        for name in ("src", "href", "xlink:href", "action", "data", "srcset"):
            assert one.attributes.get(name, "#").startswith("#")
    (sheet,) = root.all("style")
    assert "url(" not in sheet.text
    assert "@import" not in sheet.text
    policy = next(one for one in root.all("meta") if "http-equiv" in one.attributes)
    assert policy.attributes["content"] == "default-src 'none'; style-src 'unsafe-inline'"
    assert not re.search(r"""(?:src|href|url\()\s*=?\s*["']?https?:""", html)


def test_whatever_actors_and_purposes_hold_is_text() -> None:
    """Each is shown as text, with what is invisible or turns the direction spelt out, and is never interpreted."""
    html = shown(BAD)
    root = parse(html)
    text = root.text
    for one in HOSTILE[:6]:
        assert one in text
    assert "\\u{202e}gnp.exe" in text
    assert "zero\\u{200b}width" in text
    assert "nul\\u{0} and \\u{1b}[31m" in text
    assert "{{ 7 * 7 }}" in text
    assert "a&amp;b" in text
    assert not {char for char in html if not char.isprintable()} - {"\n"}
    labels = [one.text.strip() for chart in root.all("svg") for one in chart.all("text")]
    assert "<script>alert(1)</script>" in labels
    assert "$x$ \\frac{a}{b} 50%" in labels
    rows = [next(iter(row.children)) for row in root.all("tr") if isinstance(next(iter(row.children)), Element)]
    assert all(
        list(cell.all("bdi")) for cell in rows if isinstance(cell, Element) and cell.attributes.get("scope") == "row"
    )


def test_datasets_and_purposes_are_on_the_page() -> None:
    """Nothing merges what has no name with something named to look so, and what is not named is counted below."""
    tables = {next(one.all("caption")).text: one for one in parse(shown(BAD)).all("table")}
    names = [next(row.all("th", "td")).text for row in tables["Accesses by purpose"].all("tr")]
    assert names.count("(none given)") == 2
    assert "(in no dataset)" not in tables["Subjects by dataset"].text
    assert "Not named: 5 accesses for further purposes." in parse(shown(BAD)).text
    assert "A subject of several datasets counts in each." in parse(shown(BAD)).text
    assert "Not named" not in parse(shown(SOUND)).text
    of_one = replace(SOUND, subjects=SubjectNumbers(ReviewCounts(1), by_dataset={"": 1}))
    assert "(in no dataset)" in parse(page(of_one)).text


def test_numbers_come_with_the_command_that_lists_whom_they_count() -> None:
    """Each command is one there is, and decisions stand month by month."""
    tables = {next(one.all("caption")).text: one for one in parse(shown(BAD)).all("table")}
    assert "subject-pipeline subjects list --due" in tables["Who is meant"].text
    assert "1 subject erased; the store has 0 certificates of erasures." in parse(shown(BAD)).text
    assert "Gone from" not in tables["Who is meant"].text, "nobody looked"
    looked = replace(BAD, vanished={"workers": 2, "drivers": 1})
    context = click.Context(cli)
    assert ("Gone from their dataset's source", 3) in [(one.what, one.count) for one in lists(looked)]
    for one in lists(looked):
        group, name, *options = one.command.split()
        found = cli.get_command(context, group)
        assert isinstance(found, click.Group)
        command = found.get_command(context, name)
        assert command is not None, one.command
        there = {option for parameter in command.params for option in parameter.opts}
        assert {option for option in options if option.startswith("--")} <= there
    months = [[cell.text for cell in row.all("th", "td")] for row in tables["Decisions by month"].all("tr")][1:]
    assert months == [["2026-11", "2,001", "2,000 consent_given, 1 hold_placed"], ["2026-10", "1", "1 erased"]]


def test_an_empty_store_has_a_page() -> None:
    """It says that there is nothing, draws nothing, and divides by nothing."""
    root = parse(shown(EMPTY))
    assert "No access is recorded in the audit log." in root.text
    assert not list(root.all("svg"))


def test_one_day_is_a_bar() -> None:
    """A log of one day has a chart by day that names the day."""
    root = parse(shown(SOUND))
    chart = next(root.all("svg"))
    descriptions = [one.text for one in root.all("desc")]
    words = "4 accesses from 2026-11-24 to 2026-11-24, a column a day. The busiest is the day of 2026-11-24 with 4."
    assert words in descriptions
    assert chart.attributes["viewbox"].startswith("0 0 ")


def test_what_is_not_drawn_is_said_below_the_chart() -> None:
    """Accesses that are too old for the chart, or later than the report, are counted on the page."""
    old = {dt.date(1970, 1, 1): results(5), **YEAR.accesses.by_day, dt.date(2999, 1, 1): results(5)}
    aged = page(replace(YEAR, accesses=replace(YEAR.accesses, by_day=old)))
    assert "Not drawn: 16 accesses before 2021-12-01 or after 2026-11-24." in parse(aged).text
    assert "Not drawn" not in parse(shown(YEAR)).text


def test_equal_numbers_make_equal_bytes() -> None:
    """The page is the same whenever and however often it is made."""
    assert page(hostile()) == page(hostile())


def tiles(subjects: SubjectNumbers, accesses: AccessNumbers, problems: int = 0) -> list[str]:
    """What each tile of a page says, in one line."""
    numbers = replace(
        SOUND, subjects=subjects, accesses=accesses, verification=VerificationState(problems=problems)
    )  # fmt: skip
    found = (one for one in parse(page(numbers)).all("li") if "tile" in one.attributes["class"].split())
    return [" ".join(part.text for part in one.all("strong", "span")) for one in found]


def test_a_tile_reads_as_one_sentence() -> None:
    """One is singular, any other count plural, and what was denied stands with what it is out of."""
    once = {"success": 0, "error": 0, "denied": 1, "not_found": 0}
    one = tiles(
        SubjectNumbers(ReviewCounts(1), overdue=1, pending_too_long=1, pending_days=30),
        AccessNumbers({NOW.date(): once}, recent=once, unregistered=1),
        problems=1,
    )
    assert one[:7] == [
        "1 subject registered",
        "1 subject past the retention date and under no legal hold",
        "1 consent undecided for more than 30 days",
        "1 subject in the log without a manifest",
        "1 access in the last 30 days, 1 in all",
        "1 of 1 access denied in the last 30 days; 0 failed",
        "1 problem found by verification",
    ]
    twelve = {"success": 7, "error": 1, "denied": 3, "not_found": 1}
    many = tiles(
        SubjectNumbers(ReviewCounts(2_000, due_held=3), overdue=3, pending_days=7.5),
        AccessNumbers({NOW.date(): twelve, dt.date(2020, 1, 1): twelve}, recent=twelve),
    )
    assert many[:7] == [
        "2,000 subjects registered",
        "0 subjects past the retention date and under no legal hold",
        "0 consents undecided for more than 7.5 days",
        "0 subjects in the log without a manifest",
        "12 accesses in the last 30 days, 24 in all",
        "3 of 12 accesses denied in the last 30 days; 1 failed",
        "0 problems found by verification",
    ]
    assert "0 accesses denied in the last 30 days; 0 failed" in tiles(SubjectNumbers(), AccessNumbers())


@REPORTS
def test_no_share_stands_without_its_count(numbers: ComplianceNumbers) -> None:
    """A percentage is in a table alone, in a row that has the count beside it."""
    for one in parse(shown(numbers)).all():
        if re.search(r"\d%", one.own_text) and one.own_text not in HOSTILE and not one.inside("style"):
            assert one.inside("tr") or one.inside("svg"), one.own_text


def test_findings_say_the_worst_first() -> None:
    """What must be acted upon comes before what is to be looked at, and that before what is in order."""
    levels = [one.level for one in findings(hostile())]
    assert levels == sorted(levels, key=["bad", "warn", "good"].index)
    assert {"bad", "warn", "good"} == set(levels)
    words = {one.level: one.words for one in findings(SOUND)}
    assert set(words) == {"good", "bad"}, "a red partition of an earlier run is still told"
