"""Making local writes last: what is acknowledged is on disk, not in a page cache."""

import os
from collections.abc import Iterable
from pathlib import Path


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
