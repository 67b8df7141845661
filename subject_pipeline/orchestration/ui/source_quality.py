"""What the Dagster UI says of a source before it is staged: four checks, of which the YAML may make some blocking."""

from typing import Any

import dagster as dg

from subject_pipeline.candidates.source_quality import SourceQuality
from subject_pipeline.orchestration.lineage import CANDIDATES
from subject_pipeline.project.dataset import DatasetAttributes, QualityCheck


def quality_specs(dataset: DatasetAttributes) -> list[dg.AssetCheckSpec]:
    """The checks of a dataset's source; they stand on its candidates, since nothing makes the source."""
    says = {
        QualityCheck.no_null_keys: "Every row of the source that a run reads has a key. A row without one stops the "
        "staging in any case, and the message names it.",
        QualityCheck.repeated_keys_within_share: f"At most {dataset.repeated_share:.0%} of the rows that a run "
        "reads repeat the key of an earlier one; such rows are skipped.",
        QualityCheck.source_did_not_shrink: f"The source has not lost more than {dataset.dropped_share:.0%} of the "
        "rows that it had when it was last staged.",
        QualityCheck.key_type_unchanged: "The key column has the type that it had when it was last staged: another one "
        "may make other ids of the same people.",
    }
    ends = {True: "where it is red, nothing is.", False: "it warns, unless the YAML lets it block."}
    return [
        dg.AssetCheckSpec(
            name.value,
            asset=dg.AssetKey([dataset.name, CANDIDATES]),
            blocking=name in dataset.blocking,
            description=f"{text} Looked at before anything is staged; {ends[name in dataset.blocking]}",
        )
        for name, text in says.items()
    ]


def quality_results(asset: dg.AssetKey, dataset: DatasetAttributes, found: SourceQuality) -> list[dg.AssetCheckResult]:
    """Each check's result."""
    before = "never staged before" if found.staged_rows is None else f"{found.staged_rows:,} when it was last staged"
    told_type = f"{found.key_type}; before {found.staged_type}" if found.type_changed else found.key_type
    verdicts: dict[QualityCheck, tuple[bool, str, dict[str, Any]]] = {
        QualityCheck.no_null_keys: (not found.null, f"{found.null:,} rows without a key", {"null_keys": found.null}),
        QualityCheck.repeated_keys_within_share: (
            found.repeated <= dataset.repeated_share * found.read,
            f"{found.repeated:,} of {found.read:,} rows repeat an earlier key",
            {"repeated_keys": found.repeated, "share_allowed": dataset.repeated_share},
        ),
        QualityCheck.source_did_not_shrink: (
            found.dropped <= dataset.dropped_share,
            f"{found.rows:,} rows; {before}",
            {"rows": found.rows, "dropped": round(found.dropped, 4), "share_allowed": dataset.dropped_share},
        ),
        QualityCheck.key_type_unchanged: (not found.type_changed, told_type, {"key_type": found.key_type}),
    }
    return [
        dg.AssetCheckResult(
            asset_key=asset,
            check_name=name.value,
            passed=passed,
            severity=dg.AssetCheckSeverity.ERROR if name in dataset.blocking else dg.AssetCheckSeverity.WARN,
            description=words,
            metadata=metadata,
        )
        for name, (passed, words, metadata) in verdicts.items()
    ]


def blocked(dataset: DatasetAttributes, results: list[dg.AssetCheckResult]) -> str:
    """The red checks that block, by name; empty: none does."""
    return ", ".join(one.check_name or "" for one in results if not one.passed and one.check_name in dataset.blocking)
