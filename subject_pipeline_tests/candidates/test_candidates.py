import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from subject_pipeline.candidates.candidates import (
    CANDIDATE_SCHEMA,
    REFUSAL_SCHEMA,
    candidates,
    distinct,
    refusals,
    split_refused,
)
from subject_pipeline.store.chunks import ChunkLayout
from subject_pipeline.store.ids import candidate_id, refusal, storage_key

LAYOUT = ChunkLayout(64)
# What Polars can hold: every code point but lone surrogates.
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
keys = st.one_of(
    text,
    st.integers(-(2**63), 2**64 - 1).map(str),
    st.text("aé/_\n", min_size=190, max_size=210),
    st.just(""),
)


def _source(values: list[str]) -> pl.DataFrame:
    return pl.DataFrame(
        {"row": range(len(values)), "key": values}, schema={"row": pl.UInt64, "key": pl.String}, strict=True
    )


@given(st.lists(keys, max_size=20), text)
def test_a_column_of_keys_forms_the_candidates_of_its_values(values: list[str], prefix: str) -> None:
    """Over a column, id, storage key, chunk and key value are those that the functions of one value give."""
    frame = candidates(_source(values), prefix, LAYOUT)
    assert frame.schema == CANDIDATE_SCHEMA
    assert frame["row"].to_list() == list(range(len(values)))
    for row, value in zip(frame.iter_rows(named=True), values, strict=True):
        assert row["key_value"] == value
        assert row["candidate_id"] == candidate_id(value, prefix)
        assert row["storage_key"] == storage_key(row["candidate_id"])
        assert LAYOUT.names[row["chunk_index"]] == LAYOUT.chunk_of(row["storage_key"])


@given(st.lists(keys, max_size=20), st.one_of(text, st.text("p", min_size=150, max_size=205)))
def test_a_column_is_refused_where_its_values_are(values: list[str], prefix: str) -> None:
    """Over a column, exactly those candidates are refused that the rule for one value refuses, with its reason."""
    good, bad = split_refused(candidates(_source(values), prefix, LAYOUT))
    assert (good.schema, bad.schema) == (CANDIDATE_SCHEMA, REFUSAL_SCHEMA)
    reasons = [refusal(candidate_id(value, prefix), value) for value in values]
    assert good["row"].to_list() == [row for row, reason in enumerate(reasons) if reason is None]
    expected = [
        f"{reason} (source row {row}, counted from 0)" for row, reason in enumerate(reasons) if reason is not None
    ]
    assert bad["reason"].to_list() == expected
    assert set(bad["kind"]) <= {"refused"}
    assert good.height + bad.height == len(values)


@given(st.lists(st.sampled_from(["a", "b", "A", "a ", "", "é"]), max_size=30))
def test_a_repeated_candidate_is_kept_once_with_its_first_row(values: list[str]) -> None:
    """Of the rows with one id the first in the source stays, in source order, whatever order they were staged in."""
    frame = candidates(_source(values), "P/", LAYOUT)
    kept = distinct(frame.reverse())
    assert kept.schema == CANDIDATE_SCHEMA
    assert kept["key_value"].to_list() == list(dict.fromkeys(values))
    assert kept["row"].to_list() == [values.index(value) for value in dict.fromkeys(values)]


def test_one_reason_can_be_given_for_all() -> None:
    """A single reason is charged to every candidate, in its chunk."""
    frame = candidates(_source(["1", "2"]), "", LAYOUT)
    bad = refusals(frame, "not_written", "the store failed")
    assert bad.schema == REFUSAL_SCHEMA
    assert bad["reason"].to_list() == ["the store failed"] * 2
    assert bad["chunk_index"].to_list() == frame["chunk_index"].to_list()


def test_one_reason_for_none_gives_no_row() -> None:
    """A single reason for no candidate at all is no refusal."""
    bad = refusals(candidates(_source([]), "", LAYOUT), "not_written", "the store failed")
    assert bad.schema == REFUSAL_SCHEMA
    assert bad.is_empty()
