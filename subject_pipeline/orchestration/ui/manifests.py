"""What the Dagster UI shows of stagings and registrations: numbers to plot, tables, checks."""

from collections.abc import Callable, Iterable, Iterator, Mapping

import dagster as dg

from subject_pipeline.candidates.staged import StagedCandidates, describe_limit
from subject_pipeline.lifecycle.stored_findings import Listed
from subject_pipeline.orchestration.lasting_checks import Finding
from subject_pipeline.orchestration.privacy.findings import where_listed
from subject_pipeline.orchestration.ui.tables import Metadata, Value
from subject_pipeline.registry.backfill import BackfillReport
from subject_pipeline.registry.deciding import Failure
from subject_pipeline.registry.outcomes import ChunkOutcome, Registration

_ASTRAY, _FAILED, _COLLISIONS = "astray", "failed", "collisions"
"""Numbers of a partition that are not zero where a check is red in it."""

PARTITION_ROWS = "dagster/partition_row_count"
COUNTS_ADD_UP = "counts_add_up"
EVERY_CANDIDATE_REGISTERED = "every_staged_candidate_has_a_manifest"
NO_COLLISIONS = "no_collisions"


def staging_metadata(staged: StagedCandidates) -> Metadata:
    """Numbers of one staging."""
    return {
        "dagster/row_count": staged.rows_scanned,
        "rows_scanned": staged.rows_scanned,
        "suppressed": staged.suppressed,
        "source_rows": staged.source_rows,
        "rows_taken": describe_limit(staged.limit),
        "source": dg.MetadataValue.path(staged.source),
        "source_version": staged.version,
        "staged_parts": len(staged.parts),
    }


def forecast_metadata(report: BackfillReport, dataset: str) -> Metadata:
    """What a run would do now. A dry run lists nothing in the store: a command says who would fail, and why."""
    forecast = report.forecast
    if forecast is None:
        raise ValueError("only a dry run has a forecast")
    return {
        "dry_run": dg.MetadataValue.bool(True),
        "rows_scanned": report.rows_scanned,
        "source_rows": report.source_rows or 0,
        "would_attempt": forecast.attempted,
        "would_insert": forecast.inserted,
        "would_skip": forecast.skipped,
        "would_fail": forecast.failed,
        "duplicates": forecast.duplicates,
        "would_link": forecast.linked,
        "linkable_with_key_ring": forecast.linkable,
        **({} if report.vanished is None else {"vanished": report.vanished}),
        "suppressed": forecast.suppressed,
        "listed_by": f"subject-pipeline backfill --dataset {dataset} --dry-run",
        "seconds": report.elapsed_s,
    }


def chunk_metadata(outcome: ChunkOutcome, listed: str | None) -> Metadata:
    """One partition's own numbers; where some failed, also where the run's list is."""
    counts = outcome.counts
    metadata: dict[str, Value] = {
        PARTITION_ROWS: partition_rows(outcome),
        "attempted": counts.attempted,
        "inserted": counts.inserted,
        "skipped": counts.skipped,
        "linked": counts.linked,
        "linkable_with_key_ring": counts.linkable,
        _FAILED: counts.failed,
        _COLLISIONS: outcome.collisions,
        "duplicates": counts.duplicates,
        "suppressed": counts.suppressed,
        _ASTRAY: _astray(outcome),
        "seconds": round(outcome.seconds, 3),
    }
    if outcome.failures:
        metadata |= where_listed(listed)
    return metadata


def failures_listed(failures: Iterable[Failure]) -> Iterator[Listed]:
    """Partition, id, kind and reason of each failure, as the store lists them."""
    for item in failures:
        yield {
            "partition": item.chunk,
            "candidate_id": item.candidate_id,
            "kind": item.kind,
            "reason": item.reason,
        }


def registration_check_specs(dataset: str) -> list[dg.AssetCheckSpec]:
    """The checks that every registration reports."""
    told = {
        COUNTS_ADD_UP: "In every partition, inserted + skipped + failed + duplicates + suppressed = staged rows. The "
        "sums are those of the run.",
        EVERY_CANDIDATE_REGISTERED: "Every distinct staged candidate was found in the table, read back after the "
        "commit, and could be linked if it was there already. The run's list in the store names the others, and why.",
        NO_COLLISIONS: "No two candidate ids share a storage key. The first keeps it; the run's list in the store "
        "names the others.",
    }
    ending = " A partition that was red stays so until it is run again itself."
    asset = dg.AssetKey([dataset, "subject_manifests"])
    return [dg.AssetCheckSpec(name, asset=asset, description=text + ending) for name, text in told.items()]


def registration_findings(done: Registration, listed: str | None) -> list[Finding]:
    """What one run found under each check; `listed`: where the store lists who failed."""
    astray = [outcome.chunk for outcome in done.outcomes if _astray(outcome)]
    counts = done.counts
    sums = {
        "partitions": len(done.outcomes),
        "staged_rows": sum(outcome.rows for outcome in done.outcomes),
        "attempted": counts.attempted,
        "inserted": counts.inserted,
        "skipped": counts.skipped,
        "linked": counts.linked,
        "linkable_with_key_ring": counts.linkable,
        "failed": counts.failed,
        "duplicates": counts.duplicates,
        "suppressed": counts.suppressed,
    }
    return [
        Finding(
            COUNTS_ADD_UP,
            _ASTRAY,
            f"not in {', '.join(astray[:10])}" if astray else "in all of the run's partitions",
            sums,
            astray,
        ),
        _failures(EVERY_CANDIDATE_REGISTERED, done, listed),
        _failures(NO_COLLISIONS, done, listed),
    ]


def _failures(check: str, done: Registration, listed: str | None) -> Finding:
    number, count = RED_NUMBERS[check]
    partitions = [outcome.chunk for outcome in done.outcomes if count(outcome)]
    total = sum(map(count, done.outcomes))
    return Finding(
        check,
        number,
        f"{total:,} in {', '.join(partitions[:10])}" if total else "none in this run",
        {"candidates": total, **where_listed(listed if total else None)},
        partitions,
    )


def partition_rows(outcome: ChunkOutcome) -> int:
    """How many people of the dataset a partition has: those who were staged and have a manifest."""
    return outcome.counts.inserted + outcome.counts.skipped


def _astray(outcome: ChunkOutcome) -> int:
    """Staged rows that are not accounted for."""
    counts = outcome.counts
    return abs(outcome.rows - counts.attempted - counts.duplicates - counts.suppressed)


RED_NUMBERS: Mapping[str, tuple[str, Callable[[ChunkOutcome], int]]] = {
    COUNTS_ADD_UP: (_ASTRAY, _astray),
    EVERY_CANDIDATE_REGISTERED: (_FAILED, lambda one: one.counts.failed),
    NO_COLLISIONS: (_COLLISIONS, lambda one: one.collisions),
}
"""For each check the number of a partition that is not zero where it is red, and how it is counted."""
