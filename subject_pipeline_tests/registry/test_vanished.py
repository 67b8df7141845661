import polars as pl
import pytest

from subject_pipeline.candidates.staging import stage_dataset
from subject_pipeline.manifests.manifest import DatasetReference, new_manifest
from subject_pipeline.registry import vanished as module
from subject_pipeline.registry.backfill import backfill
from subject_pipeline.registry.subjects import SubjectRegistry
from subject_pipeline.registry.vanished import Reconciliation, reconcile, vanished
from subject_pipeline.store.datasets import DatasetDeclaration
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline_tests.conftest import Declared, ManyGroups, listing


def _registered(store: SubjectStore, declaration: DatasetDeclaration) -> None:
    store.register(declaration)
    backfill(store, declaration, limit=None)


def _reconciled(store: SubjectStore, declaration: DatasetDeclaration, *, limit: int | None = None) -> object:
    return reconcile(store, stage_dataset(store, declaration, limit=limit))


def _vanished(store: SubjectStore) -> list[str]:
    return vanished(store, "people")["candidate_id"].to_list()


def test_who_left_the_source_has_vanished_and_nothing_is_changed(store: SubjectStore, declared: Declared) -> None:
    """Subjects that refer to the dataset and are not in its source are counted and listed; the table stays as it is."""
    _registered(store, declared(["A", "B", "C", "D"]))
    before = listing(store.location.local_path / "subjects")  # type: ignore[operator]

    people = declared(["B", "D", "D", "E"])

    assert _reconciled(store, people) == Reconciliation(subjects=4, vanished=2)
    assert _vanished(store) == ["A", "C"]
    assert listing(store.location.local_path / "subjects") == before  # type: ignore[operator]


def test_nobody_has_vanished_from_a_source_that_only_grew(store: SubjectStore, declared: Declared) -> None:
    """A source that still has everybody gives no one, and a share of nothing."""
    _registered(store, declared(["A", "B"]))

    found = _reconciled(store, declared(["B", "C", "A"]))

    assert found == Reconciliation(subjects=2, vanished=0)
    assert Reconciliation().share == 0.0
    assert Reconciliation(8, 2).share == 0.25
    assert _vanished(store) == []


def test_a_part_of_a_source_says_nothing(store: SubjectStore, declared: Declared) -> None:
    """A staging with fewer rows than the source has cannot tell who is gone; a limit above all rows can."""
    _registered(store, declared(["A", "B", "C"]))
    people = declared(["B", "C"])

    assert _reconciled(store, people, limit=1) is None
    assert _reconciled(store, people, limit=2) == Reconciliation(subjects=3, vanished=1)


@pytest.mark.long
def test_only_those_who_refer_to_the_dataset(store: SubjectStore, declared: Declared) -> None:
    """People of other datasets, and of none, are not missed; a person of both is missed by the one."""
    _registered(store, declared(["A", "B"], "others"))
    _registered(store, declared(["C"]))
    registry = SubjectRegistry(store)
    both = registry.get("B")
    mine = DatasetReference(name="people", key_column="id", key_value="B")
    registry.put(both.model_copy(update={"datasets": (*both.datasets, mine)}))
    registry.put(
        new_manifest(candidate_id="D", dataset=mine, safe_views=(), chunk="", now=both.created_at).model_copy(
            update={"datasets": ()}
        )
    )

    assert _reconciled(store, declared(["C"])) == Reconciliation(subjects=2, vanished=1)
    assert _vanished(store) == ["B"]


def test_an_empty_source_and_an_empty_store(store: SubjectStore, declared: Declared) -> None:
    """An empty source misses everybody; a store without manifests misses nobody."""
    people = declared(pl.Series([], dtype=pl.String))
    store.register(people)
    assert _vanished(store) == []
    assert _reconciled(store, people) == Reconciliation()

    _registered(store, declared(["A", "B"]))
    assert _reconciled(store, declared(pl.Series([], dtype=pl.String))) == Reconciliation(2, 2)
    assert _vanished(store) == ["A", "B"]


@pytest.mark.long
def test_chunks_are_looked_at_a_few_at_a_time(
    store: SubjectStore, declared: Declared, many_groups: ManyGroups, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However large the table is beside the source, no more rows are held than one part of it has."""
    ids = [f"P-{number}" for number in range(300)]
    _registered(store, declared(ids))
    many_groups(50)
    monkeypatch.setattr(module, "ROWS_PER_GROUP", 20)

    people = declared(ids[::3])

    assert _reconciled(store, people) == Reconciliation(subjects=300, vanished=200)
    assert _vanished(store) == sorted(set(ids) - set(ids[::3]))
