"""Chunk leaves: each chunk of a checkpoint under one hash, and the root over all of them."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import orjson

from subject_pipeline.checkpoints.fields import hold, hold_end, hold_text, is_count, is_hash, object_of
from subject_pipeline.checkpoints.tree import merkle
from subject_pipeline.errors import CheckpointError
from subject_pipeline.formats.canonical_json import canonical_row
from subject_pipeline.formats.leaves import NO_HASH

Files = Sequence[Sequence[str | int]]
"""Objects as a list of [key, size in bytes, tag], sorted by key."""

NOTHING = hashlib.sha256().hexdigest()
"""The root of no leaves."""

MAX_LEAF_BYTES = 512
"""No leaf is longer, so the size of a checkpoint's leaves is bounded by the number of chunks."""

_LEAF = "a chunk's leaf"
_is_chunk = re.compile(r"chunk-[0-9a-f]{1,5}").fullmatch


def files_hash(files: Files) -> str:
    """SHA-256 of the compact JSON of a list of objects, 64 hex digits."""
    return hashlib.sha256(orjson.dumps([list(item) for item in files])).hexdigest()


@dataclass(frozen=True, slots=True)
class ChunkLeaf:
    """One chunk as a checkpoint knew it: all its subjects under one hash, and the state of its log and its files.

    Attributes:
        chunk: its name.
        subjects: how many its roster has.
        roster_root: of its roster, 64 hex digits.
        segment: the log's last segment; -1 where there is none.
        segment_sha256: the leaf hash of that segment's header, 64 hex digits; 64 zeros where there is none.
        objects_sha256: of the list of segments, 64 hex digits: the signer's cache, which means nothing to others.
        table_files_sha256: of the list of the table's files, likewise.
    """

    chunk: str
    subjects: int
    roster_root: str
    segment: int
    segment_sha256: str
    objects_sha256: str
    table_files_sha256: str

    def text(self) -> bytes:
        """The chunk as the tree holds it: canonical JSON (RFC 8785) of these seven."""
        return canonical_row(
            {
                "chunk": self.chunk,
                "objects_sha256": self.objects_sha256,
                "roster_root": self.roster_root,
                "segment": self.segment,
                "segment_sha256": self.segment_sha256,
                "subjects": self.subjects,
                "table_files_sha256": self.table_files_sha256,
            }
        )

    @classmethod
    def empty(cls, chunk: str) -> Self:
        """The leaf of a chunk of which nothing was ever anchored."""
        return cls(chunk, 0, NOTHING, -1, NO_HASH, files_hash([]), files_hash([]))

    @classmethod
    def parse(cls, text: bytes) -> Self:
        """The chunk that has exactly this leaf.

        Raises:
            CheckpointError: not a leaf that `text` would write.
        """
        leaf = cls(**object_of(text, _LEAF, cls.__slots__))
        hold(_LEAF, "chunk", type(leaf.chunk) is str and _is_chunk(leaf.chunk) is not None)
        for name in ("roster_root", "objects_sha256", "table_files_sha256"):
            hold(_LEAF, name, is_hash(getattr(leaf, name)))
        hold(_LEAF, "subjects", is_count(leaf.subjects) and (leaf.subjects == 0) == (leaf.roster_root == NOTHING))
        hold_end(_LEAF, ("segment", leaf.segment), ("segment_sha256", leaf.segment_sha256))
        hold_text(_LEAF, text, leaf.text())
        return leaf


def state_root(leaves: Iterable[ChunkLeaf]) -> str:
    """Of the chunks' leaves in the layout's order, 64 hex digits."""
    return merkle.root([leaf.text() for leaf in leaves]).hex()


def leaves_text(leaves: Iterable[ChunkLeaf]) -> bytes:
    """One leaf a line, as it is stored."""
    return b"".join(leaf.text() + b"\n" for leaf in leaves)


def parse_leaves(data: bytes, *, names: Sequence[str], root: str) -> dict[str, ChunkLeaf]:
    """The leaves that have exactly these bytes: one of each chunk, in order, under this root.

    Raises:
        CheckpointError: not bytes that `leaves_text` would write, or other leaves.
    """
    *lines, rest = data.split(b"\n")
    if rest or merkle.root(lines).hex() != root:
        raise CheckpointError("other leaves than those of the state root")
    leaves = {leaf.chunk: leaf for leaf in map(ChunkLeaf.parse, lines)}
    if tuple(leaves) != tuple(names) or len(lines) != len(leaves):
        raise CheckpointError("the leaves are not those of the store's chunks, in order")
    return leaves
