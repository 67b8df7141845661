import datetime as dt
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from obstore.store import MemoryStore

from subject_pipeline.errors import ConfigurationError, DatasetError, OutcomeUnknownError, StoreError
from subject_pipeline.objects.protocol import ObjectStore
from subject_pipeline.objects.remote import RemoteObjects
from subject_pipeline.store.catalog import Catalog
from subject_pipeline.store.datasets import DatasetDeclaration
from subject_pipeline.store.layout import LAYOUT_KEY
from subject_pipeline_tests.helpers.audit_stores import HookedMemory

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
    """A log's identity is random: a store that is set up again is another one."""
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


@pytest.mark.parametrize(
    "key", ["audit/chunk-0/000000000000.jsonl", "checkpoints/000000000000/note", "subjects/_delta_log/0.json"]
)
def test_a_layout_that_is_gone_is_told_and_not_written_anew(catalog: Catalog, objects: ObjectStore, key: str) -> None:
    """What was laid out by it is there, so that this is no new store; the message names both, and says what to do."""
    objects.create(key, b"{}")
    for reading in (catalog.layout, lambda: catalog.layout_or_create(None, 64, now=_now)):
        with pytest.raises(StoreError, match=rf"catalog/layout\.json is gone.*{key}.*restore it") as caught:
            reading()
        assert not isinstance(caught.value, OutcomeUnknownError)
    assert objects.get(LAYOUT_KEY) is None


@pytest.mark.parametrize(
    "key",
    [
        "catalog/datasets/workers.json",
        "catalog/probes/1",
        "inbox/1.jsonl",
        "staging/x/1",
        "dead_letters/1",
        "reports/1",
    ],
)
def test_what_needs_no_layout_is_no_sign_of_one(catalog: Catalog, objects: ObjectStore, key: str) -> None:
    """A store with such objects alone was never laid out."""
    objects.create(key, b"{}")
    assert catalog.layout() is None
    assert catalog.layout_or_create(4, 64, now=_now).chunk_count == 4


def test_a_layout_that_is_there_costs_one_read() -> None:
    """Only where there is none is anything else looked for."""
    objects = HookedMemory(MemoryStore())
    catalog = Catalog(objects)
    catalog.layout_or_create(None, 64, now=_now)
    objects.calls.clear()
    catalog.layout()
    catalog.layout_or_create(None, 64, now=_now)
    assert objects.calls == [("get", LAYOUT_KEY)] * 2


def test_a_first_writer_beside_us_is_no_lost_layout() -> None:
    """Anyone who lays the store out and writes a row between our looks is found by the last of them."""
    objects = HookedMemory(MemoryStore())
    other = Catalog(RemoteObjects(objects._backend))

    def around(operation: str, key: str, run: Callable[[], Any]) -> Any:
        found = run()
        if (operation, key) == ("get", LAYOUT_KEY) and found is None:
            other.layout_or_create(16, 64, now=_now)
            RemoteObjects(objects._backend).create("audit/chunk-0/000000000000.jsonl", b"row")
        return found

    objects.around = around
    layout = Catalog(objects).layout()
    assert layout is not None
    assert layout.chunk_count == 16


def test_a_declaration_under_anothers_name_is_refused(catalog: Catalog, objects: ObjectStore) -> None:
    """The key made of what it declares must be the key that it lies under."""
    catalog.register(_declared())
    data = objects.get("catalog/datasets/workers.json")
    assert data is not None
    objects.create("catalog/datasets/others.json", data)
    for reading in (lambda: catalog.dataset("others"), catalog.datasets):
        with pytest.raises(StoreError, match=r"catalog/datasets/others\.json: it declares the dataset 'workers'"):
            reading()
    assert catalog.dataset("workers") == _declared()


def test_a_layout_of_absurd_size_is_not_read(catalog: Catalog, objects: ObjectStore) -> None:
    """Nobody is made to hold it in memory."""
    objects.replace(LAYOUT_KEY, b" " * ((1 << 20) + 1))
    with pytest.raises(StoreError, match=r"catalog/layout\.json.*more than the 1,048,576"):
        catalog.layout()
