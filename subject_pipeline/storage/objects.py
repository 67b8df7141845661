"""The object store: create-only and replacing writes, settled by reading back."""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from subject_pipeline.errors import StoreError


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One listed object: its key, its size in bytes, when it was last written (UTC), and a tag.

    The tag changes whenever the object is written: a bucket's e_tag, or a local file's inode and ctime.
    """

    key: str
    size: int
    modified: dt.datetime
    tag: str


def check_key(key: str) -> str:
    """The key, if it stays in the store.

    Raises:
        StoreError: it is absolute, or has a part `.` or `..`.
    """
    if key.startswith("/") or any(part in {".", ".."} for part in key.split("/")):
        raise StoreError(f"cannot use the object key {key!r}: it leaves the store")
    return key


class ObjectStore(Protocol):
    """Bytes under keys (`catalog/layout.json`), the same over local files, memory and buckets."""

    def get(self, key: str) -> bytes | None:
        """The bytes under a key, or None where there is no such object.

        Raises:
            StoreError: the store failed.
        """
        ...

    def open(self, key: str) -> BinaryIO:
        """An object as a file to be read as a stream; the caller closes it.

        Raises:
            StoreError: there is no such object, or the store failed.
        """
        ...

    def create(self, key: str, data: bytes) -> bool:
        """Put if absent: True if exactly these bytes now stand under the key, False if others do.

        A create that fails may be one's own success, so every outcome but success is settled by reading back.

        Raises:
            OutcomeUnknownError: it could not be learnt whether the object is there.
            StoreError: the store failed and nothing was written.
        """
        ...

    def replace(self, key: str, data: bytes) -> None:
        """Write the bytes under a key, whatever stood there; readers see the old or the new, never a part.

        Raises:
            StoreError: the store failed; the old or the new object stands.
        """
        ...

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is no error.

        Raises:
            StoreError: the store failed.
        """
        ...

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        """The objects whose keys start with `prefix` (empty, or ending in `/`), sorted by key.

        Args:
            prefix: what their keys start with.
            after: only those whose keys come after this one.

        Raises:
            StoreError: the store failed.
        """
        ...
