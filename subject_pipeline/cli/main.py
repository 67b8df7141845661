"""`subject-pipeline`: the command line's entry point, which turns errors into messages and exit statuses."""

import io
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click

from subject_pipeline.cli.endings import ending
from subject_pipeline.cli.lazy_group import Lazy, LazyGroup
from subject_pipeline.cli.shell import Shell

_HERE = "subject_pipeline.cli.commands"
_COMMANDS = (
    Lazy("audit", f"{_HERE}.audit", "Append to the audit log, read it, verify it, anchor it."),
    Lazy("backfill", f"{_HERE}.backfill", "Give every person of a dataset a manifest, unless they have one."),
    Lazy("datasets", f"{_HERE}.datasets", "Register datasets, list them, and retire them."),
    Lazy("decisions", f"{_HERE}.life.decisions", "Apply decisions about people from files, and list what was decided."),
    Lazy(
        "doctor",
        f"{_HERE}.doctor",
        "Examine store access, conditional writes, clock, layout, key ring, checkpoint, table, inbox and sources.",
    ),
    Lazy(
        "findings",
        f"{_HERE}.history.findings",
        "Print lists of what checks found: they name people, so they are in the store and nowhere else.",
    ),
    Lazy(
        "keys",
        f"{_HERE}.keys",
        "Make, rotate and retire keys of the ring ($SUBJECT_KEY_RING), and print its public keys.",
    ),
    Lazy("policies", f"{_HERE}.life.policies", "Declare how long data is kept and which verticals there are."),
    Lazy(
        "rebuild",
        f"{_HERE}.evidence.audit_verify",
        "Write everything that is derived again, from the table and the log: the audit index.",
    ),
    Lazy(
        "report",
        f"{_HERE}.report",
        "Report how many, on which consent, until when, and who accessed the data, to `reports/<time>/` of the store.",
    ),
    Lazy("reviews", f"{_HERE}.life.reviews", "Write lists of people who wait for a decision, as drafts of decisions."),
    Lazy("sample", f"{_HERE}.sample", "Write sample data that looks real."),
    Lazy(
        "subjects",
        f"{_HERE}.subjects",
        "Look people up, list them, decide about them, count, delete, export and import them.",
    ),
)
_TERMINATED = 128 + signal.SIGTERM


@click.group(cls=LazyGroup, lazy=_COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="subject-pipeline")
@click.option("--store", "store_url", metavar="URL", help="Where the store is. Default: $SUBJECT_STORE_URL, ./data")
@click.option("--storage-root", metavar="DIR", help="The same for a local folder.")
@click.option(
    "--project",
    "project_folder",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The Dagster project whose YAML names store and key ring. Default: the one around the working folder.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output.")
@click.pass_obj
def cli(
    shell: Shell, store_url: str | None, storage_root: str | None, project_folder: Path | None, as_json: bool
) -> None:
    """Keep a manifest for every person in your parquet datasets.

    Exit status: 0 done; 1 done but something failed or was not found, or an unexpected error: run it again; 2 the call,
    the configuration or the input is wrong and nothing was written; 130 interrupted. SUBJECT_TRACEBACK=1 shows where
    an error came from.
    """
    shell.store_url, shell.storage_root, shell.as_json = store_url, storage_root, as_json
    shell.project_folder = project_folder


def main() -> NoReturn:
    """Run the command line and exit with its status; anything raised becomes a message, and an object with `--json`."""
    signal.signal(signal.SIGTERM, _terminate)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as on standard error: no character ends a command
    shell = Shell()
    try:
        status = cli.main(standalone_mode=False, obj=shell)
    except SystemExit:
        raise
    except BaseException as error:  # noqa: BLE001 - a panic of a Rust library is not an Exception
        sys.exit(ending(shell, error))
    sys.exit(status if isinstance(status, int) else 0)


def _terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(_TERMINATED)


if __name__ == "__main__":
    main()
