"""A report as one HTML page: it asks for nothing outside itself, reads well on paper, and escapes whatever it shows."""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import jinja2

from subject_pipeline.decisions.decision import BIOMETRIC, GENERAL_PII
from subject_pipeline.formats.shown_text import shown
from subject_pipeline.reports.charts import (
    BAND_COLOURS,
    INK,
    LINE,
    PAPER,
    RESULT_COLOURS,
    WIDTH,
    Chart,
    accesses_chart,
    actors_chart,
    retention_chart,
)
from subject_pipeline.reports.numbers import RECENT_DAYS, ComplianceNumbers
from subject_pipeline.reports.tables import (
    DAYS,
    ROWS,
    Column,
    Table,
    by_result_table,
    counts_table,
    datasets_table,
    decisions_table,
    lists_table,
    pending_table,
    problems_table,
    purposes_table,
    results_table,
    retention_table,
    verification_table,
)
from subject_pipeline.reports.words import TIME, age, findings, moment, plural, things
from subject_pipeline.store.layout import note_key

_TEMPLATE, _STYLE, _CHART = "compliance_report.html.j2", "compliance_report.css", "chart.svg.j2"


@dataclass(frozen=True, slots=True)
class Tile:
    """A number that one sees first."""

    value: str
    words: str
    level: str = ""


def page(numbers: ComplianceNumbers) -> str:
    """The page of a report; the same for the same numbers."""
    accesses, subjects, checkpoint = numbers.accesses, numbers.subjects, numbers.checkpoint
    return (
        _environment()
        .get_template(_TEMPLATE)
        .render(
            css=_environment().get_template(_STYLE).render(),
            day=numbers.time.strftime("%d %B %Y"),
            moment=numbers.time.strftime(TIME),
            stamp=numbers.time.strftime("%Y-%m-%dT%H:%M:%SZ"),
            store=shown(numbers.store, 400),
            tiles=_tiles(numbers),
            findings=findings(numbers),
            lists=lists_table(numbers),
            subject_tables=[
                counts_table("Subjects by status", "Status", subjects.by_status, subjects.subjects),
                datasets_table(numbers),
                counts_table("Subjects by vertical", "Vertical", subjects.by_vertical, subjects.subjects),
                *(
                    counts_table(f"Consent to {words} data", "Consent", subjects.reviews.consent[scope],
                                 subjects.subjects)
                    for scope, words in ((GENERAL_PII, "general personal"), (BIOMETRIC, "biometric"))
                ),
                pending_table(numbers),
                counts_table("Retention policies", "Policy", subjects.by_policy, subjects.subjects),
            ],
            decisions=decisions_table(numbers),
            retention_chart=retention_chart(numbers),
            retention=retention_table(numbers),
            accesses=accesses.accesses,
            accesses_chart=accesses_chart(numbers),
            actors_chart=actors_chart(numbers),
            by_result=by_result_table(numbers),
            by_day=results_table("Accesses by day, the latest first", "Day (UTC)",
                            {f"{day}": one for day, one in reversed(list(accesses.by_day.items()))}, DAYS),
            by_action=results_table("Accesses by action", "Action", accesses.by_action, ROWS),
            by_actor=results_table("Accesses by actor", "Actor", accesses.by_actor, ROWS),
            by_purpose=purposes_table(numbers),
            checkpoint=checkpoint and {
                "number": checkpoint.number,
                "time": checkpoint.time,
                "note_sha256": checkpoint.note_sha256,
                "root": checkpoint.root,
                "key": note_key(checkpoint.number),
            },
            verification_words=_verification_words(numbers),
            history_words=_history_words(numbers),
            verification=verification_table(numbers),
            problems=problems_table(numbers),
            lost=Table("Segments that could not be read", [Column("Reason", number=False)],
                       [(shown(one, 300),) for one in accesses.unreadable_segments[:ROWS]]),
            table_version="none" if numbers.table_version is None else numbers.table_version,
            chunks=f"{numbers.chunks:,}",
            segments=f"{accesses.segments:,}",
            registry_words=", ".join(f"{count:,} {shown(one)}" for one, count in accesses.registry_rows.items()),
        )
    )  # fmt: skip


def svg(chart: Chart) -> str:
    """A chart as one SVG document that refers to nothing outside itself; the same for the same chart."""
    return _environment().get_template(_CHART).render(chart=chart)


@cache
def _environment() -> jinja2.Environment:
    folder = files("subject_pipeline.reports") / "templates"
    sources = {name: (folder / name).read_text(encoding="utf-8") for name in (_TEMPLATE, _STYLE, _CHART)}
    environment = jinja2.Environment(
        loader=jinja2.DictLoader(sources), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    environment.globals.update(width=WIDTH, paper=PAPER, ink=INK, line=LINE, colours=BAND_COLOURS | RESULT_COLOURS)
    return environment


def _tiles(numbers: ComplianceNumbers) -> list[Tile]:
    subjects, accesses, checkpoint = numbers.subjects, numbers.accesses, numbers.checkpoint
    there, late, undecided = subjects.subjects, subjects.overdue_unheld, subjects.pending_too_long
    recent, denied, failed = sum(accesses.recent.values()), accesses.recent["denied"], accesses.recent["error"]
    days, problems = subjects.pending_days, numbers.verification.problems
    return [
        Tile(f"{there:,}", f"{things(there, 'subject')} registered"),
        Tile(f"{late:,}", f"{things(late, 'subject')} past the retention date and under no legal hold", _level(late)),
        Tile(
            f"{undecided:,}", f"{things(undecided, 'consent')} undecided for more than {days:g} days", _level(undecided)
        ),
        Tile(
            f"{accesses.unregistered:,}",
            f"{things(accesses.unregistered, 'subject')} in the log without a manifest",
            _level(accesses.unregistered),
        ),
        Tile(
            f"{recent:,}",
            f"{things(recent, 'access')} in the last {RECENT_DAYS} days, {accesses.accesses:,} in all",
        ),
        Tile(
            f"{denied:,} of {recent:,}" if recent else "0",
            f"{things(recent, 'access')} denied in the last {RECENT_DAYS} days; {failed:,} failed",
        ),
        Tile(f"{problems:,}", f"{things(problems, 'problem')} found by verification", _level(problems, "bad")),
        Tile(
            "none" if checkpoint is None else age(checkpoint.age_days),
            "age of the last checkpoint" if checkpoint is None else f"age of checkpoint {checkpoint.number}",
            "bad" if checkpoint is None else "good",
        ),
    ]


def _level(count: int, level: str = "warn") -> str:
    return level if count else "good"


def _verification_words(numbers: ComplianceNumbers) -> str:
    if numbers.checkpoint is None:
        return "The report verified all of the log and the manifests, without a checkpoint to hold them against."
    return (
        f"The report verified what changed since checkpoint {numbers.checkpoint.number}, and took the store's word "
        "that nothing else did. A full verification reads everything."
    )


def _history_words(numbers: ComplianceNumbers) -> str:
    history = numbers.history
    if history is None:
        return "When the last full verification was is known to Dagster, whose event log was not at hand."
    if history.full_since is None:
        return f"Dagster recorded no full verification of {plural(len(history.never_full), 'partition')}."
    return f"Dagster recorded a full verification of every partition; the oldest is of {moment(numbers)}."
