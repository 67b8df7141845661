"""`subject-pipeline`: the command line's entry point, which turns errors into words and exit statuses."""

import json
import os
import signal
import sys
from types import FrameType
from typing import NoReturn

import click

from subject_pipeline.cli.audit import audit, rebuild
from subject_pipeline.cli.backfill import backfill
from subject_pipeline.cli.datasets import datasets
from subject_pipeline.cli.doctor import doctor
from subject_pipeline.cli.keys import keys
from subject_pipeline.cli.report import report
from subject_pipeline.cli.sample import sample
from subject_pipeline.cli.shell import INTERRUPTED, SOMETHING_FAILED, WRONG_CALL, Shell, say
from subject_pipeline.cli.subjects import subjects
from subject_pipeline.errors import (
    CheckpointError,
    ConflictError,
    OutcomeUnknownError,
    SubjectPipelineError,
    UnknownSubjectError,
)
from subject_pipeline.storage.settings import json_logs

_TERMINATED = 128 + signal.SIGTERM


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="subject-pipeline")
@click.option("--store", "store_url", metavar="URL", help="Where the store is. Default: $SUBJECT_STORE_URL, ./data")
@click.option("--storage-root", metavar="DIR", help="The same for a local folder.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output.")
@click.pass_context
def cli(context: click.Context, store_url: str | None, storage_root: str | None, as_json: bool) -> None:
    """Keep a manifest for every person in your parquet datasets.

    Exit status: 0 done; 1 done but something failed or was not found; 2 the call, the configuration or the input is
    wrong and nothing was written; 130 interrupted.
    """
    context.obj = Shell(store_url, storage_root, as_json)


for command in (audit, backfill, datasets, doctor, keys, rebuild, report, sample, subjects):
    cli.add_command(command)


def main() -> NoReturn:
    """Run the command line and exit with its status."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        status = cli.main(standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        if len(sys.argv) == 1:
            click.echo(error.format_message())
            sys.exit(0)
        say(error.format_message())
        _fail("a command is missing", WRONG_CALL, said=not json_logs(os.environ))
    except click.ClickException as error:
        if said := not json_logs(os.environ):
            error.show()
        _fail(error.format_message(), WRONG_CALL, said=said)
    except (click.Abort, KeyboardInterrupt):
        _fail("interrupted", INTERRUPTED)
    except UnknownSubjectError as error:
        _fail(str(error), SOMETHING_FAILED)
    except (ConflictError, OutcomeUnknownError, CheckpointError) as error:
        _fail(str(error), SOMETHING_FAILED)
    except SubjectPipelineError as error:
        _fail(str(error), WRONG_CALL)
    except BrokenPipeError:
        # The reader went away; keep the interpreter from complaining when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(SOMETHING_FAILED)
    sys.exit(status if isinstance(status, int) else 0)


def _fail(message: str, status: int, *, said: bool = False) -> NoReturn:
    if not said:
        say(message, level="error")
    if "--json" in sys.argv:
        click.echo(json.dumps({"error": message}, ensure_ascii=False))
    sys.exit(status)


def _terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(_TERMINATED)


if __name__ == "__main__":
    main()
