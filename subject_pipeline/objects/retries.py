"""Trying again after a lost race: bounded and jittered, so that many writers do not stay in step."""

from collections.abc import Callable
from typing import TypeVar

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_delay,
    wait_random_exponential,
)

from subject_pipeline.errors import ConflictError, VanishedFileError

_PATIENCE_S = 300
_LOOKS = 6
Result = TypeVar("Result")


def retrying(attempt: Callable[[], Result], *, first_wait_s: float = 0.05) -> Result:
    """What `attempt` returns; called again while another writer wins, for up to five minutes.

    A file that is gone is looked for only a few times: if it was vacuumed, a newer version does not need it; if it is
    lost, it stays lost.

    Args:
        attempt: raises `ConflictError` where another won.
        first_wait_s: the longest first wait; each further one may be twice as long, up to 2 s.

    Raises:
        ConflictError: other writers won all that time, or a file of the table is lost.
    """
    too_long = stop_after_delay(_PATIENCE_S)
    return Retrying(
        retry=retry_if_exception_type(ConflictError),
        wait=wait_random_exponential(multiplier=first_wait_s, max=2),
        stop=lambda state: too_long(state) or _lost(state),
        reraise=True,
    )(attempt)


def _lost(state: RetryCallState) -> bool:
    error = state.outcome.exception() if state.outcome else None
    return isinstance(error, VanishedFileError) and state.attempt_number >= _LOOKS
