"""Chunks: stable shards of the subject space, and the partitions that Dagster shows.

A chunk depends on nothing but the storage key and the count, never on row order, so nobody moves when a source
grows or is reordered.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import xxhash

from subject_pipeline.errors import ConfigurationError

DEFAULT_CHUNK_COUNT = 64
MAX_CHUNK_COUNT = 1 << 20


@dataclass(frozen=True)
class ChunkLayout:
    """How a store's subjects are split: `chunk = XXH64(storage_key as UTF-8, seed 0) % count`.

    Raises:
        ConfigurationError: `count` is not between 1 and 1,048,576.
    """

    count: int = DEFAULT_CHUNK_COUNT

    def __post_init__(self) -> None:
        if not 1 <= self.count <= MAX_CHUNK_COUNT:
            raise ConfigurationError(
                f"a store has between 1 and {MAX_CHUNK_COUNT:,} chunks, not {self.count:,}: correct SUBJECT_CHUNKS"
            )

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Every chunk's name in order: `chunk-` and lowercase hex, padded to equal length."""
        return tuple(map(self.name_of, range(self.count)))

    def name_of(self, index: int) -> str:
        """The name of the chunk with this index, from 0."""
        return f"chunk-{index:0{len(f'{self.count - 1:x}')}x}"

    def chunk_of(self, storage_key: str) -> str:
        """The name of the chunk that holds this storage key."""
        return self.names[self.index_of(storage_key)]

    def index_of(self, storage_key: str) -> int:
        """Which of the chunks, counted from 0, holds this storage key."""
        return key_hash(storage_key) % self.count

    def indices(self, chunks: Iterable[str]) -> list[int]:
        """The indices of the named chunks, sorted, each once.

        Raises:
            ConfigurationError: a name that this layout does not have.
        """
        known = {name: index for index, name in enumerate(self.names)}
        found: set[int] = set()
        for chunk in chunks:
            if chunk not in known:
                raise ConfigurationError(
                    f"no chunk is named {chunk!r} in a layout of {self.count} chunks "
                    f"({self.names[0]} .. {self.names[-1]})"
                )
            found.add(known[chunk])
        return sorted(found)


def key_hash(storage_key: str) -> int:
    """XXH64 of a storage key, by which it falls into a chunk; keys that are alike in it need not be alike."""
    return xxhash.xxh64_intdigest(storage_key.encode(), 0)
