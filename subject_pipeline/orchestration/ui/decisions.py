"""What the Dagster UI shows of decisions: numbers to plot and a check. Nobody is named."""

import dagster as dg

from subject_pipeline.lifecycle.applying_files import DecisionReport
from subject_pipeline.lifecycle.lists.review_counts import ReviewCounts
from subject_pipeline.orchestration.ui.ingestions import NOTHING_REJECTED
from subject_pipeline.orchestration.ui.tables import Metadata, check


def decision_metadata(report: DecisionReport) -> Metadata:
    """Numbers of one run."""
    return {
        "dagster/row_count": report.applied,
        "files": report.files,
        "decisions": report.decisions,
        "applied": report.applied,
        "already_applied": report.already_applied,
        "rejected": report.rejected,
        "undecided": report.undecided,
        "seconds": round(report.elapsed_s, 3),
        "dead_letters": ", ".join(report.dead_letters) or "none",
    }


def review_metadata(counts: ReviewCounts) -> Metadata:
    """What waits for a decision, as numbers to plot."""
    return {
        "subjects": counts.subjects,
        **{f"pending_consent/{age}": count for age, count in counts.pending.items()},
        **{f"due/{scope}": count for scope, count in counts.due.items()},
        "due_held": counts.due_held,
        "held": counts.held,
        "ordered": counts.ordered,
        "ordered_long": counts.ordered_long,
        "restricted": counts.restricted,
        "unclassified": counts.unclassified,
    }


def decision_check_specs(asset: str) -> list[dg.AssetCheckSpec]:
    """The check that every run reports."""
    return [
        dg.AssetCheckSpec(
            NOTHING_REJECTED,
            asset=asset,
            description="Every line of the run's files was a decision, and allowed. The run's list in the store "
            "names file, line and reason, and so do its dead_letters/; the lines are where they were, and the other "
            "decisions are applied.",
        )
    ]


def decision_checks(report: DecisionReport, listed: str | None) -> list[dg.AssetCheckResult]:
    """What the check found in one run; `listed`: where the store lists it."""
    return [check(NOTHING_REJECTED, report.rejected, listed)]
