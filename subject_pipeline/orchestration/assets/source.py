"""A dataset's source, which is observed and never made, and whether what is staged is what lies there now."""

from collections.abc import Sequence

import dagster as dg

from subject_pipeline.candidates.source_files import SourceFiles, find_source_files
from subject_pipeline.candidates.staging import current, version_now
from subject_pipeline.errors import SourceError
from subject_pipeline.orchestration.history.stagings import stagings_of_partitions
from subject_pipeline.orchestration.lineage import CANDIDATES, DATASET, MANIFESTS, SOURCE
from subject_pipeline.orchestration.privacy.failures import clear_failures
from subject_pipeline.orchestration.resources import StoreResource
from subject_pipeline.orchestration.ui.data import source_columns, source_place
from subject_pipeline.orchestration.ui.tables import Metadata
from subject_pipeline.store.datasets import DatasetDeclaration

STAGING_IS_CURRENT = "staging_is_current"


def source_asset(declaration: DatasetDeclaration, python_name: str, owners: Sequence[str]) -> dg.AssetsDefinition:
    """The asset that others write. Observing it lists its files and reads none of them.

    (`observable_source_asset` alone would do, but takes no owners.)
    """
    name = declaration.name
    spec = dg.AssetSpec(
        [name, SOURCE],
        group_name=python_name,
        kinds={"parquet"},
        owners=list(owners),
        tags={DATASET: name},
        metadata={
            "uri": declaration.source,
            "key_column": declaration.key_column,
            **source_place(declaration.source),
            **source_columns(declaration.key_column),
        },
        description=f"The parquet files of {name}, one row per person. Others write them; here they are read. "
        "Observe it to see whether they changed since they were staged.",
    )

    @dg.multi_observable_source_asset(name=f"{python_name}__source", specs=[spec])  # type: ignore[untyped-decorator]
    def source() -> dg.ObserveResult:
        with clear_failures():
            found = find_source_files(declaration.source)
        return dg.ObserveResult(
            asset_key=spec.key, metadata=source_metadata(found), data_version=dg.DataVersion(found.version)
        )

    made: dg.AssetsDefinition = source
    return made


def source_metadata(found: SourceFiles) -> Metadata:
    """What is known of a source without reading it."""
    return {
        "uri": found.uri,
        "files": len(found.files),
        "bytes": sum(file.size for file in found.files),
        "version": found.version,
    }


def observed(dataset: str, source_version: str, metadata: Metadata) -> dg.AssetObservation:
    """Notes that a source was seen in this version, no matter what looked: the sensor, or a staging that read it."""
    return dg.AssetObservation(
        [dataset, SOURCE], metadata=dict(metadata), tags={"dagster/data_version": source_version}
    )


def staged_from(dataset: str, source_version: str) -> dict[str, str]:
    """The tag by which Dagster knows which version of the source a staging was made from.

    Dagster itself takes what was observed before the step began, which may be older than what was read.
    """
    return {f"dagster/input_data_version/{dataset}/{SOURCE}": source_version}


def staging_version(version: str, limit: int | None) -> str:
    """The data version of a staging: of its source's version, its declaration, and how many rows it may have."""
    return f"{version}:{limit}"


def staging_check(declaration: DatasetDeclaration) -> dg.AssetChecksDefinition:
    """The check that what is staged, and what every partition was registered from, is the source as it is now."""
    candidates = dg.AssetKey([declaration.name, CANDIDATES])
    manifests = dg.AssetKey([declaration.name, MANIFESTS])

    @dg.asset_check(
        asset=candidates,
        name=STAGING_IS_CURRENT,
        description="What is staged is the source as it lies there now, and every registered partition is of the "
        "newest staging. Lists the source's files and reads none; only warns, since a source may change at any time.",
    )
    def staging_is_current(context: dg.AssetCheckExecutionContext, store: StoreResource) -> dg.AssetCheckResult:
        with clear_failures():
            opened = store.open()
            staged = current(opened, declaration.name)
            try:
                now = version_now(opened, declaration)
            except SourceError:
                now = None
        if staged is None:
            return _result("nothing is staged yet", 0)
        newest = staging_version(staged.version, staged.limit)
        registered = stagings_of_partitions(context.instance, manifests, candidates)
        older = sum(version != newest for version in registered.values())
        if now is None:
            words = "the source cannot be listed"
        elif now != staged.version:
            words = "the source, or what is declared of it, changed since it was staged: run the dataset's job"
        else:
            words = ""
        if older:
            partitions = f"{older:,} partitions were registered from an older staging"
            words = f"{words}; {partitions}" if words else partitions
        return _result(words, older)

    return staging_is_current


def _result(problem: str, older: int) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        passed=not problem,
        severity=dg.AssetCheckSeverity.WARN,
        description=problem or "the source is as it was staged, and all partitions are of that staging",
        metadata={"partitions_of_an_older_staging": older},
    )
