"""`decisions apply`: files of decisions, each recorded in its subject's chain before the manifest changes."""

from dataclasses import asdict
from pathlib import Path

import click

from subject_pipeline.cli.progress import bar
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
from subject_pipeline.ingestion.line_files import LineFile
from subject_pipeline.lifecycle.applying import Decisions, processes_for
from subject_pipeline.lifecycle.applying_files import DecisionReport, apply_files
from subject_pipeline.lifecycle.decision_files import ENDINGS

_SHOWN = 20


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Judge every decision, and write nothing.")
@click.option("--processes", type=click.IntRange(1), metavar="N",
              help="Processes that apply. Default: this one; for large files others, up to one a core.")  # fmt: skip
@command_options
def apply(shell: Shell, files: tuple[Path, ...], dry_run: bool, processes: int | None) -> None:
    """Apply the decisions of .jsonl, .csv or .parquet files, each once however often its file is read.

    A decision that is malformed, not allowed, stale or about nobody is rejected, with its reason, and stops no other:
    see `dead_letters`. Drafts of `reviews export` for which no kind was chosen are counted as undecided.
    """
    sources = [LineFile.local(path, ENDINGS) for path in files]
    store = shell.keyed_store()
    size = sum(path.stat().st_size for path in files if path.is_file())
    decisions = Decisions(store, shell.actor(), processes or processes_for(size))
    report = DecisionReport()
    status = DONE
    ending: str | SubjectPipelineError = ""
    with bar("read", "decisions") as shown:
        try:
            apply_files(
                decisions, store.objects, sources, report, dry_run=dry_run, progress=lambda done: shown(done, None)
            )
        except KeyboardInterrupt:
            status, ending = INTERRUPTED, "interrupted"
        except SubjectPipelineError as error:
            if not report.decisions:
                raise
            status, ending = SOMETHING_FAILED, error
    decisions.close()
    for one in report.rejections[:_SHOWN]:
        say(f"rejected: {one.file}, line {one.line}: {one.reason}")
    if report.rejected > _SHOWN:
        say(f"... and {report.rejected - _SHOWN:,} more (--json names up to 10,000)")
    would = "would be " if dry_run else ""
    shell.tell(
        {
            "files": report.files,
            "decisions": report.decisions,
            "applied": report.applied,
            "already_applied": report.already_applied,
            "rejected": report.rejected,
            "undecided": report.undecided,
            "rejections": [asdict(one) for one in report.rejections],
            "dead_letters": report.dead_letters,
            "dry_run": dry_run,
            "elapsed_s": round(report.elapsed_s, 3),
        },
        f"{report.decisions:,} decisions read: {report.applied:,} {would}applied, {report.already_applied:,} applied "
        f"before, {report.rejected:,} {would}rejected; {report.undecided:,} drafts undecided",
    )
    if ending:
        say_unfinished(ending)
    end(status or (SOMETHING_FAILED if report.rejected else DONE))
