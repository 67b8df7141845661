"""Obstore's handles on buckets: how long they wait, which settings they refuse, and what their errors say."""

import os
from datetime import timedelta
from typing import Any

from obstore.exceptions import BaseError
from obstore.store import ObjectStore as Backend
from obstore.store import from_url

from subject_pipeline.errors import ConfigurationError
from subject_pipeline.formats.shown_text import without_credentials
from subject_pipeline.objects.location import StoreLocation

_SILENCE = timedelta(seconds=20)
"""How long a request may go without a byte of its answer: what it takes to send 8 MiB over a slow line."""

_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound", "The specified bucket does not exist")
"""What S3, Azure and GCS answer to any request to a bucket that is not there."""

_UNSAFE = {
    "aws_conditional_put": ("disabled",),
    "conditional_put": ("disabled",),
    "aws_s3_allow_unsafe_rename": ("true", "1", "yes", "on"),
    "allow_unsafe_rename": ("true", "1", "yes", "on"),
}

PATIENCE = timedelta(seconds=15)
"""No request is begun again later than this, so that an unreachable store is reported within 30 seconds."""


def open_backend(location: StoreLocation, *, retries: int = 6) -> Backend:
    """Obstore's own handle on a location, bounded in retries so that an unreachable endpoint is reported in time.

    Args:
        location: where.
        retries: how often the client repeats a request by itself.

    Raises:
        ConfigurationError: the options do not fit the provider.
    """
    _refuse_unsafe(location)
    config: Any = dict(location.options) or None  # each provider has its own type
    try:
        backend: Backend = from_url(
            location.url,
            config=config,
            client_options={
                "connect_timeout": timedelta(seconds=5),
                "read_timeout": _SILENCE,
                "timeout": timedelta(seconds=60),
                "allow_http": True,  # whether to encrypt is what the endpoint's URL says
            },
            retry_config={"max_retries": retries, "retry_timeout": PATIENCE},
        )
        return backend  # noqa: TRY300 - the call above is all that can fail
    except (BaseError, ValueError) as error:
        raise ConfigurationError(f"cannot open the store {location.url!r}: {reason(error)}") from error


def _refuse_unsafe(location: StoreLocation) -> None:
    """Settings with which two writers could overwrite each other are refused, whether options or environment say so."""
    given = {**os.environ, **location.options}
    for name, value in given.items():
        unsafe = value.strip().lower() in _UNSAFE.get(name.lower(), ())
        if unsafe:
            raise ConfigurationError(
                f"cannot use the store {location.url!r} with {name}={value}: without conditional writes two writers "
                "would overwrite each other's manifests and audit rows; take that setting out"
            )


def no_bucket(error: BaseException) -> str | None:
    """What to say if not the object but its bucket is missing; None if it is the object."""
    if any(code in str(error) for code in _NO_BUCKET):
        return "there is no such bucket or container; create it first, or correct the URL"
    return None


def reason(error: BaseException | None) -> str:
    """The first line of what a library said, without credentials; the rest is debug output and may hold headers."""
    if error is not None and (gone := no_bucket(error)) is not None:
        return gone
    text = str(error).strip()
    return without_credentials(text.splitlines()[0]) if text else type(error).__name__
