"""The object store: create-only and replacing writes, settled by reading back."""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from subject_pipeline.errors import StoreError


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One listed object: its key, its size in bytes, when it was last written (UTC), and a tag.

    The tag changes whenever the object is written: a bucket's e_tag, or a regular file's inode and ctime.
    """

    key: str
    size: int
    modified: dt.datetime
    tag: str


def check_key(key: str) -> str:
    """The key, if it stays in the store and has no second spelling; a prefix may end in `/`, or be empty.

    Raises:
        StoreError: it is absolute, or has an empty part, a part `.` or `..`, or a NUL.
    """
    *parents, name = key.split("/")
    if not {"", ".", ".."}.isdisjoint(parents) or name in {".", ".."} or "\0" in key:
        raise StoreError(f"cannot use the object key {key!r}: it leaves the store, or has an empty part or a NUL")
    return key


def key_parts(key: str) -> list[str]:
    """The names on the way to an object; the last of a prefix is empty; otherwise as `check_key`."""
    return check_key(key).split("/")


def check_size(key: str, size: int, limit: int | None) -> None:
    """Refuse an object that is larger than one of its kind may be.

    Raises:
        StoreError: both sizes are named.
    """
    if limit is not None and size > limit:
        raise StoreError(
            f"cannot read the object {key!r}: it has {size:,} bytes, more than the {limit:,} that one of its kind may "
            "have, so it is not what was written here: restore it from a backup"
        )


class ObjectStore(Protocol):
    """Bytes under keys (`catalog/layout.json`), the same over local files, memory and buckets.

    Attributes:
        local: requests go to this machine's disk and take microseconds, not tens of milliseconds.
    """

    local: bool

    def get(self, key: str, *, limit: int | None = None) -> bytes | None:
        """The bytes under a key, or None where there is no such object.

        Args:
            key: whose bytes.
            limit: how many there may be; an object that has more is not read.

        Raises:
            StoreError: the store failed, or the object is larger than `limit`.
        """
        ...

    def exists(self, key: str, *others: str) -> bool:
        """Whether anything at all is under one of some keys, without reading it.

        Args:
            key: one of them.
            others: the others, which lie in the same folder.

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
        """Put if absent: True if exactly these bytes are now under the key, False if others are.

        A create that fails may have succeeded, so every outcome but success is settled by reading back. Once an
        outcome was unknown, only bytes read back make it known: not being there now does not mean never being there.

        Raises:
            OutcomeUnknownError: it is not known whether the object is there.
            StoreError: the store failed and nothing was written.
        """
        ...

    def replace(self, key: str, data: bytes) -> None:
        """Write the bytes under a key, whatever was there; readers see the old or the new, never a part.

        Raises:
            OutcomeUnknownError: it is not known whether the old or the new object is there.
            StoreError: the store failed and nothing was written.
        """
        ...

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is no error.

        Raises:
            OutcomeUnknownError: it is not known whether the object is gone.
            StoreError: the store failed and nothing was deleted.
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

    def remove_abandoned(self, before: dt.datetime) -> None:
        """Delete what killed writers left unfinished before a time; a bucket keeps nothing unfinished.

        Raises:
            StoreError: the store failed.
        """
        ...
