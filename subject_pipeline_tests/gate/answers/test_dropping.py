import dataclasses
import json
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subject_pipeline.gate.answers.dropping import WITHHELD, without
from subject_pipeline.gate.answers.finding import find_subjects

IDS = {"worker_id": "W-", "candidate_id": ""}
A, B, C = ({"worker_id": number, "x": number} for number in (1, 2, 3))


def text(value: Any) -> dict[str, str]:
    """Content as tools of MCP give it."""
    return {"type": "text", "text": json.dumps(value)}


class Row(NamedTuple):
    """A record of a database."""

    worker_id: int


@dataclasses.dataclass(frozen=True)
class Team:
    """Records in an object."""

    members: tuple[Row, ...]


CASES: dict[str, tuple[Any, Any]] = {
    "of a list": ([A, B, C], [A, C]),
    "of a tuple": ((A, B), (A,)),
    "the last one": ([B], []),
    "below fields": ({"page": {"rows": [B, A], "count": 2}}, {"page": {"rows": [A], "count": 2}}),
    "the innermost list": ([{"team": [A, B]}, {"team": [C]}], [{"team": [A]}, {"team": [C]}]),
    "of lists in lists": ([[A, B], [B], [C]], [[A], [], [C]]),
    "a record below a record": ([{**A, "chief": B}, C], [C]),
    "a record with a list of others": ([{**B, "team": [A]}, C], [C]),
    "an id field that holds several": ([{"worker_id": [1, 2], "x": [1, 2]}, C], [C]),
    "two id fields": ([{"worker_id": 1, "candidate_id": "W-2"}, C], [C]),
    "content": ({"content": [text([A, B])]}, {"content": [text([A])]}),
    "content of one record": ({"content": [text(B), text(A)]}, {"content": [text(A)]}),
    "text alone": (json.dumps([A, B]), json.dumps([A])),
    "text in a field": ([{"note": json.dumps({"rows": [A, B]})}], [{"note": json.dumps({"rows": [A]})}]),
    "objects in a list": ([Row(1), Row(2)], [Row(1)]),
    "an object that holds others": ([Team((Row(1), Row(2))), Team((Row(3),))], [Team((Row(3),))]),
    "a set": ([frozenset({Row(2)}), C], [C]),
    "nothing of anybody": ([A, C], [A, C]),
}


@pytest.mark.parametrize(("answer", "shown"), CASES.values(), ids=CASES)
def test_the_innermost_list_element_that_names_somebody_goes(answer: Any, shown: Any) -> None:
    """Wherever it is; everything else stays as it was, and the answer itself is not changed."""
    before = repr(answer)
    assert without(answer, {"W-2"}, IDS) == shown
    assert repr(answer) == before


@pytest.mark.parametrize(
    "answer",
    [
        B,
        {"rows": [A], "chief": B},
        {"worker_id": [1, 2], "salaries": [10, 20]},
        {"content": [text([A])], "structuredContent": B},
        json.dumps(B),
        json.dumps(json.dumps([A, B])),
        Team((Row(1), Row(2))),
    ],
)
def test_where_no_list_is_around_it_all_is_withheld(answer: Any) -> None:
    """Also where the id itself stands in a list: what else the record holds is about the same people."""
    assert without(answer, {"W-2"}, IDS) is WITHHELD


def test_an_answer_that_holds_itself_is_not_looked_through_for_ever() -> None:
    """Anyone who calls withholds it."""
    loop: list[Any] = [A]
    loop.append(loop)
    with pytest.raises(RecursionError):
        without(loop, {"W-2"}, IDS)


PEOPLE = st.integers(1, 4)
JSON = st.recursive(
    st.none() | st.text(max_size=4) | st.builds(lambda one: {"worker_id": one}, PEOPLE),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["a", "b", "text", "rows"]), inner, max_size=3)
        | st.builds(lambda one, more: {"WorkerID": one, "more": more}, PEOPLE | st.lists(PEOPLE), inner)
        | st.builds(json.dumps, inner)
        | st.builds(text, inner)
    ),
    max_leaves=20,
)


@given(JSON, st.sets(st.sampled_from(["W-1", "W-2", "W-3", "W-4"]), min_size=1))
def test_nobody_who_is_denied_is_named_afterwards(answer: Any, denied: set[str]) -> None:
    """Whatever the answer is, and anyone who is denied; nobody is named who was not before."""
    named = find_subjects(answer, IDS).subjects.keys()
    shown = without(answer, denied, IDS)
    if shown is not WITHHELD:
        assert find_subjects(shown, IDS).subjects.keys() <= named - denied
    if named.isdisjoint(denied):
        assert shown == answer
