import os
import stat
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from subject_pipeline.errors import KeyRingError
from subject_pipeline.keys import ring_file
from subject_pipeline.keys.ring import KeyRing, key_id
from subject_pipeline.keys.ring_file import KeyRingFile, create_ring, read_ring, replace_ring

KEY, OTHER, SEED = bytes(range(32)), bytes(range(32, 64)), bytes(range(64, 96))
RING = KeyRing.new(KEY, SEED)
ROTATED = RING.rotated(OTHER)


@pytest.fixture(params=[0o000, 0o022, 0o077, 0o177], ids=oct)
def _umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.usefixtures("_umask")
def test_a_ring_is_written_for_its_owner_alone(tmp_path: Path) -> None:
    """Created or replaced, whatever the umask, nobody but the owner reads the file; it reads back as it was."""
    path = tmp_path / "ring.json"

    create_ring(path, RING)
    assert (_mode(path), read_ring(path)) == (0o600, RING)
    replace_ring(path, ROTATED)
    assert (_mode(path), read_ring(path)) == (0o600, ROTATED)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("write", [create_ring, replace_ring])
def test_missing_folders_are_made_for_their_owner_alone(tmp_path: Path, write: object) -> None:
    """Every folder that was not there is closed to others; one that was there is left as it is."""
    tmp_path.chmod(0o755)
    assert callable(write)
    write(tmp_path / "a/b/ring.json", RING)

    assert [_mode(tmp_path / folder) for folder in (".", "a", "a/b")] == [0o755, 0o700, 0o700]
    assert read_ring(tmp_path / "a/b/ring.json") == RING


@pytest.mark.parametrize("kind", ["file", "folder", "link", "dangling link"])
def test_what_exists_is_never_overwritten(tmp_path: Path, kind: str) -> None:
    """Creating refuses whatever has the name already, a link to nowhere too, and leaves it."""
    path, target = tmp_path / "ring.json", tmp_path / "target"
    if kind == "file":
        path.write_text("mine")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(target)
        if kind == "link":
            target.write_text("mine")
    before = sorted(tmp_path.iterdir())

    with pytest.raises(KeyRingError, match=r"cannot create the key ring .*ring\.json: it exists"):
        create_ring(path, RING)

    assert sorted(tmp_path.iterdir()) == before
    assert all(file.read_text() == "mine" for file in before if file.is_file())


def test_replacing_follows_a_link(tmp_path: Path) -> None:
    """A link stays one, and what it names is replaced."""
    path, target = tmp_path / "link", tmp_path / "ring.json"
    create_ring(target, RING)
    path.symlink_to(target)

    replace_ring(path, ROTATED)

    assert path.is_symlink()
    assert read_ring(target) == read_ring(path) == ROTATED


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_replacing_leaves_the_owner(tmp_path: Path) -> None:
    """A ring that root rotates for a service still is the service's."""
    path = tmp_path / "ring.json"
    create_ring(path, RING)
    os.chown(path, 1234, 5678)

    replace_ring(path, ROTATED)

    found = path.stat()
    assert (found.st_uid, found.st_gid, _mode(path)) == (1234, 5678, 0o600)


@pytest.mark.parametrize("failing", ["fsync", "fchmod"])
def test_a_write_that_fails_leaves_nothing_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    """A full disk is our error; no part of a ring stays, and the former ring is as it was."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    former, new = tmp_path / "former.json", tmp_path / "new.json"
    create_ring(former, RING)
    monkeypatch.setattr(os, failing, full)

    with pytest.raises(KeyRingError, match="No space left"):
        create_ring(new, RING)
    with pytest.raises(KeyRingError, match="No space left"):
        replace_ring(former, ROTATED)

    assert list(tmp_path.iterdir()) == [former]
    assert read_ring(former) == RING


@pytest.mark.parametrize("write", [create_ring, replace_ring])
def test_a_ring_and_its_entry_are_on_disk_when_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: object
) -> None:
    """The file is flushed before it is done, and then the folder that names it."""
    flushed: list[int] = []
    real = os.fsync

    def recording(descriptor: int) -> None:
        flushed.append(os.fstat(descriptor).st_ino)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", recording)
    assert callable(write)
    write(tmp_path / "ring.json", RING)

    assert flushed == [(tmp_path / "ring.json").stat().st_ino, tmp_path.stat().st_ino]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620, 0o602, 0o610, 0o601, 0o666, 0o777])
@pytest.mark.parametrize("linked", [False, True])
def test_a_ring_that_others_have_access_to_is_refused(tmp_path: Path, mode: int, linked: bool) -> None:
    """Group and others may do nothing with it; the message has the chmod that mends it. A link's target counts."""
    path = tmp_path / "ring.json"
    create_ring(path, RING)
    path.chmod(mode)
    named = path
    if linked:
        named = tmp_path / "link"
        named.symlink_to(path)

    with pytest.raises(KeyRingError, match=f"chmod 600 {named}"):
        read_ring(named)
    path.chmod(0o600)
    assert read_ring(named) == RING


def test_a_ring_that_its_owner_only_reads_is_fine(tmp_path: Path) -> None:
    """Fewer rights than 0600 are no fault."""
    path = tmp_path / "ring.json"
    create_ring(path, RING)
    path.chmod(0o400)

    assert read_ring(path) == RING


def test_what_is_no_ring_is_named(tmp_path: Path) -> None:
    """Each is an error with the file's name: nothing, a folder, a pipe (without waiting), a loop, no ring."""
    damaged = tmp_path / "damaged"
    damaged.write_text(f'{{"keys": "{KEY.hex()}')
    damaged.chmod(0o600)
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")

    for name, words in {
        "none": r"no such file; make one with `subject-pipeline keys new FILE`, then set SUBJECT_KEY_RING=FILE",
        "folder": "Is a directory",
        "pipe": "not a file",
        "loop": "symbolic links",
        "damaged": "not a key ring: not JSON",
        "damaged/ring": "Not a directory",
    }.items():
        with pytest.raises(KeyRingError, match=f"{tmp_path / name}: .*{words}") as refused:
            read_ring(tmp_path / name)
        assert KEY.hex()[:8] not in str(refused.value)
    for write in (create_ring, replace_ring):
        with pytest.raises(KeyRingError, match="Not a directory"):
            write(tmp_path / "damaged/ring", RING)


def test_without_a_file_the_ring_says_how_to_make_one() -> None:
    """Nothing configured is no error until the ring is needed, and then one that tells how to repair it."""
    ring = KeyRingFile(None)

    for use in (ring.ring, ring.reload, lambda: ring.key("0" * 16), lambda: ring.path):
        with pytest.raises(KeyRingError, match=r"no key ring .*`subject-pipeline keys new FILE`.*SUBJECT_KEY_RING"):
            use()


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The reads of rings' files."""
    done: list[Path] = []
    real = ring_file.read_ring

    def counting(path: Path) -> KeyRing:
        done.append(path)
        return real(path)

    monkeypatch.setattr(ring_file, "read_ring", counting)
    return done


def test_a_ring_is_read_when_it_is_needed_and_kept(tmp_path: Path, reads: list[Path]) -> None:
    """The file may come later than the object; it is read once, and again only on demand."""
    path = tmp_path / "ring.json"
    file = KeyRingFile(path)
    assert file.path == path
    with pytest.raises(KeyRingError, match="no such file"):
        file.ring()
    create_ring(path, RING)

    assert file.ring() is file.ring()
    assert file.key(key_id(KEY)) == KEY
    assert len(reads) == 2
    replace_ring(path, ROTATED)
    assert file.ring() == RING
    assert file.reload() == file.ring() == ROTATED


def test_an_unknown_key_reads_the_ring_again_once(tmp_path: Path, reads: list[Path]) -> None:
    """A key that another process rotated in is found; an id that nobody knows costs one read."""
    path = tmp_path / "ring.json"
    create_ring(path, RING)
    file = KeyRingFile(path)
    assert file.key("0" * 16) is None
    assert len(reads) == 2
    replace_ring(path, ROTATED)

    assert file.key("0" * 16) is None
    assert len(reads) == 2
    assert file.key(key_id(OTHER)) == OTHER
    assert file.key(key_id(KEY)) == KEY
    assert file.ring() == ROTATED
    assert len(reads) == 3


def test_a_failed_reload_keeps_what_was_read(tmp_path: Path) -> None:
    """While the file cannot be read an unknown key is an error, and what was read serves on; later it is looked for."""
    path = tmp_path / "ring.json"
    create_ring(path, RING)
    file = KeyRingFile(path)
    file.ring()
    path.chmod(0o644)

    with pytest.raises(KeyRingError, match="chmod 600"):
        file.key(key_id(OTHER))
    with pytest.raises(KeyRingError, match="chmod 600"):
        file.reload()
    assert file.ring() == RING
    replace_ring(path, ROTATED)
    assert file.key(key_id(OTHER)) == OTHER


def test_threads_share_one_reading(tmp_path: Path, reads: list[Path]) -> None:
    """However many threads need the ring at once, it is read once, and once for an id that is not there."""
    path = tmp_path / "ring.json"
    create_ring(path, RING)
    file = KeyRingFile(path)
    together = threading.Barrier(8)

    def use(_: int) -> tuple[KeyRing, bytes | None]:
        together.wait(timeout=30)
        return file.ring(), file.key("0" * 16)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(use, range(8)))

    assert found == [(RING, None)] * 8
    assert len(reads) == 2
