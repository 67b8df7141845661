"""The page of a dossier: accessible, plain, asks for nothing, and shows whatever a source holds as text."""

import itertools
from typing import Any

import pytest

from subject_pipeline.checkpoints.rosters import RosterEntry
from subject_pipeline.formats.leaves import NO_HASH
from subject_pipeline.lifecycle.dossier.contents import Contents
from subject_pipeline.lifecycle.dossier.own_rows import OwnRows
from subject_pipeline.lifecycle.dossier.page import page
from subject_pipeline.lifecycle.history.chains import Anchoring, Row
from subject_pipeline.lifecycle.history.telling import Record
from subject_pipeline.manifests.manifest import DatasetReference
from subject_pipeline_tests.helpers.audit_stores import JUNE, manifest
from subject_pipeline_tests.helpers.html_pages import Element, Style, contrast, parse

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "\u202egnp.exe",
    "nul\x00 and \x1b[31m",
    "{{ 7 * 7 }}{% raw %}",
    "very long " * 90,
    "</title></style><b>",
]


def row(seq: int, **fields: Any) -> Row:
    """A row of an access."""
    return {
        "candidate_id": "P",
        "seq": seq,
        "ts": JUNE,
        "actor": "ada",
        "action": "view",
        "result": "success",
        **fields,
    }


def contents(**fields: Any) -> Contents:
    """A dossier in which every text that comes from outside tries something."""
    references = [DatasetReference(name=f"d{at}", key_column=text, key_value=text) for at, text in enumerate(HOSTILE)]
    person = manifest(
        HOSTILE[0],
        vertical=HOSTILE[0],
        consent={"general_pii": {"status": "given", "version": HOSTILE[1], "given_at": JUNE},
                 "biometric": {"status": "withdrawn", "withdrawn_at": JUNE, "retention_until": JUNE}},
        holds=[{"hold_id": HOSTILE[2], "placed_at": JUNE}],
        datasets=[one.model_dump() for one in references],
    )  # fmt: skip
    chain = [row(seq, action=text, purpose=text) for seq, text in enumerate(HOSTILE)]
    decision = {"kind": "hold_placed", "hold_id": HOSTILE[2], "reason": HOSTILE[3], "recorded_at": JUNE, "changes": {}}
    chain.append(row(len(chain), action="manifest_updated", decision=decision, manifest_sha256=NO_HASH))
    entry = RosterEntry("A" * 22, 3, NO_HASH, NO_HASH, "present")
    values: dict[str, Any] = {
        "record": Record(HOSTILE[0], person, chain, Anchoring(3, JUNE, entry)),
        "time": JUNE,
        "actors": False,
        "own": [OwnRows(one, [{text: text, "n": None} for text in HOSTILE]) for one in references[:2]]
        + [OwnRows(references[2], why=HOSTILE[1]), OwnRows(references[3], why="retired", retired=True)],
        "proof": {"kind": "history"},
        "unproved": "",
    }
    return Contents(**{**values, **fields})


GONE = contents(record=Record("P", None, [], None), own=[], proof=None, unproved="no checkpoint was signed yet")
MANY = contents(own=[OwnRows(DatasetReference(name="d", key_column="k", key_value="P"), [{"n": n} for n in range(25)])])
PAGES = pytest.mark.parametrize("html", [page(contents()), page(GONE), page(MANY)], ids=["hostile", "gone", "many"])


@PAGES
def test_headings_are_in_order(html: str) -> None:
    """One h1, no level is skipped, and the page says its language and title."""
    root = parse(html)
    headings = list(root.all("h1", "h2", "h3"))
    levels = [int(one.tag[1]) for one in headings]
    assert (levels.count(1), levels[0]) == (1, 1)
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert all(one.text.strip() for one in headings)
    (document,) = root.all("html")
    assert document.attributes["lang"] == "en"
    (title,) = (one for one in root.all("title") if one.inside("head"))
    assert title.text == "What is held about you, 30 June 2026"
    ids = [one.attributes["id"] for one in root.all() if "id" in one.attributes]
    assert len(ids) == len(set(ids))
    assert {one.attributes["aria-labelledby"] for one in root.all("section")} == set(ids)


@PAGES
def test_tables_say_what_their_cells_are(html: str) -> None:
    """Each has a caption of its own, a header for every column, and rows as wide as that, named by their first cell."""
    tables = list(parse(html).all("table"))
    captions = [next(one.all("caption")).text.strip() for one in tables]
    assert len(set(captions)) == len(captions) >= 3
    for table in tables:
        assert isinstance(table.children[1], Element)
        assert table.children[1].tag == "caption"
        assert table.parent is not None
        assert table.parent.attributes["tabindex"] == "0"
        assert table.parent.attributes["aria-label"].strip() == next(table.all("caption")).text.strip()
        (head,), (body,) = table.all("thead"), table.all("tbody")
        columns = list(head.all("th"))
        assert all(one.attributes["scope"] == "col" and one.text.strip() for one in columns)
        for line in body.all("tr"):
            cells = list(line.all("th", "td"))
            assert sum(int(one.attributes.get("colspan", "1")) for one in cells) == len(columns)
            assert all(one.text.strip() for one in cells)
            if len(cells) > 1:
                assert (cells[0].tag, cells[0].attributes["scope"]) == ("th", "row")


@PAGES
@pytest.mark.parametrize("medium", ["screen", "print"])
def test_every_text_can_be_read(html: str, medium: str) -> None:
    """The contrast of each text to what is behind it is at least 4.5."""
    root = parse(html)
    (sheet,) = root.all("style")
    style = Style(sheet.text, medium)
    texts = [one for one in root.all() if one.own_text and not one.inside("head")]
    pairs = {(style.color(one), style.background(one)) for one in texts}
    assert len(pairs) >= 3
    assert {pair for pair in pairs if contrast(*pair) < 4.5} == set()


@PAGES
def test_it_asks_for_nothing_outside_the_folder(html: str) -> None:
    """Nothing is loaded; links lead to files beside the page."""
    root = parse(html)
    for one in root.all():
        assert one.tag not in {"script", "link", "img", "iframe", "object", "embed", "base", "form"}
        assert not [name for name in one.attributes if name.startswith("on")]
        assert "src" not in one.attributes
        href = one.attributes.get("href", "")
        assert ":" not in href
        assert not href.startswith("/")
        assert ".." not in href
    (sheet,) = root.all("style")
    assert "url(" not in sheet.text
    policy = next(one for one in root.all("meta") if "http-equiv" in one.attributes)
    assert policy.attributes["content"] == "default-src 'none'; style-src 'unsafe-inline'"


def test_whatever_it_holds_is_text() -> None:
    """Shown as text, with what is invisible or turns the direction spelt out, cut where it is very long."""
    html = page(contents())
    text = parse(html).text
    for one in (*HOSTILE[:2], HOSTILE[4], HOSTILE[6], "\\u{202e}gnp.exe", "nul\\u{0} and \\u{1b}[31m"):
        assert one in text
    assert HOSTILE[5] not in text
    assert not {char for char in html if not char.isprintable()} - {"\n"}


def test_it_says_what_a_person_wants_to_know() -> None:
    """In plain words, without who did what."""
    text = parse(page(contents())).text
    for words in (
        "We use your data as described here.",
        "given, version",
        "withdrawn, withdrawn on 30 June 2026",
        "A legal hold was placed",
        "checkpoint 3 of 30 June 2026",
        "7 rows",
        "Who had access is\nnot told here",
    ):
        assert words in text
    assert "ada" not in text.replace("data", "")
    assert "Who had access is in" in parse(page(contents(actors=True))).text
    gone = parse(page(GONE)).text
    assert "There is no record of you any more." in gone
    assert "There is no proof in this folder: no checkpoint was signed yet." in gone
    assert "The first 20 of 25 rows are shown; the files have all." in parse(page(MANY)).text
