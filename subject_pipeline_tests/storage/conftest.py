import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from subject_pipeline.storage.local_objects import LocalObjects
from subject_pipeline.storage.manifest_table import ManifestTable
from subject_pipeline.storage.objects import ObjectStore
from subject_pipeline.storage.remote_objects import RemoteObjects
from subject_pipeline.use_cases.store import SubjectStore

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(params=["local", "memory"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """Every object store that needs no server, empty."""
    stores: dict[str, Callable[[], ObjectStore]] = {
        "local": lambda: LocalObjects(tmp_path / "objects"),
        "memory": RemoteObjects.in_memory,
    }
    return stores[request.param]()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The folder of a local store that was never written."""
    return tmp_path / "store"


@pytest.fixture
def table(root: Path) -> ManifestTable:
    """The manifests' table of a local store that was laid out and never written."""
    return table_at(root)


def table_at(root: Path) -> ManifestTable:
    """The manifests' table of a local store of four chunks."""
    store = SubjectStore.at(str(root))
    store.catalog.layout_or_create(4, 4, now=lambda: dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
    return ManifestTable(store)
