import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from subject_pipeline.errors import StoreError
from subject_pipeline.storage import local_objects
from subject_pipeline.storage.local_objects import STAGING_FOLDER, LocalObjects

KEY = "audit/chunk-00/000000000000.jsonl"


@pytest.fixture
def objects(root: Path) -> LocalObjects:
    """An unused local store."""
    return LocalObjects(root)


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders whose entries were flushed, in order."""
    folders: list[Path] = []
    real = local_objects.sync_folders

    def sync_folders(wanted: Iterable[Path]) -> None:
        wanted = list(wanted)
        folders.extend(wanted)
        real(wanted)

    monkeypatch.setattr(local_objects, "sync_folders", sync_folders)
    return folders


def _staged(root: Path) -> list[Path]:
    return list((root / STAGING_FOLDER).glob("*"))


def test_reading_an_unused_store_creates_nothing(objects: LocalObjects, root: Path) -> None:
    """Get, list and delete leave no folder behind."""
    assert objects.get(KEY) is None
    assert list(objects.list("")) == []
    objects.delete(KEY)
    assert not root.exists()


def test_no_operation_leaves_anything_staged(objects: LocalObjects, root: Path) -> None:
    """Won, lost and repeated creates and a replace leave the staging folder empty."""
    objects.create(KEY, b"1")
    objects.create(KEY, b"1")
    objects.create(KEY, b"2")
    objects.replace(KEY, b"3")
    assert _staged(root) == []


def test_a_failed_write_leaves_nothing_staged(
    objects: LocalObjects, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fills while an object is staged ends in our own error, with neither object nor staged file."""

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for write in (objects.create, objects.replace):
        with pytest.raises(StoreError, match=f"the object '{KEY}': No space left on device"):
            write(KEY, b"1")
    assert _staged(root) == []
    assert objects.get(KEY) is None


def test_a_killed_writers_staged_file_is_not_listed(objects: LocalObjects, root: Path) -> None:
    """What a crash leaves in the staging folder is no object."""
    objects.create(KEY, b"1")
    (root / STAGING_FOLDER / "left").write_bytes(b"half")
    assert [item.key for item in objects.list("")] == [KEY]


def test_an_acknowledged_object_is_flushed_with_its_folders(
    objects: LocalObjects, root: Path, synced: list[Path]
) -> None:
    """A create flushes the object's bytes, then the entry that names it."""
    objects.create(KEY, b"1")
    assert synced[-1] == (root / KEY).parent
    synced.clear()
    objects.replace(KEY, b"2")
    assert synced[-1] == (root / KEY).parent


def test_a_repeated_create_is_flushed_before_it_is_acknowledged(
    objects: LocalObjects, root: Path, synced: list[Path]
) -> None:
    """Who finds its own bytes in place does not know whether their entry was flushed, so it flushes it."""
    objects.create(KEY, b"1")
    synced.clear()
    assert objects.create(KEY, b"1") is True
    assert (root / KEY).parent in synced


def test_folders_that_became_empty_go_with_the_last_object(objects: LocalObjects, root: Path) -> None:
    """As a bucket has no folders, a delete removes those that it empties, and no others."""
    objects.create("a/b/c/1", b"")
    objects.create("a/b/2", b"")
    objects.delete("a/b/c/1")
    assert not (root / "a/b/c").exists()
    assert (root / "a/b").is_dir()
    objects.delete("a/b/2")
    assert not (root / "a").exists()
    assert root.is_dir()


def test_a_folder_that_is_pruned_while_an_object_is_put_is_made_again(
    objects: LocalObjects, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deleter that removes the folder between its making and the link does not make a create fail."""
    real, calls = os.link, []

    def link(source: Path, target: Path) -> None:
        calls.append(target)
        if len(calls) == 1:
            target.parent.rmdir()
        real(source, target)

    monkeypatch.setattr(os, "link", link)
    assert objects.create(KEY, b"1") is True
    assert len(calls) == 2
    assert (root / KEY).read_bytes() == b"1"


@pytest.mark.parametrize("key", ["/etc/passwd", "/", "//x"])
def test_an_absolute_key_is_refused(objects: LocalObjects, key: str) -> None:
    """A key that starts at the root of the disk is refused."""
    with pytest.raises(StoreError, match="it leaves the store"):
        objects.create(key, b"1")


def test_a_linked_folder_is_not_followed(objects: LocalObjects, root: Path, tmp_path: Path) -> None:
    """A list does not go where a symbolic link points."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "secret").write_bytes(b"1")
    objects.create("a/1", b"")
    (root / "a" / "link").symlink_to(tmp_path / "elsewhere")
    assert [item.key for item in objects.list("a/")] == ["a/1"]


def test_a_folder_in_an_objects_place_is_our_own_error(objects: LocalObjects, root: Path) -> None:
    """What the file system refuses names the object and the reason, never a bare OSError."""
    (root / KEY).mkdir(parents=True)
    for operation in (
        lambda: objects.get(KEY),
        lambda: objects.create(KEY, b"1"),
        lambda: objects.replace(KEY, b"1"),
        lambda: objects.delete(KEY),
    ):
        with pytest.raises(StoreError, match=KEY):
            operation()


def test_a_file_in_the_stores_place_is_our_own_error(root: Path) -> None:
    """A store whose folder is a file fails with our own error and does not touch the file."""
    root.write_bytes(b"mine")
    objects = LocalObjects(root)
    assert objects.get(KEY) is None
    for write in (objects.create, objects.replace):
        with pytest.raises(StoreError, match=KEY):
            write(KEY, b"1")
    assert root.read_bytes() == b"mine"


def test_an_object_that_vanishes_while_listing_is_left_out(
    objects: LocalObjects, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A delete beside a list does not make the list fail."""
    objects.create("a/1", b"")
    objects.create("a/2", b"")
    real = Path.lstat

    def lstat(path: Path) -> os.stat_result:
        if path == root / "a/1":
            path.unlink(missing_ok=True)
        return real(path)

    monkeypatch.setattr(Path, "lstat", lstat)
    assert [item.key for item in objects.list("a/")] == ["a/2"]
