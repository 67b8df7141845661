import stat
import subprocess
import sys
from pathlib import Path

import pytest

from subject_pipeline.errors import KeyRingError
from subject_pipeline.keys.ring import KeyRing, key_id
from subject_pipeline.keys.ring_file import create_ring, read_ring, replace_ring
from subject_pipeline.keys.rotation import check_copy, rotate_ring, write_copy

KEY, OTHER, SEED = bytes(range(32)), bytes(range(32, 64)), bytes(range(64, 96))
RING = KeyRing.new(KEY, SEED)

_ROTATE_OFTEN = """
import secrets, sys
from pathlib import Path
from subject_pipeline.keys.rotation import rotate_ring, write_copy
ring, copy = map(Path, sys.argv[1:])
print("ready", flush=True)
sys.stdin.readline()
for _ in range(10):
    print(rotate_ring(ring, secrets.token_bytes(32)).active)
    write_copy(ring, copy)
"""


@pytest.fixture
def ring(tmp_path: Path) -> Path:
    """A ring of one key."""
    path = tmp_path / "ring.json"
    create_ring(path, RING)
    return path


def test_a_rotated_ring_is_in_the_file(ring: Path) -> None:
    """The new key is active in the file, the old one is kept, and only the owner reads it."""
    rotated = rotate_ring(ring, OTHER)

    assert rotated == read_ring(ring) == RING.rotated(OTHER)
    assert stat.S_IMODE(ring.stat().st_mode) == 0o600


@pytest.mark.long
def test_concurrent_rotations_lose_no_key(ring: Path) -> None:
    """Of processes that rotate one ring at once each finds every key that it made in the file, and in the copy."""
    copy = ring.with_name("copy.json")
    calls = [
        subprocess.Popen(
            [sys.executable, "-c", _ROTATE_OFTEN, str(ring), str(copy)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for _ in range(4)
    ]  # fmt: skip
    for call in calls:
        assert call.stdout is not None
        assert call.stdout.readline() == "ready\n"
    made = {key_id(KEY)}
    for call in calls:
        assert call.stdin is not None
        call.stdin.write("go\n")
        call.stdin.flush()
    for call in calls:
        out, _ = call.communicate(timeout=120)
        assert call.returncode == 0
        made |= set(out.split())

    found = read_ring(ring)
    assert len(made) == 41
    assert set(found.keys) == made
    assert read_ring(copy) == found.writer_copy()
    assert sorted(ring.parent.iterdir()) == [copy, ring]


def test_a_writers_copy_is_not_rotated(ring: Path) -> None:
    """Its original would never know the key, so the copy is refused and left as it was."""
    replace_ring(ring, RING.writer_copy())

    with pytest.raises(KeyRingError, match="rotate the original, with --writer-copy"):
        rotate_ring(ring, OTHER)

    assert read_ring(ring) == RING.writer_copy()


def test_a_ring_that_is_not_there_cannot_be_rotated(tmp_path: Path) -> None:
    """Rotating makes no ring."""
    with pytest.raises(KeyRingError, match=r"cannot rotate .*no such file; make one with"):
        rotate_ring(tmp_path / "ring.json", OTHER)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("there", [False, True], ids=["new", "earlier"])
def test_a_copy_is_the_ring_without_its_private_signing_key(ring: Path, there: bool) -> None:
    """A new copy is written, an earlier one is replaced; the ring is as it was."""
    copy = ring.with_name("copy.json")
    if there:
        create_ring(copy, RING.writer_copy())
    rotated = rotate_ring(ring, OTHER)

    write_copy(ring, copy)

    assert read_ring(copy) == rotated.writer_copy()
    assert read_ring(ring) == rotated


def test_nothing_but_an_earlier_copy_is_replaced(ring: Path) -> None:
    """The ring itself (by a link too), another ring, another ring's copy and any other file are refused and kept."""
    folder = ring.parent
    foreign = KeyRing.new(OTHER, SEED)
    create_ring(folder / "other ring", foreign)
    create_ring(folder / "other copy", foreign.writer_copy())
    create_ring(folder / "later copy", RING.rotated(OTHER).writer_copy())
    (folder / "notes").write_text("mine")
    (folder / "notes").chmod(0o600)
    (folder / "link").symlink_to(ring)
    before = {path: path.read_bytes() for path in folder.iterdir()}

    for name, words in {
        "ring.json": "it is the key ring itself",
        "link": "it is the key ring itself",
        "other ring": "has a private signing key",
        "other copy": "has keys that",
        "later copy": "has keys that",
        "notes": "not a key ring",
    }.items():
        for act in (check_copy, write_copy):
            with pytest.raises(KeyRingError, match=words):
                act(ring, folder / name)

    assert {path: path.read_bytes() for path in folder.iterdir()} == before
