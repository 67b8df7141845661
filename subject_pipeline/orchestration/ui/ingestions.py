"""What the Dagster UI shows of ingestions: numbers to plot and checks."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict

import dagster as dg

from subject_pipeline.ingestion.ingest_report import IngestReport, Rejection
from subject_pipeline.lifecycle.stored_findings import Listed
from subject_pipeline.orchestration.ui.tables import Metadata, check
from subject_pipeline.orchestration.verified_chunks import EVERY_SUBJECT_REGISTERED

NOTHING_REJECTED = "nothing_rejected"


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
        "dagster/row_count": report.appended,
        **counts,
        "seconds": round(report.elapsed_s, 3),
        "dead_letters": ", ".join(report.dead_letters) or "none",
    }


def ingest_check_specs(asset: str) -> list[dg.AssetCheckSpec]:
    """The checks that every ingestion reports."""
    return [
        dg.AssetCheckSpec(
            NOTHING_REJECTED,
            asset=asset,
            description="Every line of the run's files was an event, and none contradicts an event that is recorded "
            "under its id. The run's list in the store names file, line and reason; the lines are where they were, and "
            "the rest of the files is in the log.",
        ),
        dg.AssetCheckSpec(
            EVERY_SUBJECT_REGISTERED,
            asset=asset,
            description="Every event of the run's files was about a subject that has a manifest. Events about others "
            "are evidence too and were recorded; this only warns.",
        ),
    ]


def ingest_checks(report: IngestReport, listed: str | None) -> list[dg.AssetCheckResult]:
    """What the checks found in one ingestion; `listed`: where the store lists what was rejected."""
    return [
        check(NOTHING_REJECTED, report.rejected + report.conflicting, listed),
        dg.AssetCheckResult(
            check_name=EVERY_SUBJECT_REGISTERED,
            passed=report.unregistered == 0,
            severity=dg.AssetCheckSeverity.WARN,
            description=f"{report.unregistered:,} events" if report.unregistered else "none",
            metadata={"events": report.unregistered},
        ),
    ]


def rejections_listed(rejections: Iterable[Rejection]) -> Iterator[Listed]:
    """File, line, reason and hash of each rejected line, as the store lists them; its content is kept nowhere."""
    for one in rejections:
        yield asdict(one)
