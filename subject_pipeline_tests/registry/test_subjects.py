import datetime as dt
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from subject_pipeline.candidates.staging import stage_dataset
from subject_pipeline.errors import CollisionError, ConfigurationError, ManifestError, UnknownSubjectError
from subject_pipeline.manifests.manifest import SubjectManifest
from subject_pipeline.manifests.table import ManifestTable
from subject_pipeline.registry.backfill import backfill
from subject_pipeline.registry.maintenance import compact
from subject_pipeline.registry.registering import register_dataset
from subject_pipeline.registry.subjects import SubjectRegistry
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline_tests.conftest import Declared

_NOW = dt.datetime(2026, 1, 2, 3, 4, 5, 678901, dt.UTC)


def _manifest(candidate_id: str, **fields: Any) -> SubjectManifest:
    value = {
        "schema": "subject_manifest.v1",
        "candidate_id": candidate_id,
        "created_at": _NOW,
        "updated_at": _NOW,
        "retention": {"general_pii_until": _NOW},
        **fields,
    }
    return SubjectManifest.parse(value)


@pytest.fixture
def registry(store: SubjectStore) -> SubjectRegistry:
    """The registry of a store that was never written."""
    return SubjectRegistry(store)


def test_what_is_put_is_what_is_got(registry: SubjectRegistry) -> None:
    """A manifest comes back as it was put, to the microsecond, fields of a newer writer included."""
    manifest = _manifest(
        "Zoë/1",
        status="archived",
        vertical="health",
        consent={
            "general_pii": {"status": "given", "version": "2", "given_at": _NOW, "seen_by": "HR"},
            "biometric": {"status": "withdrawn", "retention_until": _NOW},
        },
        datasets=[
            {"name": "a", "key_column": "k", "key_value": "1", "region": {"eu": True}},
            {"name": "b", "key_column": "k", "key_value": "2"},
        ],
        safe_views=["one", "two"],
        audit_log_path="audit/chunk-00",
        audit_log_chain_root="00" * 32,
        newer={"list": [1, 2.5, None, "ß"], "extra": {}},
    )

    assert registry.put(manifest) is True
    assert registry.get("Zoë/1") == manifest
    assert registry.get("Zoë/1").to_json() == manifest.to_json()


def test_putting_again_replaces(registry: SubjectRegistry) -> None:
    """A second put of an id replaces its manifest and says that there was one."""
    registry.put(_manifest("A"))

    assert registry.put(_manifest("A", status="archived")) is False
    assert registry.get("A").status == "archived"
    assert registry.count() == 1


def test_ids_are_compared_whole(registry: SubjectRegistry) -> None:
    """`CAND_1` is unknown where `CAND/1` lives, to get and to delete alike."""
    registry.put(_manifest("CAND/1"))

    for unknown in ("CAND_1", "cand/1", "CAND/1 ", ""):
        with pytest.raises(UnknownSubjectError, match=repr(unknown)):
            registry.get(unknown)
        with pytest.raises(UnknownSubjectError, match=repr(unknown)):
            registry.delete(unknown)
    assert registry.get("CAND/1").candidate_id == "CAND/1"


def test_a_put_never_overwrites_another_id(registry: SubjectRegistry) -> None:
    """A put whose storage key belongs to another id is refused with both named; the first is unchanged."""
    first = _manifest("CAND/1")
    registry.put(first)

    with pytest.raises(CollisionError, match=r"'CAND_1'.*'CAND/1'"):
        registry.put(_manifest("CAND_1"))

    assert registry.get("CAND/1") == first
    assert registry.count() == 1


def test_an_id_that_is_too_long_cannot_be_put(registry: SubjectRegistry) -> None:
    """An id that a backfill would refuse is refused here too."""
    with pytest.raises(ManifestError, match="201 bytes"):
        registry.put(_manifest("L" * 201))
    assert registry.count() == 0


def test_an_unused_store_has_no_subject(registry: SubjectRegistry, tmp_path: Path) -> None:
    """Counting, getting and deleting in a store that was never written create nothing."""
    assert registry.count() == 0
    with pytest.raises(UnknownSubjectError):
        registry.get("A")
    with pytest.raises(UnknownSubjectError):
        registry.delete("A")
    assert not (tmp_path / "store").exists()


def test_a_store_without_manifests_knows_nobody(store: SubjectStore, registry: SubjectRegistry) -> None:
    """A store whose layout is written but that has no manifest yet answers the same."""
    store.layout_or_create()

    assert registry.count() == 0
    with pytest.raises(UnknownSubjectError):
        registry.get("A")
    with pytest.raises(UnknownSubjectError):
        registry.delete("A")


def test_a_contradicting_chunk_count_is_refused_everywhere(registry: SubjectRegistry, tmp_path: Path) -> None:
    """No operation looks into the wrong chunk: another count is refused."""
    registry.put(_manifest("A"))
    other = SubjectRegistry(SubjectStore.at(str(tmp_path / "store"), wanted_chunks=2))

    for operation in (
        other.count,
        lambda: other.get("A"),
        lambda: other.delete("A"),
        lambda: other.put(_manifest("B")),
    ):
        with pytest.raises(ConfigurationError, match="64"):
            operation()


@pytest.mark.long
def test_delete_takes_one_subject(registry: SubjectRegistry) -> None:
    """A deleted subject is unknown, the others stay, and its id may be registered again."""
    for candidate in ("A", "B", "C"):
        registry.put(_manifest(candidate))

    registry.delete("B")

    assert registry.count() == 2
    with pytest.raises(UnknownSubjectError):
        registry.get("B")
    with pytest.raises(UnknownSubjectError):
        registry.delete("B")
    assert registry.get("A").candidate_id == "A"
    assert registry.put(_manifest("B")) is True


def test_a_refused_delete_changes_nothing_staged(
    store: SubjectStore, registry: SubjectRegistry, declared: Declared
) -> None:
    """Deleting an id that no manifest carries leaves what is staged as it is."""
    stage_dataset(store, declared(["A", "B"]), limit=None)
    before = {item.key: store.objects.get(item.key) for item in store.objects.list("staging/")}

    with pytest.raises(UnknownSubjectError):
        registry.delete("A")

    assert {item.key: store.objects.get(item.key) for item in store.objects.list("staging/")} == before


@pytest.mark.long
def test_many_puts_leave_few_files(store: SubjectStore, registry: SubjectRegistry) -> None:
    """A chunk does not pile up one file per put."""
    store = SubjectStore.at(store.location.url, wanted_chunks=1)
    registry = SubjectRegistry(store)
    for number in range(20):
        registry.put(_manifest(f"P{number}"))

    snapshot = ManifestTable(store).snapshot()
    assert snapshot is not None
    assert snapshot.crowded() == []
    assert registry.count() == 20


def _values(path: Path) -> str:
    """Everything that a parquet file says, uncompressed: values of every column at every depth, and its metadata."""
    frame = pl.read_parquet(path, hive_partitioning=False)
    return "\n".join(str(row) for row in frame.iter_rows()) + str(pl.read_parquet_metadata(path))


def _places_of(needle: str, folder: Path) -> list[str]:
    found = []
    for path in sorted(item for item in folder.rglob("*") if item.is_file()):
        inside = needle.encode() in path.read_bytes()
        if path.suffix == ".parquet":
            inside = inside or needle in _values(path)
        if inside or needle in path.as_posix().removeprefix(folder.as_posix()):
            found.append(path.relative_to(folder).as_posix())
    return found


@pytest.mark.long
@pytest.mark.parametrize("erased", ["ERASE-ME-7", "ERASE/ME/7"])
def test_an_erased_id_is_nowhere_in_table_or_staging(store: SubjectStore, declared: Declared, erased: str) -> None:
    """After delete and compact no file below `subjects/` and `staging/` holds the id, its storage key or its key."""
    root = store.location.local_path
    assert root is not None
    key = erased.replace("/", "_")
    people = [f"P{number}" for number in range(60)]
    declaration = declared([*people[:30], erased, *people[30:]])
    stage_dataset(store, declaration, limit=None)
    register_dataset(store, "people", limit=None, chunks=store.layout_or_create().chunks.names)
    registry = SubjectRegistry(store)
    registry.put(registry.get(erased).model_copy(update={"status": "archived"}))
    backfill(store, declared(["Q1", erased], "second"))
    assert _places_of(erased, root / "subjects")
    assert _places_of(erased, root / "staging")

    registry.delete(erased)
    compact(store)

    for needle in {erased, key}:
        assert _places_of(needle, root / "subjects") == []
        assert _places_of(needle, root / "staging") == []
    assert registry.count() == 61
    assert registry.get("P7").candidate_id == "P7"


@pytest.mark.long
def test_no_id_ever_enters_deltas_log(store: SubjectStore, declared: Declared) -> None:
    """Registering, putting, deleting, compacting: the table's own log names nobody at any time."""
    root = store.location.local_path
    assert root is not None
    log = root / "subjects" / "_delta_log"
    registry = SubjectRegistry(store)

    def check() -> None:
        assert _places_of("NEEDLE", log) == []

    backfill(store, declared([f"NEEDLE-{number}" for number in range(30)]))
    check()
    registry.put(_manifest("NEEDLE-new"))
    registry.put(_manifest("NEEDLE-1", status="archived"))
    check()
    registry.delete("NEEDLE-2")
    check()
    assert _places_of("NEEDLE", root / "subjects") != []
    compact(store)
    assert any(log.glob("*.checkpoint.parquet"))
    check()
