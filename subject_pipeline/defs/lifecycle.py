"""The life of the record: decisions that others put into the inbox are applied."""

import datetime as dt

import dagster as dg
from pydantic import Field

from subject_pipeline.lifecycle.decision_inbox import apply_inbox
from subject_pipeline.lifecycle.lists.reading import stored_review_counts
from subject_pipeline.orchestration.data_versions import log_version
from subject_pipeline.orchestration.provenance import provenance
from subject_pipeline.orchestration.resources import KeyRingResource, StoreResource, actor, clear_failures
from subject_pipeline.orchestration.ui.decisions import (
    decision_check_specs,
    decision_checks,
    decision_metadata,
    review_metadata,
)
from subject_pipeline.store.layout import AUDIT, DECISIONS_INBOX, TABLE


class DecisionOptions(dg.Config):
    """Which decision files one run takes."""

    files: list[str] = Field(
        default_factory=list,
        description="Names below inbox/decisions/ of the store, or local paths. Empty: everything there that was not "
        "taken before. A file may be named again: no decision is applied twice.",
    )


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
        opened = store.open()
        report = apply_inbox(opened, key_ring.file(), actor(), config.files)
        version = log_version(opened)
    context.log.info("%d files, %d decisions applied", report.files, report.applied)
    return dg.MaterializeResult(
        metadata={**decision_metadata(report), **provenance(opened)},
        check_results=decision_checks(report),
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


apply_decisions = dg.define_asset_job(
    "apply_decisions",
    selection=dg.AssetSelection.assets(decisions, subject_reviews),
    tags={"subject/job": "decisions"},
    metadata={"reads": DECISIONS_INBOX, "writes": f"{AUDIT}, {TABLE}/"},
    description="Apply the decisions of new files in the store's inbox, each decision once. Needs no config: it takes "
    "whatever was not taken before, then counts what waits for a decision. Safe to run again.",
)
