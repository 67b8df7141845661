"""`audit ingest` and `audit show`: files into the audit log, and rows out of it as they are stored."""

import json
from pathlib import Path

import click

from subject_pipeline.audit.reading import show as show_rows
from subject_pipeline.checkpoints.signed_layout import open_audit_log
from subject_pipeline.cli.commands.evidence.audit_reports import (
    ingest_words,
)
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
from subject_pipeline.ingestion import ingesting
from subject_pipeline.ingestion.appending.by_processes import processes_for
from subject_pipeline.ingestion.event_files import local_file
from subject_pipeline.ingestion.ingest_report import IngestReport
from subject_pipeline.registry.subjects import SubjectRegistry


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path))
@click.option("--processes", type=click.IntRange(1), metavar="N",
              help="Processes that append. Default: this one; for large files others, up to one a core.")  # fmt: skip
@command_options
def ingest(shell: Shell, files: tuple[Path, ...], processes: int | None) -> None:
    """Append the access events of .jsonl or .parquet files, each once however often its file is read."""
    sources = [local_file(path) for path in files]
    log = open_audit_log(shell.keyed_store(new=True))
    report = IngestReport()
    status = DONE
    ending: str | SubjectPipelineError = ""
    with bar("read", "events") as shown:
        try:
            ingesting.ingest(
                log,
                sources,
                report=report,
                progress=lambda done: shown(done, None),
                processes=processes or processes_for(sum(path.stat().st_size for path in files if path.is_file())),
            )
        except KeyboardInterrupt:
            status, ending = INTERRUPTED, "interrupted"
        except SubjectPipelineError as error:
            if not report.events:
                raise
            status, ending = SOMETHING_FAILED, error
    words = ingest_words(report)
    shell.tell(
        {
            "files": report.files,
            "events": report.events,
            "appended": report.appended,
            "already_present": report.already_present,
            "conflicting": report.conflicting,
            "unregistered": report.unregistered,
            "rejected": report.rejected,
            "rejections": [
                {"file": one.file, "line": one.line, "reason": one.reason, "line_sha256": one.line_sha256}
                for one in report.rejections
            ],
            "dead_letters": report.dead_letters,
            "elapsed_s": round(report.elapsed_s, 3),
        },
        words,
    )
    if shell.as_json:
        say(words)
    if ending:
        say_unfinished(ending)
    end(status or (SOMETHING_FAILED if report.rejected or report.conflicting else DONE))


@click.command()
@click.argument("candidate_id", metavar="ID")
@command_options
def show(shell: Shell, candidate_id: str) -> None:
    """Print a subject's rows, each as stored; nothing is verified."""
    store = shell.existing_store()
    rows = show_rows(store, candidate_id)
    if not rows:
        SubjectRegistry(store).get(candidate_id)  # an error where nobody has this id
    shell.tell({"rows": rows}, "\n".join(json.dumps(row, ensure_ascii=False) for row in rows) or "no rows")
