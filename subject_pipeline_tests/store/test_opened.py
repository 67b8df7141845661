import pickle
from base64 import b64encode
from dataclasses import replace
from pathlib import Path

import pytest

from subject_pipeline.errors import ConfigurationError, KeyRingError
from subject_pipeline.manifests.table import ManifestTable
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline_tests.conftest import Declared


def test_opening_a_store_creates_nothing(tmp_path: Path) -> None:
    """A store is an address until something is written."""
    store = SubjectStore.at(str(tmp_path / "store"))

    assert store.layout() is None
    assert store.catalog.datasets() == []
    assert ManifestTable(store).snapshot() is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("wanted", "count"), [(None, 64), (1, 1), (1024, 1024)])
def test_the_first_use_fixes_the_chunks(tmp_path: Path, wanted: int | None, count: int) -> None:
    """The layout is written once, with the count that is wanted or 64; nobody needs to say it again."""
    first = SubjectStore.at(str(tmp_path / "store"), wanted_chunks=wanted).layout_or_create()
    later = SubjectStore.at(str(tmp_path / "store"))

    assert first.chunk_count == count
    assert later.layout() == later.layout_or_create() == first


def test_another_count_is_refused_with_both_numbers(tmp_path: Path) -> None:
    """A contradicting count is refused, to read and to write."""
    SubjectStore.at(str(tmp_path / "store"), wanted_chunks=16).layout_or_create()
    other = SubjectStore.at(str(tmp_path / "store"), wanted_chunks=32)

    for operation in (other.layout, other.layout_or_create):
        with pytest.raises(ConfigurationError, match=r"\b32\b.*\b16\b"):
            operation()


def test_a_url_and_a_path_are_the_same_store(tmp_path: Path) -> None:
    """A local store may be named by URL, spaces and all."""
    place = tmp_path / "a store"
    SubjectStore.at(str(place)).layout_or_create()

    assert SubjectStore.at(place.as_uri()).layout() is not None


def test_a_source_is_not_opened_when_it_is_registered(store: SubjectStore, declared: Declared) -> None:
    """Registering records the declaration, wherever the source is; a second one replaces it."""
    missing = declared(["A"]).model_copy(update={"source": "/nowhere.parquet"})
    store.register(missing)
    store.register(missing.model_copy(update={"key_column": "other"}))

    assert [item.key_column for item in store.catalog.datasets()] == ["other"]


def test_a_chunk_count_that_no_store_can_have_is_refused(tmp_path: Path) -> None:
    """The error names the variable."""
    with pytest.raises(ConfigurationError, match="SUBJECT_CHUNKS"):
        SubjectStore.at(str(tmp_path), wanted_chunks=1_048_577)


def test_a_pickled_store_is_opened_again_and_takes_no_key_along(keyed_store: SubjectStore) -> None:
    """Another process gets the address, the wanted chunks and the ring's file; what was read of that stays here."""
    store = replace(keyed_store, wanted_chunks=4)
    secret = store.ring.ring().active_key
    pickled = pickle.dumps(store)
    assert secret not in pickled
    assert b64encode(secret) not in pickled
    again = pickle.loads(pickled)  # noqa: S301 - just made
    assert again.objects is not store.objects
    assert (again.location, again.wanted_chunks, again.ring.path) == (store.location, 4, store.ring.path)
    assert again.ring.ring().active_key == secret


def test_without_its_ring_a_store_has_no_key(keyed_store: SubjectStore) -> None:
    """And whatever needs one says how to make one."""
    with pytest.raises(KeyRingError, match="keys new"):
        keyed_store.without_ring().ring.ring()
    assert keyed_store.ring.configured
