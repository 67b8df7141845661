"""What a registration or an import did: counts in which every staged row, or every document, is found once."""

from collections import defaultdict
from dataclasses import dataclass, field, replace

import polars as pl

from subject_pipeline.registry.deciding import Counts, Decision, Failure
from subject_pipeline.registry.vanished import Reconciliation
from subject_pipeline.store.chunks import ChunkLayout

MAX_NAMED_FAILURES = 10_000
"""So many failures of a run are named; all are counted."""
_SAMPLE = 5


@dataclass(frozen=True, slots=True)
class ChunkOutcome:
    """What a registration did in one chunk.

    Attributes:
        rows: staged rows, repeated ones too.
        collisions: how many of the failed found their storage key taken by another id.
        failures: candidates that did not become subjects, in source order.
        sample: the first five candidate ids.
        seconds: how long the commit took that this chunk was part of.
    """

    chunk: str
    rows: int
    counts: Counts
    collisions: int = 0
    failures: tuple[Failure, ...] = ()
    sample: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(slots=True)
class Registration:
    """What a registration has done so far; filled while it runs, so that an interrupted one can be reported too.

    Attributes:
        reconciled: who refers to the dataset and was not staged, in the chunks done; None: it is not known of some.
    """

    outcomes: list[ChunkOutcome] = field(default_factory=list)
    rows: int = 0
    reconciled: Reconciliation | None = field(default_factory=Reconciliation)

    def take(self, outcomes: list[ChunkOutcome], reconciled: Reconciliation | None) -> None:
        """Add a chunk group's outcomes, and what its subjects are beside what is staged; None: it is not known."""
        self.outcomes += outcomes
        self.rows += sum(outcome.rows for outcome in outcomes)
        self.reconciled = self.reconciled + reconciled if self.reconciled and reconciled else None

    @property
    def counts(self) -> Counts:
        """The sum over all chunks done."""
        return sum((outcome.counts for outcome in self.outcomes), Counts())

    @property
    def failures(self) -> list[Failure]:
        """The failures of all chunks done, at most 10,000 of them."""
        return [failure for outcome in self.outcomes for failure in outcome.failures][:MAX_NAMED_FAILURES]


def with_earlier(outcome: ChunkOutcome, earlier: Counts) -> ChunkOutcome:
    """The outcome with what this call itself inserted or linked in an earlier pass counted as that."""
    counts = outcome.counts
    carried = min(earlier.inserted, counts.skipped)
    skipped = counts.skipped - carried
    linked = min(counts.linked + earlier.linked, skipped)
    return replace(outcome, counts=replace(counts, inserted=counts.inserted + carried, skipped=skipped, linked=linked))


def outcomes_of(
    layout: ChunkLayout,
    indices: list[int],
    rows: pl.DataFrame,
    unique: pl.DataFrame,
    decision: Decision | None,
    failed: pl.DataFrame,
    *,
    seconds: float,
) -> list[ChunkOutcome]:
    """What a registration did in each chunk of a group.

    Args:
        layout: the store's chunks.
        indices: the group's.
        rows: what was staged for them, `CANDIDATE_SCHEMA`.
        unique: each candidate of it once.
        decision: what was done with them; None: nothing is known to be done.
        failed: `REFUSAL_SCHEMA`, all that did not become subjects.
        seconds: how long the commit took.
    """
    scanned, tried = _per_chunk(rows), _per_chunk(unique)
    inserted = _per_chunk(decision.new) if decision else {}
    skipped = _per_chunk(decision.known) if decision else {}
    linked, linkable = (_per_chunk(decision.linked), _per_chunk(decision.linkable)) if decision else ({}, {})
    suppressed = _per_chunk(decision.suppressed) if decision else {}
    lost, collided = _per_chunk(failed), _per_chunk(failed.filter(pl.col("kind") == "collision"))
    named: dict[int, list[Failure]] = defaultdict(list)
    for failure, index in named_failures(failed, layout):
        named[index].append(failure)
    samples = dict(unique.group_by("chunk_index").agg(pl.col("candidate_id").sort_by("row").head(_SAMPLE)).iter_rows())
    return [
        ChunkOutcome(
            chunk=layout.names[index],
            rows=scanned.get(index, 0),
            counts=Counts(
                inserted=inserted.get(index, 0),
                skipped=skipped.get(index, 0),
                failed=lost.get(index, 0),
                duplicates=scanned.get(index, 0) - tried.get(index, 0),
                linked=linked.get(index, 0),
                linkable=linkable.get(index, 0),
                suppressed=suppressed.get(index, 0),
            ),
            collisions=collided.get(index, 0),
            failures=tuple(named[index]),
            sample=tuple(samples.get(index, ())),
            seconds=seconds,
        )
        for index in indices
    ]


def named_failures(failed: pl.DataFrame, layout: ChunkLayout) -> list[tuple[Failure, int]]:
    """The failures of a `REFUSAL_SCHEMA` frame, at most 10,000 of them, each with its chunk's index."""
    return [
        (Failure(candidate, reason, layout.names[index], kind), index)
        for index, candidate, kind, reason in failed.head(MAX_NAMED_FAILURES).iter_rows()
    ]


def _per_chunk(rows: pl.DataFrame) -> dict[int, int]:
    return dict(rows.group_by("chunk_index").len().iter_rows())


@dataclass(frozen=True, slots=True)
class ImportFailure:
    """One document that was not imported: its place, its id if it has one, and why."""

    where: str
    candidate_id: str | None
    reason: str


@dataclass(slots=True)
class ImportReport:
    """What an import did; `manifests = inserted + replaced + unchanged + failed`."""

    inserted: int = 0
    replaced: int = 0
    unchanged: int = 0
    failed: int = 0
    failures: list[ImportFailure] = field(default_factory=list)

    @property
    def manifests(self) -> int:
        """Documents that were read."""
        return self.inserted + self.replaced + self.unchanged + self.failed

    def fail(self, where: str, candidate_id: str | None, reason: str) -> None:
        """Count a failure, and name it while there is room."""
        self.failed += 1
        if len(self.failures) < MAX_NAMED_FAILURES:
            self.failures.append(ImportFailure(where, candidate_id, reason))
