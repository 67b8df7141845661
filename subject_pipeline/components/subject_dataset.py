"""The component that turns one YAML file into a dataset's assets."""

from collections.abc import Iterator

import dagster as dg

from subject_pipeline.candidates.source_quality import examine_source
from subject_pipeline.candidates.staged import StagedCandidates
from subject_pipeline.candidates.staging import current, stage_dataset
from subject_pipeline.changes.evidence import ManifestEvidence
from subject_pipeline.components.declared import DeclaresSubjects
from subject_pipeline.components.scaffolding import DatasetScaffolder
from subject_pipeline.components.subject_platform import platform_of
from subject_pipeline.errors import StoreError
from subject_pipeline.orchestration.assets.dataset_numbers import dataset_numbers, dataset_words
from subject_pipeline.orchestration.assets.source import (
    observed,
    source_asset,
    staged_from,
    staging_check,
    staging_version,
)
from subject_pipeline.orchestration.history.partitions import partition_numbers
from subject_pipeline.orchestration.history.run_partitions import partitions_of
from subject_pipeline.orchestration.history.stagings import last_reconciliation
from subject_pipeline.orchestration.lasting_checks import lasting_checks
from subject_pipeline.orchestration.lineage import CANDIDATES, DATASET, MANIFESTS, SOURCE
from subject_pipeline.orchestration.privacy.failures import clear_failures, said
from subject_pipeline.orchestration.privacy.findings import listed_by_step, printed_by, where_listed
from subject_pipeline.orchestration.provenance import provenance
from subject_pipeline.orchestration.resources import LayoutResource, RegistrationOptions, actor
from subject_pipeline.orchestration.sensors.source import source_sensor
from subject_pipeline.orchestration.ui.data import (
    candidate_columns,
    candidates_place,
    manifest_columns,
    manifests_place,
)
from subject_pipeline.orchestration.ui.manifests import (
    chunk_metadata,
    failures_listed,
    forecast_metadata,
    registration_check_specs,
    registration_findings,
    staging_metadata,
)
from subject_pipeline.orchestration.ui.reconciliation import (
    reconciliation_metadata,
    reconciliation_result,
    reconciliation_spec,
)
from subject_pipeline.orchestration.ui.source_quality import blocked, quality_results, quality_specs
from subject_pipeline.project.dataset import DatasetAttributes
from subject_pipeline.registry.backfill import backfill
from subject_pipeline.registry.registering import register_dataset
from subject_pipeline.registry.suppressing import Suppression
from subject_pipeline.registry.vanished import Reconciliation, reconcile
from subject_pipeline.store.datasets import DatasetDeclaration
from subject_pipeline.store.opened import SubjectStore


@dg.scaffold_with(DatasetScaffolder)
class SubjectDataset(DeclaresSubjects, DatasetAttributes):
    """A parquet dataset of people: its candidates are staged in chunks, and each person gets a manifest.

    Needs the code location's `SubjectPlatform`.
    """

    @property
    def manifests(self) -> dg.AssetKey:
        """The asset that has one manifest per person, partitioned by chunk."""
        return dg.AssetKey([self.name, MANIFESTS])

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The dataset's source and two assets, the job that runs them, its sensor, and the options that both share."""
        platform, python_name = platform_of(context), self.python_name
        options_key = f"{python_name}_options"
        declaration = self.declaration(context.project_root)
        staging = _candidate_chunks(self, declaration, options_key, platform.store)
        layout = LayoutResource.of(platform)
        a_run = self.partitions_per_run or platform.partitions_per_run
        manifests = _subject_manifests(self, declaration, options_key, layout.partitions(), a_run, platform.store)
        source = source_asset(declaration, python_name, self.owners)
        is_current = staging_check(declaration)
        job = dg.define_asset_job(
            f"register_{python_name}",
            tags={DATASET: self.name},
            metadata={"source": declaration.source, "key_column": self.key_column},
            selection=dg.AssetSelection.assets(staging, manifests),
            executor_def=dg.in_process_executor,
            description=f"Stage the candidates of dataset {self.name} and give each a manifest. Needs no config; "
            "select all partitions. Safe to run again: a subject that has a manifest is skipped. Rows to read, and a "
            f"dry run, are options of the resource {options_key}.",
        )
        options = RegistrationOptions.with_defaults(limit=self.limit, every_row=self.all)
        sensor = source_sensor(
            f"register_{python_name}_when_changed",
            job.name,
            declaration,
            rows=options.rows,
            partitions=layout.partitions().get_partition_keys(),
            automation=platform.automation,
        )
        return dg.Definitions(
            assets=[source, staging, manifests],
            asset_checks=[is_current],
            jobs=[job],
            sensors=[sensor],
            resources={options_key: options},
        )


def _candidate_chunks(
    dataset: SubjectDataset, declaration: DatasetDeclaration, options_key: str, store_url: str
) -> dg.AssetsDefinition:
    @dg.asset(
        key=[dataset.name, CANDIDATES],
        deps=[dg.AssetKey([dataset.name, SOURCE])],
        group_name=dataset.python_name,
        kinds={"polars", "parquet"},
        owners=dataset.owners,
        tags={DATASET: dataset.name},
        pool=f"subject_staging_{dataset.python_name}",
        # Anyone who declares another column or prefix has to stage again.
        code_version=f"1, {dataset.key_column}, {dataset.candidate_id_prefix}",
        metadata={**candidates_place(store_url, dataset.name), **candidate_columns(dataset.name, dataset.key_column)},
        backfill_policy=dg.BackfillPolicy.single_run(),  # else no range can be launched together with the manifests
        output_required=False,
        required_resource_keys={"store", "key_ring", options_key},
        check_specs=[
            *quality_specs(dataset),
            reconciliation_spec(dataset.name, dataset.vanished_share),
        ],
        description=f"One row per source row of {dataset.name}: its candidate id and storage key, staged in the store "
        "in files that hold whole chunks. Reads only the key column, once, streaming.",
    )
    def candidate_chunks(
        context: dg.AssetExecutionContext,
    ) -> Iterator[dg.AssetObservation | dg.MaterializeResult | dg.AssetCheckResult]:
        found: Reconciliation | None = None
        options: RegistrationOptions = getattr(context.resources, options_key)
        with clear_failures():
            store = context.resources.store.open(context.resources.key_ring)
            evidence = ManifestEvidence(store, actor())
            quality = examine_source(declaration, current(store, dataset.name), limit=options.rows)
            results = quality_results(context.asset_key, dataset, quality)
            yield from results
            if named := blocked(dataset, results):
                raise dg.Failure(f"The source is not fit to be staged, and nothing was: {named}")
            if options.dry_run:
                forecast = backfill(store, declaration, limit=options.rows, dry_run=True, evidence=evidence)
                context.log.info("Dry run: nothing was written; see the observation for what a run would do.")
                yield dg.AssetObservation(context.asset_key, metadata=forecast_metadata(forecast, dataset.name))
            else:
                suppression = Suppression.of(store, evidence)
                staged = stage_dataset(store, declaration, limit=options.rows, keep=suppression.kept)
                found = _reconciled(context, store, staged)
                yield observed(dataset.name, staged.source_version, {"uri": declaration.source})
                yield dg.MaterializeResult(
                    metadata={**staging_metadata(staged), **reconciliation_metadata(found), **provenance(store)},
                    data_version=dg.DataVersion(staging_version(staged.version, staged.limit)),
                    tags=staged_from(dataset.name, staged.source_version),
                )
        last = None if found else last_reconciliation(context.instance, context.asset_key)
        yield reconciliation_result(context.asset_key, found, last, dataset.vanished_share)

    return candidate_chunks


def _reconciled(
    context: dg.AssetExecutionContext, store: SubjectStore, staged: StagedCandidates
) -> Reconciliation | None:
    """Who is gone from the source; None, and a warning, where the table cannot be read: staging needs no table."""
    try:
        return reconcile(store, staged)
    except StoreError as error:
        context.log.warning("Who is gone from the source could not be counted: %s", said(error))
        return None


def _subject_manifests(
    dataset: SubjectDataset,
    declaration: DatasetDeclaration,
    options_key: str,
    partitions: dg.PartitionsDefinition,
    a_run: int | None,
    store_url: str,
) -> dg.AssetsDefinition:
    @dg.asset(
        key=[dataset.name, MANIFESTS],
        deps=[dg.AssetKey([dataset.name, CANDIDATES])],
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.multi_run(a_run) if a_run else dg.BackfillPolicy.single_run(),
        group_name=dataset.python_name,
        kinds={"deltalake", "polars"},
        owners=dataset.owners,
        tags={DATASET: dataset.name},
        metadata={**manifests_place(store_url), **manifest_columns(dataset.name)},
        code_version="1",
        required_resource_keys={"store", "key_ring", options_key},
        check_specs=registration_check_specs(dataset.name),
        description=f"One manifest per subject of {dataset.name}, in the Delta table subjects/, partitioned by chunk. "
        "A subject that has a manifest is skipped, so any partition can be run again at any time.",
    )
    def subject_manifests(
        context: dg.AssetExecutionContext,
    ) -> Iterator[dg.AssetObservation | dg.MaterializeResult | dg.AssetCheckResult]:
        options: RegistrationOptions = getattr(context.resources, options_key)
        if options.dry_run:
            raise dg.Failure("A dry run registers nothing: launch it together with candidate_chunks.")
        with clear_failures():
            store = context.resources.store.open(context.resources.key_ring)
            done = register_dataset(
                store,
                dataset.name,
                limit=options.rows,
                chunks=partitions_of(context),
                declared=declaration,
                evidence=ManifestEvidence(store, actor()),
            )
            listed = listed_by_step(store, failures_listed(done.failures))
            about = provenance(store)
            numbers = dataset_numbers(store, declaration, done, partition_numbers(context.instance, context.asset_key))
        if unwritten := [item for item in done.failures if item.kind in {"not_written", "unknown"}]:
            # Unlike a bad candidate, this is fixed by running again, so the partitions must not look done.
            raise dg.Failure(
                f"The store refused {len(unwritten):,} candidates; what else could be written is. Run again. Why: "
                f"{printed_by(listed or '')}",
                metadata={"refused": len(unwritten), **where_listed(listed)},
            )
        about = {"dataset": dataset_words(numbers), **about}
        for outcome in done.outcomes:
            # A partition's own numbers come first on its page, what all runs say comes last.
            context.add_asset_metadata({**chunk_metadata(outcome, listed), **about}, partition_key=outcome.chunk)
        yield dg.AssetObservation(context.asset_key, metadata=dict(numbers))
        yield dg.MaterializeResult()
        yield from lasting_checks(context.instance, context.asset_key, registration_findings(done, listed))

    return subject_manifests
