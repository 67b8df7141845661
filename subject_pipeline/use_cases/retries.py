"""Trying again after a lost race: bounded and jittered, so that many writers do not march in step."""

from collections.abc import Callable
from typing import TypeVar

from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from subject_pipeline.errors import ConflictError

_PATIENCE_S = 300
Result = TypeVar("Result")


def retrying(attempt: Callable[[], Result]) -> Result:
    """What `attempt` returns; called again while another writer wins, for up to five minutes.

    Raises:
        ConflictError: other writers won all that time.
    """
    return Retrying(
        retry=retry_if_exception_type(ConflictError),
        wait=wait_random_exponential(multiplier=0.05, max=2),
        stop=stop_after_delay(_PATIENCE_S),
        reraise=True,
    )(attempt)
