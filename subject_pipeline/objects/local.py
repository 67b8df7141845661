"""The object store over local files, with the durability that neither obstore nor delta-rs gives there.

Only regular files are objects. Below the root, which may itself be a link, no symbolic link is followed: reading an
object gives the file whose size and tag a LIST shows, or an error.
"""

import contextlib
import datetime as dt
import errno
import os
import secrets
import stat
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from subject_pipeline.errors import OutcomeUnknownError, StoreError
from subject_pipeline.objects.durability import sync_descriptor
from subject_pipeline.objects.local_files import enter_folder, folder_at, open_file, read_file
from subject_pipeline.objects.protocol import ObjectInfo, check_size, key_parts

STAGING_FOLDER = ".staging"
_MOVES = 3
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW

_REFUSALS = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EMLINK, errno.EXDEV, errno.EINVAL),
    *(errno.ENAMETOOLONG, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENOTEMPTY, errno.ELOOP, errno.EOPNOTSUPP),
}
"""Errors by which a file system refuses a change without making it; after any other error it may be there."""


class LocalObjects:
    """Objects as files below a root: staged, fsynced, then linked or renamed into place, then the folder fsynced."""

    local = True

    def __init__(self, root: Path) -> None:
        self._root = root

    def get(self, key: str, *, limit: int | None = None) -> bytes | None:
        """See `ObjectStore.get`."""
        *parents, name = key_parts(key)
        with _errors("read", key):
            try:
                with folder_at(self._root, parents) as folder, open_file(folder, name) as file:
                    size = os.fstat(file.fileno()).st_size
                    check_size(key, size, limit)
                    return file.read(size)
            except (FileNotFoundError, NotADirectoryError):
                return None

    def exists(self, key: str, *others: str) -> bool:
        """See `ObjectStore.exists`."""
        *parents, name = key_parts(key)
        names = [name, *(key_parts(other)[-1] for other in others)]
        with (
            _errors("look for", key),
            contextlib.suppress(FileNotFoundError, NotADirectoryError),
            folder_at(self._root, parents) as folder,
        ):
            return any(_is_there(folder, one) for one in names)
        return False

    def open(self, key: str) -> BinaryIO:
        """See `ObjectStore.open`."""
        *parents, name = key_parts(key)
        with _errors("read", key), folder_at(self._root, parents) as folder:
            return open_file(folder, name)

    def create(self, key: str, data: bytes) -> bool:
        """See `ObjectStore.create`. The hard link is what makes it put-if-absent."""
        with _errors("create", key):
            return self._put(key, data, overwrite=False)

    def replace(self, key: str, data: bytes) -> None:
        """See `ObjectStore.replace`."""
        with _errors("write", key):
            self._put(key, data, overwrite=True)

    def delete(self, key: str) -> None:
        """See `ObjectStore.delete`."""
        *parents, name = key_parts(key)
        with _errors("delete", key):
            try:
                with folder_at(self._root, parents) as folder:
                    os.unlink(name, dir_fd=folder)
            except (FileNotFoundError, NotADirectoryError):
                pass  # its folders may still be left to prune
            except OSError as error:
                if error.errno in _REFUSALS:
                    raise
                raise _unknown(key, "deleted", error) from error
            try:
                self._prune(parents)
            except OSError as error:
                raise _unflushed(key, "deleted", error) from error

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        """See `ObjectStore.list`.

        What is neither a folder nor a regular file, such as a symbolic link, is listed with a tag that is never used
        again: nobody takes it for unchanged, and reading it is refused.
        """
        *parents, _ = key_parts(prefix)
        with _errors("list", prefix):
            try:
                with folder_at(self._root, parents) as folder:
                    found = [item for item in _walk(folder, parents, after) if item.key.startswith(prefix)]
            except (FileNotFoundError, NotADirectoryError):
                found = []
        return iter(sorted(found, key=lambda item: item.key))

    def remove_abandoned(self, before: dt.datetime) -> None:
        """See `ObjectStore.remove_abandoned`."""
        with (
            _errors("clean up", STAGING_FOLDER),
            contextlib.suppress(FileNotFoundError, NotADirectoryError),
            folder_at(self._root, [STAGING_FOLDER]) as folder,
        ):
            for name in os.listdir(folder):  # noqa: PTH208 - a descriptor, no path
                with contextlib.suppress(FileNotFoundError):
                    if os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime < before.timestamp():
                        os.unlink(name, dir_fd=folder)

    def _put(self, key: str, data: bytes, *, overwrite: bool) -> bool:
        """Whether exactly these bytes are now under the key, flushed; see `ObjectStore.create`, `replace`."""
        with self._staged(data) as staged:
            for attempt in range(1, _MOVES + 1):
                try:
                    with folder_at(self._root, key_parts(key)[:-1], make=True) as folder:
                        if not _moved(staged, folder, key, data, overwrite=overwrite):
                            return False
                        try:
                            sync_descriptor(folder)  # also where it was there: its writer may have died before doing so
                        except OSError as error:
                            raise _unflushed(key, "written", error) from error
                        return True
                except FileNotFoundError:  # a deleter pruned the folder, or deleted what was in our place
                    if attempt == _MOVES:
                        raise
        raise AssertionError("unreachable")

    def _prune(self, parts: Sequence[str]) -> None:
        """Remove folders that became empty, as a bucket has none, up to the root, and flush the one that is left."""
        left = list(parts)
        while left:
            try:
                with folder_at(self._root, left[:-1]) as outer:
                    os.rmdir(left[-1], dir_fd=outer)
            except FileNotFoundError:
                pass
            except OSError:
                break
            left.pop()
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), folder_at(self._root, left) as folder:
            sync_descriptor(folder)

    @contextlib.contextmanager
    def _staged(self, data: bytes) -> Iterator[tuple[int, str]]:
        """The folder and name of a flushed file of these bytes, which is removed at the end.

        If that fails, nothing else does: what is left is removed later as abandoned.
        """
        name = uuid.uuid4().hex
        with folder_at(self._root, [STAGING_FOLDER], make=True) as folder:
            try:
                with os.fdopen(os.open(name, _NEW, 0o666, dir_fd=folder), "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                yield folder, name
            finally:
                with contextlib.suppress(OSError):
                    os.unlink(name, dir_fd=folder)


def _moved(staged: tuple[int, str], folder: int, key: str, data: bytes, *, overwrite: bool) -> bool:
    """Whether the staged bytes are now in a folder; an error that leaves it open is settled by reading back.

    Raises:
        OutcomeUnknownError: that did not settle it.
        OSError: they do not.
    """
    name = key_parts(key)[-1]
    try:
        move = os.rename if overwrite else os.link
        move(staged[1], name, src_dir_fd=staged[0], dst_dir_fd=folder)
    except FileExistsError:
        return read_file(folder, name) == data
    except OSError as error:
        if error.errno in _REFUSALS:
            raise
        there = None
        with contextlib.suppress(OSError):
            there = read_file(folder, name)
        if there is None or (overwrite and there != data):
            raise _unknown(key, "written", error) from error
        return there == data
    return True


def _walk(folder: int, parts: Sequence[str], after: str) -> Iterator[ObjectInfo]:
    with os.scandir(folder) as entries:
        for entry in entries:
            within = [*parts, entry.name]
            if within == [STAGING_FOLDER]:
                continue
            with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                if entry.is_dir(follow_symlinks=False):
                    inner = enter_folder(folder, entry.name)
                    try:
                        yield from _walk(inner, within, after)
                    finally:
                        os.close(inner)
                elif (key := "/".join(within)) > after:  # before its status is asked for, which is what takes time
                    yield _info(key, os.stat(entry.name, dir_fd=folder, follow_symlinks=False))


def _is_there(folder: int, name: str) -> bool:
    with contextlib.suppress(FileNotFoundError):
        os.stat(name, dir_fd=folder, follow_symlinks=False)
        return True
    return False


def _info(key: str, status: os.stat_result) -> ObjectInfo:
    regular = stat.S_ISREG(status.st_mode)
    tag = f"{status.st_ino:x}-{status.st_ctime_ns:x}" if regular else f"no-regular-file-{secrets.token_hex(8)}"
    return ObjectInfo(key, status.st_size, dt.datetime.fromtimestamp(status.st_mtime, dt.UTC), tag)


def _unknown(key: str, done: str, error: OSError) -> OutcomeUnknownError:
    why = error.strerror or error
    return OutcomeUnknownError(f"cannot tell whether the object {key!r} was {done}: {why}; run it again")


def _unflushed(key: str, done: str, error: OSError) -> OutcomeUnknownError:
    why = error.strerror or error
    return OutcomeUnknownError(f"the object {key!r} was {done}, but that could not be flushed to the disk: {why}")


@contextlib.contextmanager
def _errors(doing: str, key: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"cannot {doing} the object {key!r}: {error.strerror or error}") from error
