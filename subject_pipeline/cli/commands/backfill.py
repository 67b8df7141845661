"""`backfill`: a dataset's people become subjects."""

from typing import Any

import click

from subject_pipeline.candidates.staged import describe_limit
from subject_pipeline.candidates.staging import DEFAULT_CONCURRENCY
from subject_pipeline.changes.evidence import ManifestEvidence
from subject_pipeline.cli.progress import backfill_progress
from subject_pipeline.cli.shell import (
    DONE,
    INTERRUPTED,
    SOMETHING_FAILED,
    Shell,
    command_options,
    end,
    say,
    say_unfinished,
)
from subject_pipeline.errors import SubjectPipelineError
from subject_pipeline.registry import backfill as use_case

_SHOWN_FAILURES = 20


@click.command()
@click.option("--dataset", required=True, metavar="NAME", help="A registered dataset.")
@click.option("--source", metavar="PATH", help="Parquet file, folder, glob or URL. Default: as registered.")
@click.option("--key-column", metavar="COL", help="Column that names the person. Default: as registered.")
@click.option("--candidate-id-prefix", metavar="P", help="Put before each key. Default: as registered.")
@click.option("--safe-view", "safe_views", multiple=True, metavar="V", help="May be given again.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Read at most N rows. Default: 1,000.")
@click.option("--all", "every_row", is_flag=True, help="Read every row.")
@click.option(
    "--concurrency",
    type=click.IntRange(min=1, max=1024),
    default=DEFAULT_CONCURRENCY,
    show_default=True,
    metavar="N",
    help="At most this many writes at once.",
)
@click.option("--dry-run", is_flag=True, help="Parse and count; write nothing.")
@command_options
def backfill(
    shell: Shell,
    dataset: str,
    source: str | None,
    key_column: str | None,
    candidate_id_prefix: str | None,
    safe_views: tuple[str, ...],
    limit: int | None,
    every_row: bool,
    concurrency: int,
    dry_run: bool,
) -> None:
    """Give every person of a dataset a manifest, unless they have one. Safe to run again, and to interrupt."""
    if every_row and limit is not None:
        raise click.UsageError("--limit and --all contradict each other: give one of them")
    rows = None if every_row else limit or use_case.DEFAULT_LIMIT
    store = shell.open_store()
    store.layout()
    declaration = store.catalog.dataset(dataset).narrowed(
        source=source,
        key_column=key_column,
        candidate_id_prefix=candidate_id_prefix,
        safe_views=safe_views,
    )
    report = use_case.BackfillReport(dry_run)
    status = DONE
    ending: str | SubjectPipelineError = ""
    with backfill_progress() as watcher:
        try:
            use_case.backfill(
                store,
                declaration,
                limit=rows,
                concurrency=concurrency,
                dry_run=dry_run,
                watcher=watcher,
                report=report,
                evidence=ManifestEvidence(store, shell.actor()),
            )
        except KeyboardInterrupt:
            reading = report.source_rows is None
            read = f" while reading, after {report.rows_scanned:,} rows: nobody was registered" if reading else ""
            status, ending = INTERRUPTED, f"interrupted{read}"
        except SubjectPipelineError as error:
            if not report.counts.attempted:
                raise
            status, ending = SOMETHING_FAILED, error
    if report.failures:
        say(_failures(report))
    shell.tell(_as_json(report), _words(report, dataset, rows))
    if shell.as_json:
        say(_words(report, dataset, rows))
    if ending:
        say_unfinished(ending)
    end(status or (SOMETHING_FAILED if report.counts.failed else DONE))


def _as_json(report: use_case.BackfillReport) -> dict[str, Any]:
    counts = report.counts
    return {
        "rows_scanned": report.rows_scanned,
        "attempted": counts.attempted,
        "inserted": counts.inserted,
        "skipped": counts.skipped,
        "failed": counts.failed,
        "duplicates": counts.duplicates,
        "linked": counts.linked,
        "linkable": counts.linkable,
        "vanished": report.vanished,
        "suppressed": counts.suppressed,
        "failures": [{"candidate_id": item.candidate_id, "reason": item.reason} for item in report.failures],
        "sample": list(report.sample),
        "subjects_total": report.subjects_total,
        "dry_run": report.dry_run,
        "elapsed_s": round(report.elapsed_s, 3),
    }


def _words(report: use_case.BackfillReport, dataset: str, limit: int | None) -> str:
    counts = report.forecast or report.counts
    known = report.source_rows
    hint = "" if limit is None or known is None or known <= limit else "; --all reads every row"
    scanned = f"{report.rows_scanned:,}" + ("" if known is None else f" of {known:,}")
    would = "would be " if report.dry_run else ""
    lines = [
        f"dataset {dataset}: {scanned} source rows scanned ({describe_limit(limit)}{hint})",
        f"  attempted   {counts.attempted:>12,}",
        f"  inserted    {counts.inserted:>12,}",
        f"  skipped     {counts.skipped:>12,}   ({would}there already)",
        f"  failed      {counts.failed:>12,}",
        f"  duplicates  {counts.duplicates:>12,}   (repeated source rows)",
        f"  suppressed  {counts.suppressed:>12,}   (rows of people who were erased)",
        f"subjects in the catalog now: {report.subjects_total:,}",
        f"took {report.elapsed_s:.2f} s",
    ]
    at = len(lines) - 2
    if counts.linked:
        lines.insert(at, f"  linked      {counts.linked:>12,}   (of those skipped: {would}given a reference to it)")
    if report.vanished:
        lines.insert(at, f"  vanished    {report.vanished:>12,}   (refer to it, and are not in its source)")
    if counts.linkable:
        lines.append(
            f"{counts.linkable:,} who are registered would be linked to {dataset}, but that needs a key ring: set "
            "SUBJECT_KEY_RING, and run again"
        )
    if report.sample:
        lines.insert(1, f"  first ids: {', '.join(report.sample)}")
    if report.dry_run:
        lines.insert(0, "dry run: nothing was written; this is what a run would do now")
    return "\n".join(lines)


def _failures(report: use_case.BackfillReport) -> str:
    lines = [f"failed: {item.candidate_id!r}: {item.reason}" for item in report.failures[:_SHOWN_FAILURES]]
    more = report.counts.failed - len(lines)
    if more > 0:
        lines.append(f"... and {more:,} more (--json names up to 10,000)")
    return "\n".join(lines)
