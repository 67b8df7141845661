"""A report's sentences: what to act upon, to look at, and what is in order; and counts, shares and ages in words."""

from dataclasses import dataclass

from subject_pipeline.reports.numbers import ComplianceNumbers

TIME = "%d %B %Y, %H:%M:%S UTC"
_MARKS = {"good": "In order", "warn": "Look at", "bad": "Act"}
_NAMED = 10


@dataclass(frozen=True, slots=True)
class Finding:
    """A sentence on what is in order, is to be looked at, or to be acted upon."""

    level: str
    words: str

    @property
    def mark(self) -> str:
        """The level in a word, for who cannot see the colour."""
        return _MARKS[self.level]


def findings(numbers: ComplianceNumbers) -> list[Finding]:
    """What a reader should act upon, look at, and need not: in this order."""
    subjects, accesses, state = numbers.subjects, numbers.accesses, numbers.verification
    found = [
        _finding(
            subjects.overdue,
            "warn",
            f"{people(subjects.overdue)} held past the retention date: delete the data, or record why it may stay.",
            "Nobody is held past the retention date.",
        ),
        _finding(
            subjects.pending_too_long,
            "warn",
            f"The consent of {people(subjects.pending_too_long)} is undecided for more than "
            f"{subjects.pending_days:g} days: review it.",
            f"No consent is undecided for more than {subjects.pending_days:g} days.",
        ),
        _finding(
            accesses.unregistered,
            "warn",
            f"{people(accesses.unregistered)} in the audit log without a manifest: register the dataset they are in.",
            "Everybody in the audit log has a manifest, or had one until it was deleted.",
        ),
        _finding(
            accesses.questionable,
            "warn",
            f"{plural(accesses.questionable, 'access')} answered although a consent was withdrawn, use was restricted, "
            "or erasure was ordered or done: `audit verify` lists them.",
            "No access was answered against a withdrawal, a restriction or an erasure.",
        ),
        _finding(
            state.problems,
            "bad",
            f"Verification found {plural(state.problems, 'problem')} in what it read: see Evidence.",
            "Verification found nothing wrong in what it read.",
        ),
        _finding(
            accesses.unreadable_rows + len(accesses.unreadable_segments),
            "bad",
            f"{plural(accesses.unreadable_rows, 'row')} and {plural(len(accesses.unreadable_segments), 'segment')} "
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
                f"{plural(len(red), 'partition')} red when last verified: {', '.join(red[:_NAMED])}"
                f"{' and more' if len(red) > _NAMED else ''}.",
                "No partition was red when last verified.",
            ),
            _finding(
                len(never),
                "warn",
                f"{plural(len(never), 'partition')} without a full verification that Dagster recorded.",
                f"No partition's last full verification is older than {moment(numbers)}.",
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
    return Finding("good", f"Checkpoint {checkpoint.number} holds; it is {age(checkpoint.age_days)} old.")


def moment(numbers: ComplianceNumbers) -> str:
    """Since when every partition was fully verified."""
    since = numbers.history.full_since if numbers.history else None
    return since.strftime(TIME) if since else "never"


def people(count: int) -> str:
    """`1 subject`, `2 subjects`."""
    return plural(count, "subject")


def plural(count: int, noun: str) -> str:
    """A count of things."""
    return f"{count:,} {things(count, noun)}"


def things(count: int, noun: str) -> str:
    """`subject` of one, `subjects` of any other count; `access`, `accesses`."""
    return noun if count == 1 else f"{noun}{'es' if noun.endswith('s') else 's'}"


def percent(share: float) -> str:
    """A share, with one decimal."""
    return f"{share:.1%}"


def age(days: float) -> str:
    """A time in hours, or in days where it is a day or more."""
    if days < 1:
        return f"{max(days, 0) * 24:.1f} hours"
    return f"{days:.1f} days"
