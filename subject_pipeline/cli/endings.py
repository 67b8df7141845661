"""How a command that raised ends: a message, one JSON object if `--json` is given, and an exit status."""

import io
import os
import sys
import traceback

import click

from subject_pipeline.cli.shell import DONE, INTERRUPTED, SOMETHING_FAILED, WRONG_CALL, Shell, say
from subject_pipeline.errors import (
    AmbiguousSubjectError,
    CheckpointError,
    ConflictError,
    HeldError,
    IncompleteError,
    OutcomeUnknownError,
    SubjectPipelineError,
    UnknownFindingsError,
    UnknownSubjectError,
)
from subject_pipeline.formats.shown_text import shown, without_credentials
from subject_pipeline.settings import TRACEBACK, json_logs, traceback_wanted

_MAY_HAVE_WRITTEN = (
    AmbiguousSubjectError,
    CheckpointError,
    ConflictError,
    HeldError,
    IncompleteError,
    OutcomeUnknownError,
    UnknownFindingsError,
    UnknownSubjectError,
)
_LONG = 300


def ending(shell: Shell, error: BaseException) -> int:
    """Say how a command ended; nothing is raised, and a traceback is shown only on request.

    Returns:
        The exit status: 2 only where it is known that nothing was written.
    """
    status = SOMETHING_FAILED  # also if nobody is left to read the message
    try:
        status = _told(shell, error)
        sys.stdout.flush()
    except OSError:
        # Keep the interpreter from trying again when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status


def _told(shell: Shell, error: BaseException) -> int:
    if isinstance(error, click.Abort) and error.__cause__ is not None:
        error = error.__cause__  # click's own for an interrupt, and for the end of a file wherever it was met
    if isinstance(error, BrokenPipeError):
        raise error
    if isinstance(error, click.exceptions.NoArgsIsHelpError) and len(sys.argv) == 1:
        click.echo(error.format_message())
        return DONE
    message, status = _words(error)
    if traceback_wanted(os.environ) and not isinstance(error, click.ClickException):
        say("".join(traceback.format_exception(error)).rstrip())
    if isinstance(error, click.ClickException) and not json_logs(os.environ):
        usage = io.StringIO()
        error.show(usage)
        click.echo(without_credentials(usage.getvalue()), nl=False, err=True)
    else:
        say(message, level="error")
    if _json_wanted(shell) and not shell.told:
        shell.as_json = True
        shell.tell({"error": without_credentials(message)}, "")
    return status


def _words(error: BaseException) -> tuple[str, int]:
    if isinstance(error, (KeyboardInterrupt, click.Abort)):
        return "interrupted", INTERRUPTED
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        return "a command is missing", WRONG_CALL
    if isinstance(error, click.ClickException):
        return error.format_message(), WRONG_CALL
    if isinstance(error, SubjectPipelineError):
        return str(error), SOMETHING_FAILED if isinstance(error, _MAY_HAVE_WRITTEN) else WRONG_CALL
    first = shown(next(iter(str(error).splitlines()), ""), _LONG)
    return (
        f"an unexpected error ended this command: {type(error).__name__}{': ' if first else ''}{first}. How much was "
        f"done is not known: run it again, which finds out. {TRACEBACK}=1 shows where the error came from"
    ), SOMETHING_FAILED


def _json_wanted(shell: Shell) -> bool:
    """Also if the call could not be parsed; what follows `--` is not an option."""
    options = sys.argv[1 : sys.argv.index("--")] if "--" in sys.argv else sys.argv[1:]
    return shell.as_json or "--json" in options
