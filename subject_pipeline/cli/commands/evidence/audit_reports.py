"""What the `audit` commands say of ingestions, verifications and checkpoints: JSON and words."""

from dataclasses import asdict
from typing import Any

from subject_pipeline.anchoring.checkpointing import CheckpointReport
from subject_pipeline.checkpoints.stored_checkpoints import Checkpoint
from subject_pipeline.ingestion.ingest_report import IngestReport
from subject_pipeline.verification.whole_store import Verification

_SHOWN = 20


def verification_json(report: Verification, listed: str | None = None) -> dict[str, Any]:
    """A verification as the command line's JSON has it; `listed` is where questionable accesses are listed."""
    return {
        "mode": _mode(report),
        "trust": _trust(report),
        "subjects": report.subjects,
        "chains": report.chains,
        "rows": report.rows,
        "intact": report.intact,
        "broken": report.broken,
        "unreadable": report.unreadable,
        "broken_chains": [asdict(one) for one in report.broken_chains],
        "broken_logs": [asdict(one) for one in report.broken_logs],
        "broken_manifests": [asdict(one) for one in report.broken_manifests],
        "pending": len(report.pending),
        "unanchored": report.unanchored,
        "unanchored_manifests": report.unanchored_manifests,
        "unregistered": len(report.unregistered),
        "questionable": len(report.questionable),
        **({"findings": listed} if listed else {}),
        **({"unknown": report.unknown} if report.unknown else {}),
        "checkpoint": _checkpoint(report.checkpoint),
        "results": report.results,
        "elapsed_s": round(report.elapsed_s, 3),
    }


def _checkpoint(held: Checkpoint | None) -> dict[str, Any] | None:
    if held is None:
        return None
    return {"number": held.number, "root": held.root, "time": held.time, "note_sha256": held.note_sha256}


def _trust(report: Verification) -> str:
    return "public" if report.public else "keyed"


def _mode(report: Verification) -> str:
    return "incremental" if report.incremental else "full"


def verification_words(report: Verification, listed: str | None = None) -> str:
    """A verification for people: the counts, then what was found; `listed` as in `verification_json`."""
    held = report.checkpoint
    against = f"checkpoint {held.number} of {held.time}" if held else "no checkpoint"
    lines = [
        f"{_mode(report)} {_trust(report)} verification against {against}: {_outcome(report)}",
        f"  chains      {report.chains:>12,}   ({report.rows:,} rows, {report.subjects:,} manifests)",
        f"  intact      {report.intact:>12,}",
        f"  broken      {report.broken:>12,}",
        f"  unreadable  {report.unreadable:>12,}",
        f"took {report.elapsed_s:.2f} s",
    ]
    found = [
        *(f"log {one.chunk or 'of the store'}: {one.kind}: {one.detail}" for one in report.broken_logs),
        *(f"chain of {one.subject!r}: {one.kind} at row {one.seq}: {one.detail}" for one in report.broken_chains),
        *(f"manifest of {one.subject!r}: {one.kind}: {one.detail}" for one in report.broken_manifests),
    ]
    lines += found[:_SHOWN]
    if len(found) > _SHOWN:
        lines.append(f"... and {len(found) - _SHOWN:,} more (--json names all)")
    if report.unknown:
        lines.append(unknown_words(report))
    if report.pending:
        lines.append(f"note: {len(report.pending):,} changes were recorded just now; the next verification has them")
    if report.unanchored or report.unanchored_manifests:
        lines.append(
            f"note: {report.unanchored:,} rows and {report.unanchored_manifests:,} manifests are newer than what a "
            "checkpoint anchors"
        )
    if report.unregistered:
        lines.append(f"note: {len(report.unregistered):,} subjects have rows and no manifest")
    if report.questionable:
        lines.append(
            f"note: {len(report.questionable):,} accesses were answered although a consent was withdrawn, use was "
            "restricted, or erasure was ordered or done"
            + (f": `subject-pipeline findings show {listed}`" if listed else "")
        )
    return "\n".join(lines)


def _outcome(report: Verification) -> str:
    if not report.sound:
        return "PROBLEMS FOUND"
    if not (report.checkpoint or report.chains or report.rows):
        return "nothing to verify yet, there are no rows"
    return "nothing found for the ids that are known" if report.unknown else "nothing found"


def unknown_words(report: Verification) -> str:
    """The ids asked for that no subject has."""
    return f"no subject has the id {', '.join(map(repr, report.unknown))}"


def checkpoint_words(report: CheckpointReport, listed: str | None = None) -> str:
    """What became of a checkpoint, for people."""
    written = report.written
    if written is None:
        outcome = "no checkpoint was written: the last one does not hold, or the store could not be read"
    else:
        outcome = f"checkpoint {written.number} of {report.entries:,} subjects, root {written.root}"
    if report.carried:
        named = ", ".join(report.carried[:_SHOWN])
        outcome += f"\n{len(report.carried):,} chunks are carried, their last sound state still stands: {named}"
    if report.pending:
        outcome += f"\n{len(report.pending):,} chunks are carried while a change is under way; the next one has it"
    return f"{outcome}\n{verification_words(report.verification, listed)}"


def ingest_words(report: IngestReport) -> str:
    """An ingestion for people."""
    lines = [
        f"{report.events:,} events of {report.files:,} files read",
        f"  appended         {report.appended:>12,}",
        f"  already present  {report.already_present:>12,}",
        f"  conflicting      {report.conflicting:>12,}",
        f"  rejected         {report.rejected:>12,}",
        f"  unregistered     {report.unregistered:>12,}   (recorded; their subjects have no manifest)",
        f"took {report.elapsed_s:.2f} s",
    ]
    lines += [f"not recorded: {one.file}:{one.line}: {one.reason}" for one in report.rejections[:_SHOWN]]
    more = report.rejected + report.conflicting - _SHOWN
    if more > 0:
        lines.append(f"... and {more:,} more (--json names up to 10,000)")
    lines += [f"the lines that were not recorded are listed in {key} of the store" for key in report.dead_letters]
    return "\n".join(lines)
