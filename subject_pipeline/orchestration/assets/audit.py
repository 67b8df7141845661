"""The audit assets: events are ingested, chains are verified, and what was found whole is anchored."""

import datetime as dt
from collections.abc import Iterator, Sequence
from enum import Enum

import dagster as dg
from pydantic import Field

from subject_pipeline.anchoring.checkpointing import write_checkpoint
from subject_pipeline.checkpoints.signed_layout import open_audit_log
from subject_pipeline.ingestion.inbox import ingest_inbox
from subject_pipeline.orchestration.data_versions import log_version
from subject_pipeline.orchestration.history.partitions import PastPartitions, last_note
from subject_pipeline.orchestration.history.run_partitions import partitions_of
from subject_pipeline.orchestration.lasting_checks import lasting_checks
from subject_pipeline.orchestration.lineage import VERIFICATION_POOL, downstream_by_chunk, owned
from subject_pipeline.orchestration.privacy.failures import clear_failures
from subject_pipeline.orchestration.privacy.findings import listed_by_step
from subject_pipeline.orchestration.provenance import provenance
from subject_pipeline.orchestration.resources import KeyRingResource, StoreResource
from subject_pipeline.orchestration.sensors.inbox import DIGESTS
from subject_pipeline.orchestration.ui.checkpoints import (
    checkpoint_check_specs,
    checkpoint_checks,
    checkpoint_listed,
    checkpoint_metadata,
)
from subject_pipeline.orchestration.ui.data import placed
from subject_pipeline.orchestration.ui.ingestions import (
    ingest_check_specs,
    ingest_checks,
    ingest_metadata,
    rejections_listed,
)
from subject_pipeline.orchestration.ui.verifications import listed_of, verification_check_specs, verification_findings
from subject_pipeline.orchestration.verified_chunks import RED_NUMBERS, VerifiedChunks, was_read
from subject_pipeline.store.layout import AUDIT, CHECKPOINTS, INBOX, REPORTS, TABLE
from subject_pipeline.verification.findings import ChunkFindings
from subject_pipeline.verification.whole_store import verify

_VERIFICATION = dg.AssetKey("audit_verification")
_CHECKPOINT = dg.AssetKey("audit_checkpoint")
_REPORT = dg.AssetKey("compliance_report")


class IngestOptions(dg.Config):
    """Which event files one run takes."""

    files: list[str] = Field(
        default_factory=list,
        description="Names below inbox/ of the store, or local paths. Empty: everything in the inbox that was not "
        "ingested before. A file may be named again: no event is recorded twice. Dagster keeps and shows what is typed "
        "here: a file whose name holds somebody's id is left to the sensor, or to `subject-pipeline audit ingest`.",
    )
    digests: list[str] = Field(default_factory=list, description=DIGESTS)


class Mode(Enum):
    """How much one verification reads."""

    full = "full"
    incremental = "incremental"


class VerificationOptions(dg.Config):
    """How one run verifies."""

    mode: Mode = Field(
        default=Mode.full,
        description="full re-reads everything. incremental reads what changed since the last checkpoint, and trusts "
        "the store's metadata for the rest; partitions that were red are read whole all the same.",
    )


inbox_event_files = dg.AssetSpec(
    "inbox_event_files",
    group_name="audit",
    kinds={"jsonl", "parquet"},
    tags={"subject/stage": "events"},
    metadata={"below": INBOX},
    description="Files of access events below inbox/ of the store, one event a line or row. Others put them there; "
    "they are read, and never changed.",
)


@dg.asset(
    deps=[inbox_event_files],
    group_name="audit",
    kinds={"jsonl"},
    tags={"subject/stage": "audit"},
    pool="subject_ingestion",
    code_version="1",
    check_specs=ingest_check_specs("audit_log"),
    description="One row per access event, in the chain of its subject, in the log of that subject's chunk. Ingests "
    "the event files of the store's inbox, each event once however often a file is read.",
)
def audit_log(
    context: dg.AssetExecutionContext, config: IngestOptions, store: StoreResource, key_ring: KeyRingResource
) -> dg.MaterializeResult:
    """Ingest what waits in the inbox."""
    with clear_failures():
        opened = store.open(key_ring)
        report = ingest_inbox(open_audit_log(opened), config.files, digests=config.digests)
        listed = listed_by_step(opened, rejections_listed(report.rejections))
        version = log_version(opened)
    context.log.info("%d files, %d events appended", report.files, report.appended)
    return dg.MaterializeResult(
        metadata={**ingest_metadata(report), **provenance(opened)},
        check_results=ingest_checks(report, listed),
        data_version=version,
    )


def _audit_verification(partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    @dg.asset(
        deps=[audit_log],
        group_name="audit",
        kinds={"polars"},
        tags={"subject/stage": "verification"},
        pool=VERIFICATION_POOL,
        code_version="1",
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        check_specs=verification_check_specs("audit_verification"),
        description="One verdict per chain of a chunk: its rows' MACs and links, its log's segments, its subjects' "
        "manifests, all checked against the last checkpoint, and that against Dagster's own copy of its note.",
    )
    def audit_verification(
        context: dg.AssetExecutionContext, config: VerificationOptions, store: StoreResource, key_ring: KeyRingResource
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        """Verify the run's partitions."""
        chunks, began = partitions_of(context), dt.datetime.now(dt.UTC)
        past = PastPartitions.of(context.instance, _VERIFICATION)
        verified, full = VerifiedChunks(), dict[str, dt.datetime]()

        def watch(found: ChunkFindings, *_: int) -> None:
            verified.add(found)
            if config.mode is Mode.full and was_read(found):
                full[found.chunk] = began

        with clear_failures():
            opened = store.open(key_ring)
            report = verify(
                opened,
                chunks=chunks,
                incremental=config.mode is Mode.incremental,
                whole=set(past.red(*RED_NUMBERS)).intersection(chunks),
                known_notes=last_note(context.instance, _CHECKPOINT),
                watch=watch,
            )
            listed = listed_by_step(opened, listed_of(report, verified))
            about = provenance(opened)
        past = PastPartitions.of(context.instance, _VERIFICATION, past)  # another run may have ended meanwhile
        for chunk in chunks:
            last_full = full.get(chunk) or past.full.get(chunk)
            context.add_asset_metadata(verified.numbers(chunk, past, last_full, listed), partition_key=chunk)
        yield dg.MaterializeResult(metadata=about)
        yield from lasting_checks(context.instance, _VERIFICATION, verification_findings(report, verified, listed))

    return audit_verification


@dg.asset(
    deps=[_VERIFICATION],
    group_name="audit",
    kinds={"json"},
    tags={"subject/stage": "checkpoint"},
    pool=VERIFICATION_POOL,
    code_version="1",
    backfill_policy=dg.BackfillPolicy.single_run(),  # else no range can be launched together with the verification
    output_required=False,
    check_specs=checkpoint_check_specs("audit_checkpoint"),
    description="One signed note over the chains and manifests of all subjects, so that nothing of them can vanish or "
    "be rewritten unnoticed. The note is also kept in this asset's metadata, outside the store.",
)
def audit_checkpoint(
    context: dg.AssetExecutionContext, store: StoreResource, key_ring: KeyRingResource
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult]:
    """Verify what is new, then sign the next checkpoint."""
    with clear_failures():
        opened = store.open(key_ring)
        report = write_checkpoint(opened, known_notes=last_note(context.instance, _CHECKPOINT))
        listed = listed_by_step(opened, checkpoint_listed(report))
    yield from checkpoint_checks(report, listed)
    if report.written is None:
        raise dg.Failure("The last checkpoint does not hold, or the store could not be read: none was written.")
    yield dg.MaterializeResult(
        metadata={**checkpoint_metadata(report), **provenance(opened)},
        data_version=dg.DataVersion(report.written.statement.state_root),  # another checkpoint of the same is not news
    )


ingest_access_events = dg.define_asset_job(
    "ingest_access_events",
    selection=dg.AssetSelection.assets(audit_log),
    executor_def=dg.in_process_executor,
    tags={"subject/job": "ingestion"},
    metadata={"reads": INBOX, "writes": AUDIT},
    description="Append the events of new files in the store's inbox to the audit log, each event once. Needs no "
    "config: it takes whatever was not ingested before. Safe to run again.",
)

verify_checkpoint_and_report = dg.define_asset_job(
    "verify_checkpoint_and_report",
    selection=dg.AssetSelection.assets(_VERIFICATION, _CHECKPOINT, _REPORT),
    executor_def=dg.in_process_executor,
    tags={"subject/job": "verification"},
    metadata={"reads": f"{AUDIT}, {TABLE}/, {CHECKPOINTS}", "writes": f"{CHECKPOINTS}, {REPORTS}"},
    description="Verify all chains, logs and manifests, sign a checkpoint over what was found whole, and report. Needs "
    "no config (mode: full); select all partitions: it is one run. Safe to run again.",
)


def audit(
    partitions: dg.PartitionsDefinition, manifests: Sequence[dg.AssetKey], owners: Sequence[str], store: str
) -> dg.Definitions:
    """Four assets and two jobs.

    Args:
        partitions: one a chunk.
        manifests: what the verification is downstream of, chunk by chunk.
        owners: of the assets.
        store: its path or URL.
    """
    verification = downstream_by_chunk(_audit_verification(partitions), manifests)
    return dg.Definitions(
        assets=owned(placed([inbox_event_files, audit_log, verification, audit_checkpoint], store), owners),
        jobs=[ingest_access_events, verify_checkpoint_and_report],
    )
