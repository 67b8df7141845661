"""The store's maintenance, as a job."""

import datetime as dt
import time
from collections.abc import Iterator
from typing import Any

import dagster as dg

from subject_pipeline.changes.evidence import ManifestEvidence
from subject_pipeline.lifecycle.erasure.certificates import Certificates
from subject_pipeline.lifecycle.erasure.expiring import remove_remaining
from subject_pipeline.lifecycle.stored_findings import remove_old_findings
from subject_pipeline.orchestration.lineage import MANIFESTS
from subject_pipeline.orchestration.privacy.failures import clear_failures
from subject_pipeline.orchestration.provenance import provenance
from subject_pipeline.orchestration.resources import KeyRingResource, StoreResource, actor
from subject_pipeline.registry.maintenance import Compaction, compact
from subject_pipeline.store.opened import SubjectStore


@dg.op(
    pool="subject_maintenance",
    out={"maintained": dg.Out(dg.Nothing)},
    description="Applies what killed runs recorded in the audit log and did not apply, rewrites the table's small "
    "files into few, removes for good what only its earlier versions need, and cleans up what killed runs staged. "
    "Issues certificates of erasures, and removes what those older than thirty days name as remaining, and lists of "
    "findings older than that. "
    "Reading, registering and ingesting may continue meanwhile.",
    tags={"dagster/kind/deltalake": ""},
)
def compact_vacuum_and_clean(
    context: dg.OpExecutionContext, store: StoreResource, key_ring: KeyRingResource
) -> Iterator[dg.AssetObservation | dg.Output[None]]:
    """Maintain the store, and note it on the manifests of every dataset that Dagster knows."""
    with clear_failures():
        opened = store.open(key_ring)
        started = time.perf_counter()
        done = compact(opened, ManifestEvidence(opened, actor()) if opened.ring.configured else None)
        old = {"findings_removed": remove_old_findings(opened.objects, dt.datetime.now(dt.UTC))}
        erasures = _erasures(opened) if opened.ring.configured else {}
        numbers = _numbers(done, time.perf_counter() - started) | old | erasures
        datasets = [dataset.name for dataset in opened.catalog.datasets()]
    for dataset in datasets:
        key = dg.AssetKey([dataset, MANIFESTS])
        # A dataset that only the command line knows has no asset; an observation would make one up.
        if context.instance.has_asset_key(key):
            yield dg.AssetObservation(
                key, metadata=numbers, description="The store was maintained; all datasets share its table."
            )
    yield dg.Output(None, "maintained", metadata={**numbers, **provenance(opened)})


@dg.job(
    executor_def=dg.in_process_executor,
    description="Compact and vacuum the table of manifests, and clean up stagings. Needs no config; safe to run again "
    "at any time, while anything else runs.",
    tags={"subject/job": "maintenance"},
    metadata={
        "writes": "subjects/, staging/, erasures/",
        "deletes": "files that no current manifest needs, lists of findings older than thirty days, and what "
        "certificates older than that name",
    },
)
def maintain_store() -> None:
    """One op, which continues where an earlier run was stopped."""
    compact_vacuum_and_clean()


def _erasures(store: SubjectStore) -> dict[str, Any]:
    """Certificates that may be issued now are, and what old ones name as remaining goes."""
    removed = remove_remaining(store, dt.datetime.now(dt.UTC))
    issued = Certificates(store).issue()
    return {
        "remaining_removed": removed,
        "certificates": issued.certificates,
        "certificates_pending": issued.pending,
    }


def _numbers(done: Compaction, seconds: float) -> dict[str, Any]:
    return {
        "files_before": done.files_before,
        "files_after": done.files_after,
        "bytes_before": done.bytes_before,
        "bytes_after": done.bytes_after,
        "bytes_freed": done.bytes_before - done.bytes_after,
        "staged_removed": done.staged_removed,
        "settled": done.settled,
        "unexplained": done.unexplained,
        "seconds": round(seconds, 3),
    }
