"""The component that turns one YAML file into a dataset's assets."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
from pydantic import Field, field_validator

from subject_pipeline.candidates.staged import StagedCandidates
from subject_pipeline.candidates.staging import stage_dataset
from subject_pipeline.errors import ConfigurationError, DatasetError, StoreError
from subject_pipeline.objects.location import refuse_credentials
from subject_pipeline.operations import Operations
from subject_pipeline.orchestration.history.run_partitions import partitions_of
from subject_pipeline.orchestration.history.stagings import last_reconciliation
from subject_pipeline.orchestration.lasting_checks import lasting_checks
from subject_pipeline.orchestration.lineage import CANDIDATES, DATASET, MANIFESTS, SOURCE
from subject_pipeline.orchestration.provenance import provenance
from subject_pipeline.orchestration.resources import (
    LayoutResource,
    RegistrationOptions,
    clear_failures,
)
from subject_pipeline.orchestration.sensors.source import source_sensor
from subject_pipeline.orchestration.ui.manifests import (
    chunk_metadata,
    failures_table,
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
from subject_pipeline.registry.backfill import DEFAULT_LIMIT, backfill
from subject_pipeline.registry.registering import register_dataset
from subject_pipeline.registry.suppressing import Suppression
from subject_pipeline.registry.vanished import Reconciliation, reconcile
from subject_pipeline.settings import Settings
from subject_pipeline.store.datasets import DatasetDeclaration, check_dataset_name
from subject_pipeline.store.opened import SubjectStore


class SubjectDataset(dg.Component, dg.Model, dg.Resolvable):
    """A parquet dataset of people: its candidates are staged in chunks, and each person gets a manifest."""

    name: str = Field(description="The dataset's name; also the group and the prefix of its assets' keys.")
    source: str = Field(
        description="Parquet file, folder, glob or URL. A relative path counts from the project's folder."
    )
    key_column: str = Field(description="Column that names the person: integers, strings or UUIDs.")
    candidate_id_prefix: str = Field(default="", description="Put before each key to form the candidate id.")
    safe_views: list[str] = Field(default_factory=list, description="Names of views that are safe to show.")
    limit: int = Field(
        default=DEFAULT_LIMIT, ge=1, description="Rows that a run reads unless the launch says otherwise."
    )
    all: bool = Field(default=False, description="Read every row unless the launch says otherwise.")
    partitions_per_run: int | None = Field(
        default=None,
        ge=1,
        description="Split a backfill into runs of so many partitions, where a launcher spreads runs over machines. "
        "Default: one run for any selection.",
    )
    link: bool = Field(
        default=True,
        description="Give people who have a manifest already a reference to this dataset, and its safe views.",
    )
    vanished_share: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="The check source_reconciled is an error once more than this share of the dataset's subjects are "
        "gone from its source; it warns of any.",
    )
    owners: list[str] = Field(default_factory=list, description="E-mail addresses, or team:name.")

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        try:
            return check_dataset_name(name)
        except DatasetError as error:
            raise ValueError(str(error)) from error

    @field_validator("source")
    @classmethod
    def _check_source(cls, source: str) -> str:
        try:
            refuse_credentials(source, "the source")
        except ConfigurationError as error:
            raise ValueError(str(error)) from error
        return source

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The dataset's source and two assets, the job that runs them, its sensor, and the options that both share."""
        python_name = re.sub(r"[^A-Za-z0-9_]", "_", self.name)
        options_key = f"{python_name}_options"
        declaration = self._declaration(context.project_root)
        staging = _candidate_chunks(self, declaration, options_key, python_name)
        manifests = _subject_manifests(self, declaration, options_key, python_name)
        source = dg.AssetSpec(
            [self.name, SOURCE],
            group_name=python_name,
            kinds={"parquet"},
            owners=self.owners,
            tags={DATASET: self.name},
            metadata={"uri": declaration.source, "key_column": self.key_column},
            description=f"The parquet files of {self.name}, one row per person. Others write them; here they are read.",
        )
        job = dg.define_asset_job(
            f"register_{python_name}",
            tags={DATASET: self.name},
            metadata={"source": declaration.source, "key_column": self.key_column},
            selection=dg.AssetSelection.assets(staging, manifests),
            description=f"Stage the candidates of dataset {self.name} and give each a manifest. Needs no config; "
            "select all partitions. Safe to run again: a subject that has a manifest is skipped. Rows to read, and a "
            f"dry run, are options of the resource {options_key}.",
        )
        options = RegistrationOptions.with_defaults(limit=self.limit, every_row=self.all)
        sensor = source_sensor(
            f"register_{python_name}_when_changed",
            job.name,
            declaration,
            source.key,
            rows=options.rows,
            operations=Operations.read(),
        )
        return dg.Definitions(
            assets=[source, staging, manifests], jobs=[job], sensors=[sensor], resources={options_key: options}
        )

    def _declaration(self, project_root: Path) -> DatasetDeclaration:
        source = self.source if "://" in self.source else str(project_root / Path(self.source).expanduser())
        return DatasetDeclaration(
            name=self.name,
            source=source,
            key_column=self.key_column,
            candidate_id_prefix=self.candidate_id_prefix,
            safe_views=tuple(self.safe_views),
            link=self.link,
        )


def _candidate_chunks(
    dataset: SubjectDataset, declaration: DatasetDeclaration, options_key: str, group: str
) -> dg.AssetsDefinition:
    @dg.asset(
        key=[dataset.name, CANDIDATES],
        deps=[dg.AssetKey([dataset.name, SOURCE])],
        group_name=group,
        kinds={"polars", "parquet"},
        owners=dataset.owners,
        tags={DATASET: dataset.name},
        code_version="1",
        backfill_policy=dg.BackfillPolicy.single_run(),  # else no range can be launched together with the manifests
        output_required=False,
        required_resource_keys={"store", "key_ring", options_key},
        check_specs=[reconciliation_spec(dataset.name, dataset.vanished_share)],
        description=f"One row per source row of {dataset.name}: its candidate id and storage key, staged in the store "
        "in files that hold whole chunks. Reads only the key column, once, streaming.",
    )
    def candidate_chunks(
        context: dg.AssetExecutionContext,
    ) -> Iterator[dg.AssetObservation | dg.MaterializeResult | dg.AssetCheckResult]:
        found: Reconciliation | None = None
        options: RegistrationOptions = getattr(context.resources, options_key)
        with clear_failures():
            store = context.resources.store.open()
            evidence = context.resources.key_ring.evidence(store)
            if options.dry_run:
                forecast = backfill(store, declaration, limit=options.rows, dry_run=True, evidence=evidence)
                context.log.info("Dry run: nothing was written; see the observation for what a run would do.")
                yield dg.AssetObservation(context.asset_key, metadata=forecast_metadata(forecast))
            else:
                suppression = Suppression.of(store, evidence)
                staged = stage_dataset(store, declaration, limit=options.rows, keep=suppression.kept)
                found = _reconciled(context, store, staged)
                yield dg.MaterializeResult(
                    metadata={**staging_metadata(staged), **reconciliation_metadata(found), **provenance(store)},
                    data_version=dg.DataVersion(f"{staged.version}:{staged.limit}"),
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
        context.log.warning("Who is gone from the source could not be counted: %s", error)
        return None


def _subject_manifests(
    dataset: SubjectDataset, declaration: DatasetDeclaration, options_key: str, group: str
) -> dg.AssetsDefinition:
    a_run = dataset.partitions_per_run or Settings.read(os.environ).partitions_per_run

    @dg.asset(
        key=[dataset.name, MANIFESTS],
        deps=[dg.AssetKey([dataset.name, CANDIDATES])],
        partitions_def=LayoutResource.from_environment().partitions(),
        backfill_policy=dg.BackfillPolicy.multi_run(a_run) if a_run else dg.BackfillPolicy.single_run(),
        group_name=group,
        kinds={"deltalake", "polars"},
        owners=dataset.owners,
        tags={DATASET: dataset.name},
        code_version="1",
        required_resource_keys={"store", "key_ring", options_key},
        check_specs=registration_check_specs(dataset.name),
        description=f"One manifest per subject of {dataset.name}, in the Delta table subjects/, partitioned by chunk. "
        "A subject that has a manifest is skipped, so any partition can be run again at any time.",
    )
    def subject_manifests(
        context: dg.AssetExecutionContext,
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        options: RegistrationOptions = getattr(context.resources, options_key)
        if options.dry_run:
            raise dg.Failure("A dry run registers nothing: launch it together with candidate_chunks.")
        with clear_failures():
            store = context.resources.store.open()
            done = register_dataset(
                store,
                dataset.name,
                limit=options.rows,
                chunks=partitions_of(context),
                declared=declaration,
                evidence=context.resources.key_ring.evidence(store),
            )
        if unwritten := [item for item in done.failures if item.kind in {"not_written", "unknown"}]:
            # Unlike a bad candidate, this is fixed by running again, so the partitions must not look done.
            raise dg.Failure(
                f"The store refused {len(unwritten):,} candidates; what else could be written is. Run again. First: "
                f"{unwritten[0].reason}",
                metadata={"failures": failures_table(unwritten)},
            )
        about = provenance(store)
        for outcome in done.outcomes:
            # A partition's own numbers come first on its page, what all runs say comes last.
            context.add_asset_metadata({**chunk_metadata(outcome), **about}, partition_key=outcome.chunk)
        yield dg.MaterializeResult()
        yield from lasting_checks(context.instance, context.asset_key, registration_findings(done))

    return subject_manifests
