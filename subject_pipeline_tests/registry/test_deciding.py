from dataclasses import astuple

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from subject_pipeline.candidates import columns
from subject_pipeline.candidates.candidates import CANDIDATE_SCHEMA, REFUSAL_SCHEMA, candidates, distinct
from subject_pipeline.manifests.rows import STORED_IDS_SCHEMA
from subject_pipeline.registry import deciding
from subject_pipeline.registry.deciding import Counts, collision_reason, decide
from subject_pipeline.store.chunks import ChunkLayout
from subject_pipeline.store.ids import storage_key

LAYOUT = ChunkLayout(4)
# Few letters, so that ids collide often: `/`, `.` and `_` share a storage key.
ids = st.text("a/._", min_size=1, max_size=3)


def _candidates(values: list[str]) -> pl.DataFrame:
    source = pl.DataFrame({"row": range(len(values)), "key": values}, schema={"row": pl.UInt64, "key": pl.String})
    return distinct(candidates(source, "", LAYOUT))


def _stored(values: list[str]) -> pl.DataFrame:
    owners: dict[str, str] = {}
    for value in values:
        owners.setdefault(storage_key(value), value)
    rows = {"storage_key": owners.keys(), "candidate_id": owners.values(), "problem": [None] * len(owners)}
    return pl.DataFrame(rows, schema=STORED_IDS_SCHEMA)


@given(st.lists(ids, max_size=15), st.lists(ids, max_size=8))
def test_every_candidate_is_new_known_or_collided_and_only_one_of_them(wanted: list[str], there: list[str]) -> None:
    """Every candidate ends in exactly one frame, in source order within each."""
    frame, stored = _candidates(wanted), _stored(there)
    decision = decide(frame, stored)
    assert (decision.new.schema, decision.known.schema) == (CANDIDATE_SCHEMA, CANDIDATE_SCHEMA)
    assert decision.collided.schema == REFUSAL_SCHEMA
    ended = [*decision.new["candidate_id"], *decision.known["candidate_id"], *decision.collided["candidate_id"]]
    assert sorted(ended) == sorted(dict.fromkeys(wanted))
    assert decision.new["row"].is_sorted()
    assert decision.known["row"].is_sorted()


@given(st.lists(ids, max_size=15), st.lists(ids, max_size=8))
def test_no_two_ids_own_one_storage_key(wanted: list[str], there: list[str]) -> None:
    """After registration each storage key has one owner, the stored one if there was one, else the first."""
    frame, stored = _candidates(wanted), _stored(there)
    decision = decide(frame, stored)
    before = dict(stored.select("storage_key", "candidate_id").iter_rows())
    keys = decision.new["storage_key"].to_list()
    assert len(set(keys)) == len(keys)
    assert not set(keys) & set(before)
    owners = before | dict(decision.new.select("storage_key", "candidate_id").iter_rows())
    for candidate in decision.known["candidate_id"]:
        assert before[storage_key(candidate)] == candidate
    for row in decision.collided.iter_rows(named=True):
        owner = owners[storage_key(row["candidate_id"])]
        assert owner != row["candidate_id"]
        assert row["reason"] == collision_reason(row["candidate_id"], owner, storage_key(owner))
        assert row["kind"] == "collision"


@pytest.mark.parametrize("alike", [False, True])
@given(wanted=st.lists(ids, max_size=15), there=st.lists(ids, max_size=8))
def test_the_quick_way_decides_as_the_whole_one_or_not_at_all(alike: bool, wanted: list[str], there: list[str]) -> None:
    """By hashes, also by such as are often alike, every candidate ends where comparing all texts puts it."""
    frame, stored = _candidates(wanted), _stored(there)
    whole = deciding._whatever_collides(frame, stored)
    with pytest.MonkeyPatch.context() as patch:
        if alike:
            for module in (columns, deciding):
                patch.setattr(module, "hashes", lambda texts: texts.str.len_bytes())
        quick = deciding._where_nothing_collides(frame, stored)
    if quick is not None:
        for name in ("new", "known", "collided"):
            assert_frame_equal(getattr(quick, name), getattr(whole, name))
    if not alike and len({storage_key(one) for one in {*wanted, *there}}) == len({*wanted, *there}):
        assert quick is not None, "where nothing collides, the quick way is taken"


@pytest.mark.long
@given(st.lists(ids, max_size=15))
def test_a_second_registration_has_nothing_new(wanted: list[str]) -> None:
    """What was registered is known the second time, and what collided collides again with the same owner."""
    frame = _candidates(wanted)
    first = decide(frame, _stored([]))
    second = decide(frame, first.new.with_columns(problem=pl.lit(None, pl.String)).select(STORED_IDS_SCHEMA.names()))
    assert second.new.is_empty()
    assert second.known.equals(first.new)
    assert second.collided.equals(first.collided)


def test_a_collision_names_both_ids() -> None:
    """`CAND_1` is refused where `CAND/1` came first, and the reason names both and the storage key."""
    decision = decide(_candidates(["CAND/1", "CAND_1"]), _stored([]))
    assert decision.new["candidate_id"].to_list() == ["CAND/1"]
    (reason,) = decision.collided["reason"]
    assert "'CAND_1'" in reason
    assert "'CAND/1'" in reason
    assert reason.startswith("storage key 'CAND_1' of 'CAND_1' already belongs to 'CAND/1'")


def test_a_stored_id_keeps_its_key_against_an_earlier_row() -> None:
    """The stored owner beats the candidate that comes first in the source."""
    decision = decide(_candidates(["CAND_1", "CAND/1"]), _stored(["CAND/1"]))
    assert decision.known["candidate_id"].to_list() == ["CAND/1"]
    assert decision.collided["candidate_id"].to_list() == ["CAND_1"]


counts = st.builds(Counts, *[st.integers(0, 10**9)] * 7)


@given(counts, counts)
def test_counts_add_up(one: Counts, other: Counts) -> None:
    """Of two counts and of their sum, attempted is inserted + skipped + failed; each number is added to its own."""
    both = one + other
    assert both.attempted == one.attempted + other.attempted == both.inserted + both.skipped + both.failed
    assert astuple(both) == tuple(map(sum, zip(astuple(one), astuple(other), strict=True)))
    assert one + Counts() == one


def test_candidates_of_whom_the_table_cannot_tell_are_refused() -> None:
    """A stored row that breaks a rule refuses anyone who has its id or its storage key, and nobody else."""
    rows = [("A", "A", "repeated"), ("A", "A", "repeated"), ("elsewhere", "B", "other_key"), ("C", None, "no_id")]
    stored = pl.DataFrame(rows, schema=STORED_IDS_SCHEMA, orient="row")
    decision = decide(_candidates(["A", "B", "C", "D"]), stored)
    assert decision.new["candidate_id"].to_list() == ["D"]
    assert decision.known.is_empty()
    assert decision.collided.select("candidate_id", "kind").rows() == [(one, "refused") for one in "ABC"]


def test_new_candidates_that_cannot_be_written_are_refused_and_the_others_stay() -> None:
    """Only those named leave, with a kind and the reason; without any, the decision is as it was."""
    decision = decide(_candidates(["A", "B", "C"]), _stored([]))
    assert decision.not_writing(decision.new.clear(), "no reason") is decision
    after = decision.not_writing(decision.new.filter(pl.col("candidate_id") == "B"), "the log is damaged")
    assert after.new["candidate_id"].to_list() == ["A", "C"]
    assert after.new.columns == decision.new.columns
    assert after.known.equals(decision.known)
    assert after.collided.select("candidate_id", "kind", "reason").rows() == [
        ("B", "not_written", "the log is damaged")
    ]


def test_new_candidates_who_were_erased_are_suppressed_and_the_others_stay() -> None:
    """They are neither new nor refused; without any, the decision is as it was."""
    decision = decide(_candidates(["A", "B", "C"]), _stored(["C"]))
    assert decision.suppressing([]) is decision
    after = decision.suppressing(["B", "C", "somebody else"])
    assert (after.new["candidate_id"].to_list(), after.suppressed["candidate_id"].to_list()) == (["A"], ["B"])
    assert after.known["candidate_id"].to_list() == ["C"]
