import json
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from subject_pipeline.checkpoints.tree.merkle import inclusion_path, node_hash, root, root_of_path
from subject_pipeline.errors import CheckpointError
from subject_pipeline.formats.leaves import leaf_hash

VECTORS = Path(__file__).parents[2] / "vectors"
REFERENCE = json.loads((VECTORS / "merkle_rfc6962.json").read_text(encoding="utf-8"))
REFERENCE_LEAVES = [bytes.fromhex(leaf) for leaf in REFERENCE["leaves"]]

trees = st.lists(st.binary(max_size=5), min_size=1, max_size=70)


def naive_root(leaves: list[bytes]) -> bytes:
    """MTH as section 2.1 of RFC 6962 words it."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return sha256(b"\x00" + leaves[0]).digest()
    split = _split(len(leaves))
    return sha256(b"\x01" + naive_root(leaves[:split]) + naive_root(leaves[split:])).digest()


def naive_path(index: int, leaves: list[bytes]) -> list[bytes]:
    """PATH as section 2.1.1 of RFC 6962 words it."""
    if len(leaves) == 1:
        return []
    split = _split(len(leaves))
    if index < split:
        return [*naive_path(index, leaves[:split]), naive_root(leaves[split:])]
    return [*naive_path(index - split, leaves[split:]), naive_root(leaves[:split])]


def _split(size: int) -> int:
    split = 1
    while split * 2 < size:
        split *= 2
    return split


@pytest.mark.parametrize("size", range(1, 9))
def test_roots_are_those_of_certificate_transparency(size: int) -> None:
    """The reference's leaves have the reference's roots, at every size."""
    assert root(REFERENCE_LEAVES[:size]).hex() == REFERENCE["roots"][size - 1]


def test_the_empty_tree_has_the_hash_of_nothing() -> None:
    """No leaves: SHA-256 of no bytes."""
    assert root([]).hex() == REFERENCE["empty_root"]


@pytest.mark.parametrize("row", REFERENCE["paths"], ids=lambda row: f"{row['index']}-of-{row['size']}")
def test_paths_are_those_of_certificate_transparency(row: dict[str, object]) -> None:
    """The reference's inclusion paths come out, and lead to the reference's roots."""
    index, size = int(str(row["index"])), int(str(row["size"]))
    path = inclusion_path(REFERENCE_LEAVES[:size], index)
    assert [sibling.hex() for sibling in path] == row["path"]
    assert root_of_path(REFERENCE_LEAVES[index], index, size, path).hex() == REFERENCE["roots"][size - 1]


@pytest.mark.parametrize("size", range(1, 70))
def test_every_tree_is_the_naive_definitions(size: int) -> None:
    """Roots and paths of every leaf, at every size to 69, are what the RFC's recursive words say."""
    leaves = [b"leaf %d" % index for index in range(size)]
    expected = naive_root(leaves)
    assert root(leaves) == expected
    for index, leaf in enumerate(leaves):
        path = inclusion_path(leaves, index)
        assert path == naive_path(index, leaves)
        assert root_of_path(leaf, index, size, path) == expected


@given(trees)
def test_any_leaves_have_the_naive_root(leaves: list[bytes]) -> None:
    """Whatever the leaves, repeated and empty ones too, the root is the recursive definition's."""
    assert root(leaves) == naive_root(leaves)


@given(trees, st.data())
def test_no_other_leaf_has_the_same_path(leaves: list[bytes], data: st.DataObject) -> None:
    """Another leaf, a changed hash in the path or a swapped order leads to another root."""
    index = data.draw(st.integers(0, len(leaves) - 1))
    path = inclusion_path(leaves, index)
    expected = root(leaves)
    other = data.draw(st.binary(max_size=70))
    assume(other != leaves[index])
    assert root_of_path(other, index, len(leaves), path) != expected
    if path:
        at = data.draw(st.integers(0, len(path) - 1))
        bit = 1 << data.draw(st.integers(0, 7))
        changed = [*path[:at], bytes([path[at][0] ^ bit]) + path[at][1:], *path[at + 1 :]]
        assert root_of_path(leaves[index], index, len(leaves), changed) != expected


@given(trees, st.data())
def test_a_path_of_another_length_is_refused(leaves: list[bytes], data: st.DataObject) -> None:
    """One hash too many or too few is an error, never a root."""
    index = data.draw(st.integers(0, len(leaves) - 1))
    path = inclusion_path(leaves, index)
    with pytest.raises(CheckpointError, match="too long"):
        root_of_path(leaves[index], index, len(leaves), [*path, bytes(32)])
    if path:
        with pytest.raises(CheckpointError, match="too short"):
            root_of_path(leaves[index], index, len(leaves), path[:-1])


@pytest.mark.parametrize(("index", "size"), [(-1, 3), (3, 3), (0, 0), (0, -1), (10**30, 10**30)])
def test_an_index_outside_the_tree_is_refused(index: int, size: int) -> None:
    """No tree has a leaf before the first or after the last."""
    with pytest.raises(CheckpointError, match="no leaf"):
        root_of_path(b"", index, size, [])
    with pytest.raises(CheckpointError, match="no leaf"):
        inclusion_path([b""] * min(max(size, 0), 3), index)


def test_a_hash_of_another_length_is_refused() -> None:
    """A path of hashes that are not 32 bytes long could move bytes from one child to the other."""
    with pytest.raises(CheckpointError, match="not 32 bytes"):
        root_of_path(b"a", 0, 2, [bytes(31)])


def test_a_node_cannot_stand_in_for_a_leaf() -> None:
    """The bytes that a node is hashed from, as a leaf, have another hash."""
    left, right = leaf_hash(b"a"), leaf_hash(b"b")
    assert node_hash(left, right) == root([b"a", b"b"])
    assert leaf_hash(left + right) != node_hash(left, right)


def test_repeated_leaves_do_not_make_the_same_tree() -> None:
    """A tree whose last leaf is repeated to fill a pair has another root."""
    assert root([b"a", b"b", b"c"]) != root([b"a", b"b", b"c", b"c"])
