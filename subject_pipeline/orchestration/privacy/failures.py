"""What Dagster is told of an error: its class and where it is said in full; its text only where that names nobody."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import dagster as dg

from subject_pipeline.errors import SubjectPipelineError
from subject_pipeline.orchestration.privacy.findings import listed_by_step, printed_by

_PACKAGE = Path(__file__).parent.parent.parent


class UnsaidError(Exception):
    """An error whose text Dagster does not get: class and place are said."""


@contextmanager
def clear_failures() -> Iterator[None]:
    """Fail the running step with a message that names nobody, instead of a page of traceback.

    An error that tells of settings is said as it is. Of any other, ours or a library's, which may quote a cell, Dagster
    gets the class, and the place if it is none of ours. The text is listed in the store, if that can be written.

    Raises:
        Failure: something failed; no other error is chained to it, since Dagster stores those too.
    """
    failed: Exception | None = None
    try:
        yield
    except (dg.Failure, dg.RetryRequested):
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, its text may quote a cell
        failed = error
    if failed is not None:
        raise dg.Failure(description=_told(failed)) from None


@contextmanager
def clear_ticks() -> Iterator[None]:
    """Fail a sensor's tick with a message that names nobody.

    Raises:
        UnsaidError: something failed; no other error is chained to it.
    """
    failed: Exception | None = None
    try:
        yield
    except Exception as error:  # noqa: BLE001 - whatever it is, its text may quote a cell
        failed = error
    if failed is not None:
        raise UnsaidError(
            f"{_class_and_place(failed)} `subject-pipeline doctor` says whether the store is fit for work"
        ) from None


def said(error: SubjectPipelineError, command: str = "doctor") -> str:
    """What Dagster may be told of an error that was caught; `command`: what says more at a terminal."""
    return f"{type(error).__name__}: see `subject-pipeline {command}`" if error.may_name else str(error)


def _told(error: Exception) -> str:
    if isinstance(error, SubjectPipelineError) and not error.may_name:
        return f"{type(error).__name__}: {error}"
    words = _class_and_place(error)
    path = _listed(error)
    if path is None:
        return f"{words} its text may name people, and the store did not take it: see `subject-pipeline doctor`"
    return f"{words} its text may name people, so it is in the store: {printed_by(path)} prints it"


def _class_and_place(error: Exception) -> str:
    """Begins as alerts read it, with the class and a colon."""
    name = type(error).__name__
    return f"{name}:" if isinstance(error, SubjectPipelineError) else f"{name}: at {_place(error.__traceback__)};"


def _place(trace: TracebackType | None) -> str:
    """The last line of this package that an error came through."""
    ours = [frame for frame in traceback.extract_tb(trace) if Path(frame.filename).is_relative_to(_PACKAGE)]
    if not ours:
        return "an unknown place"
    return f"{Path(ours[-1].filename).relative_to(_PACKAGE.parent)}:{ours[-1].lineno}"


def _listed(error: Exception) -> str | None:
    """Where the error's text is listed; None where the store cannot be written."""
    text = str(error) if isinstance(error, SubjectPipelineError) else "".join(traceback.format_exception(error))
    try:
        store = dg.OpExecutionContext.get().resources.store.open()
        return listed_by_step(store, [{"kind": type(error).__name__, "detail": text}])
    except Exception:  # noqa: BLE001 - what failed first is what must be said
        return None
