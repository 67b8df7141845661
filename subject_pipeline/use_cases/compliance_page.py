"""A report as one HTML page: it asks for nothing outside itself, reads well on paper, and escapes whatever it shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import jinja2

from subject_pipeline.domain.compliance import (
    NAMED,
    RECENT_DAYS,
    RETENTION_BANDS,
    ComplianceNumbers,
    HeldSubject,
    Results,
    rate,
)
from subject_pipeline.domain.result_state import RESULT_STATES
from subject_pipeline.domain.shown_text import shown
from subject_pipeline.storage.checkpoints import note_key
from subject_pipeline.use_cases.compliance_charts import (
    BAND_NAMES,
    RESULT_NAMES,
    accesses_chart,
    actors_chart,
    retention_chart,
)

_ROWS = 20
_HELD = 10
_DAYS = 14
_TEMPLATE, _STYLE = "compliance_report.html.j2", "compliance_report.css"
_MARKS = {"good": "In order", "warn": "Look at", "bad": "Act"}
_TIME = "%d %B %Y, %H:%M:%S UTC"


@dataclass(frozen=True, slots=True)
class Column:
    """A table's column; numbers stand to the right."""

    title: str
    number: bool = True


@dataclass(frozen=True, slots=True)
class Table:
    """A table: every row's first value names the row.

    Attributes:
        wide: it may have to be scrolled where it is shown.
    """

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    note: str = ""
    wide: bool = True


@dataclass(frozen=True, slots=True)
class Tile:
    """A number that one sees first."""

    value: str
    words: str
    level: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """A sentence on what is in order, is to be looked at, or to be acted upon."""

    level: str
    words: str

    @property
    def mark(self) -> str:
        """The level in a word, for who cannot see the colour."""
        return _MARKS[self.level]


def page(numbers: ComplianceNumbers) -> str:
    """The page of a report; the same for the same numbers."""
    accesses, subjects, checkpoint = numbers.accesses, numbers.subjects, numbers.checkpoint
    return (
        _environment()
        .get_template(_TEMPLATE)
        .render(
            css=_environment().get_template(_STYLE).render(),
            day=numbers.time.strftime("%d %B %Y"),
            moment=numbers.time.strftime(_TIME),
            stamp=numbers.time.strftime("%Y-%m-%dT%H:%M:%SZ"),
            store=shown(numbers.store, 400),
            tiles=_tiles(numbers),
            findings=findings(numbers),
            subject_tables=[
                _counts("Subjects by status", "Status", subjects.by_status, subjects.subjects),
                _counts("Subjects by vertical", "Vertical", subjects.by_vertical, subjects.subjects),
                _counts("Consent to general personal data", "Consent", subjects.by_general_pii_consent,
                        subjects.subjects),
                _counts("Consent to biometric data", "Consent", subjects.by_biometric_consent, subjects.subjects),
                _counts("Retention policies", "Policy", subjects.by_policy, subjects.subjects),
            ],
            pending=_held(
                f"Consent undecided for more than {subjects.pending_days:g} days",
                subjects.pending_named,
                subjects.pending_too_long,
                ("Consent", "Since", "Days"),
                "consent_pending.csv",
            ),
            retention_chart=retention_chart(numbers),
            retention=_retention(numbers),
            overdue=_held(
                "Held past the retention date",
                subjects.overdue_named,
                None,
                ("Policy", "Retention ended", "Days overdue"),
                "retention_overdue.csv",
                f"{_people(subjects.overdue)} in all.",
            ),
            accesses=accesses.accesses,
            accesses_chart=accesses_chart(numbers),
            actors_chart=actors_chart(numbers),
            by_result=_by_result(numbers),
            by_day=_results("Accesses by day, the latest first", "Day (UTC)",
                            {f"{day}": one for day, one in reversed(list(accesses.by_day.items()))}, _DAYS),
            by_action=_results("Accesses by action", "Action", accesses.by_action, _ROWS),
            by_actor=_results("Accesses by actor", "Actor", accesses.by_actor, _ROWS),
            most_accessed=_most_accessed(numbers),
            unregistered=_unregistered(numbers),
            checkpoint=checkpoint and {
                "number": checkpoint.number,
                "time": checkpoint.time,
                "note_sha256": checkpoint.note_sha256,
                "root": checkpoint.root,
                "key": note_key(checkpoint.number),
            },
            verification_words=_verification_words(numbers),
            history_words=_history_words(numbers),
            verification=_verification(numbers),
            problems=_problems(numbers),
            lost=Table("Segments that could not be read", [Column("Reason", number=False)],
                       [(shown(one, 300),) for one in accesses.unreadable_segments[:_ROWS]]),
            table_version="none" if numbers.table_version is None else numbers.table_version,
            chunks=f"{numbers.chunks:,}",
            segments=f"{accesses.segments:,}",
            registry_words=", ".join(f"{count:,} {shown(one)}" for one, count in accesses.registry_rows.items()),
        )
    )  # fmt: skip


@cache
def _environment() -> jinja2.Environment:
    folder = files("subject_pipeline.use_cases") / "templates"
    sources = {name: (folder / name).read_text(encoding="utf-8") for name in (_TEMPLATE, _STYLE)}
    return jinja2.Environment(
        loader=jinja2.DictLoader(sources), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )


def findings(numbers: ComplianceNumbers) -> list[Finding]:
    """What a reader should act upon, look at, and need not: in this order."""
    subjects, accesses, state = numbers.subjects, numbers.accesses, numbers.verification
    found = [
        _finding(
            subjects.overdue,
            "warn",
            f"{_people(subjects.overdue)} held past the retention date: delete the data, or record why it may stay.",
            "Nobody is held past the retention date.",
        ),
        _finding(
            subjects.pending_too_long,
            "warn",
            f"The consent of {_people(subjects.pending_too_long)} is undecided for more than "
            f"{subjects.pending_days:g} days: review it.",
            f"No consent is undecided for more than {subjects.pending_days:g} days.",
        ),
        _finding(
            accesses.unregistered,
            "warn",
            f"{_people(accesses.unregistered)} in the audit log without a manifest: register the dataset they are in.",
            "Everybody in the audit log has a manifest, or had one until it was deleted.",
        ),
        _finding(
            state.problems,
            "bad",
            f"Verification found {_plural(state.problems, 'problem')} in what it read: see Evidence.",
            "Verification found nothing wrong in what it read.",
        ),
        _finding(
            accesses.unreadable_rows + len(accesses.unreadable_segments),
            "bad",
            f"{_plural(accesses.unreadable_rows, 'row')} and {_plural(len(accesses.unreadable_segments), 'segment')} "
            "of the audit log could not be read and are not counted.",
            "Every row of the audit log could be read.",
        ),
        _checkpoint_finding(numbers),
    ]
    if numbers.history is not None:
        red, never = numbers.history.red, numbers.history.never_full
        found += [
            _finding(
                len(red),
                "bad",
                f"{_plural(len(red), 'partition')} red when last verified: {', '.join(red[:_HELD])}"
                f"{' and more' if len(red) > _HELD else ''}.",
                "No partition was red when last verified.",
            ),
            _finding(
                len(never),
                "warn",
                f"{_plural(len(never), 'partition')} without a full verification that Dagster recorded lately.",
                f"No partition's last full verification is older than {_moment(numbers)}.",
            ),
        ]
    order = list(_MARKS)
    return sorted(found, key=lambda one: -order.index(one.level))


def _finding(count: int, level: str, words: str, otherwise: str) -> Finding:
    return Finding(level, words) if count else Finding("good", otherwise)


def _checkpoint_finding(numbers: ComplianceNumbers) -> Finding:
    checkpoint = numbers.checkpoint
    if checkpoint is None:
        return Finding("bad" if numbers.chunks else "warn", "There is no checkpoint that holds.")
    return Finding("good", f"Checkpoint {checkpoint.number} holds; it is {_age(checkpoint.age_days)} old.")


def _moment(numbers: ComplianceNumbers) -> str:
    since = numbers.history.full_since if numbers.history else None
    return since.strftime(_TIME) if since else "never"


def _tiles(numbers: ComplianceNumbers) -> list[Tile]:
    subjects, accesses, checkpoint = numbers.subjects, numbers.accesses, numbers.checkpoint
    recent = sum(accesses.recent.values())
    problems = numbers.verification.problems
    return [
        Tile(f"{subjects.subjects:,}", "subjects held"),
        Tile(f"{subjects.overdue:,}", "past their retention date", "warn" if subjects.overdue else "good"),
        Tile(
            f"{subjects.pending_too_long:,}",
            f"consents undecided for more than {subjects.pending_days:g} days",
            "warn" if subjects.pending_too_long else "good",
        ),
        Tile(f"{accesses.unregistered:,}", "in the log, unregistered", "warn" if accesses.unregistered else "good"),
        Tile(f"{recent:,}", f"accesses in the last {RECENT_DAYS} days, {accesses.accesses:,} in all"),
        Tile(
            _percent(rate(accesses.recent, "denied")),
            f"denied, {_percent(rate(accesses.recent, 'error'))} failed, in {RECENT_DAYS} days",
        ),
        Tile(f"{problems:,}", "problems found by verification", "bad" if problems else "good"),
        Tile(
            "none" if checkpoint is None else _age(checkpoint.age_days),
            "age of the last checkpoint" if checkpoint is None else f"age of checkpoint {checkpoint.number}",
            "bad" if checkpoint is None else "good",
        ),
    ]


def _counts(caption: str, title: str, counts: Mapping[str, int], total: int) -> Table:
    rows = [(shown(name) or "(empty)", f"{count:,}", _percent(count / total)) for name, count in counts.items()]
    return Table(
        caption, [Column(title, number=False), Column("Subjects"), Column("Share")], rows[:_ROWS],
        _more(len(rows), _ROWS), wide=False,
    )  # fmt: skip


def _retention(numbers: ComplianceNumbers) -> Table:
    subjects = numbers.subjects
    rows = []
    for band in RETENTION_BANDS:
        ahead = band in RETENTION_BANDS[1:-1]
        rows.append((
            BAND_NAMES[band],
            f"{subjects.retention[band]:,}",
            f"{subjects.due_within(band):,}" if ahead else "\N{EN DASH}",
            f"{subjects.biometric_retention[band]:,}",
        ))  # fmt: skip
    return Table(
        "Retention that ends",
        [Column("When", number=False), Column("General data"), Column("From now up to then"), Column("Biometric data")],
        rows,
        "Biometric dates are of those subjects whose manifest has one.",
    )


def _held(
    caption: str,
    named: Sequence[HeldSubject],
    total: int | None,
    titles: tuple[str, str, str],
    file: str,
    note: str = "",
) -> Table:
    rows = [
        (shown(one.candidate_id), one.data.replace("general_pii", "general"), shown(one.why), f"{one.since:%Y-%m-%d}",
         f"{one.days:,}")
        for one in named[:_HELD]
    ]  # fmt: skip
    why, since, days = titles
    columns = [Column("Subject", number=False), Column("Data", number=False), Column(why, number=False),
               Column(since, number=False), Column(days)]  # fmt: skip
    more = ""
    if len(named) > _HELD:
        more = f"The {_HELD} longest are named here, the first {NAMED} in {file}."
    if total is not None:
        note = f"{_people(total)} in all."
    return Table(caption, columns, rows, f"{note} {more}".strip() if named else "")


def _by_result(numbers: ComplianceNumbers) -> Table:
    results, recent = numbers.accesses.results, numbers.accesses.recent
    rows = [
        (RESULT_NAMES[one], f"{results[one]:,}", _percent(rate(results, one)), f"{recent[one]:,}",
         _percent(rate(recent, one)))
        for one in RESULT_STATES
    ]  # fmt: skip
    days = f"last {RECENT_DAYS} days"
    columns = [Column("Result", number=False), Column("All"), Column("Share"), Column(days.capitalize()),
               Column(f"Share, {days}")]  # fmt: skip
    return Table("Accesses by result", columns, rows)


def _results(caption: str, title: str, counts: Mapping[str, Results], limit: int) -> Table:
    rows = [
        (shown(name) or "(empty)", f"{sum(one.values()):,}", *(f"{one[result]:,}" for result in RESULT_STATES),
         _percent(rate(one, "denied")))
        for name, one in list(counts.items())[:limit]
    ]  # fmt: skip
    results = (Column(RESULT_NAMES[result].capitalize()) for result in RESULT_STATES)
    columns = [Column(title, number=False), Column("Accesses"), *results, Column("Share denied")]
    return Table(caption, columns, rows, _more(len(counts), limit))


def _most_accessed(numbers: ComplianceNumbers) -> Table:
    rows = [
        (shown(one.candidate_id), "yes" if one.registered else "no", f"{one.accesses:,}", f"{one.denied:,}",
         f"{one.error:,}")
        for one in numbers.accesses.most_accessed
    ]  # fmt: skip
    columns = [Column("Subject", number=False), Column("Has a manifest", number=False), Column("Accesses"),
               Column("Denied"), Column("Error")]  # fmt: skip
    return Table("The most accessed subjects", columns, rows, f"Of {numbers.accesses.subjects:,} who were accessed.")


def _unregistered(numbers: ComplianceNumbers) -> Table:
    accesses = numbers.accesses
    rows = [(shown(one),) for one in accesses.unregistered_named[:_HELD]]
    note = f"{_people(accesses.unregistered)} in all; the first {NAMED} are in unregistered.csv." if rows else ""
    return Table("Subjects in the log without a manifest", [Column("Subject", number=False)], rows, note, wide=False)


def _verification(numbers: ComplianceNumbers) -> Table:
    state = numbers.verification
    rows = [
        ("Chains read", f"{state.chains:,}"),
        ("Rows read", f"{state.rows:,}"),
        ("Chains broken", f"{state.broken:,}"),
        ("Chains unreadable", f"{state.unreadable:,}"),
        ("Problems", f"{state.problems:,}"),
    ]
    return Table("The report's own verification", [Column("What", number=False), Column("Count")], rows, wide=False)


def _problems(numbers: ComplianceNumbers) -> Table:
    named = numbers.verification.named
    rows = [(shown(one.where), one.kind, shown(one.detail, 300)) for one in named[:_ROWS]]
    columns = [Column(title, number=False) for title in ("Where", "Kind", "What is wrong")]
    return Table("Problems found", columns, rows, _more(numbers.verification.problems, _ROWS))


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
        return f"Dagster recorded no full verification of {_plural(len(history.never_full), 'partition')} lately."
    return f"Dagster recorded a full verification of every partition; the oldest is of {_moment(numbers)}."


def _more(count: int, limit: int) -> str:
    return f"{limit} of {count:,}; all are in numbers.csv." if count > limit else ""


def _people(count: int) -> str:
    return _plural(count, "subject")


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _percent(share: float) -> str:
    return f"{share:.1%}"


def _age(days: float) -> str:
    if days < 1:
        return f"{max(days, 0) * 24:.1f} hours"
    return f"{days:.1f} days"
