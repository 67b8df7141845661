"""What the Dagster UI shows of ingestions, verifications and checkpoints: numbers to plot, tables, checks."""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence

import dagster as dg

from subject_pipeline.components.past_partitions import FULL_VERIFICATION, PastPartitions
from subject_pipeline.domain.audit_verdicts import BrokenLog
from subject_pipeline.domain.manifest_verdicts import BrokenManifest
from subject_pipeline.storage.checkpoints import Checkpoint
from subject_pipeline.use_cases.checkpointing import CheckpointReport
from subject_pipeline.use_cases.chunk_verification import ChunkFindings
from subject_pipeline.use_cases.ingestion import IngestReport
from subject_pipeline.use_cases.verification import Verification

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


def chunk_metadata(found: ChunkFindings, last_full: dt.datetime | None) -> Metadata:
    """One partition's own numbers; those that count problems keep later runs of other partitions from turning green.

    Args:
        found: what was found.
        last_full: when the partition was last verified in full before this run, or this run's start where it is one.
    """
    log = found.log
    problems = dict.fromkeys(CHECKS, 0)
    problems[EVERY_SUBJECT_REGISTERED] = len(found.unregistered)
    if log is not None:
        problems[CHAINS_INTACT] = len(log.broken)
        problems[NOTHING_UNREADABLE] = len(log.unreadable)
    for broken in found.logs:
        problems[_check_of(broken.kind)] += 1
    for manifest in found.manifests:
        problems[NOTHING_UNREADABLE if manifest.kind == "unreadable" else MANIFESTS_UNCHANGED] += 1
    read = "from the last checkpoint on" if found.resumed else "whole"
    return {
        "log_read": dg.MetadataValue.text(
            read if log is not None else "not at all: unchanged since the last checkpoint"
        ),
        "chains": dg.MetadataValue.int(len(log.chains.keys() | log.broken.keys() | log.unreadable) if log else 0),
        "rows": dg.MetadataValue.int(log.rows if log else 0),
        "segments": dg.MetadataValue.int(len(found.segments)),
        **{f"problems/{name}": dg.MetadataValue.int(count) for name, count in problems.items()},
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


def verification_metadata(report: Verification) -> Metadata:
    """Numbers of one whole verification."""
    return {
        "verified_chains": dg.MetadataValue.int(report.chains),
        "intact": dg.MetadataValue.int(report.intact),
        "broken": dg.MetadataValue.int(report.broken),
        "unreadable": dg.MetadataValue.int(report.unreadable),
        "verified_rows": dg.MetadataValue.int(report.rows),
        **{f"rows_{result}": dg.MetadataValue.int(count) for result, count in report.results.items()},
        "mode": dg.MetadataValue.text("incremental" if report.incremental else "full"),
        "checkpoint": dg.MetadataValue.text(_name(report.checkpoint)),
        "broken_chains": problems_table(_chains(report)),
        "seconds": dg.MetadataValue.float(round(report.elapsed_s, 3)),
    }


def verification_check_specs(asset: str) -> list[dg.AssetCheckSpec]:
    """The checks that every verification reports."""
    told = {
        CHAINS_INTACT: "Every segment and every row of every chain is as it was written. The table names subject, "
        "kind, first bad row and what is wrong.",
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


def verification_checks(report: Verification, elsewhere: PastPartitions) -> list[dg.AssetCheckResult]:
    """What the checks found in one verification, and what is still red in partitions that it did not touch."""
    chains = _chains(report)
    found: dict[str, list[Row]] = {
        name: _logs(one for one in report.broken_logs if _check_of(one.kind) == name) for name in CHECKS
    }
    found[CHAINS_INTACT] += chains
    found[LOG_MATCHES_CHECKPOINT] += [row for row in chains if row["kind"] in ANCHORED_KINDS]
    found[MANIFESTS_UNCHANGED] += _manifests(
        (one for one in report.broken_manifests if one.kind != "unreadable"), report.homes
    )
    found[NOTHING_UNREADABLE] += _manifests(
        (one for one in report.broken_manifests if one.kind == "unreadable"), report.homes
    )
    found[EVERY_SUBJECT_REGISTERED] += [
        _row("", one, "unregistered", -1, "has rows and no manifest") for one in report.unregistered
    ]
    results = []
    for name in CHECKS:
        offenders = found[name]
        count = max(len(offenders), report.unreadable if name == NOTHING_UNREADABLE else 0)
        severity = dg.AssetCheckSeverity.WARN if name == EVERY_SUBJECT_REGISTERED else dg.AssetCheckSeverity.ERROR
        results.append(
            check(name, count, offenders, severity=severity, red_elsewhere=elsewhere.red(f"problems/{name}"))
        )
    return results


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
    red_elsewhere: Sequence[str] = (),
) -> dg.AssetCheckResult:
    """A check's result, with a table of what was found."""
    words = f"{count:,} found" if count else "nothing found"
    if red_elsewhere:
        words += f"; still red from earlier runs: {', '.join(red_elsewhere[:10])}"
    return dg.AssetCheckResult(
        check_name=name,
        passed=not count and not red_elsewhere,
        severity=severity,
        description=words,
        metadata={
            "found": dg.MetadataValue.int(count),
            "offenders": problems_table(offenders),
            "red_in_other_partitions": dg.MetadataValue.text(", ".join(red_elsewhere) or "none"),
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
