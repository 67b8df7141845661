"""Durable local files: what is acknowledged is on disk, not in a page cache, and whole."""

import contextlib
import os
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

from subject_pipeline.errors import SourceError


def sync_file(path: Path) -> None:
    """Flush one file's bytes to its disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        sync_descriptor(descriptor)
    finally:
        os.close(descriptor)


def sync_descriptor(descriptor: int) -> None:
    """Flush an open file or folder to its disk."""
    os.fsync(descriptor)


def sync_folders(folders: Iterable[Path]) -> None:
    """Flush folders' entries to their disk, each once."""
    for folder in sorted(set(folders)):
        sync_file(folder)


def make_folder(folder: Path) -> None:
    """Create a folder and its parents, with every new entry flushed."""
    missing = [folder, *folder.parents]
    created = [parent for parent in missing if not parent.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    sync_folders(parent.parent for parent in created)


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path to write to; it takes the wanted name once written, so that no reader sees a part of it.

    Raises:
        SourceError: the folder is not there or cannot be written to.
    """
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        try:
            yield unfinished
            with unfinished.open("rb") as written:
                os.fsync(written.fileno())
            unfinished.replace(path)
        except OSError as error:
            raise SourceError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink()
