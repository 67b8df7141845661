"""`report`: write a compliance report to the store, and a copy of it to a local folder."""

from pathlib import Path

import click

from subject_pipeline.cli.progress import bar
from subject_pipeline.cli.shell import DONE, SOMETHING_FAILED, Shell, command_options, end, say
from subject_pipeline.project.reading import automation_of
from subject_pipeline.reports.collecting import collect_numbers
from subject_pipeline.reports.report import (
    ComplianceReport,
    copy_report,
    prepare_folder,
    write_compliance_report,
)
from subject_pipeline.reports.words import findings


@click.command()
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Copy the report there too."
)
@click.option("--consent-pending-days", type=click.FloatRange(min=0, min_open=True), metavar="N",
              help="Days after which a pending consent is too old. Default: as the project says, else 30.")  # fmt: skip
@command_options
def report(shell: Shell, out: Path | None, consent_pending_days: float | None) -> None:
    """Report how many, on which consent, until when, and who accessed the data, to `reports/<time>/` of the store.

    Exit status 1 if the report's own verification found anything, or part of the log could not be read.
    """
    store = shell.keyed_store()
    if out is not None:
        prepare_folder(out)
    with bar("counted", "chunks") as shown:
        days = consent_pending_days or automation_of(shell.project()).consent_pending_days
        numbers = collect_numbers(store, pending_days=days, progress=shown)
    done = write_compliance_report(store, numbers)
    copied = copy_report(done, out) if out is not None else None
    words = _words(done, copied)
    shell.tell(
        {
            "report": done.stored.name,
            "url": done.url,
            "sha256": done.page_sha256,
            "keys": list(done.stored.keys),
            "copied_to": str(copied) if copied else None,
            "headline": done.numbers.headline,
        },
        words,
    )
    if shell.as_json:
        say(words)
    lost = numbers.accesses.unreadable_rows or numbers.accesses.unreadable_segments
    end(SOMETHING_FAILED if numbers.verification.problems or lost else DONE)


def _words(done: ComplianceReport, copied: Path | None) -> str:
    lines = [f"report {done.stored.name}: {done.url}"]
    lines += [f"  {one.mark + ':':<10} {one.words}" for one in findings(done.numbers)]
    if copied is not None:
        lines.append(f"a copy is in {copied}")
    return "\n".join(lines)
