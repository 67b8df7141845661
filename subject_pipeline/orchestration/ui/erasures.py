"""What the Dagster UI shows of erasures: numbers to plot and a check. Nobody is named."""

import dagster as dg

from subject_pipeline.lifecycle.erasure.group import Erasure
from subject_pipeline.lifecycle.lists.review_counts import MOST_DAYS, ReviewCounts
from subject_pipeline.orchestration.ui.tables import Metadata

ERASURES_DONE = "erasures_done"


def erasure_metadata(done: Erasure, certificates: int, pending: int) -> Metadata:
    """Numbers of one run."""
    return {
        "dagster/row_count": done.erased,
        "erased": done.erased,
        "already": len(done.already),
        "held": len(done.held),
        "refused": len(done.refused),
        "certificates": certificates,
        "certificates_pending": pending,
    }


def erasure_check_specs(asset: str) -> list[dg.AssetCheckSpec]:
    """The check that every run reports."""
    return [
        dg.AssetCheckSpec(
            ERASURES_DONE,
            asset=asset,
            description=f"No order to erase somebody who is not held has stood for more than {MOST_DAYS} days. "
            "`subject-pipeline reviews export ordered` lists the orders.",
        )
    ]


def erasures_done(counts: ReviewCounts) -> dg.AssetCheckResult:
    """What the check found once the orders were carried out."""
    return dg.AssetCheckResult(
        check_name=ERASURES_DONE,
        passed=counts.ordered_long == 0,
        description=f"{counts.ordered_long:,} orders have stood for more than {MOST_DAYS} days"
        if counts.ordered_long
        else "none stands for too long",
        metadata={"found": counts.ordered_long, "ordered": counts.ordered, "listed_by": "reviews export ordered"},
    )
