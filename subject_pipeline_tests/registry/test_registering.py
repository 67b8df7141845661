import pytest

from subject_pipeline.candidates.staged import StagedCandidates
from subject_pipeline.candidates.staged_parts import read_group
from subject_pipeline.candidates.staging import stage_dataset
from subject_pipeline.errors import ConfigurationError, StagingError, StoreError
from subject_pipeline.manifests.table import ManifestTable
from subject_pipeline.objects.protocol import ObjectStore
from subject_pipeline.registry import outcomes, registering
from subject_pipeline.registry.backfill import count_subjects
from subject_pipeline.registry.outcomes import Registration
from subject_pipeline.registry.registering import register_dataset, register_staged
from subject_pipeline.registry.subjects import SubjectRegistry
from subject_pipeline.store.datasets import DatasetDeclaration
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline_tests.conftest import Declared, ManyGroups


def _names(store: SubjectStore) -> tuple[str, ...]:
    layout = store.layout()
    assert layout is not None
    return layout.chunks.names


def _stage(store: SubjectStore, declaration: DatasetDeclaration, *, limit: int | None = None) -> StagedCandidates:
    return stage_dataset(store, declaration, limit=limit)


def _register(store: SubjectStore, *, limit: int | None = None) -> Registration:
    return register_dataset(store, "people", limit=limit, chunks=_names(store))


def test_what_is_staged_becomes_subjects(store: SubjectStore, declared: Declared) -> None:
    """Every staged candidate has a manifest afterwards, and each chunk says what was done in it."""
    _stage(store, declared(["A", "B", "B", "", "CAND/1", "CAND_1"]))

    done = _register(store)

    assert (done.counts.inserted, done.counts.failed, done.counts.duplicates, done.rows) == (3, 2, 1, 6)
    assert [outcome.chunk for outcome in done.outcomes] == list(_names(store))
    by_chunk = {outcome.chunk: outcome for outcome in done.outcomes}
    layout = store.layout_or_create().chunks
    assert by_chunk[layout.chunk_of("B")].rows == 2
    assert by_chunk[layout.chunk_of("B")].sample == ("B",)
    crowded = by_chunk[layout.chunk_of("CAND_1")]
    assert crowded.collisions == 1
    assert [failure.candidate_id for failure in crowded.failures] == ["CAND_1"]
    assert sum(outcome.collisions for outcome in done.outcomes) == 1
    assert SubjectRegistry(store).get("CAND/1").candidate_id == "CAND/1"


def test_registering_again_skips_everybody(store: SubjectStore, declared: Declared) -> None:
    """The same staging registered twice inserts nothing the second time."""
    _stage(store, declared(range(40)))
    _register(store)

    again = _register(store).counts

    assert (again.inserted, again.skipped, count_subjects(store)) == (0, 40, 40)


@pytest.mark.long
def test_some_chunks_alone(store: SubjectStore, declared: Declared, many_groups: ManyGroups) -> None:
    """Only the chunks asked for are registered, even where a group holds others too."""
    many_groups(25)
    _stage(store, declared(range(100)))
    names = _names(store)
    some = [names[40], names[3], names[4], names[3]]

    done = register_dataset(store, "people", limit=None, chunks=some)

    assert [outcome.chunk for outcome in done.outcomes] == [names[3], names[4], names[40]]
    snapshot = ManifestTable(store).snapshot()
    assert snapshot is not None
    assert set(snapshot.rows()["chunk"].to_list()) <= set(some)
    assert 0 < done.counts.inserted == count_subjects(store) < 100

    rest = _register(store).counts
    assert (rest.inserted, rest.skipped) == (100 - done.counts.inserted, done.counts.inserted)


def test_an_unknown_chunk_is_refused(store: SubjectStore, declared: Declared) -> None:
    """A chunk that the layout does not have is named."""
    _stage(store, declared(["A"]))

    with pytest.raises(ConfigurationError, match=r"'chunk-40'.*64 chunks"):
        register_dataset(store, "people", limit=None, chunks=["chunk-40"])


@pytest.mark.parametrize(("staged_with", "asked"), [(10, None), (None, 10), (10, 20)])
def test_what_was_staged_for_something_else_is_refused(
    store: SubjectStore, declared: Declared, staged_with: int | None, asked: int | None
) -> None:
    """A staging with another limit is never registered; the message names both."""
    _stage(store, declared(range(30)), limit=staged_with)
    words = {None: "all rows", 10: "a limit of 10 rows", 20: "a limit of 20 rows"}

    with pytest.raises(StagingError) as refused:
        _register(store, limit=asked)

    assert words[staged_with] in str(refused.value)
    assert words[asked] in str(refused.value)
    assert count_subjects(store) == 0


def test_nothing_staged_is_refused(store: SubjectStore) -> None:
    """A dataset that was never staged says what to do first."""
    with pytest.raises(StagingError, match="nothing is staged for dataset 'people': materialize"):
        register_dataset(store, "people", limit=None, chunks=["chunk-00"])


def test_staged_anew_meanwhile(store: SubjectStore, declared: Declared, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the parts vanish because the dataset was staged again, what is staged now is registered instead."""
    people = declared(["A", "B"])
    _stage(store, people)
    raced = False

    def racing(objects: ObjectStore, *args: object) -> object:
        nonlocal raced
        if not raced:
            raced = True
            _stage(store, declared(["B", "C", "D"]))
        return read_group(objects, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(registering, "read_group", racing)
    done = _register(store)

    assert raced
    assert (done.counts.inserted, done.counts.skipped, done.rows) == (3, 0, 3)
    assert count_subjects(store) == 3


@pytest.mark.long
def test_what_was_done_before_it_was_staged_anew_is_counted(
    store: SubjectStore, declared: Declared, many_groups: ManyGroups, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A registration that went over to a newer staging counts everybody whom it inserted."""
    many_groups(10)
    _stage(store, declared(range(40)))
    calls = 0

    def racing(objects: ObjectStore, *args: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 3:
            _stage(store, declared(range(50)))
        return read_group(objects, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(registering, "read_group", racing)
    done = _register(store)

    assert count_subjects(store) == 50
    assert done.counts.inserted == 50


def test_a_part_that_is_gone_is_named(store: SubjectStore, declared: Declared) -> None:
    """Parts that are missing for good end in words that name the part, not in an endless loop."""
    staged = _stage(store, declared(["A"]))
    (part,) = staged.parts
    store.objects.delete(part)

    with pytest.raises(StagingError, match=part):
        _register(store)


def test_a_changed_source_registers_what_is_new(store: SubjectStore, declared: Declared) -> None:
    """Staged and registered again after the source grew, only the new people are inserted."""
    _stage(store, declared(["A", "B"]))
    _register(store)
    _stage(store, declared(["C", "B", "D"]))

    done = _register(store).counts

    assert (done.inserted, done.skipped, count_subjects(store)) == (2, 1, 4)


@pytest.mark.long
def test_a_deleted_subject_does_not_come_back_from_the_staging(
    store: SubjectStore, declared: Declared, many_groups: ManyGroups
) -> None:
    """Deleting takes the id out of what is staged, so that registering it again does not revive it."""
    many_groups(10)
    _stage(store, declared([f"P{number}" for number in range(40)]))
    _register(store)

    assert SubjectRegistry(store).delete("P7") == 1
    again = _register(store).counts

    assert (again.inserted, again.skipped, count_subjects(store)) == (0, 39, 39)


def test_at_most_ten_thousand_failures_are_named(
    store: SubjectStore, declared: Declared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All failures are counted, but only so many are named."""
    monkeypatch.setattr(outcomes, "MAX_NAMED_FAILURES", 5)
    _stage(store, declared(["L" * (201 + number) for number in range(12)]))

    done = _register(store)

    assert done.counts.failed == 12
    assert len(done.failures) == 5


def test_a_staged_part_that_cannot_be_read_stops_no_other_group(
    store: SubjectStore, declared: Declared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All other chunk groups are registered before the store's failure is raised."""
    monkeypatch.setattr("subject_pipeline.candidates.staged.ROWS_PER_GROUP", 20)
    staged = stage_dataset(store, declared([f"W-{n}" for n in range(100)]), limit=None)
    bad = staged.groups[0].parts[0]
    real = type(store.objects).get

    def get(self: ObjectStore, key: str, *, limit: int | None = None) -> bytes | None:
        if key == bad:
            raise StoreError("503")
        return real(self, key, limit=limit)

    monkeypatch.setattr(type(store.objects), "get", get)
    done = Registration()
    with pytest.raises(StoreError, match="503"):
        register_staged(store, staged, into=done)
    assert done.counts.inserted == 100 - staged.groups[0].rows > 0


def test_a_staging_of_an_older_declaration_is_refused(store: SubjectStore, declared: Declared) -> None:
    """A prefix that changed since the staging is not registered from it; both are named."""
    dataset = declared(["1"])
    stage_dataset(store, dataset, limit=None)
    changed = dataset.model_copy(update={"candidate_id_prefix": "NEW-"})
    with pytest.raises(StagingError, match="'NEW-' now"):
        register_dataset(store, dataset.name, limit=None, chunks=["chunk-00"], declared=changed)
