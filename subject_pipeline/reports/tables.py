"""A report's tables, as rows of text that the page escapes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from subject_pipeline.audit.result_state import RESULT_STATES
from subject_pipeline.formats.shown_text import shown
from subject_pipeline.reports.charts import BAND_NAMES, RESULT_NAMES
from subject_pipeline.reports.numbers import RECENT_DAYS, RETENTION_BANDS, ComplianceNumbers, Results, rate
from subject_pipeline.reports.words import AGE_NAMES, lists, people, percent, plural

ROWS = 20
DAYS = 14


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


def counts_table(caption: str, title: str, counts: Mapping[str, int], total: int, unnamed: str = "(empty)") -> Table:
    """Subjects by one field's value, the most frequent first; `unnamed` is what stands for an empty value."""
    rows = [(shown(name) or unnamed, f"{count:,}", percent(count / total)) for name, count in counts.items()]
    return Table(
        caption, [Column(title, number=False), Column("Subjects"), Column("Share")], rows[:ROWS],
        _more(len(rows), ROWS), wide=False,
    )  # fmt: skip


def datasets_table(numbers: ComplianceNumbers) -> Table:
    """Subjects by dataset, the largest first."""
    subjects = numbers.subjects
    table = counts_table("Subjects by dataset", "Dataset", subjects.by_dataset, subjects.subjects, "(in no dataset)")
    overlap = sum(subjects.by_dataset.values()) > subjects.subjects
    several = "A subject of several datasets counts in each." if overlap else ""
    return replace(table, note=f"{several} {table.note}".strip())


def retention_table(numbers: ComplianceNumbers) -> Table:
    """When retention ends, of general and of biometric data."""
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


def lists_table(numbers: ComplianceNumbers) -> Table:
    """How many there are of whom something is to be known, and the command that lists them."""
    rows = [(one.what, f"{one.count:,}", f"subject-pipeline {one.command}") for one in lists(numbers)]
    columns = [Column("What", number=False), Column("Count"), Column("Listed by", number=False)]
    return Table("Who is meant", columns, rows, "Who may read the store can list them; this report names nobody.")


def pending_table(numbers: ComplianceNumbers) -> Table:
    """Consents to general personal data that nobody has decided, by age."""
    subjects = numbers.subjects
    pending = {AGE_NAMES[age]: count for age, count in subjects.reviews.pending.items() if subjects.subjects}
    return counts_table("Consent undecided, by age", "Since registration", pending, subjects.subjects)


def decisions_table(numbers: ComplianceNumbers) -> Table:
    """Decisions by month, the latest first."""
    months = numbers.accesses.decisions
    rows = [
        (month, f"{sum(kinds.values()):,}", ", ".join(f"{count:,} {kind}" for kind, count in kinds.items()))
        for month, kinds in list(months.items())[:ROWS]
    ]
    columns = [Column("Month (UTC)", number=False), Column("Decisions"), Column("Of which", number=False)]
    certificates = plural(numbers.certificates, "certificate")
    stored = f"{people(numbers.accesses.erased)} erased; the store has {certificates} of erasures."
    return Table("Decisions by month", columns, rows, f"{stored} {_more(len(months), ROWS)}".strip())


def by_result_table(numbers: ComplianceNumbers) -> Table:
    """All accesses by result, and the last 30 days'."""
    results, recent = numbers.accesses.results, numbers.accesses.recent
    rows = [
        (RESULT_NAMES[one], f"{results[one]:,}", percent(rate(results, one)), f"{recent[one]:,}",
         percent(rate(recent, one)))
        for one in RESULT_STATES
    ]  # fmt: skip
    days = f"last {RECENT_DAYS} days"
    columns = [Column("Result", number=False), Column("All"), Column("Share"), Column(days.capitalize()),
               Column(f"Share, {days}")]  # fmt: skip
    return Table("Accesses by result", columns, rows)


def results_table(
    caption: str, title: str, counts: Mapping[str, Results], limit: int, unnamed: str = "(empty)"
) -> Table:
    """Accesses by one thing and by result, at most `limit` rows; `unnamed` is what stands for an empty name."""
    rows = [
        (shown(name) or unnamed, f"{sum(one.values()):,}", *(f"{one[result]:,}" for result in RESULT_STATES),
         percent(rate(one, "denied")))
        for name, one in list(counts.items())[:limit]
    ]  # fmt: skip
    results = (Column(RESULT_NAMES[result].capitalize()) for result in RESULT_STATES)
    columns = [Column(title, number=False), Column("Accesses"), *results, Column("Share denied")]
    return Table(caption, columns, rows, _more(len(counts), limit))


def purposes_table(numbers: ComplianceNumbers) -> Table:
    """Accesses by purpose and result, the most frequent purpose first."""
    table = results_table("Accesses by purpose", "Purpose", numbers.accesses.by_purpose, ROWS, "(none given)")
    further = sum(numbers.accesses.other_purposes.values())
    note = f"Not named: {plural(further, 'access')} for further purposes." if further else ""
    return replace(table, note=f"{table.note} {note}".strip())


def verification_table(numbers: ComplianceNumbers) -> Table:
    """What the report's own verification read and found."""
    state = numbers.verification
    rows = [
        ("Chains read", f"{state.chains:,}"),
        ("Rows read", f"{state.rows:,}"),
        ("Chains broken", f"{state.broken:,}"),
        ("Chains unreadable", f"{state.unreadable:,}"),
        ("Problems", f"{state.problems:,}"),
    ]
    return Table("The report's own verification", [Column("What", number=False), Column("Count")], rows, wide=False)


def problems_table(numbers: ComplianceNumbers) -> Table:
    """What it found, by kind."""
    rows = [(kind, f"{count:,}") for kind, count in numbers.verification.by_kind.items()]
    columns = [Column("Kind", number=False), Column("Count")]
    return Table("Problems found", columns, rows, "subject-pipeline audit verify lists them.", wide=False)


def _more(count: int, limit: int) -> str:
    return f"{limit} of {count:,}; all are in numbers.csv." if count > limit else ""
