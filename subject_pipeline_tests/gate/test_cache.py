from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from subject_pipeline.changes import current
from subject_pipeline.changes.current import CurrentManifests
from subject_pipeline.gate import cache as gate_cache
from subject_pipeline.gate.cache import ManifestCache, Moment
from subject_pipeline_tests.gate.conftest import PEOPLE
from subject_pipeline_tests.helpers.audit_stores import LAYOUT
from subject_pipeline_tests.helpers.gated import Gated

CHUNKS = sorted({LAYOUT.chunk_of(one) for one in PEOPLE})


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The chunks that were read, each time."""
    made: list[list[str]] = []
    views = CurrentManifests.views

    def noting(self: CurrentManifests, chunks: Any, before: Any) -> Any:
        made.append(sorted(chunks))
        return views(self, chunks, before)

    monkeypatch.setattr(CurrentManifests, "views", noting)
    return made


def test_a_chunk_is_read_once_for_as_long_as_it_is_fresh(gated: Gated, read: list[list[str]]) -> None:
    """All that one call needs together; and by one of many threads."""
    cache = ManifestCache(gated.place.log(), 60)
    assert cache.known(PEOPLE) is None
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: cache.load(PEOPLE), range(16)))
    assert read == [CHUNKS]
    assert all(one == found[0] for one in found)
    assert cache.known(PEOPLE) == found[0]
    assert all(seen.known is not None and seen.known.document for seen in found[0].values())


def test_it_is_read_again_where_it_is_wanted_or_too_old(gated: Gated, read: list[list[str]]) -> None:
    """A view counts from before it was read; a cache of age 0 knows nothing from memory, and answers all the same."""
    now = Moment(100.0, 1_000.0)
    cache = ManifestCache(gated.place.log(), 5, lambda: now)
    cache.load(PEOPLE[:1])
    cache.load(PEOPLE[:1], again=True)
    now = Moment(105.0, 1_005.0)
    assert cache.known(PEOPLE[:1]) is not None
    for later in (Moment(105.1, 1_005.0), Moment(105.0, 1_005.1), Moment(99.0, 1_005.0), Moment(105.0, 999.9)):
        now = later
        assert cache.known(PEOPLE[:1]) is None
    cache.load(PEOPLE[:1])
    assert read == [[LAYOUT.chunk_of(PEOPLE[0])]] * 3
    now = Moment(0.0, 0.0)
    ageless = ManifestCache(gated.place.log(), 0)
    for _ in range(2):
        assert ageless.load(PEOPLE)[PEOPLE[0]].known is not None
    assert len(read) == 5


def test_what_was_read_first_goes_first(gated: Gated, monkeypatch: pytest.MonkeyPatch) -> None:
    """While there are too many rows; never what is needed now."""
    monkeypatch.setattr(gate_cache, "_ROWS", 1)
    cache = ManifestCache(gated.place.log(), 60)
    for one in PEOPLE:
        assert cache.load([one])[one].known is not None
        assert cache.known([one]) is not None
    assert cache.load(PEOPLE).keys() == set(PEOPLE)
    assert cache.known(PEOPLE) is not None
    cache.load(PEOPLE[:1], again=True)
    assert cache.known(PEOPLE) is None


def test_whoever_is_not_remembered_is_known_all_the_same(gated: Gated, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their manifests are made again each time."""
    monkeypatch.setattr(current, "_REMEMBERED", 0)
    gated.withdraw(PEOPLE[0])
    cache = ManifestCache(gated.place.log(), 60)
    assert cache.load(PEOPLE) == cache.known(PEOPLE)
