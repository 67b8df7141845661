"""A dossier's page, for a person to read: plain words, no request to anywhere, and it prints well."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any

import jinja2

from subject_pipeline.formats.shown_text import shown
from subject_pipeline.lifecycle.dossier.contents import Contents
from subject_pipeline.lifecycle.dossier.own_rows import OwnRows, as_text
from subject_pipeline.lifecycle.history.words import RESULTS, SCOPES, event_words

_TEMPLATE, _STYLE = "dossier.html.j2", "dossier.css"
_MOST = 200
_MOST_ROWS = 20
_LONG = 300
_STATUS = {
    "active": "We use your data as described here.",
    "restricted": "Use of your data is restricted.",
    "erasure_ordered": "Your data are to be erased.",
}
_CONSENT = {
    "pending_backfill_review": "not decided yet",
    "never_collected": "never collected",
    "given": "given",
    "refused": "refused",
    "withdrawn": "withdrawn",
    "destroyed": "destroyed",
}


@dataclass(frozen=True, slots=True)
class Table:
    """A table of texts; the first cell of a row names it."""

    caption: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    note: str = ""


def page(contents: Contents) -> str:
    """The page of a dossier; the same for the same contents."""
    record = contents.record
    anchored = record.anchoring
    return (
        _environment()
        .get_template(_TEMPLATE)
        .render(
            css=_environment().get_template(_STYLE).render(),
            candidate_id=shown(record.candidate_id, _LONG),
            day=_day(contents.time),
            facts=list(_facts(record.document)),
            held=record.document is not None,
            sources=_sources(contents.own),
            datasets=[table for one in contents.own for table in _data(one)],
            events=_events(contents),
            accesses=_accesses(contents),
            proved=contents.proof is not None,
            unproved=contents.unproved,
            checkpoint={"number": anchored.number, "day": _day(anchored.time)} if anchored else None,
            actors=contents.actors,
            files=sorted(contents.files()),
        )
    )


def _facts(document: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    if document is None:
        return
    yield "Use", _STATUS.get(document["status"], shown(document["status"]))
    yield "On record since", _day(document["created_at"])
    yield "Area", "not assigned yet" if document["vertical"] == "unknown" else shown(document["vertical"])
    for scope, words in SCOPES.items():
        consent = document["consent"][scope]
        version = f", version {shown(consent['version'])}" if consent.get("version") else ""
        given = f", on {_day(consent['given_at'])}" if consent.get("given_at") else ""
        withdrawn = f", withdrawn on {_day(consent['withdrawn_at'])}" if consent.get("withdrawn_at") else ""
        status = _CONSENT.get(consent["status"], shown(consent["status"]))
        yield f"Consent to {words}", f"{status}{version}{given}{withdrawn}"
    yield "Kept until", f"{_day(document['retention']['general_pii_until'])}, or longer while a legal hold stands"
    if document["consent"]["biometric"].get("retention_until"):
        yield "Biometric data kept until", _day(document["consent"]["biometric"]["retention_until"])
    for hold in document.get("holds", ()):
        yield "Legal hold", f"{shown(hold['hold_id'])}, since {_day(hold['placed_at'])}"


def _sources(own: Sequence[OwnRows]) -> Table:
    rows = []
    for one in own:
        found = shown(one.why, _LONG) if one.rows is None else f"{len(one.rows):,} {_things(len(one.rows), 'row')}"
        reference = one.reference
        key = f"{shown(reference.key_column)} = {shown(reference.key_value)}"
        rows.append((shown(reference.name), key, found))
    return Table("Where your data are", ("Dataset", "You are found by", "What is there"), rows)


def _data(own: OwnRows) -> Iterator[Table]:
    for number, row in enumerate((own.rows or ())[:_MOST_ROWS], start=1):
        fields = [(shown(name), shown(as_text(value), _LONG) or "(empty)") for name, value in row.items()]
        count = len(own.rows or ())
        key = shown(own.reference.key_value)
        caption = f"From the dataset {shown(own.reference.name)}, {key}, row {number} of {count:,}"
        more = f"The first {_MOST_ROWS} of {count:,} rows are shown; the files have all." if count > _MOST_ROWS else ""
        yield Table(caption, ("Field", "Value"), fields, more if number == _MOST_ROWS else "")


def _events(contents: Contents) -> Table:
    events = contents.record.events(folded=True)
    rows = [(_moment(one["at"]), shown(event_words(one), _LONG)) for one in events[-_MOST:]]
    note = f"The last {_MOST:,} of {len(events):,}; history.json has all." if len(events) > _MOST else ""
    return Table("In order of time", ("When", "What"), rows, note)


def _accesses(contents: Contents) -> Table:
    counts = Counter((row.get("purpose", ""), row["result"]) for row in contents.accesses)
    rows = [
        (shown(purpose) or "(no purpose given)", RESULTS.get(result, shown(result)), f"{count:,}")
        for (purpose, result), count in counts.most_common(_MOST)
    ]
    return Table("Accesses by purpose", ("Purpose", "Result", "How often"), rows, "accesses.csv has each of them.")


def _things(count: int, noun: str) -> str:
    return noun if count == 1 else f"{noun}s"


def _moment(time: str) -> str:
    return f"{time[:10]} {time[11:16]} UTC"


def _day(time: str) -> str:
    moment = datetime.fromisoformat(time)
    return f"{moment.day} {moment:%B %Y}"


@cache
def _environment() -> jinja2.Environment:
    folder = files("subject_pipeline.lifecycle.dossier") / "templates"
    sources = {name: (folder / name).read_text(encoding="utf-8") for name in (_TEMPLATE, _STYLE)}
    return jinja2.Environment(
        loader=jinja2.DictLoader(sources), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
