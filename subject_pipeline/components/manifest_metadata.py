"""What the Dagster UI shows of stagings and registrations: numbers to plot, tables, checks."""

from collections.abc import Callable, Iterable, Mapping

import dagster as dg

from subject_pipeline.domain.registration import Failure
from subject_pipeline.domain.staging import StagedCandidates, describe_limit
from subject_pipeline.use_cases.backfill import BackfillReport
from subject_pipeline.use_cases.manifests import ChunkOutcome, Registration

_SHOWN_ROWS = 500
COUNTS_ADD_UP = "counts_add_up"
EVERY_CANDIDATE_REGISTERED = "every_staged_candidate_has_a_manifest"
NO_COLLISIONS = "no_collisions"

Metadata = Mapping[str, dg.MetadataValue]


def staging_metadata(staged: StagedCandidates) -> Metadata:
    """Numbers of one staging."""
    return {
        "dagster/row_count": dg.MetadataValue.int(staged.rows_scanned),
        "rows_scanned": dg.MetadataValue.int(staged.rows_scanned),
        "source_rows": dg.MetadataValue.int(staged.source_rows),
        "rows_taken": dg.MetadataValue.text(describe_limit(staged.limit)),
        "source": dg.MetadataValue.path(staged.source),
        "source_version": dg.MetadataValue.text(staged.version),
        "staged_parts": dg.MetadataValue.int(len(staged.parts)),
        "first_ids": _ids(staged.sample),
    }


def forecast_metadata(report: BackfillReport) -> Metadata:
    """What a run would do now."""
    forecast = report.forecast
    if forecast is None:
        raise ValueError("only a dry run has a forecast")
    return {
        "dry_run": dg.MetadataValue.bool(True),
        "rows_scanned": dg.MetadataValue.int(report.rows_scanned),
        "source_rows": dg.MetadataValue.int(report.source_rows or 0),
        "would_attempt": dg.MetadataValue.int(forecast.attempted),
        "would_insert": dg.MetadataValue.int(forecast.inserted),
        "would_skip": dg.MetadataValue.int(forecast.skipped),
        "would_fail": dg.MetadataValue.int(forecast.failed),
        "duplicates": dg.MetadataValue.int(forecast.duplicates),
        "first_ids": _ids(report.sample),
        "failures": failures_table(report.failures),
        "seconds": dg.MetadataValue.float(report.elapsed_s),
    }


def chunk_metadata(outcome: ChunkOutcome) -> Metadata:
    """One partition's own numbers."""
    counts = outcome.counts
    metadata: dict[str, dg.MetadataValue] = {
        "attempted": dg.MetadataValue.int(counts.attempted),
        "inserted": dg.MetadataValue.int(counts.inserted),
        "skipped": dg.MetadataValue.int(counts.skipped),
        "failed": dg.MetadataValue.int(counts.failed),
        "duplicates": dg.MetadataValue.int(counts.duplicates),
        "seconds": dg.MetadataValue.float(round(outcome.seconds, 3)),
        "first_ids": _ids(outcome.sample),
    }
    if outcome.failures:
        metadata["failures"] = failures_table(outcome.failures)
    return metadata


def failures_table(failures: Iterable[Failure]) -> dg.MetadataValue:
    """Partition, id and reason of each failure, at most 500 of them."""
    shown = list(failures)[:_SHOWN_ROWS]
    return dg.MetadataValue.table(
        records=[
            dg.TableRecord({"partition": item.chunk, "candidate_id": item.candidate_id, "reason": item.reason})
            for item in shown
        ],
        schema=dg.TableSchema(
            columns=[
                dg.TableColumn("partition", description="The chunk that the candidate falls into"),
                dg.TableColumn("candidate_id"),
                dg.TableColumn("reason", description="Why there is no manifest of it"),
            ]
        ),
    )


def registration_check_specs(dataset: str) -> list[dg.AssetCheckSpec]:
    """The checks that every registration reports."""
    asset = dg.AssetKey([dataset, "subject_manifests"])
    return [
        dg.AssetCheckSpec(
            COUNTS_ADD_UP,
            asset=asset,
            description="In every partition of the run, inserted + skipped + failed + duplicates = staged rows.",
        ),
        dg.AssetCheckSpec(
            EVERY_CANDIDATE_REGISTERED,
            asset=asset,
            description="Every distinct staged candidate of the run's partitions was found in the table, read back "
            "after the commit. The table names those that were not, and why.",
        ),
        dg.AssetCheckSpec(
            NO_COLLISIONS,
            asset=asset,
            description="No two candidate ids share a storage key. The first keeps it; the table names the others.",
        ),
    ]


def registration_checks(done: Registration) -> list[dg.AssetCheckResult]:
    """What the checks found in one run."""
    astray = [
        outcome for outcome in done.outcomes if outcome.counts.attempted + outcome.counts.duplicates != outcome.rows
    ]
    counts = done.counts
    return [
        dg.AssetCheckResult(
            check_name=COUNTS_ADD_UP,
            passed=not astray,
            metadata={
                "partitions": dg.MetadataValue.int(len(done.outcomes)),
                "staged_rows": dg.MetadataValue.int(sum(outcome.rows for outcome in done.outcomes)),
                "attempted": dg.MetadataValue.int(counts.attempted),
                "inserted": dg.MetadataValue.int(counts.inserted),
                "skipped": dg.MetadataValue.int(counts.skipped),
                "failed": dg.MetadataValue.int(counts.failed),
                "duplicates": dg.MetadataValue.int(counts.duplicates),
                "partitions_astray": dg.MetadataValue.text(", ".join(item.chunk for item in astray) or "none"),
            },
        ),
        _failure_check(EVERY_CANDIDATE_REGISTERED, done, counts.failed, lambda _: True),
        _failure_check(
            NO_COLLISIONS,
            done,
            sum(outcome.collisions for outcome in done.outcomes),
            lambda item: item.kind == "collision",
        ),
    ]


def _failure_check(
    name: str, done: Registration, count: int, concerns: Callable[[Failure], bool]
) -> dg.AssetCheckResult:
    offenders = [item for outcome in done.outcomes for item in outcome.failures if concerns(item)]
    partitions = sorted({item.chunk for item in offenders})
    return dg.AssetCheckResult(
        check_name=name,
        passed=count == 0,
        description=f"{count:,} in {', '.join(partitions[:10])}" if count else "none",
        metadata={"candidates": dg.MetadataValue.int(count), "offenders": failures_table(offenders)},
    )


def _ids(sample: Iterable[str]) -> dg.MetadataValue:
    return dg.MetadataValue.text(", ".join(sample) or "none")
