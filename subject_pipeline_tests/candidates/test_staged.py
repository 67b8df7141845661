import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subject_pipeline.candidates.staged import (
    ROWS_PER_GROUP,
    ChunkGroup,
    StagedCandidates,
    describe_limit,
    plan_groups,
)
from subject_pipeline.errors import StagingError


def _staged(limit: int | None) -> StagedCandidates:
    return StagedCandidates(
        dataset="workers",
        source="/data/workers.parquet",
        key_column="worker_id",
        candidate_id_prefix="WORKER-",
        safe_views=(),
        version="v1",
        limit=limit,
        chunk_count=4,
        rows_scanned=7,
        source_rows=9,
        staged_at=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
        groups=(
            ChunkGroup(first=0, last=1, rows=3, parts=("a", "b")),
            ChunkGroup(first=2, last=3, rows=4, parts=("c",)),
        ),
        sample=("WORKER-1",),
    )


@given(st.integers(0, 20_000_000), st.integers(1, 2000))
def test_groups_are_runs_of_whole_chunks_that_cover_all_of_them(rows: int, chunk_count: int) -> None:
    """Every chunk is in exactly one group, and the groups are in order and about equal in size."""
    groups = plan_groups(rows, chunk_count)
    assert [index for group in groups for index in range(group.first, group.last + 1)] == list(range(chunk_count))
    sizes = [group.last - group.first + 1 for group in groups]
    assert min(sizes) >= 1
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(
    ("rows", "chunk_count", "groups"),
    [
        (0, 64, 1),
        (1000, 64, 1),
        (ROWS_PER_GROUP, 64, 1),
        (ROWS_PER_GROUP + 1, 64, 2),
        (10_000_000, 64, 32),
        (10_000_000, 8, 8),
        (10_000_000, 1, 1),
    ],
)
def test_a_group_holds_what_one_merge_can_bear(rows: int, chunk_count: int, groups: int) -> None:
    """There are as many groups as the rows need, but never more than there are chunks."""
    assert len(plan_groups(rows, chunk_count)) == groups


def test_a_staging_knows_its_parts() -> None:
    """The parts of all groups are named together."""
    assert _staged(None).parts == {"a", "b", "c"}


@pytest.mark.parametrize("limit", [None, 1000])
def test_the_limit_that_was_staged_is_accepted(limit: int | None) -> None:
    """A run that asks for what was staged may go on."""
    _staged(limit).check_options(limit)


@pytest.mark.parametrize(
    ("staged", "wanted", "named"),
    [
        (None, 1000, "staged with all rows, but this run asks for a limit of 1,000 rows"),
        (1000, None, "staged with a limit of 1,000 rows, but this run asks for all rows"),
        (1000, 5, "staged with a limit of 1,000 rows, but this run asks for a limit of 5 rows"),
    ],
)
def test_another_limit_than_was_staged_is_refused(staged: int | None, wanted: int | None, named: str) -> None:
    """A limited staging is never registered by a run that asks for something else; both limits are named."""
    with pytest.raises(StagingError, match=named):
        _staged(staged).check_options(wanted)


def test_the_record_of_a_staging_holds_no_ids() -> None:
    """The sample is not stored, so that an erased id need not be looked for in the record; the rest survives."""
    text = _staged(5).model_dump_json(by_alias=True)
    assert "WORKER-1" not in text
    assert StagedCandidates.model_validate_json(text) == _staged(5).model_copy(update={"sample": ()})


def test_a_limit_in_words() -> None:
    """A limit reads as people write it."""
    assert describe_limit(None) == "all rows"
    assert describe_limit(1_000_000) == "a limit of 1,000,000 rows"
