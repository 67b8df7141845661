"""A report's sentences: what to act upon, to look at, and what is in order; and counts, shares and ages in words."""

from dataclasses import dataclass
from math import ceil

from subject_pipeline.lifecycle.lists.review_counts import AGES
from subject_pipeline.reports.numbers import ComplianceNumbers

TIME = "%d %B %Y, %H:%M:%S UTC"
_MARKS = {"good": "In order", "warn": "Look at", "bad": "Act"}
_NAMED = 10

AGE_NAMES = dict(zip(AGES, ("less than 30 days", "30 to 89 days", "90 to 364 days", "365 days or more"), strict=True))
DUE_LIST = "subjects list --due"


@dataclass(frozen=True, slots=True)
class Finding:
    """A sentence on what is in order, is to be looked at, or to be acted upon."""

    level: str
    words: str

    @property
    def mark(self) -> str:
        """The level in a word, for who cannot see the colour."""
        return _MARKS[self.level]


@dataclass(frozen=True, slots=True)
class Listing:
    """How many there are of something, and the command, after `subject-pipeline`, that lists them."""

    what: str
    count: int
    command: str


def pending_list(days: float) -> str:
    """The command that lists whose consent is undecided for at least so many days."""
    return f"reviews export pending_consent --older-than {ceil(days)}d --out FILE"


def lists(numbers: ComplianceNumbers) -> list[Listing]:
    """What a reader may want to have by name."""
    subjects, reviews, accesses, state = (
        numbers.subjects, numbers.subjects.reviews, numbers.accesses, numbers.verification
    )  # fmt: skip
    days = subjects.pending_days
    gone = sum((numbers.vanished or {}).values())
    vanished = Listing("Gone from their dataset's source", gone, "reviews export vanished --out FILE")
    return [
        Listing("Consent undecided", subjects.consent_pending, "reviews export pending_consent --out FILE"),
        Listing(f"Consent undecided for more than {days:g} days", subjects.pending_too_long, pending_list(days)),
        Listing("Past the retention date", subjects.overdue, DUE_LIST),
        *(Listing(f"- of {scope} data", count, DUE_LIST) for scope, count in reviews.due.items()),
        Listing("- under a legal hold", reviews.due_held, f"{DUE_LIST} --held"),
        Listing("Under a legal hold", reviews.held, "subjects list --held"),
        Listing("Use restricted, erasure ordered or not", reviews.restricted, "subjects list --status restricted"),
        Listing("Erasure ordered", reviews.ordered, "subjects list --status erasure_ordered"),
        Listing("Erased", accesses.erased, "decisions list --kind erased"),
        Listing("In the table again though deleted or erased", state.resurrected, "audit verify"),
        Listing("Vertical unknown", reviews.unclassified, "subjects list --vertical unknown"),
        *([] if numbers.vanished is None else [vanished]),
        Listing("Ever accessed", accesses.subjects, "audit search --by subject"),
        Listing("In the log without a manifest", accesses.unregistered, "audit search --by subject"),
        Listing("Accesses that should not have been", accesses.questionable, "audit verify"),
        Listing("Problems that verification found", state.problems, "audit verify"),
    ]


def findings(numbers: ComplianceNumbers) -> list[Finding]:
    """What a reader should act upon, look at, and need not: in this order."""
    subjects, accesses, state = numbers.subjects, numbers.accesses, numbers.verification
    found = [
        _finding(
            subjects.overdue_unheld,
            "warn",
            f"{people(subjects.overdue_unheld)} past the retention date and under no legal hold: erase them, or record "
            f"why the data may stay. `{DUE_LIST}` lists them.",
            "Nobody is past the retention date, or those who are stand under a legal hold.",
        ),
        _finding(
            subjects.pending_too_long,
            "warn",
            f"The consent of {people(subjects.pending_too_long)} is undecided for more than "
            f"{subjects.pending_days:g} days: review it. `reviews export pending_consent` lists them.",
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
            state.resurrected,
            "bad",
            f"{people(state.resurrected)} in the table again though deleted or erased: `audit verify` lists them.",
            "Nobody who was deleted or erased is in the part of the table that was verified.",
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
