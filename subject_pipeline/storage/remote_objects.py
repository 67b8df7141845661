"""The object store over buckets (S3, GCS, Azure) and memory, through obstore."""

import io
import os
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, BinaryIO

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    InvalidPathError,
    NotFoundError,
    NotSupportedError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import MemoryStore, from_url
from obstore.store import ObjectStore as Backend

from subject_pipeline.domain.shown_text import without_credentials
from subject_pipeline.errors import ConfigurationError, OutcomeUnknownError, StoreError
from subject_pipeline.storage.location import StoreLocation
from subject_pipeline.storage.objects import ObjectInfo, check_key
from subject_pipeline.storage.remote_file import RemoteFile

_SILENCE = timedelta(seconds=20)
"""How long a request may go without a byte of its answer: what it takes to send 8 MiB over a slow line."""

_PATIENCE = timedelta(seconds=15)
"""No request is begun again later than this, so that a place where nobody answers is told of within 30 seconds."""

_CREATE_ATTEMPTS = 4
_READ_BYTES = 4 << 20
_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound", "The specified bucket does not exist")
"""What S3, Azure and GCS answer to whatever is asked of a bucket that is not there."""

_UNSAFE = {
    "aws_conditional_put": ("disabled",),
    "conditional_put": ("disabled",),
    "aws_s3_allow_unsafe_rename": ("true", "1", "yes", "on"),
    "allow_unsafe_rename": ("true", "1", "yes", "on"),
}

_REFUSALS = (
    AlreadyExistsError,
    InvalidPathError,
    NotFoundError,
    NotSupportedError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
"""What a store says when it has looked at a write and not done it."""


class RemoteObjects:
    """Objects in a bucket. Must not cross a `fork()`: obstore would hang, so a changed process id is refused."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._pid = os.getpid()

    @classmethod
    def at(cls, location: StoreLocation) -> "RemoteObjects":
        """The bucket at a location; not contacted before the first call.

        Raises:
            ConfigurationError: the options do not fit the provider.
        """
        return cls(open_backend(location))

    @classmethod
    def in_memory(cls) -> "RemoteObjects":
        """A store of this process's own, for tests."""
        return cls(MemoryStore())

    def get(self, key: str) -> bytes | None:
        """See `ObjectStore.get`."""
        try:
            return bytes(obstore.get(self._open(), check_key(key)).bytes())
        except (FileNotFoundError, NotFoundError) as error:
            if (gone := _no_bucket(error)) is not None:
                raise StoreError(f"cannot read the object {key!r}: {gone}") from error
            return None
        except BaseError as error:
            raise StoreError(f"cannot read the object {key!r}: {reason(error)}") from error

    def open(self, key: str) -> BinaryIO:
        """See `ObjectStore.open`."""
        try:
            reader = obstore.open_reader(self._open(), check_key(key), buffer_size=_READ_BYTES)
        except (FileNotFoundError, NotFoundError, BaseError) as error:
            raise StoreError(f"cannot read the object {key!r}: {reason(error)}") from error
        return io.BufferedReader(RemoteFile(reader), _READ_BYTES)

    def create(self, key: str, data: bytes) -> bool:
        """See `ObjectStore.create`."""
        failure: Exception | None = None
        for _ in range(_CREATE_ATTEMPTS):
            try:
                obstore.put(self._open(), check_key(key), data, mode="create")
            except NotImplementedError as error:
                raise StoreError(
                    f"cannot create the object {key!r}: this store is set to do without conditional writes, and then "
                    "two writers would overwrite each other; take conditional_put=disabled out of its options"
                ) from error
            except (BaseError, FileNotFoundError) as error:
                failure = error
            else:
                return True
            try:
                there = self.get(key)
            except StoreError as error:
                raise OutcomeUnknownError(
                    f"cannot tell whether the object {key!r} was created: {reason(failure)}; then {error}"
                ) from error
            if there is not None:
                return there == data
        if isinstance(failure, _REFUSALS):
            raise StoreError(f"cannot create the object {key!r}: {reason(failure)}") from failure
        # A request that timed out may still be under way: not being there now does not mean that it never will be.
        raise OutcomeUnknownError(f"cannot tell whether the object {key!r} was created: {reason(failure)}") from failure

    def replace(self, key: str, data: bytes) -> None:
        """See `ObjectStore.replace`."""
        try:
            obstore.put(self._open(), check_key(key), data)
        except BaseError as error:
            raise StoreError(f"cannot write the object {key!r}: {reason(error)}") from error

    def delete(self, key: str) -> None:
        """See `ObjectStore.delete`."""
        try:
            obstore.delete(self._open(), check_key(key))
        except (FileNotFoundError, NotFoundError):
            return
        except BaseError as error:
            raise StoreError(f"cannot delete the object {key!r}: {reason(error)}") from error

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        """See `ObjectStore.list`."""
        try:
            found = [
                ObjectInfo(
                    item["path"],
                    item["size"],
                    item["last_modified"],
                    item["e_tag"] or item["version"] or item["last_modified"].isoformat(),
                )
                for page in obstore.list(
                    self._open(), prefix=check_key(prefix) or None, offset=after or None, chunk_size=1000
                )
                for item in page
            ]
        except BaseError as error:
            raise StoreError(f"cannot list the objects below {prefix!r}: {reason(error)}") from error
        return iter(sorted(found, key=lambda item: item.key))

    def _open(self) -> Backend:
        if os.getpid() != self._pid:
            raise StoreError("this store was opened in another process; open it anew after a fork, or use spawn")
        return self._backend


def open_backend(location: StoreLocation) -> Backend:
    """Obstore's own handle on a location, bounded in retries so that an unreachable endpoint is told in time.

    Raises:
        ConfigurationError: the options do not fit the provider.
    """
    _refuse_unsafe(location)
    config: Any = dict(location.options) or None  # each provider has a type of its own
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
            retry_config={"max_retries": 6, "retry_timeout": _PATIENCE},
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


def _no_bucket(error: BaseException) -> str | None:
    """What to say where not the object is missing but what should hold it; None where it is the object."""
    if any(code in str(error) for code in _NO_BUCKET):
        return "there is no such bucket or container; make it first, or mend the URL"
    return None


def reason(error: BaseException | None) -> str:
    """The first line of what a library said, without credentials; the rest is debug output and may hold headers."""
    if error is not None and (gone := _no_bucket(error)) is not None:
        return gone
    text = str(error).strip()
    return without_credentials(text.splitlines()[0]) if text else type(error).__name__
