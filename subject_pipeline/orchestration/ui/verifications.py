"""What the Dagster UI shows of verifications: the sums of a run, and its checks."""

from collections import Counter
from collections.abc import Iterator

import dagster as dg

from subject_pipeline.checkpoints.stored_checkpoints import Checkpoint
from subject_pipeline.lifecycle.stored_findings import Listed
from subject_pipeline.orchestration.lasting_checks import Finding
from subject_pipeline.orchestration.ui.tables import Metadata, found_metadata, placed
from subject_pipeline.orchestration.verified_chunks import (
    CHAINS_INTACT,
    CHECKS,
    EVERY_SUBJECT_REGISTERED,
    LOG_MATCHES_CHECKPOINT,
    MANIFESTS_UNCHANGED,
    NO_QUESTIONABLE_ACCESS,
    NOBODY_RESURRECTED,
    NOT_READ,
    NOTHING_UNREADABLE,
    WARNINGS,
    VerifiedChunks,
    check_of,
    log_rows,
    number,
)
from subject_pipeline.verification.log_verdicts import BrokenLog
from subject_pipeline.verification.whole_store import Verification


def _sums(report: Verification, verified: VerifiedChunks) -> Metadata:
    """Numbers of one whole verification: over what it holds."""
    read = Counter(verified.read.values())
    return {
        "mode": "incremental" if report.incremental else "full",
        "checkpoint": _name(report.checkpoint),
        "verified_chains": report.chains,
        "intact": report.intact,
        "broken": report.broken,
        "unreadable": report.unreadable,
        "verified_rows": report.rows,
        **{f"rows_{result}": count for result, count in report.results.items()},
        "partitions_read_whole": len(verified.whole),
        "partitions_not_read": read[NOT_READ],
        "seconds": round(report.elapsed_s, 3),
    }


def verification_check_specs(asset: str) -> list[dg.AssetCheckSpec]:
    """The checks that every verification reports."""
    told = {
        CHAINS_INTACT: "Every segment and every row of every chain is as it was written. The table counts what is "
        "wrong by partition and kind; the list in the store names subject, first bad row and what is wrong. The sums "
        "are those of the run.",
        LOG_MATCHES_CHECKPOINT: "The log holds all that the last checkpoint anchored, and the checkpoint that Dagster "
        "recorded is among the stored ones. Red: something was cut off, rewritten or rolled back.",
        MANIFESTS_UNCHANGED: "Every manifest is as the registry's own evidence, or the last checkpoint, says. Red: it "
        "was changed or removed behind the registry's back, or a recorded change was never made.",
        NOTHING_UNREADABLE: "The store gave everything that was asked for. Red: neither intact nor tampered; look at "
        "the store, then run again.",
        EVERY_SUBJECT_REGISTERED: "Every chain's subject has a manifest, or had one until the registry deleted it. "
        "This only warns.",
        NOBODY_RESURRECTED: "No manifest stands of anybody whose chain ends in a deletion or an erasure. Red: an older "
        "table was put back; the list in the store names them, `subjects erase` erases them again.",
        NO_QUESTIONABLE_ACCESS: "Nobody's data was accessed with success after they withdrew a consent, were "
        "restricted, or were ordered to be erased. This only warns; the metadata names the list in the store, which "
        "`subject-pipeline findings show` prints.",
    }
    ending = " A partition that was red stays so until it is verified again itself."
    return [dg.AssetCheckSpec(name, asset=asset, description=text + ending) for name, text in told.items()]


def verification_findings(report: Verification, verified: VerifiedChunks, listed: str | None) -> list[Finding]:
    """What one verification found under each check; the first of them has the run's sums.

    Args:
        report: of the verification.
        verified: its chunks.
        listed: where the store lists what was found; None: nothing was.
    """
    scope = ""
    if report.incremental:
        scope = (
            f"; incremental: {len(verified.whole):,} of {len(verified.read):,} partitions were read whole, the others "
            "count as they were when last read"
        )
    findings = []
    for name in CHECKS:
        # Of the checkpoint, or of the store as such: no partition's record has it.
        store_wide = log_rows(one for one in _store_wide(report) if check_of(one.kind) == name)
        count = len(store_wide) + sum(found[name] for found in verified.found.values())
        findings.append(
            Finding(
                name,
                number(name),
                (f"{count:,} found" if count else "nothing found") + scope,
                {
                    **found_metadata(count, listed, placed(store_wide) + verified.places[name]),
                    **(_sums(report, verified) if name == CHAINS_INTACT else {}),
                },
                [chunk for chunk, found in verified.found.items() if found[name]],
                everywhere=bool(store_wide),
                severity=dg.AssetCheckSeverity.WARN if name in WARNINGS else dg.AssetCheckSeverity.ERROR,
            )
        )
    return findings


def listed_of(report: Verification, verified: VerifiedChunks) -> Iterator[Listed]:
    """What a verification found, of the store as such and of each chunk, as the store lists it."""
    for one in _store_wide(report):
        (row,) = log_rows([one])
        yield {"check": check_of(one.kind), **row}
    yield from verified.listed()


def _store_wide(report: Verification) -> list[BrokenLog]:
    return [one for one in report.broken_logs if one.chunk is None]


def _name(checkpoint: Checkpoint | None) -> str:
    return "none" if checkpoint is None else f"{checkpoint.number} of {checkpoint.time}"
