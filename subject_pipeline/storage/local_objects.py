"""The object store over local files, with the durability that neither obstore nor delta-rs gives there."""

import contextlib
import datetime as dt
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from subject_pipeline.errors import OutcomeUnknownError, StoreError
from subject_pipeline.storage.durability import make_folder, sync_folders
from subject_pipeline.storage.objects import ObjectInfo, check_key

STAGING_FOLDER = ".staging"
_MOVES = 3


class LocalObjects:
    """Objects as files below a root: staged, fsynced, then linked or renamed into place, then the folder fsynced."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def get(self, key: str) -> bytes | None:
        """See `ObjectStore.get`."""
        with _errors("read", key):
            try:
                return self._path(key).read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                return None

    def exists(self, key: str) -> bool:
        """Whether there is such an object, without reading it."""
        return self._path(key).is_file()

    def open(self, key: str) -> BinaryIO:
        """See `ObjectStore.open`."""
        with _errors("read", key):
            return self._path(key).open("rb")

    def create(self, key: str, data: bytes) -> bool:
        """See `ObjectStore.create`. The hard link is what makes it put-if-absent."""
        target = self._path(key)
        with _errors("create", key), self._staged(data) as staged:
            try:
                _into_place(target, lambda: os.link(staged, target))
            except FileExistsError:
                if target.read_bytes() != data:
                    return False
            try:
                sync_folders([target.parent])  # also where it was there: whoever wrote it may not have got so far
            except OSError as error:
                raise OutcomeUnknownError(f"created the object {key!r}, but could not flush it: {error}") from error
            return True

    def replace(self, key: str, data: bytes) -> None:
        """See `ObjectStore.replace`."""
        target = self._path(key)
        with _errors("write", key), self._staged(data) as staged:
            _into_place(target, lambda: staged.replace(target))
            sync_folders([target.parent])

    def delete(self, key: str) -> None:
        """See `ObjectStore.delete`."""
        target = self._path(key)
        with _errors("delete", key):
            target.unlink(missing_ok=True)
            self._prune(target.parent)

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        """See `ObjectStore.list`. Symbolic links are not followed."""
        with _errors("list", prefix):
            found = sorted(self._walk(self._path(prefix), after), key=lambda item: item.key)
        return iter(found)

    def remove_abandoned(self, before: dt.datetime) -> None:
        """Delete what killed writers left staged before a time.

        Raises:
            StoreError: the disk failed.
        """
        folder = self._root / STAGING_FOLDER
        with _errors("clean up", STAGING_FOLDER):
            for path in folder.iterdir() if folder.is_dir() else ():
                with contextlib.suppress(FileNotFoundError):
                    if path.stat().st_mtime < before.timestamp():
                        path.unlink()

    def _walk(self, folder: Path, after: str) -> Iterator[ObjectInfo]:
        for parent, folders, names in os.walk(folder, onerror=_raise):
            folders[:] = [name for name in folders if name != STAGING_FOLDER]
            base = Path(parent).relative_to(self._root).as_posix()
            for name in names:
                key = f"{base}/{name}" if base != "." else name
                if key <= after:
                    continue  # before its status is asked for, which is what takes time
                path = Path(parent, name)
                try:
                    status = path.lstat()
                except FileNotFoundError:
                    continue
                modified = dt.datetime.fromtimestamp(status.st_mtime, dt.UTC)
                tag = f"{status.st_ino:x}-{status.st_ctime_ns:x}"
                yield ObjectInfo(key, status.st_size, modified, tag)

    def _path(self, key: str) -> Path:
        return self._root.joinpath(*check_key(key).split("/"))

    def _prune(self, folder: Path) -> None:
        """Remove folders that became empty, as a bucket has none, up to the root."""
        while folder != self._root and folder.is_relative_to(self._root):
            try:
                folder.rmdir()
            except OSError:
                break
            folder = folder.parent
        if folder.is_dir():
            sync_folders([folder])

    @contextlib.contextmanager
    def _staged(self, data: bytes) -> Iterator[Path]:
        folder = self._root / STAGING_FOLDER
        make_folder(folder)
        staged = folder / uuid.uuid4().hex
        try:
            with staged.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            yield staged
        finally:
            staged.unlink(missing_ok=True)


def _raise(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error


def _into_place(target: Path, move: Callable[[], object]) -> None:
    for attempt in range(_MOVES):
        make_folder(target.parent)
        try:
            move()
        except FileNotFoundError:
            if attempt == _MOVES - 1:
                raise
        else:
            break  # else a deleter pruned the folder between the two calls


@contextlib.contextmanager
def _errors(doing: str, key: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"cannot {doing} the object {key!r}: {error.strerror or error}") from error
