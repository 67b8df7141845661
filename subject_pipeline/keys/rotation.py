"""Rotating a key ring's file, and copying it for writers: no concurrent call loses another's key."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from subject_pipeline.errors import KeyRingError
from subject_pipeline.keys.ring import KeyRing
from subject_pipeline.keys.ring_file import file_errors, read_ring, replace_ring


def rotate_ring(path: Path, key: bytes) -> KeyRing:
    """Make a new 32-byte key the active one of a ring's file, on disk when this returns.

    Raises:
        KeyRingError: the ring cannot be read or written, or is a writer's copy: rows of a key that only a copy has
            could no longer be verified once the copy is replaced.
    """
    with locked(path):
        ring = read_ring(path)
        if ring.signing is not None and ring.signing.private is None:
            raise KeyRingError(
                f"cannot rotate the key ring {path}: it is a writer's copy, and its original would not know the new "
                "key; rotate the original, with --writer-copy"
            )
        rotated = ring.rotated(key)
        replace_ring(path, rotated)
        return rotated


def rotate_signing_key(path: Path, seed: bytes) -> KeyRing:
    """Make the pair of a new 32-byte seed the signing key of a ring's file, on disk when this returns.

    Raises:
        KeyRingError: the ring cannot be read or written, is a writer's copy, or its last rotation is not complete.
    """
    with locked(path):
        try:
            rotated = read_ring(path).signing_rotated(seed)
        except KeyRingError as error:
            raise KeyRingError(f"cannot rotate the signing key of {path}: {error}") from error
        replace_ring(path, rotated)
        return rotated


def settle_signing_key(path: Path, public: bytes) -> KeyRing:
    """Drop the private half of the former signing key, if `public` still is the current one; otherwise nothing.

    Raises:
        KeyRingError: the ring cannot be read or written.
    """
    with locked(path):
        ring = read_ring(path)
        if ring.outgoing is None or ring.signing is None or ring.signing.public != public:
            return ring
        replace_ring(path, ring.signing_settled())
        return ring.signing_settled()


def write_copy(path: Path, copy: Path) -> None:
    """Write the writer's copy of a ring as it is now, in place of an earlier one if there is one.

    Raises:
        KeyRingError: as `check_copy`, or a file cannot be read or written.
    """
    with locked(path):
        check_copy(path, copy)
        replace_ring(copy, read_ring(path).writer_copy())


def check_copy(path: Path, copy: Path) -> None:
    """Check that only an earlier copy of a ring is where its writer's copy goes, so that no key is lost.

    Raises:
        KeyRingError: it is the ring itself, has keys that the ring does not have, or is something else.
    """
    if os.path.realpath(copy) == os.path.realpath(path):
        raise KeyRingError(f"cannot write the writer's copy {copy}: it is the key ring itself; name another file")
    if not os.path.lexists(copy):
        return
    earlier = read_ring(copy)
    if earlier.signing is not None and earlier.signing.private is not None:
        raise KeyRingError(f"cannot replace {copy}: it has a private signing key, so it is no writer's copy")
    if not earlier.keys.keys() <= read_ring(path).keys.keys():
        raise KeyRingError(f"cannot replace {copy}: it has keys that {path} does not have, so it is not a copy of it")


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Work on a ring's file alone, of all processes on this machine that do it by this."""
    with contextlib.ExitStack() as held:
        while True:
            with file_errors("rotate", path):
                file = held.enter_context(path.open("r+b"))
                fcntl.flock(file, fcntl.LOCK_EX)
                # The process that had the lock may have put another file in this one's place.
                if os.path.sameopenfile(file.fileno(), held.enter_context(path.open("rb")).fileno()):
                    break
            held.pop_all().close()
        yield
