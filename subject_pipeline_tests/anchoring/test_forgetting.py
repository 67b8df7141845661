"""One signer deletes what nobody needs, another signs at the same time: nothing that is signed is ever deleted."""

import datetime as dt
import shutil
from collections.abc import Callable
from typing import Any

import pytest

from subject_pipeline.anchoring.checkpointing import write_checkpoint
from subject_pipeline.anchoring.forgetting import forget
from subject_pipeline.checkpoints.stored_checkpoints import Checkpoint
from subject_pipeline.errors import StoreError
from subject_pipeline.store.layout import leaves_key
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline.verification.views import AuditedStore
from subject_pipeline_tests.helpers.audit_stores import Place, assert_sound, event, failing, manifest, people

NOW = dt.datetime.now(dt.UTC)
LATER = NOW + dt.timedelta(days=2)
"""When everything that the tests wrote is more than a day old."""


def _signed(place: Place, at: dt.datetime, store: SubjectStore | None = None) -> Checkpoint:
    """A checkpoint at a time, as another process writes it."""
    made = write_checkpoint((store or place.store).with_ring(place.fresh_ring()), clock=lambda: at)
    assert made.written is not None
    assert made.carried == []
    return made.written


def _beside(place: Place) -> SubjectStore:
    """The store as another signer sees it, whose calls no test stands around."""
    return SubjectStore.at(str(place.folder))


@pytest.fixture
def returning(place: Place) -> tuple[Place, Checkpoint, Callable[[], object]]:
    """A store whose table is another copy since its first checkpoint, which two later ones do not need; how it returns.

    Its files come back as they were, tags too, so the state is byte for byte that of the first checkpoint.
    """
    one = people(1, 1)[0]
    place.registry().put(manifest(one))
    place.append(event(one, "e-0"))
    first = _signed(place, NOW)
    table, aside = place.folder / "subjects", place.folder.parent / "aside"
    table.rename(aside)
    shutil.copytree(aside, table)
    for _ in range(2):
        assert _signed(place, NOW).statement.state_root != first.statement.state_root

    def back() -> None:
        shutil.rmtree(table)
        aside.rename(table)

    return place, first, back


def test_leaves_of_a_state_that_returns_are_not_deleted_under_a_checkpoint_that_names_them(
    returning: tuple[Place, Checkpoint, Callable[[], object]],
) -> None:
    """One signer is about to delete the old state's leaves; the store returns to it, and another signs."""
    place, first, back = returning
    old, signed = leaves_key(first.statement.state_root), list[Checkpoint]()

    def around(done: str, key: str, run: Callable[[], Any]) -> Any:
        if (done, key) == ("delete", old) and not signed:
            back()
            signed.append(_signed(place, LATER, _beside(place)))
        return run()

    place.objects.around = around
    collecting = _signed(place, LATER)
    assert [one.number for one in signed] == [collecting.number + 1]
    assert place.objects.get(old) is None
    for incremental in (True, False):
        assert_sound(place, incremental=incremental)
    _signed(place, LATER)


def test_leaves_that_go_between_being_written_and_being_signed_are_not_named(
    returning: tuple[Place, Checkpoint, Callable[[], object]],
) -> None:
    """A signer has written its leaves and not yet its note when another, as late as it likes, deletes old ones."""
    place, first, back = returning
    collecting = _signed(place, NOW)
    back()
    others: list[str] = []

    def around(done: str, key: str, run: Callable[[], Any]) -> Any:
        if done == "create" and key.endswith("/checkpoint.json"):
            store = _beside(place)
            forget(store.objects, AuditedStore(store.with_ring(place.fresh_ring())).checkpoints, collecting, LATER)
            others.append(key)
        return run()

    place.objects.around = around
    _signed(place, LATER)
    assert len(others) == 1
    assert place.objects.get(leaves_key(first.statement.state_root)) is None
    assert_sound(place)


@pytest.mark.long
def test_a_killed_attempts_leaves_are_not_named_by_the_next(
    returning: tuple[Place, Checkpoint, Callable[[], object]],
) -> None:
    """It may be days later that somebody finds them; meanwhile what only its files changed is read again each time."""
    place, first, back = returning
    place.objects.delete(leaves_key(first.statement.state_root))
    back()
    place.objects.around = failing("create", "/checkpoint.json", StoreError("killed here"))
    with pytest.raises(StoreError, match="killed here"):
        _signed(place, NOW)
    place.objects.around = lambda _done, _key, run: run()
    assert place.objects.get(leaves_key(first.statement.state_root)) is not None
    assert _signed(place, NOW).statement.state_root != first.statement.state_root
    assert _signed(place, LATER).statement.state_root != first.statement.state_root, "which deletes it"
    assert _signed(place, LATER).statement.state_root == first.statement.state_root
    assert_sound(place)


def test_a_signer_that_is_no_longer_the_last_leaves_deleting_to_who_is(place: Place) -> None:
    """Suspended for days between its note and its deleting, it does not know what later checkpoints need."""
    place.append(event(people(1, 1)[0], "e-0"))
    early = _signed(place, NOW)
    for number in range(1, 4):
        place.append(event(people(1, 1)[0], f"e-{number}"))
        _signed(place, NOW)
    before = [item.key for item in place.objects.list("checkpoints/")]
    forget(place.objects, AuditedStore(place.fresh_store()).checkpoints, early, LATER)
    assert [item.key for item in place.objects.list("checkpoints/")] == before
