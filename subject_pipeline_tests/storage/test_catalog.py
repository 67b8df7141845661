import datetime as dt
import json
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from subject_pipeline.domain.datasets import DatasetDeclaration
from subject_pipeline.errors import ConfigurationError, DatasetError, StoreError
from subject_pipeline.storage.catalog import LAYOUT_KEY, Catalog
from subject_pipeline.storage.objects import ObjectStore

NOW = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)


def _now() -> dt.datetime:
    return NOW


def _declared(name: str = "workers", key_column: str = "worker_id") -> DatasetDeclaration:
    return DatasetDeclaration(name=name, source="/data/w.parquet", key_column=key_column, safe_views=("public",))


@pytest.fixture
def catalog(objects: ObjectStore) -> Catalog:
    """The catalog of an unused store."""
    return Catalog(objects)


def test_an_unused_store_has_no_layout(catalog: Catalog, objects: ObjectStore) -> None:
    """Asking for the layout writes nothing, whatever count is wanted."""
    assert catalog.layout() is None
    assert catalog.layout(128) is None
    assert list(objects.list("")) == []


@pytest.mark.parametrize(("wanted", "count"), [(None, 64), (16, 16)])
def test_the_first_use_writes_the_layout(
    catalog: Catalog, objects: ObjectStore, wanted: int | None, count: int
) -> None:
    """The first use fixes the wanted count, else the default, and gives the log an identity."""
    layout = catalog.layout_or_create(wanted, 64, now=_now)
    assert layout.chunk_count == count
    assert layout.created_at == NOW
    data = objects.get(LAYOUT_KEY)
    assert data is not None
    assert json.loads(data)["schema"] == "subject_layout.v1"
    assert catalog.layout() == catalog.layout(count) == layout


def test_the_layout_is_written_once(catalog: Catalog) -> None:
    """Later uses find the first layout, whatever the default is by then."""
    first = catalog.layout_or_create(16, 64, now=_now)
    assert catalog.layout_or_create(None, 1024, now=_now) == first
    assert catalog.layout_or_create(16, 1024, now=_now) == first


def test_a_contradicting_count_is_refused(catalog: Catalog) -> None:
    """Another count than the store's is refused with both numbers, by reading and by writing."""
    catalog.layout_or_create(16, 64, now=_now)
    with pytest.raises(ConfigurationError, match=r"32 .*16"):
        catalog.layout(32)
    with pytest.raises(ConfigurationError, match=r"32 .*16"):
        catalog.layout_or_create(32, 64, now=_now)


def test_two_stores_have_two_logs(catalog: Catalog, objects: ObjectStore) -> None:
    """A log's identity is random: a store that is set up anew is another one."""
    first = catalog.layout_or_create(None, 64, now=_now)
    objects.delete(LAYOUT_KEY)
    assert catalog.layout_or_create(None, 64, now=_now).log_id != first.log_id


def test_of_racing_first_uses_one_decides_for_all(catalog: Catalog) -> None:
    """Eight first uses at once all get the same layout."""
    start = Barrier(8)

    def first_use(_: int) -> str:
        start.wait()
        return catalog.layout_or_create(None, 64, now=_now).log_id

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(first_use, range(8)))) == 1


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"chunk_count": 0}', b"\xff"])
def test_a_damaged_layout_is_our_own_error(catalog: Catalog, objects: ObjectStore, data: bytes) -> None:
    """A layout that cannot be read is named, and never written over."""
    objects.replace(LAYOUT_KEY, data)
    for reading in (catalog.layout, lambda: catalog.layout_or_create(None, 64, now=_now)):
        with pytest.raises(StoreError, match=r"catalog/layout\.json: it is damaged"):
            reading()
    assert objects.get(LAYOUT_KEY) == data


def test_a_registered_dataset_is_found(catalog: Catalog) -> None:
    """A declaration comes back as it was registered."""
    catalog.register(_declared())
    assert catalog.dataset("workers") == _declared()


def test_registering_again_replaces(catalog: Catalog) -> None:
    """Of two declarations with one name the later stands."""
    catalog.register(_declared())
    catalog.register(_declared(key_column="email"))
    assert catalog.dataset("workers").key_column == "email"
    assert len(catalog.datasets()) == 1


def test_registering_the_same_again_writes_nothing(catalog: Catalog, objects: ObjectStore) -> None:
    """An unchanged declaration is left alone."""
    catalog.register(_declared())
    (before,) = objects.list("catalog/")
    catalog.register(_declared())
    (after,) = objects.list("catalog/")
    assert before == after


def test_an_unregistered_dataset_is_refused_with_the_cure(catalog: Catalog) -> None:
    """The message says how to register it."""
    with pytest.raises(DatasetError, match=r"'workers' is not registered.*datasets register workers"):
        catalog.dataset("workers")


def test_a_name_that_leaves_the_catalog_is_refused(catalog: Catalog) -> None:
    """No name reaches another object of the store."""
    with pytest.raises(DatasetError, match="is not a dataset name"):
        catalog.dataset("../layout")


def test_datasets_are_sorted_by_name(catalog: Catalog, objects: ObjectStore) -> None:
    """The list is in the order of the names, and ignores what is no declaration."""
    for name in ("b", "a-b", "a", "a_b", "A", "a0"):
        catalog.register(_declared(name))
    objects.replace("catalog/datasets/README.txt", b"notes")
    assert [item.name for item in catalog.datasets()] == ["A", "a", "a-b", "a0", "a_b", "b"]


@pytest.mark.parametrize("data", [b"", b"{}", b'{"name": "../x", "source": "s", "key_column": "k"}'])
def test_a_damaged_declaration_is_our_own_error(catalog: Catalog, objects: ObjectStore, data: bytes) -> None:
    """A declaration that cannot be read is named, alone and in the list."""
    objects.replace("catalog/datasets/workers.json", data)
    for reading in (lambda: catalog.dataset("workers"), catalog.datasets):
        with pytest.raises(StoreError, match=r"catalog/datasets/workers\.json: it is damaged"):
            reading()
