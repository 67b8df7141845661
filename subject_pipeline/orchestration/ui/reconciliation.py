"""What the Dagster UI shows of subjects who are gone from their dataset's source."""

import dagster as dg

from subject_pipeline.orchestration.lineage import CANDIDATES
from subject_pipeline.orchestration.ui.tables import Metadata
from subject_pipeline.registry.vanished import Reconciliation

SOURCE_RECONCILED = "source_reconciled"
SUBJECTS, VANISHED = "subjects_of_dataset", "vanished"
"""Metadata of a staging that read all rows: how many subjects refer to the dataset, and how many of them it misses."""


def reconciliation_spec(dataset: str, share: float) -> dg.AssetCheckSpec:
    """The check of a dataset's candidates that says whether people are gone from its source."""
    return dg.AssetCheckSpec(
        SOURCE_RECONCILED,
        asset=dg.AssetKey([dataset, CANDIDATES]),
        description="Whether subjects that refer to the dataset are gone from its source. Warns when some are, and is "
        f"an error when more than {share:.1%} are. Nothing is changed; `subject-pipeline reviews export vanished` "
        "lists them. Judged by the last run that read all rows.",
    )


def reconciliation_metadata(found: Reconciliation | None) -> Metadata:
    """The numbers of a staging; none of one that did not read all rows."""
    return {} if found is None else {SUBJECTS: found.subjects, VANISHED: found.vanished}


def reconciliation_result(
    asset: dg.AssetKey, now: Reconciliation | None, last: Reconciliation | None, share: float
) -> dg.AssetCheckResult:
    """The check's result: a run that did not read all rows repeats what the last one that did has found.

    Args:
        asset: the dataset's candidates.
        now: what this run found; None: it did not read all rows.
        last: what the last run that read all rows has found; None: there was none.
        share: of the subjects; more than this many vanished are an error.
    """
    found = now or last
    if found is None:
        words, found = "no run has read all rows of the source yet", Reconciliation()
    else:
        words = f"{found.vanished:,} of {found.subjects:,} subjects are not in the source"
        words += "" if now else ", as of the last run that read all rows"
    return dg.AssetCheckResult(
        asset_key=asset,
        check_name=SOURCE_RECONCILED,
        passed=not found.vanished,
        severity=dg.AssetCheckSeverity.ERROR if found.share > share else dg.AssetCheckSeverity.WARN,
        description=words,
        metadata={**reconciliation_metadata(found), "share": found.share, "share_allowed": share},
    )
