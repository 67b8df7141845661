"""What the Dagster UI shows of ingestions, verifications and checkpoints: numbers to plot, tables, checks."""

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import dagster as dg

from subject_pipeline.checkpoints.stored_checkpoints import Checkpoint
from subject_pipeline.ingestion.ingesting import IngestReport
from subject_pipeline.orchestration.history.partitions import FULL_VERIFICATION, PastPartitions
from subject_pipeline.orchestration.lasting_checks import Finding
from subject_pipeline.verification.checkpointing import CheckpointReport
from subject_pipeline.verification.findings import ChunkFindings
from subject_pipeline.verification.log_verdicts import BrokenLog
from subject_pipeline.verification.manifest_verdicts import BrokenManifest
from subject_pipeline.verification.whole_store import Verification

_SHOWN = 500
ANCHORED_KINDS = {"truncated", "missing", "rewritten", "bad_checkpoint"}
"""What only a checkpoint can tell of a log."""

CHAINS_INTACT = "chains_intact"
LOG_MATCHES_CHECKPOINT = "log_matches_last_checkpoint"
MANIFESTS_UNCHANGED = "manifests_unchanged"
NOTHING_UNREADABLE = "nothing_unreadable"
EVERY_SUBJECT_REGISTERED = "every_events_subject_is_registered"
CHECKS = (CHAINS_INTACT, LOG_MATCHES_CHECKPOINT, MANIFESTS_UNCHANGED, NOTHING_UNREADABLE, EVERY_SUBJECT_REGISTERED)
"""Those of a verification."""

_NOT_READ = "not at all: unchanged since the last checkpoint"

NOTHING_REJECTED = "nothing_rejected"
NOTHING_CARRIED = "nothing_carried_on"

Metadata = Mapping[str, dg.MetadataValue]
Row = dict[str, str | int]


def ingest_metadata(report: IngestReport) -> Metadata:
    """Numbers of one ingestion."""
    counts = {
        "files": report.files,
        "events": report.events,
        "appended": report.appended,
        "already_present": report.already_present,
        "conflicting": report.conflicting,
        "unregistered": report.unregistered,
        "rejected": report.rejected,
        **{f"appended_{result}": count for result, count in sorted(report.results.items())},
    }
    return {
        "dagster/row_count": dg.MetadataValue.int(report.appended),
        **{name: dg.MetadataValue.int(count) for name, count in counts.items()},
        "seconds": dg.MetadataValue.float(round(report.elapsed_s, 3)),
        "dead_letters": dg.MetadataValue.text(", ".join(report.dead_letters) or "none"),
    }


def ingest_check_specs(asset: str) -> list[dg.AssetCheckSpec]:
    """The checks that every ingestion reports."""
    return [
        dg.AssetCheckSpec(
            NOTHING_REJECTED,
            asset=asset,
            description="Every line of the run's files was an event, and none contradicts an event that is recorded "
            "under its id. The table names file, line and reason; the lines are where they were, and the rest of the "
            "files is in the log.",
        ),
        dg.AssetCheckSpec(
            EVERY_SUBJECT_REGISTERED,
            asset=asset,
            description="Every event of the run's files was about a subject that has a manifest. Events about others "
            "are evidence too and were recorded; this only warns.",
        ),
    ]


def ingest_checks(report: IngestReport) -> list[dg.AssetCheckResult]:
    """What the checks found in one ingestion."""
    rejected: list[Row] = [
        {"file": one.file, "line": one.line, "reason": one.reason, "line_sha256": one.line_sha256}
        for one in report.rejections
    ]
    return [
        check(NOTHING_REJECTED, report.rejected + report.conflicting, rejected),
        dg.AssetCheckResult(
            check_name=EVERY_SUBJECT_REGISTERED,
            passed=report.unregistered == 0,
            severity=dg.AssetCheckSeverity.WARN,
            description=f"{report.unregistered:,} events" if report.unregistered else "none",
            metadata={"events": dg.MetadataValue.int(report.unregistered)},
        ),
    ]


@dataclass(slots=True)
class VerifiedChunks:
    """What a verification found, chunk by chunk: one rule for the partitions' numbers and for the checks.

    Attributes:
        found: how many problems each check has in each chunk.
        rows: each check's table, at most 500 rows of it.
        read: how much was read of each chunk's log, in words.
        whole: the chunks of which everything was read.
        metadata: other numbers of each chunk.
    """

    found: dict[str, dict[str, int]] = field(default_factory=dict)
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
            self.rows[name] += rows[: _SHOWN - len(self.rows[name])]
        if log is not None:
            unreadable = self.found[chunk]
            unreadable[NOTHING_UNREADABLE] = max(unreadable[NOTHING_UNREADABLE], len(log.unreadable))
        if log is None:
            self.read[chunk] = _NOT_READ
        else:
            self.read[chunk] = "from the last checkpoint on" if found.resumed else "whole"
        if was_read(found) and not found.resumed and found.hashes is not None:
            self.whole.add(chunk)
        self.metadata[chunk] = {
            "chains": len(log.chains.keys() | log.broken.keys() | log.unreadable) if log else 0,
            "rows": log.rows if log else 0,
            "segments": len(found.segments),
        }

    def numbers(self, chunk: str, past: PastPartitions, last_full: dt.datetime | None) -> Metadata:
        """One partition's own numbers; those that count problems keep its checks red whatever runs come later.

        What was not read in this run is not called fine: of a chunk that was not read whole, each check keeps at least
        the number that it had.

        Args:
            chunk: the partition.
            past: what was recorded before this run.
            last_full: when the partition was last verified in full, this run included; None: never.
        """
        found = self.found.get(chunk, {})
        problems = {
            _number(name): max(found.get(name, 0), 0 if chunk in self.whole else past.number(chunk, _number(name)))
            for name in CHECKS
        }
        return {
            "log_read": dg.MetadataValue.text(self.read.get(chunk, "not at all: the store has no such chunk")),
            **{
                name: dg.MetadataValue.int(count)
                for name, count in {**self.metadata.get(chunk, {}), **problems}.items()
            },
            **({FULL_VERIFICATION: dg.MetadataValue.timestamp(last_full)} if last_full else {}),
        }


def was_read(found: ChunkFindings) -> bool:
    """Whether the store gave all that this chunk's verification asked for."""
    kinds = {one.kind for one in found.logs} | {one.kind for one in found.manifests}
    return found.log is not None and not found.log.unreadable and "unreadable" not in kinds


def _check_of(kind: str) -> str:
    """The check that a log's problem turns red."""
    if kind == "unreadable":
        return NOTHING_UNREADABLE
    return LOG_MATCHES_CHECKPOINT if kind in ANCHORED_KINDS else CHAINS_INTACT


def _problems(found: ChunkFindings) -> dict[str, list[Row]]:
    """What each check has against a chunk, a row each."""
    rows: dict[str, list[Row]] = {name: [] for name in CHECKS}
    for broken in found.logs:
        rows[_check_of(broken.kind)] += _logs([broken])
    for chain in found.log.broken.values() if found.log else ():
        row = _row(found.chunk, chain.candidate_id, chain.kind, chain.seq, chain.detail)
        rows[CHAINS_INTACT].append(row)
        if chain.kind in ANCHORED_KINDS:
            rows[LOG_MATCHES_CHECKPOINT].append(row)
    for manifest in found.manifests:
        name = NOTHING_UNREADABLE if manifest.kind == "unreadable" else MANIFESTS_UNCHANGED
        rows[name].append(_row(found.chunk, manifest.candidate_id or "", manifest.kind, -1, manifest.detail))
    rows[EVERY_SUBJECT_REGISTERED] = [
        _row(found.chunk, one, "unregistered", -1, "has rows and no manifest") for one in found.unregistered
    ]
    return rows


def _number(name: str) -> str:
    """The number of a partition that is not zero where this check is red in it."""
    return f"problems/{name}"


RED_NUMBERS = tuple(_number(name) for name in CHECKS if name != EVERY_SUBJECT_REGISTERED)
"""The numbers of a partition that are not zero where it was red; what only warns is left out."""


def _sums(report: Verification, verified: VerifiedChunks) -> Metadata:
    """Numbers of one whole verification: over what it holds."""
    read = Counter(verified.read.values())
    return {
        "mode": dg.MetadataValue.text("incremental" if report.incremental else "full"),
        "checkpoint": dg.MetadataValue.text(_name(report.checkpoint)),
        "verified_chains": dg.MetadataValue.int(report.chains),
        "intact": dg.MetadataValue.int(report.intact),
        "broken": dg.MetadataValue.int(report.broken),
        "unreadable": dg.MetadataValue.int(report.unreadable),
        "verified_rows": dg.MetadataValue.int(report.rows),
        **{f"rows_{result}": dg.MetadataValue.int(count) for result, count in report.results.items()},
        "partitions_read_whole": dg.MetadataValue.int(len(verified.whole)),
        "partitions_not_read": dg.MetadataValue.int(read[_NOT_READ]),
        "seconds": dg.MetadataValue.float(round(report.elapsed_s, 3)),
    }


def verification_check_specs(asset: str) -> list[dg.AssetCheckSpec]:
    """The checks that every verification reports."""
    told = {
        CHAINS_INTACT: "Every segment and every row of every chain is as it was written. The table names subject, "
        "kind, first bad row and what is wrong; the sums are those of the run.",
        LOG_MATCHES_CHECKPOINT: "The log holds all that the last checkpoint anchored, and the checkpoint that Dagster "
        "recorded is among the stored ones. Red: something was cut off, rewritten or rolled back.",
        MANIFESTS_UNCHANGED: "Every manifest is as the registry's own evidence, or the last checkpoint, says. Red: it "
        "was changed or removed behind the registry's back, or an announced change was never made.",
        NOTHING_UNREADABLE: "The store gave everything that was asked for. Red: neither intact nor tampered; look at "
        "the store, then run again.",
        EVERY_SUBJECT_REGISTERED: "Every chain's subject has a manifest, or had one until the registry deleted it. "
        "This only warns.",
    }
    ending = " A partition that was red stays so until it is verified again itself."
    return [dg.AssetCheckSpec(name, asset=asset, description=text + ending) for name, text in told.items()]


def verification_findings(report: Verification, verified: VerifiedChunks) -> list[Finding]:
    """What one verification found under each check; the first of them has the run's sums."""
    scope = ""
    if report.incremental:
        scope = (
            f"; incremental: {len(verified.whole):,} of {len(verified.read):,} partitions were read whole, the others "
            "count as they were when last read"
        )
    findings = []
    for name in CHECKS:
        # Of the checkpoint, or of the store as such: no partition's record has it.
        store_wide = _logs(one for one in report.broken_logs if one.chunk is None and _check_of(one.kind) == name)
        count = len(store_wide) + sum(found[name] for found in verified.found.values())
        warns = name == EVERY_SUBJECT_REGISTERED
        findings.append(
            Finding(
                name,
                _number(name),
                (f"{count:,} found" if count else "nothing found") + scope,
                {
                    "found": dg.MetadataValue.int(count),
                    "offenders": problems_table([*store_wide, *verified.rows[name]]),
                    **(_sums(report, verified) if name == CHAINS_INTACT else {}),
                },
                [chunk for chunk, found in verified.found.items() if found[name]],
                everywhere=bool(store_wide),
                severity=dg.AssetCheckSeverity.WARN if warns else dg.AssetCheckSeverity.ERROR,
            )
        )
    return findings


def checkpoint_metadata(report: CheckpointReport) -> Metadata:
    """Numbers of one checkpoint, and its signed note: the copy that a rolled back store is found out by."""
    written = report.written
    if written is None:
        return {}
    return {
        "note": dg.MetadataValue.text(written.signed),
        "number": dg.MetadataValue.int(written.note.number),
        "root": dg.MetadataValue.text(written.note.root),
        "subjects": dg.MetadataValue.int(report.entries),
        "carried_on": dg.MetadataValue.int(len(report.carried)),
        "rows_read": dg.MetadataValue.int(report.verification.rows),
        "broken": dg.MetadataValue.int(report.verification.broken),
        "broken_chains": problems_table(_chains(report.verification)),
        "seconds": dg.MetadataValue.float(round(report.verification.elapsed_s, 3)),
    }


def checkpoint_check_specs(asset: str) -> list[dg.AssetCheckSpec]:
    """The checks that every checkpoint reports."""
    return [
        dg.AssetCheckSpec(
            LOG_MATCHES_CHECKPOINT,
            asset=asset,
            description="The last checkpoint holds, it is the one that Dagster recorded, and the log has all of it. "
            "Where it does not hold, no further checkpoint is written.",
        ),
        dg.AssetCheckSpec(
            NOTHING_CARRIED,
            asset=asset,
            description="No chunk keeps its previous entries because something was found in it. Nothing red turns "
            "green here: such a chunk is anchored as it last was until it is whole again.",
        ),
    ]


def checkpoint_checks(report: CheckpointReport) -> list[dg.AssetCheckResult]:
    """What the checks found while a checkpoint was written."""
    logs = [one for one in report.verification.broken_logs if one.kind in ANCHORED_KINDS]
    everything: list[Row] = [
        *_chains(report.verification),
        *_logs(report.verification.broken_logs),
        *_manifests(report.verification.broken_manifests, report.verification.homes),
    ]
    return [
        check(LOG_MATCHES_CHECKPOINT, len(logs), _logs(logs)),
        check(NOTHING_CARRIED, len(report.carried), everything),
    ]


def check(
    name: str,
    count: int,
    offenders: Sequence[Row],
    *,
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR,
) -> dg.AssetCheckResult:
    """A check's result, with a table of what was found."""
    return dg.AssetCheckResult(
        check_name=name,
        passed=not count,
        severity=severity,
        description=f"{count:,} found" if count else "nothing found",
        metadata={
            "found": dg.MetadataValue.int(count),
            "offenders": problems_table(offenders),
        },
    )


def problems_table(rows: Iterable[Row]) -> dg.MetadataValue:
    """At most 500 problems, a row each."""
    shown = list(rows)[:_SHOWN]
    columns = list(shown[0]) if shown else ["candidate_id", "kind", "detail"]
    return dg.MetadataValue.table(
        records=[dg.TableRecord(dict(row)) for row in shown],
        schema=dg.TableSchema(columns=[dg.TableColumn(name) for name in columns]),
    )


def _chains(report: Verification) -> list[Row]:
    return [
        _row(report.homes.get(one.candidate_id, ""), one.candidate_id, one.kind, one.seq, one.detail)
        for one in report.broken_chains
    ]


def _logs(logs: Iterable[BrokenLog]) -> list[Row]:
    return [
        _row(one.chunk or "all", "", one.kind, -1 if one.segment is None else one.segment, one.detail) for one in logs
    ]


def _manifests(manifests: Iterable[BrokenManifest], homes: Mapping[str, str]) -> list[Row]:
    return [
        _row(homes.get(one.candidate_id or "", ""), one.candidate_id or "", one.kind, -1, one.detail)
        for one in manifests
    ]


def _row(partition: str, candidate_id: str, kind: str, seq: int, detail: str) -> Row:
    return {"partition": partition, "candidate_id": candidate_id, "kind": kind, "seq": seq, "detail": detail}


def _name(checkpoint: Checkpoint | None) -> str:
    return "none" if checkpoint is None else f"{checkpoint.note.number} of {checkpoint.note.time}"
