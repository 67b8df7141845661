from pathlib import Path

import pytest

from subject_pipeline.errors import KeyRingError
from subject_pipeline.keys.ring import KeyRing, SigningKey
from subject_pipeline.keys.ring_file import create_ring, read_ring
from subject_pipeline.keys.rotation import rotate_signing_key, settle_signing_key, write_copy

KEY = bytes(32)
SEEDS = [bytes([at]) * 32 for at in range(1, 5)]
PAIRS = [SigningKey.of_seed(seed) for seed in SEEDS]
RING = KeyRing.new(KEY, SEEDS[0])


@pytest.fixture
def ring(tmp_path: Path) -> Path:
    """A ring with one signing key."""
    path = tmp_path / "ring.json"
    create_ring(path, RING)
    return path


def test_the_former_private_key_stays_until_it_is_settled(ring: Path) -> None:
    """The next checkpoint needs both; after it, only the public half is kept, to verify what it signed."""
    rotated = rotate_signing_key(ring, SEEDS[1])
    assert rotated == read_ring(ring)
    assert (rotated.signing, rotated.former, rotated.outgoing) == (PAIRS[1], (PAIRS[0],), PAIRS[0])
    assert rotated.keys == RING.keys
    settled = settle_signing_key(ring, PAIRS[1].public)
    assert settled == read_ring(ring)
    assert (settled.signing, settled.outgoing) == (PAIRS[1], None)
    assert settled.former == (SigningKey(PAIRS[0].public, None),)
    assert SEEDS[0].hex() not in ring.read_text()
    assert rotate_signing_key(ring, SEEDS[2]).former == (PAIRS[1], SigningKey(PAIRS[0].public, None))


def test_a_rotation_that_is_not_complete_is_not_rotated_over(ring: Path) -> None:
    """A key that no checkpoint ever named could sign nothing."""
    rotate_signing_key(ring, SEEDS[1])
    before = ring.read_bytes()
    with pytest.raises(KeyRingError, match="not complete: write a checkpoint"):
        rotate_signing_key(ring, SEEDS[2])
    assert ring.read_bytes() == before


def test_only_the_key_that_is_current_settles(ring: Path) -> None:
    """A checkpoint of another process that names an older key drops nothing."""
    rotated = rotate_signing_key(ring, SEEDS[1])
    assert settle_signing_key(ring, PAIRS[0].public) == rotated == read_ring(ring)


def test_a_writers_copy_has_every_public_key_and_no_private_one(ring: Path, tmp_path: Path) -> None:
    """Whether or not the rotation is complete; and it does not rotate."""
    rotate_signing_key(ring, SEEDS[1])
    copy = tmp_path / "copy.json"
    write_copy(ring, copy)
    publics = [SigningKey(pair.public, None) for pair in (PAIRS[1], PAIRS[0])]
    found = read_ring(copy)
    assert [found.signing, *found.former] == publics
    with pytest.raises(KeyRingError, match="writer's copy"):
        rotate_signing_key(copy, SEEDS[2])


def test_a_ring_with_former_keys_goes_there_and_back() -> None:
    """Its JSON holds every pair; a ring without any has no such field."""
    ring = RING.signing_rotated(SEEDS[1]).signing_settled().signing_rotated(SEEDS[2])
    assert KeyRing.parse(ring.to_json()) == ring
    assert b"former" not in RING.to_json()
    assert SEEDS[0].hex() not in repr(ring)
    assert SEEDS[1].hex() not in repr(ring)


@pytest.mark.parametrize(
    "former",
    [
        (PAIRS[0],),
        (PAIRS[1], SigningKey(PAIRS[1].public, None)),
        (PAIRS[1], PAIRS[2]),
    ],
    ids=["the current one", "one twice", "two private halves"],
)
def test_former_keys_that_no_rotation_leaves_are_refused(former: tuple[SigningKey, ...]) -> None:
    """The ring would sign with a key that went out of use, or one that is in use twice."""
    with pytest.raises(KeyRingError, match="not a key ring"):
        KeyRing(RING.active, RING.keys, RING.signing, former)


@pytest.mark.parametrize(
    "former", ["{}", '"x"', "[1]", '[{"public":"x"}]', '[{"public":"' + "ab" * 32 + '","x":1}]', "null"]
)
def test_damaged_former_keys_are_refused(former: str) -> None:
    """As is anything else of a ring."""
    text = RING.to_json().decode().rstrip("\n}") + '}, "former": ' + former + "}"
    with pytest.raises(KeyRingError, match="not a key ring"):
        KeyRing.parse(text.encode())
