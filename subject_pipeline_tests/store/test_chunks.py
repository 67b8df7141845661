import json
from pathlib import Path

import polars as pl
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from subject_pipeline.candidates.columns import chunk_index_expr, chunk_name_expr
from subject_pipeline.errors import ConfigurationError
from subject_pipeline.store.chunks import DEFAULT_CHUNK_COUNT, MAX_CHUNK_COUNT, ChunkLayout

VECTORS = Path(__file__).parent.parent / "vectors"
GOLDEN = json.loads((VECTORS / "chunks.json").read_text(encoding="utf-8"))

storage_keys = st.text("abcXYZ019_-", min_size=1, max_size=40)
counts = st.one_of(st.integers(1, 300), st.sampled_from([1024, 4096, 65_537]))


@pytest.mark.parametrize("row", GOLDEN, ids=lambda row: row["candidate_id"][:20])
def test_golden_ids_stay_in_their_chunks(row: dict[str, str]) -> None:
    """Twenty ids keep the chunks that were published for them, at 64 chunks and at one."""
    assert ChunkLayout(64).chunk_of(row["storage_key"]) == row["of_64"]
    assert ChunkLayout(1).chunk_of(row["storage_key"]) == row["of_1"]


def test_golden_chunks_are_what_xxhash_says() -> None:
    """The golden file itself is XXH64 with seed 0 of the storage key, counted by the xxhash package alone."""
    assert len(GOLDEN) == 20
    for row in GOLDEN:
        index = xxhash.xxh64(row["storage_key"].encode("utf-8"), seed=0).intdigest() % 64
        assert row["of_64"] == f"chunk-{index:02x}"
        assert row["of_1"] == "chunk-0"


@pytest.mark.long
@given(st.lists(storage_keys, max_size=30), counts)
def test_a_column_of_keys_falls_into_the_chunks_of_its_values(keys: list[str], count: int) -> None:
    """The expression over a column and the function of one value give every key the same chunk."""
    layout = ChunkLayout(count)
    frame = (
        pl.DataFrame({"key": keys}, schema={"key": pl.String})
        .with_columns(index=chunk_index_expr(layout, "key"))
        .with_columns(name=chunk_name_expr(layout, "index"))
    )
    assert frame.schema["index"] == pl.UInt32
    assert frame["name"].to_list() == [layout.chunk_of(key) for key in keys]
    assert [layout.names[index] for index in frame["index"]] == frame["name"].to_list()


@pytest.mark.parametrize(
    ("count", "first", "last"),
    [
        (1, "chunk-0", "chunk-0"),
        (16, "chunk-0", "chunk-f"),
        (17, "chunk-00", "chunk-10"),
        (64, "chunk-00", "chunk-3f"),
        (256, "chunk-00", "chunk-ff"),
        (257, "chunk-000", "chunk-100"),
        (1024, "chunk-000", "chunk-3ff"),
    ],
)
def test_chunk_names_have_as_many_digits_as_the_last_one_needs(count: int, first: str, last: str) -> None:
    """Chunk names are lowercase hex, padded to the length of the last."""
    names = ChunkLayout(count).names
    assert (names[0], names[-1], len(names)) == (first, last, count)


@given(counts)
def test_chunk_names_sort_as_their_indices_do(count: int) -> None:
    """Sorting names of one layout as text leaves them in the order of their indices."""
    names = ChunkLayout(count).names
    assert sorted(names) == list(names)
    assert len(set(names)) == count


def test_a_store_has_64_chunks_unless_told_otherwise() -> None:
    """The default count is 64."""
    assert ChunkLayout().count == DEFAULT_CHUNK_COUNT == 64


@pytest.mark.parametrize("count", [0, -1, MAX_CHUNK_COUNT + 1])
def test_an_absurd_chunk_count_is_refused(count: int) -> None:
    """A count outside 1 .. 1,048,576 is a configuration error that names it and the variable to set."""
    with pytest.raises(ConfigurationError, match=rf"not {count:,}.*SUBJECT_CHUNKS"):
        ChunkLayout(count)


@pytest.mark.long
def test_the_greatest_chunk_count_is_allowed() -> None:
    """1,048,576 chunks are allowed."""
    assert ChunkLayout(MAX_CHUNK_COUNT).names[-1] == "chunk-fffff"


def test_indices_of_chunks_are_sorted_and_each_given_once() -> None:
    """Named chunks become sorted indices, however often and in whatever order they are named."""
    assert ChunkLayout(64).indices(["chunk-3f", "chunk-00", "chunk-3f", "chunk-0a"]) == [0, 10, 63]
    assert ChunkLayout(64).indices([]) == []


@pytest.mark.parametrize("name", ["chunk-0", "chunk-40", "chunk-3F", "", "00"])
def test_a_chunk_that_the_layout_lacks_is_refused(name: str) -> None:
    """A name of another layout is refused, with the names that there are."""
    with pytest.raises(ConfigurationError, match=r"layout of 64 chunks \(chunk-00 \.\. chunk-3f\)"):
        ChunkLayout(64).indices([name])
