from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from subject_pipeline.audit.segment import Evidence
from subject_pipeline.changes.registry_rows import RegistryRow
from subject_pipeline.changes.replaying import Anchored, Document, Standing, changes_between, replayed, standing
from subject_pipeline.errors import AmbiguousSubjectError
from subject_pipeline.manifests.hashes import document_hash

ID = "P/1"
_values = st.recursive(
    st.booleans() | st.integers(-3, 3) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("xy"), inner | st.none(), max_size=2),
    max_leaves=4,
)
_documents = st.dictionaries(st.sampled_from("abcd"), _values, max_size=4)


def row(seq: int, before: Document | None, after: Document | None) -> RegistryRow:
    """What the registry records of a change."""
    if after is None:
        return RegistryRow(Evidence(seq, "", "deleted"), {"kind": "deleted", "recorded_at": f"deleted at {seq}"})
    decision = {"kind": "replaced", "changes": changes_between(before, after)}
    return RegistryRow(Evidence(seq, document_hash(after), "present"), decision)


def history(states: Sequence[Document | None]) -> list[RegistryRow]:
    """The rows that lead from the first of these states, which has none, to the last; other rows stand between."""
    return [row(2 * at + 1, *states[at : at + 2]) for at in range(len(states) - 1)]


@st.composite
def lives(draw: st.DrawFn) -> list[Document | None]:
    """A subject's manifests in turn, each with another `updated_at`; the first has no row."""
    states: list[Document | None] = [{"updated_at": "0"} | draw(_documents)]
    for at in range(draw(st.integers(1, 6))):
        gone = states[-1] is not None and draw(st.integers(0, 3)) == 0  # nobody is deleted twice
        states.append(None if gone else {"updated_at": f"{at + 1}"} | draw(_documents))
    return states


@given(lives(), st.data())
def test_wherever_the_table_stopped_the_replay_gives_exactly_the_state(
    states: list[Document | None], data: st.DataObject
) -> None:
    """Of every state that the table may have had, the rows after it make the last one."""
    at = data.draw(st.integers(0, len(states) - 1))
    found = standing(ID, states[at], history(states), Anchored())

    now = states[at] == states[-1]
    assert found.last == 2 * len(states) - 3
    assert (found.behind, found.document) == ((False, None) if now else (True, states[-1]))
    assert found.since == ("" if states[-1] is not None else f"deleted at {found.last}")
    if not now and states[-1] is not None:
        assert document_hash(found.document or {}) == document_hash(states[-1])


@given(lives(), _documents | st.none(), st.data())
def test_a_table_that_was_tampered_with_is_never_explained(
    states: list[Document | None], other: Document | None, data: st.DataObject
) -> None:
    """What no writer left is refused, unless the rows after it leave nothing of it: then the log's state is made."""
    assume(other not in states)
    try:
        found = standing(ID, other, history(states), Anchored())
    except AmbiguousSubjectError:
        return
    assert (found.behind, found.document) == (True, states[-1])


@given(lives(), st.data())
def test_nothing_that_the_last_checkpoint_has_is_ever_settled(
    states: list[Document | None], data: st.DataObject
) -> None:
    """A table that lacks the checkpoint's state is not explained; one that has it, or a later one, is brought on."""
    anchored = data.draw(st.integers(0, len(states) - 1), label="anchored")
    at = data.draw(st.integers(0, len(states) - 1), label="stored")
    base = states[anchored]
    known = Anchored(2 * anchored - 1 if anchored else -1, "" if base is None else document_hash(base))
    if states[at] in states[anchored:]:
        found = standing(ID, states[at], history(states), known)
        assert found.document == (states[-1] if found.behind else None)
        assert found.behind == (states[at] != states[-1])
    else:
        with pytest.raises(AmbiguousSubjectError, match=r"'P/1'.*audit verify"):
            standing(ID, states[at], history(states), known)


M0, M1, M2, OTHER = ({"updated_at": text} for text in ("0", "1", "2", "other"))


@pytest.mark.parametrize("stored", [None, M0, M1, OTHER], ids=["none", "before", "after", "other"])
def test_a_lone_deletion_ends_whatever_the_table_has(stored: Document | None) -> None:
    """Of somebody whom nothing anchored knows, the deletion does not say what was deleted."""
    found = standing(ID, stored, [row(3, M0, None)])
    assert found == Standing(3, behind=stored is not None, since="deleted at 3")


def test_whoever_came_back_in_an_anchored_table_is_not_deleted_by_settling() -> None:
    """Rolled back to before a deletion that a checkpoint covers, the table is left as it was found."""
    for stored in (M0, OTHER):
        with pytest.raises(AmbiguousSubjectError):
            standing(ID, stored, [row(3, M0, None)], Anchored(3, ""))
        with pytest.raises(AmbiguousSubjectError):
            standing(ID, stored, [row(3, M0, None), row(4, None, M1)], Anchored(3, ""))


def test_a_deletion_after_the_checkpoint_deletes_what_that_has_and_nothing_else() -> None:
    """A manifest that neither the checkpoint nor a later row knows is found, and left."""
    rows = [row(3, M0, None)]
    known = Anchored(2, document_hash(M0))
    assert standing(ID, M0, rows, known) == Standing(3, behind=True, since="deleted at 3")
    assert standing(ID, None, rows, known) == Standing(3, since="deleted at 3")
    with pytest.raises(AmbiguousSubjectError):
        standing(ID, OTHER, rows, known)


def test_somebody_registered_after_the_checkpoint_may_have_any_first_manifest() -> None:
    """A chain of accesses is anchored before its subject is registered, which needs no row; then it is changed."""
    rows = [row(5, M0, M1)]
    assert standing(ID, M0, rows, Anchored(4, "")) == Standing(5, behind=True, document=M1)
    assert standing(ID, M1, rows, Anchored(4, "")) == Standing(5)
    with pytest.raises(AmbiguousSubjectError):
        standing(ID, M0 | {"b": 1}, rows, Anchored(4, ""))


def test_a_manifest_that_is_missing_is_not_made_again() -> None:
    """No row has the whole of it, and an empty table is not what it was applied to."""
    for anchored in (Anchored(), Anchored(1, document_hash(M1)), Anchored(0, document_hash(M0))):
        with pytest.raises(AmbiguousSubjectError):
            standing(ID, None, [row(1, M0 | {"b": 1}, M1 | {"b": 1}), row(2, M1 | {"b": 1}, M2 | {"b": 1})], anchored)


@given(_documents, _documents)
@example({"a": 1}, {"a": True})
@example({"a": [0]}, {"a": [False]})
@example({"a": {"x": 1}}, {"a": {"x": 1, "y": None}})
@example({"a": 1}, {"a": 1.0})
def test_changes_lead_from_one_document_to_the_other(before: dict[str, Any], after: dict[str, Any]) -> None:
    """Exactly, and not only as Python compares: 1 is not true."""
    changes = changes_between(before, after)
    assert document_hash(replayed(before, {"changes": changes})) == document_hash(after)
    assert all(value is not None or name not in after for name, value in changes.items())
    assert changes_between(after, after) == {}
    assert replayed(None, {"changes": changes_between(None, after)}) == after
