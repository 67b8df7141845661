from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from subject_pipeline.storage.local_objects import LocalObjects
from subject_pipeline.storage.location import StoreLocation
from subject_pipeline.storage.manifest_table import ManifestTable
from subject_pipeline.storage.objects import ObjectStore
from subject_pipeline.storage.remote_objects import RemoteObjects

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
    """The manifests' table of a local store that was never written."""
    return ManifestTable(StoreLocation.parse(str(root)), LocalObjects(root))
