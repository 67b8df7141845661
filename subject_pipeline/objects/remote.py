"""The object store over buckets (S3, GCS, Azure) and memory, through obstore."""

import datetime as dt
import io
import os
import random
import time
from collections.abc import Callable, Iterator
from typing import BinaryIO

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
from obstore.store import ObjectStore as Backend

from subject_pipeline.errors import OutcomeUnknownError, StoreError
from subject_pipeline.objects.backends import PATIENCE, no_bucket, open_backend, reason
from subject_pipeline.objects.location import StoreLocation
from subject_pipeline.objects.protocol import ObjectInfo, check_key, check_size
from subject_pipeline.objects.remote_file import RemoteFile

_WRITE_ATTEMPTS = 7
_FIRST_WAIT_S = 0.1
_READ_BYTES = 4 << 20


_REFUSALS = (
    FileNotFoundError,
    InvalidPathError,
    NotFoundError,
    NotSupportedError,
    PermissionDeniedError,
    UnauthenticatedError,
)
"""Errors by which a store refuses a write without doing it, now and the next time."""

_DENIED = "(code: AccessDenied)"
"""How S3 refuses to delete an object in an answer that itself is a success."""

_CONFLICTS = (AlreadyExistsError, PreconditionError)
"""Errors by which a store says that another object, or another write at this moment, prevented a write."""


class RemoteObjects:
    """Objects in a bucket. Must not cross a `fork()`: obstore would hang, so a changed process id is refused."""

    local = False

    def __init__(self, backend: Backend, writer: Backend | None = None) -> None:
        """A store over a backend; `writer`, if given, sends each write only once."""
        self._backend = backend
        self._writer = backend if writer is None else writer
        self._pid = os.getpid()

    @classmethod
    def at(cls, location: StoreLocation) -> "RemoteObjects":
        """The bucket at a location; not contacted before the first call.

        Raises:
            ConfigurationError: the options do not fit the provider.
        """
        return cls(open_backend(location), open_backend(location, retries=0))

    def get(self, key: str, *, limit: int | None = None) -> bytes | None:
        """See `ObjectStore.get`."""
        try:
            found = obstore.get(self._open(self._backend), check_key(key))
            check_size(key, found.meta["size"], limit)
            return bytes(found.bytes())
        except (FileNotFoundError, NotFoundError) as error:
            if (gone := no_bucket(error)) is not None:
                raise StoreError(f"cannot read the object {key!r}: {gone}") from error
            return None
        except BaseError as error:
            raise StoreError(f"cannot read the object {key!r}: {reason(error)}") from error

    def exists(self, key: str, *others: str) -> bool:
        """See `ObjectStore.exists`."""
        return self._is_there(key) or any(map(self._is_there, others))

    def _is_there(self, key: str) -> bool:
        try:
            obstore.head(self._open(self._backend), check_key(key))
        except (FileNotFoundError, NotFoundError):
            return False
        except BaseError as error:
            raise StoreError(f"cannot look for the object {key!r}: {reason(error)}") from error
        return True

    def open(self, key: str) -> BinaryIO:
        """See `ObjectStore.open`."""
        try:
            reader = obstore.open_reader(self._open(self._backend), check_key(key), buffer_size=_READ_BYTES)
        except (FileNotFoundError, NotFoundError, BaseError) as error:
            raise StoreError(f"cannot read the object {key!r}: {reason(error)}") from error
        return io.BufferedReader(RemoteFile(reader), _READ_BYTES)

    def create(self, key: str, data: bytes) -> bool:
        """See `ObjectStore.create`."""

        def settled() -> bool | None:
            there = self.get(key)
            return None if there is None else there == data

        try:
            return self._write("created", key, lambda to, at: obstore.put(to, at, data, mode="create"), settled)
        except NotImplementedError as error:
            raise StoreError(
                f"cannot create the object {key!r}: this store is set to do without conditional writes, and then two "
                "writers would overwrite each other; take conditional_put=disabled out of its options"
            ) from error

    def replace(self, key: str, data: bytes) -> None:
        """See `ObjectStore.replace`."""
        self._write("written", key, lambda to, at: obstore.put(to, at, data))

    def delete(self, key: str) -> None:
        """See `ObjectStore.delete`."""

        def delete(backend: Backend, path: str) -> None:
            try:
                obstore.delete(backend, path)
            except (FileNotFoundError, NotFoundError):
                pass
            except BaseError as error:
                if _DENIED in str(error):
                    raise PermissionDeniedError(reason(error)) from error
                raise

        self._write("deleted", key, delete)

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
                    self._open(self._backend), prefix=check_key(prefix) or None, offset=after or None, chunk_size=1000
                )
                for item in page
            ]
        except BaseError as error:
            raise StoreError(f"cannot list the objects below {prefix!r}: {reason(error)}") from error
        return iter(sorted(found, key=lambda item: item.key))

    def remove_abandoned(self, before: dt.datetime) -> None:
        """See `ObjectStore.remove_abandoned`."""

    def _write(
        self,
        done: str,
        key: str,
        send: Callable[[Backend, str], object],
        settled: Callable[[], bool | None] = lambda: None,
    ) -> bool:
        """Send a write until the store has done it, refused it for good, or it is settled whose bytes are there.

        Args:
            done: what the write does to an object, in the past tense.
            key: whose object.
            send: sends it once: the client must not repeat it by itself, or a refusal would hide the attempt before it.
            settled: looks, after a failure, whether the object is ours; None where that does not settle it.

        Raises:
            OutcomeUnknownError: an attempt failed without a refusal, so it may yet be done.
            StoreError: every attempt was refused: nothing was written.
        """
        unknown: Exception | None = None
        told: list[str] = []
        for _ in _attempts():
            try:
                send(self._open(self._writer), check_key(key))
            except (BaseError, FileNotFoundError) as error:
                failure = error
            else:
                return True
            final = isinstance(failure, _REFUSALS)
            if not final and not isinstance(failure, _CONFLICTS):
                unknown = unknown or failure
            told.append(reason(failure))
            if final and unknown is None:
                break
            try:
                there = settled()
            except StoreError as error:
                told.append(str(error))
                break
            if there is not None:
                return there
            if final:
                break
        words = "; then ".join(dict.fromkeys(told))
        if unknown is None:
            raise StoreError(f"the object {key!r} could not be {done}, and was not: {words}")
        # A request that timed out may still be under way: not being there now does not mean that it never will be.
        raise OutcomeUnknownError(f"cannot tell whether the object {key!r} was {done}: {words}") from unknown

    def _open(self, backend: Backend) -> Backend:
        if os.getpid() != self._pid:
            raise StoreError("this store was opened in another process; open it again after a fork, or use spawn")
        return backend


def _attempts() -> Iterator[int]:
    """Numbers of attempts, with longer and longer waits between them, until `PATIENCE` is over."""
    until = time.monotonic() + PATIENCE.total_seconds()
    yield 0
    for attempt in range(1, _WRITE_ATTEMPTS):
        wait = random.uniform(0.5, 1) * _FIRST_WAIT_S * 2 ** (attempt - 1)  # noqa: S311 - no secret
        if time.monotonic() + wait > until:
            return
        time.sleep(wait)
        yield attempt
