"""What a verification found, by check and by partition: one rule for the partitions' numbers and for the checks."""

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import dagster as dg

from subject_pipeline.lifecycle.stored_findings import MOST_LISTED, Listed
from subject_pipeline.orchestration.history.partitions import FULL_VERIFICATION, PastPartitions
from subject_pipeline.orchestration.privacy.findings import Places, where_listed
from subject_pipeline.orchestration.ui.tables import Metadata, Row, placed
from subject_pipeline.verification.findings import ChunkFindings
from subject_pipeline.verification.log_verdicts import BrokenLog, LogVerdict

ANCHORED_KINDS = {"truncated", "missing", "rewritten", "bad_checkpoint"}
"""What only a checkpoint can tell of a log."""

CHAINS_INTACT = "chains_intact"
LOG_MATCHES_CHECKPOINT = "log_matches_last_checkpoint"
MANIFESTS_UNCHANGED = "manifests_unchanged"
NOTHING_UNREADABLE = "nothing_unreadable"
EVERY_SUBJECT_REGISTERED = "every_events_subject_is_registered"
NOBODY_RESURRECTED = "nobody_resurrected"
NO_QUESTIONABLE_ACCESS = "no_questionable_access"
CHECKS = (
    CHAINS_INTACT,
    LOG_MATCHES_CHECKPOINT,
    MANIFESTS_UNCHANGED,
    NOTHING_UNREADABLE,
    EVERY_SUBJECT_REGISTERED,
    NOBODY_RESURRECTED,
    NO_QUESTIONABLE_ACCESS,
)
"""Those of a verification."""
WARNINGS = frozenset({EVERY_SUBJECT_REGISTERED, NO_QUESTIONABLE_ACCESS})
"""Those that only warn."""

NOT_READ = "not at all: unchanged since the last checkpoint"


@dataclass(slots=True)
class VerifiedChunks:
    """What a verification found, chunk by chunk: one rule for the partitions' numbers and for the checks.

    Attributes:
        found: how many problems each check has in each chunk.
        places: how many problems of each kind each check has in each chunk.
        rows: what each check has against whom, at most 10,000 rows of it, for the list in the store.
        read: how much was read of each chunk's log, in words.
        whole: the chunks of which everything was read.
        metadata: other numbers of each chunk.
    """

    found: dict[str, dict[str, int]] = field(default_factory=dict)
    places: dict[str, Places] = field(default_factory=lambda: {name: Counter() for name in CHECKS})
    rows: dict[str, list[Row]] = field(default_factory=lambda: {name: [] for name in CHECKS})
    read: dict[str, str] = field(default_factory=dict)
    whole: set[str] = field(default_factory=set)
    metadata: dict[str, dict[str, int]] = field(default_factory=dict)

    def add(self, found: ChunkFindings) -> None:
        """Count one chunk's findings."""
        log, chunk = found.log, found.chunk
        problems = _problems(found)
        self.found[chunk] = {name: len(rows) for name, rows in problems.items()}
        for name, rows in problems.items():
            self.places[name] += placed(rows)
            self.rows[name] += rows[: MOST_LISTED - len(self.rows[name])]
        if log is not None:
            unreadable = self.found[chunk]
            unreadable[NOTHING_UNREADABLE] = max(
                unreadable[NOTHING_UNREADABLE], len(log.unreadable) + len(log.unreadable_unnamed)
            )
        if log is None:
            self.read[chunk] = NOT_READ
        else:
            self.read[chunk] = "from the last checkpoint on" if found.resumed else "whole"
        if was_read(found) and not found.resumed and found.hashes is not None:
            self.whole.add(chunk)
        self.metadata[chunk] = {
            "chains": _chains(log) if log else 0,
            "rows": log.rows if log else 0,
            "segments": len(found.segments),
        }

    def listed(self) -> Iterator[Listed]:
        """What was found, as the store lists it."""
        for name, rows in self.rows.items():
            for row in rows:
                yield {"check": name, **row}

    def numbers(self, chunk: str, past: PastPartitions, last_full: dt.datetime | None, listed: str | None) -> Metadata:
        """One partition's own numbers; those that count problems keep its checks red whatever runs come later.

        What was not read in this run is not called fine: of a chunk that was not read whole, each check keeps at least
        the number that it had.

        Args:
            chunk: the partition.
            past: what was recorded before this run.
            last_full: when the partition was last verified in full, this run included; None: never.
            listed: where the store lists what the run found.
        """
        found = self.found.get(chunk, {})
        problems = {
            number(name): max(found.get(name, 0), 0 if chunk in self.whole else past.number(chunk, number(name)))
            for name in CHECKS
        }
        return {
            "log_read": self.read.get(chunk, "not at all: the store has no such chunk"),
            **self.metadata.get(chunk, {}),
            # A number that is not there is zero: of 1,024 partitions, zeros were a third of what Dagster kept of a run.
            **{name: count for name, count in problems.items() if count},
            **(where_listed(listed) if any(found.values()) else {}),
            **({FULL_VERIFICATION: dg.MetadataValue.timestamp(last_full)} if last_full else {}),
        }


def was_read(found: ChunkFindings) -> bool:
    """Whether the store gave all that this chunk's verification asked for."""
    kinds = {one.kind for one in found.logs} | {one.kind for one in found.manifests}
    return (
        found.log is not None
        and not (found.log.unreadable or found.log.unreadable_unnamed)
        and "unreadable" not in kinds
    )


def check_of(kind: str) -> str:
    """The check that a log's problem turns red."""
    if kind == "unreadable":
        return NOTHING_UNREADABLE
    return LOG_MATCHES_CHECKPOINT if kind in ANCHORED_KINDS else CHAINS_INTACT


def _chains(log: LogVerdict) -> int:
    """How many chains a log has, or should have."""
    named = log.chains.keys() | log.broken.keys() | log.unreadable
    return len(named) + len(log.broken_unnamed) + len(log.unreadable_unnamed)


def _problems(found: ChunkFindings) -> dict[str, list[Row]]:
    """What each check has against a chunk, a row each."""
    rows: dict[str, list[Row]] = {name: [] for name in CHECKS}
    for broken in found.logs:
        rows[check_of(broken.kind)] += log_rows([broken])
    for chain in (*found.log.broken.values(), *found.log.broken_unnamed) if found.log else ():
        row = problem_row(found.chunk, chain.subject or "", chain.kind, chain.seq, chain.detail)
        rows[CHAINS_INTACT].append(row)
        if chain.kind in ANCHORED_KINDS:
            rows[LOG_MATCHES_CHECKPOINT].append(row)
    for manifest in found.manifests:
        name = NOTHING_UNREADABLE if manifest.kind == "unreadable" else MANIFESTS_UNCHANGED
        rows[name].append(problem_row(found.chunk, manifest.subject or "", manifest.kind, -1, manifest.detail))
        if manifest.kind == "resurrected":
            rows[NOBODY_RESURRECTED].append(rows[name][-1])
    rows[NO_QUESTIONABLE_ACCESS] = [
        {"partition": found.chunk, "kind": "questionable", **one._asdict()} for one in found.questionable
    ]
    rows[EVERY_SUBJECT_REGISTERED] = [
        problem_row(found.chunk, one, "unregistered", -1, "has rows and no manifest") for one in found.unregistered
    ]
    return rows


def number(name: str) -> str:
    """The number of a partition that is not zero where this check is red in it."""
    return f"problems/{name}"


RED_NUMBERS = tuple(number(name) for name in CHECKS if name not in WARNINGS)
"""The numbers of a partition that are not zero where it was red; what only warns is left out."""


def log_rows(logs: Iterable[BrokenLog]) -> list[Row]:
    """A row for each problem of a log as such."""
    return [
        problem_row(one.chunk or "all", "", one.kind, -1 if one.segment is None else one.segment, one.detail)
        for one in logs
    ]


def problem_row(partition: str, candidate_id: str, kind: str, seq: int, detail: str) -> Row:
    """One problem, as a row of the list."""
    return {"partition": partition, "candidate_id": candidate_id, "kind": kind, "seq": seq, "detail": detail}
