"""What the Dagster UI shows of checkpoints: numbers, the signed note, and checks."""

from collections.abc import Iterable, Iterator, Mapping

import dagster as dg

from subject_pipeline.anchoring.checkpointing import CheckpointReport
from subject_pipeline.lifecycle.stored_findings import MOST_LISTED, Listed
from subject_pipeline.orchestration.ui.tables import Metadata, Row, check, placed
from subject_pipeline.orchestration.verified_chunks import ANCHORED_KINDS, LOG_MATCHES_CHECKPOINT, log_rows, problem_row
from subject_pipeline.verification.manifest_verdicts import BrokenManifest
from subject_pipeline.verification.whole_store import Verification

NOTHING_CARRIED = "nothing_carried_on"


def checkpoint_metadata(report: CheckpointReport) -> Metadata:
    """Numbers of one checkpoint, and its signed note: the copy that a rolled back store is found out by."""
    written = report.written
    if written is None:
        return {}
    return {
        "note": written.note,
        "number": written.number,
        "root": written.root,
        "subjects": report.entries,
        "carried_on": len(report.carried),
        "rows_read": report.verification.rows,
        "broken": report.verification.broken,
        "seconds": round(report.verification.elapsed_s, 3),
    }


def checkpoint_check_specs(asset: str) -> list[dg.AssetCheckSpec]:
    """The checks that every checkpoint reports."""
    return [
        dg.AssetCheckSpec(
            LOG_MATCHES_CHECKPOINT,
            asset=asset,
            description="The last checkpoint holds, it is the one that Dagster recorded, and the log has all of it. "
            "Where it does not hold, no further checkpoint is written.",
        ),
        dg.AssetCheckSpec(
            NOTHING_CARRIED,
            asset=asset,
            description="No chunk keeps its previous entries because something was found in it. Nothing red turns "
            "green here: such a chunk is anchored as it last was until it is whole again.",
        ),
    ]


def checkpoint_checks(report: CheckpointReport, listed: str | None) -> list[dg.AssetCheckResult]:
    """What the checks found while a checkpoint was written; `listed`: where the store lists it."""
    logs = [one for one in report.verification.broken_logs if one.kind in ANCHORED_KINDS]
    return [
        check(LOG_MATCHES_CHECKPOINT, len(logs), listed, placed(log_rows(logs))),
        check(NOTHING_CARRIED, len(report.carried), listed, placed(_everything(report.verification))),
    ]


def checkpoint_listed(report: CheckpointReport) -> Iterator[Listed]:
    """What was found while a checkpoint was written, as the store lists it."""
    yield from _everything(report.verification)


def _everything(report: Verification) -> list[Row]:
    return [
        *_chains(report),
        *log_rows(report.broken_logs),
        *_manifests(report.broken_manifests, report.homes),
    ][:MOST_LISTED]


def _chains(report: Verification) -> list[Row]:
    return [
        problem_row(report.homes.get(one.subject or "", ""), one.subject or "", one.kind, one.seq, one.detail)
        for one in report.broken_chains
    ]


def _manifests(manifests: Iterable[BrokenManifest], homes: Mapping[str, str]) -> list[Row]:
    return [
        problem_row(homes.get(one.subject or "", ""), one.subject or "", one.kind, -1, one.detail) for one in manifests
    ]
