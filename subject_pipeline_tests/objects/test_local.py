import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from subject_pipeline.errors import OutcomeUnknownError, StoreError
from subject_pipeline.objects.local import STAGING_FOLDER, LocalObjects

KEY = "audit/chunk-00/000000000000.jsonl"


@pytest.fixture
def objects(root: Path) -> LocalObjects:
    """An unused local store."""
    return LocalObjects(root)


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The inodes of the files and folders that were flushed, in order."""
    flushed: list[int] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        flushed.append(os.fstat(descriptor).st_ino)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    return flushed


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
    objects: LocalObjects, root: Path, synced: list[int]
) -> None:
    """A create flushes the object's bytes, then the entry that names it, and so does a replace."""
    for write in (objects.create, objects.replace):
        synced.clear()
        write(KEY, write.__name__.encode())
        assert synced[-1] == (root / KEY).parent.stat().st_ino
        assert (root / KEY).stat().st_ino in synced


def test_every_new_folder_is_flushed_into_the_one_that_holds_it(
    objects: LocalObjects, root: Path, synced: list[int]
) -> None:
    """The way to a first object is flushed entry by entry, the store's own folder among them."""
    objects.create(KEY, b"1")
    for folder in (root.parent, root, root / "audit", root / "audit/chunk-00"):
        assert folder.stat().st_ino in synced


def test_a_delete_is_flushed_where_folders_remain(objects: LocalObjects, root: Path, synced: list[int]) -> None:
    """The entry that is gone, or that of the folder that went with it, is flushed."""
    objects.create("a/b/1", b"")
    objects.create("a/b/2", b"")
    synced.clear()
    objects.delete("a/b/1")
    assert synced == [(root / "a/b").stat().st_ino]
    synced.clear()
    objects.delete("a/b/2")
    assert synced == [root.stat().st_ino]


def test_a_repeated_create_is_flushed_before_it_is_acknowledged(
    objects: LocalObjects, root: Path, synced: list[int]
) -> None:
    """Who finds its own bytes in place does not know whether their entry was flushed, so it flushes it."""
    objects.create(KEY, b"1")
    synced.clear()
    assert objects.create(KEY, b"1") is True
    assert (root / KEY).parent.stat().st_ino in synced


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

    def link(source: str, target: str, **folders: Any) -> None:
        calls.append(target)
        if len(calls) == 1:
            (root / KEY).parent.rmdir()
        real(source, target, **folders)

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
    """A list does not go where a symbolic link points; the link itself is shown, so that it is noticed."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "secret").write_bytes(b"1")
    objects.create("a/1", b"")
    (root / "a" / "link").symlink_to(tmp_path / "elsewhere")
    assert [item.key for item in objects.list("a/")] == ["a/1", "a/link"]


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
    real = os.stat

    def status(path: str, **options: Any) -> os.stat_result:
        if path == "1":
            (root / "a/1").unlink(missing_ok=True)
        return real(path, **options)

    monkeypatch.setattr(os, "stat", status)
    assert [item.key for item in objects.list("a/")] == ["a/2"]


def _as_a_link(path: Path) -> None:
    elsewhere = path.with_name("elsewhere")
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def _as_a_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _as_a_socket(path: Path) -> None:
    path.unlink()
    here = os.open(path.parent, os.O_RDONLY)
    try:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(f"/proc/self/fd/{here}/{path.name}")
    finally:
        os.close(here)


@pytest.mark.parametrize("turn", [_as_a_link, _as_a_fifo, _as_a_socket])
def test_what_is_no_regular_file_is_refused_in_words(
    objects: LocalObjects, root: Path, turn: Callable[[Path], None]
) -> None:
    """Neither read nor waited for, in an object's place, and nothing is created over it; a replace puts that right."""
    objects.create(KEY, b"1")
    turn(root / KEY)
    for operation in (lambda: objects.get(KEY), lambda: objects.open(KEY), lambda: objects.create(KEY, b"1")):
        with pytest.raises(StoreError, match=KEY) as caught:
            operation()
        assert not isinstance(caught.value, OutcomeUnknownError)
    objects.replace(KEY, b"2")
    assert objects.get(KEY) == b"2"
    assert not (root / KEY).is_symlink()


@pytest.mark.parametrize("turn", [_as_a_link, _as_a_fifo, _as_a_socket])
def test_what_is_no_regular_file_never_looks_unchanged(
    objects: LocalObjects, root: Path, turn: Callable[[Path], None]
) -> None:
    """It is listed, under another tag each time."""
    objects.create(KEY, b"1")
    turn(root / KEY)
    tags = {next(item.tag for item in objects.list("audit/") if item.key == KEY) for _ in range(3)}
    assert len(tags) == 3


def test_a_link_is_named_as_what_it_is(objects: LocalObjects, root: Path) -> None:
    """The system would speak of too many levels of links, or of no folder."""
    objects.create(KEY, b"1")
    objects.create("other/1", b"1")
    _as_a_link(root / KEY)
    _as_a_link(root / "other")
    for operation in (
        lambda: objects.get(KEY),
        lambda: objects.get("other/1"),
        lambda: objects.open("other/1"),
        lambda: objects.create("other/2", b"1"),
        lambda: objects.replace("other/2", b"1"),
        lambda: objects.delete("other/1"),
        lambda: objects.list("other/"),
        lambda: objects.exists("other/1"),
    ):
        with pytest.raises(StoreError, match="is a symbolic link, which is not followed"):
            operation()
    assert (root / "elsewhere/1").read_bytes() == b"1"
    assert not (root / "elsewhere/2").exists()


def test_a_link_in_the_way_of_staging_is_refused(objects: LocalObjects, root: Path, tmp_path: Path) -> None:
    """Not even for a moment is anything written outside the store."""
    (tmp_path / "elsewhere").mkdir()
    root.mkdir()
    (root / STAGING_FOLDER).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="is a symbolic link"):
        objects.create(KEY, b"1")


def test_a_link_is_deleted_itself(objects: LocalObjects, root: Path) -> None:
    """What it points to stays."""
    objects.create(KEY, b"1")
    _as_a_link(root / KEY)
    objects.delete(KEY)
    assert [item.key for item in objects.list("audit/")] == [f"{KEY.rpartition('/')[0]}/elsewhere"]


def test_the_stores_own_folder_may_be_a_link(objects: LocalObjects, root: Path, tmp_path: Path) -> None:
    """Where the store lies is its owner's to say."""
    (tmp_path / "disk").mkdir()
    root.symlink_to(tmp_path / "disk")
    assert objects.create(KEY, b"1") is True
    assert objects.get(KEY) == b"1"
    assert [item.key for item in objects.list("")] == [KEY]
    objects.delete(KEY)
    assert objects.get(KEY) is None


def test_only_the_roots_staging_folder_is_not_listed(objects: LocalObjects) -> None:
    """No place below a log is out of sight."""
    key = f"audit/{STAGING_FOLDER}/hidden"
    objects.create(key, b"1")
    assert [item.key for item in objects.list("audit/")] == [key]


def test_a_tag_changes_with_every_write(objects: LocalObjects, root: Path) -> None:
    """Replaced, or written to in place: in either case it is no longer the object that was."""
    objects.create(KEY, b"1")
    tags = [next(objects.list("audit/")).tag]
    objects.replace(KEY, b"2")
    tags.append(next(objects.list("audit/")).tag)
    while (now := next(objects.list("audit/")).tag) == tags[-1]:
        (root / KEY).write_bytes(b"3")  # the file system's clock may not have ticked since
    assert len({*tags, now}) == 3


_EIO = OSError(errno.EIO, "Input/output error")


def _fails(monkeypatch: pytest.MonkeyPatch, name: str, error: OSError, *, first: bool) -> None:
    """Make an operation of the system fail; `first`: it is done all the same."""
    real = getattr(os, name)

    def failing(*arguments: Any, **options: Any) -> None:
        if first:
            real(*arguments, **options)
        raise error

    monkeypatch.setattr(os, name, failing)


def test_a_create_whose_staged_file_cannot_be_removed_has_succeeded(
    objects: LocalObjects, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Linked and flushed: what happens to the staged name afterwards says nothing about the object."""
    _fails(monkeypatch, "unlink", _EIO, first=False)
    assert objects.create(KEY, b"1") is True
    assert objects.create(KEY, b"2") is False
    assert (root / KEY).read_bytes() == b"1"
    assert len(_staged(root)) == 2


@pytest.mark.parametrize(("write", "name"), [("create", "link"), ("replace", "rename")])
def test_a_write_that_reports_an_error_and_landed_has_succeeded(
    objects: LocalObjects, monkeypatch: pytest.MonkeyPatch, write: str, name: str
) -> None:
    """The bytes are read back, and are ours."""
    _fails(monkeypatch, name, _EIO, first=True)
    assert getattr(objects, write)(KEY, b"1") in {True, None}
    assert objects.get(KEY) == b"1"


@pytest.mark.parametrize(("write", "name"), [("create", "link"), ("replace", "rename")])
def test_a_write_that_reports_an_error_and_is_not_there_stays_unknown(
    objects: LocalObjects, monkeypatch: pytest.MonkeyPatch, write: str, name: str
) -> None:
    """Not being there now does not mean that it never will be."""
    _fails(monkeypatch, name, _EIO, first=False)
    with pytest.raises(OutcomeUnknownError, match=r"cannot tell whether the object .* was written: Input/output error"):
        getattr(objects, write)(KEY, b"1")


def test_a_create_that_reports_an_error_where_others_bytes_stand_has_lost(
    objects: LocalObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands there was not put there by a link of ours."""
    objects.create(KEY, b"theirs")
    _fails(monkeypatch, "link", _EIO, first=False)
    assert objects.create(KEY, b"ours") is False


def test_a_replace_that_reports_an_error_where_the_old_bytes_stand_stays_unknown(
    objects: LocalObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old object was read back, and may yet be replaced."""
    objects.create(KEY, b"old")
    _fails(monkeypatch, "rename", _EIO, first=False)
    with pytest.raises(OutcomeUnknownError):
        objects.replace(KEY, b"new")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EPERM])
@pytest.mark.parametrize(("write", "name"), [("create", "link"), ("replace", "rename"), ("delete", "unlink")])
def test_a_refusal_says_that_nothing_was_written(
    objects: LocalObjects, monkeypatch: pytest.MonkeyPatch, write: str, name: str, number: int
) -> None:
    """What the system refuses after looking at it is no open outcome."""
    objects.create("audit/other", b"1")
    _fails(monkeypatch, name, OSError(number, "refused"), first=False)
    with pytest.raises(StoreError, match="refused") as caught:
        getattr(objects, write)(*([KEY, b"1"] if write != "delete" else ["audit/other"]))
    assert not isinstance(caught.value, OutcomeUnknownError)


def test_a_delete_that_reports_an_error_stays_unknown(objects: LocalObjects, monkeypatch: pytest.MonkeyPatch) -> None:
    """There are no bytes to read back that could settle it."""
    objects.create(KEY, b"1")
    _fails(monkeypatch, "unlink", _EIO, first=True)
    with pytest.raises(OutcomeUnknownError, match=r"cannot tell whether the object .* was deleted"):
        objects.delete(KEY)


@pytest.mark.parametrize("write", ["create", "replace", "delete"])
def test_a_flush_that_fails_after_the_change_leaves_the_outcome_open(
    objects: LocalObjects, monkeypatch: pytest.MonkeyPatch, write: str
) -> None:
    """The change is there for all to read, and may not outlive a power cut."""
    objects.create("audit/chunk-00/other", b"1")
    monkeypatch.setattr("subject_pipeline.objects.local.sync_descriptor", _raise_eio)
    with pytest.raises(OutcomeUnknownError, match="could not be flushed"):
        getattr(objects, write)(*([KEY, b"1"] if write != "delete" else ["audit/chunk-00/other"]))


def _raise_eio(_: int) -> None:
    raise _EIO


def test_a_failure_before_the_move_says_that_nothing_was_written(
    objects: LocalObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of the disk while the bytes are staged is no open outcome, whatever its number."""
    _fails(monkeypatch, "fsync", _EIO, first=False)
    for write in (objects.create, objects.replace):
        with pytest.raises(StoreError) as caught:
            write(KEY, b"1")
        assert not isinstance(caught.value, OutcomeUnknownError)
