"""The life of the record: decisions of the inbox are applied, what waits is counted, what is ordered is carried out."""

import datetime as dt
from collections.abc import Sequence
from pathlib import Path

import dagster as dg
from pydantic import Field

from subject_pipeline.lifecycle.decision_inbox import apply_inbox
from subject_pipeline.lifecycle.erasure.certificates import Certificates
from subject_pipeline.lifecycle.erasure.erasing import carry_out_orders
from subject_pipeline.lifecycle.lists.reading import stored_review_counts
from subject_pipeline.orchestration.assets.policies import POLICIES, policies_asset
from subject_pipeline.orchestration.data_versions import log_version
from subject_pipeline.orchestration.lineage import owned
from subject_pipeline.orchestration.privacy.failures import clear_failures
from subject_pipeline.orchestration.privacy.findings import listed_by_step
from subject_pipeline.orchestration.provenance import provenance
from subject_pipeline.orchestration.resources import KeyRingResource, StoreResource, actor
from subject_pipeline.orchestration.sensors.inbox import DIGESTS
from subject_pipeline.orchestration.ui.data import placed
from subject_pipeline.orchestration.ui.decisions import (
    decision_check_specs,
    decision_checks,
    decision_metadata,
    review_metadata,
)
from subject_pipeline.orchestration.ui.erasures import erasure_check_specs, erasure_metadata, erasures_done
from subject_pipeline.orchestration.ui.ingestions import rejections_listed
from subject_pipeline.store.layout import AUDIT, DECISIONS_INBOX, ERASURES, TABLE


class DecisionOptions(dg.Config):
    """Which decision files one run takes."""

    files: list[str] = Field(
        default_factory=list,
        description="Names below inbox/decisions/ of the store, or local paths. Empty: everything there that was not "
        "taken before. A file may be named again: no decision is applied twice. Dagster keeps and shows what is typed "
        "here: a file whose name holds somebody's id is left to the sensor, or to `subject-pipeline decisions apply`.",
    )
    digests: list[str] = Field(default_factory=list, description=DIGESTS)


inbox_decision_files = dg.AssetSpec(
    "inbox_decision_files",
    group_name="lifecycle",
    kinds={"jsonl", "csv", "parquet"},
    tags={"subject/stage": "decisions"},
    metadata={"below": DECISIONS_INBOX},
    description="Files of decisions about people below inbox/decisions/ of the store, one decision a line or row. "
    "Others put them there; they are read, and never changed. Who may write there may decide.",
)


@dg.asset(
    deps=[inbox_decision_files],
    group_name="lifecycle",
    kinds={"jsonl"},
    tags={"subject/stage": "decisions"},
    pool="subject_decisions",
    code_version="1",
    check_specs=decision_check_specs("decisions"),
    description="One row per decision about a subject, recorded in the subject's chain before the manifest changes. "
    "Applies the decision files of the store's inbox, each decision once however often a file is read.",
)
def decisions(
    context: dg.AssetExecutionContext, config: DecisionOptions, store: StoreResource, key_ring: KeyRingResource
) -> dg.MaterializeResult:
    """Apply what waits in the inbox of decisions."""
    with clear_failures():
        opened = store.open(key_ring)
        report = apply_inbox(opened, actor(), config.files, digests=config.digests)
        listed = listed_by_step(opened, rejections_listed(report.rejections))
        version = log_version(opened)
    context.log.info("%d files, %d decisions applied", report.files, report.applied)
    return dg.MaterializeResult(
        metadata={**decision_metadata(report), **provenance(opened)},
        check_results=decision_checks(report, listed),
        data_version=version,
    )


@dg.asset(
    deps=[decisions],
    group_name="lifecycle",
    kinds={"polars"},
    tags={"subject/stage": "reviews"},
    code_version="1",
    description="One row of counts: what waits for a decision in the whole store. Consents pending by age, data past "
    "its date, people held, ordered to be erased, restricted, unclassified. `subject-pipeline reviews export` lists "
    "them.",
)
def subject_reviews(store: StoreResource) -> dg.MaterializeResult:
    """Count what waits for a decision."""
    with clear_failures():
        opened = store.open()
        counts = stored_review_counts(opened, dt.datetime.now(dt.UTC))
    return dg.MaterializeResult(metadata={**review_metadata(counts), **provenance(opened)})


@dg.asset(
    deps=[decisions],
    group_name="lifecycle",
    kinds={"deltalake"},
    tags={"subject/stage": "erasures"},
    pool="subject_erasures",
    code_version="1",
    check_specs=erasure_check_specs("erasures"),
    description="One erasure per person whose order stands and whom no hold keeps: recorded in their chain, then taken "
    "out of the table and of what is staged. A certificate follows once nothing holds the id and a checkpoint has it.",
)
def erasures(store: StoreResource, key_ring: KeyRingResource) -> dg.MaterializeResult:
    """Carry out what is ordered."""
    with clear_failures():
        opened = store.open(key_ring)
        done = carry_out_orders(opened, actor())
        issued = Certificates(opened).issue()
        counts = stored_review_counts(opened, dt.datetime.now(dt.UTC))
    return dg.MaterializeResult(
        metadata={**erasure_metadata(done, issued.certificates, issued.pending), **provenance(opened)},
        check_results=[erasures_done(counts)],
    )


carry_out_erasures = dg.define_asset_job(
    "carry_out_erasures",
    selection=dg.AssetSelection.assets(erasures),
    executor_def=dg.in_process_executor,
    tags={"subject/job": "erasures"},
    metadata={"writes": f"{AUDIT}, {TABLE}/, {ERASURES}"},
    description="Erase everybody whose erasure is ordered and whom no hold keeps. Needs no config. Safe to run again.",
)


def lifecycle(owners: Sequence[str], store: str, policies: str | None) -> dg.Definitions:
    """The assets of these owners in a store, and two jobs.

    Args:
        owners: of the assets.
        store: where they are.
        policies: the file of the policies that decisions are to be applied by; None: those in force.

    Raises:
        PolicyError: the file cannot be used.
    """
    declared = [policies_asset(Path(policies), owners)] if policies else []
    applied = decisions
    if declared:
        applied = decisions.map_asset_specs(
            lambda spec: spec.replace_attributes(deps=[*spec.deps, dg.AssetDep(POLICIES)])
        )
    shared = owned(placed([inbox_decision_files, applied, subject_reviews, erasures], store), owners)
    apply_decisions = dg.define_asset_job(
        "apply_decisions",
        selection=dg.AssetSelection.assets(*declared, applied, subject_reviews),
        executor_def=dg.in_process_executor,
        tags={"subject/job": "decisions"},
        metadata={"reads": DECISIONS_INBOX, "writes": f"{AUDIT}, {TABLE}/"},
        description="Apply the decisions of new files in the store's inbox, each decision once. Needs no config: it "
        "takes whatever was not taken before, then counts what waits for a decision. Safe to run again.",
    )
    return dg.Definitions(assets=[*shared, *declared], jobs=[apply_decisions, carry_out_erasures])
