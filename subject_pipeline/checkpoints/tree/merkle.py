"""Merkle tree hashing: one root for many leaves, and short proofs that a leaf is under it (RFC 6962, section 2.1).

Leaves and nodes are hashed under different prefixes, so that neither passes for the other.
"""

from collections.abc import Iterator, Sequence
from hashlib import sha256

from subject_pipeline.errors import CheckpointError
from subject_pipeline.formats.leaves import leaf_hash

HASH_BYTES = 32


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256 of 0x01 and both children's hashes, 32 bytes."""
    return sha256(b"\x01" + left + right).digest()


def root(leaves: Sequence[bytes]) -> bytes:
    """The Merkle tree hash of the leaves in their order, 32 bytes; of none, SHA-256 of nothing.

    300,000 hashes for 150,000 leaves, level by level and without recursion: pairing from the left and promoting an
    odd last node is the RFC's split at the largest power of two.
    """
    return root_of_hashes(_hashed(leaves))


def root_of_hashes(hashes: Sequence[bytes]) -> bytes:
    """The same of leaves that are hashed already, by `leaf_hash`."""
    if not hashes:
        return sha256().digest()
    *_, top = _levels(hashes)
    return top[0]


def inclusion_path(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """The hashes, nearest to the leaf first, that with a leaf make the root (RFC 6962, section 2.1.1).

    Args:
        leaves: all of them, in order.
        index: the leaf's, from 0.

    Raises:
        CheckpointError: there is no such leaf.
    """
    return path_in_hashes(_hashed(leaves), index)


def path_in_hashes(hashes: Sequence[bytes], index: int) -> list[bytes]:
    """The same in a tree whose leaves are hashed already; otherwise as `inclusion_path`."""
    _check_index(index, len(hashes))
    path = []
    for level in _levels(hashes):
        sibling = index ^ 1
        if sibling < len(level):
            path.append(level[sibling])
        index >>= 1
    return path


def root_of_path(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """The root that a leaf and its path make (RFC 9162, section 2.1.3.2); if it is the tree's, the leaf is in it.

    That the leaf is at exactly this index of a tree of exactly this size follows only if both are known from
    elsewhere: some wrong pairs lead along the same path.

    Args:
        leaf: the leaf itself.
        index: its index, from 0.
        size: how many leaves the tree has.
        path: as of `inclusion_path`.

    Raises:
        CheckpointError: no tree of this size has such an index or a path of this length, or a hash is not 32 bytes.
    """
    _check_index(index, size)
    if any(len(sibling) != HASH_BYTES for sibling in path):
        raise CheckpointError(f"an inclusion path holds a hash that is not {HASH_BYTES} bytes")
    found = leaf_hash(leaf)
    last = size - 1
    siblings = iter(path)
    try:
        while last:
            if index & 1:
                found = node_hash(next(siblings), found)
            elif index < last:
                found = node_hash(found, next(siblings))
            index >>= 1
            last >>= 1
    except StopIteration as error:
        raise CheckpointError(f"an inclusion path is too short: {len(path)} hashes in a tree of {size}") from error
    if next(siblings, None) is not None:
        raise CheckpointError(f"an inclusion path is too long: {len(path)} hashes in a tree of {size}")
    return found


class GrowingTree:
    """A tree to which leaves are appended, and its root after each: of n leaves only log2(n) hashes are kept."""

    def __init__(self) -> None:
        self._peaks: list[tuple[int, bytes]] = []  # whole trees of falling sizes, each with its root

    def append(self, hashed: bytes) -> None:
        """Append a leaf, given by its hash."""
        self._peaks = self._with(hashed)

    def root_with(self, hashed: bytes) -> bytes:
        """The root that the tree would have with one more leaf, given by its hash."""
        *peaks, (_, found) = self._with(hashed)
        for _, peak in reversed(peaks):
            found = node_hash(peak, found)
        return found

    def _with(self, hashed: bytes) -> list[tuple[int, bytes]]:
        peaks, size, top = list(self._peaks), 1, hashed
        while peaks and peaks[-1][0] == size:
            top = node_hash(peaks.pop()[1], top)
            size *= 2
        return [*peaks, (size, top)]


def _hashed(leaves: Sequence[bytes]) -> list[bytes]:
    # `leaf_hash` and `node_hash` written out: a call for each of 300,000 hashes takes a third more time.
    return [sha256(b"\x00" + leaf).digest() for leaf in leaves]


def _levels(hashes: Sequence[bytes]) -> Iterator[list[bytes]]:
    """The tree's levels, leaves' hashes first, the root alone last."""
    level = list(hashes)
    yield level
    while len(level) > 1:
        above = [sha256(b"\x01" + left + right).digest() for left, right in zip(level[::2], level[1::2], strict=False)]
        if len(level) & 1:
            above.append(level[-1])
        level = above
        yield level


def _check_index(index: int, size: int) -> None:
    if not 0 <= index < size:
        raise CheckpointError(f"a tree of {size} leaves has no leaf {index}")
