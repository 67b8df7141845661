"""Files and folders below a root, reached name by name without following a symbolic link; the root may be one."""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from subject_pipeline.objects.durability import make_folder, sync_descriptor

_FOLDER = os.O_RDONLY | os.O_DIRECTORY
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK  # else opening a FIFO waits for its writer


@contextlib.contextmanager
def folder_at(root: Path, names: Sequence[str], *, make: bool = False) -> Iterator[int]:
    """A descriptor of the folder that these names lead to from the root.

    Args:
        root: where the path begins.
        names: one folder each.
        make: make the folders that are missing, and flush their entries.

    Raises:
        FileNotFoundError: there is none; with `make`, it was deleted again at this moment.
        OSError: the disk failed, or one of them is a symbolic link.
    """
    try:
        descriptor = os.open(root, _FOLDER)
    except FileNotFoundError:
        if not make:
            raise
        make_folder(root)
        descriptor = os.open(root, _FOLDER)
    try:
        for name in names:
            outer, descriptor = descriptor, enter_folder(descriptor, name, make=make)
            os.close(outer)
        yield descriptor
    finally:
        os.close(descriptor)


def enter_folder(folder: int, name: str, *, make: bool = False) -> int:
    """A descriptor of a folder in a folder, to be closed by the caller; otherwise as `folder_at`."""
    try:
        return os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
    except FileNotFoundError:
        if not make:
            raise
    except OSError as error:
        _refuse_link(folder, name, error)
        raise
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, dir_fd=folder)
        sync_descriptor(folder)
    return os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)


def open_file(folder: int, name: str) -> BinaryIO:
    """A regular file in a folder, to be read.

    Raises:
        OSError: there is none, it is another kind of thing, or the disk failed.
    """
    try:
        descriptor = os.open(name, _FILE, dir_fd=folder)
    except OSError as error:
        _refuse_link(folder, name, error)
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, f"{name!r} is not a regular file, so it is not an object: move it out of the store")
    return os.fdopen(descriptor, "rb")


def read_file(folder: int, name: str) -> bytes:
    """The bytes of a regular file; otherwise as `open_file`."""
    with open_file(folder, name) as file:
        return file.read()


def _refuse_link(folder: int, name: str, error: OSError) -> None:
    """Say so if what could not be opened is a symbolic link; the system's own message would not."""
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            words = f"{name!r} is a symbolic link, which is not followed: replace it by what it points to"
            raise OSError(errno.ELOOP, words) from error
