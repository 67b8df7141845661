import datetime as dt
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import Phase, settings
from obstore.store import MemoryStore

from subject_pipeline.candidates import staged as staging_rules
from subject_pipeline.keys.ring import KeyRing
from subject_pipeline.keys.ring_file import KeyRingFile, create_ring
from subject_pipeline.manifests.table import ManifestTable
from subject_pipeline.objects.local import LocalObjects
from subject_pipeline.objects.protocol import ObjectStore
from subject_pipeline.objects.remote import RemoteObjects
from subject_pipeline.store.datasets import DatasetDeclaration
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline_tests.helpers.audit_stores import Place, place_in

KEY_COLUMN = "person_id"

Parquet = Callable[..., Path]
"""Called with keys, and a file's name if not `people.parquet`."""

ManyGroups = Callable[[int], None]
"""Called with how many rows make a chunk group."""

Declared = Callable[..., DatasetDeclaration]
"""Called with keys, and the fields of the declaration that are not the default."""

Prepared = Callable[[Callable[[Path], None], Path], None]
"""Called with a function that fills an empty folder, and the folder to fill."""

# `make test` gives the same examples every time, `.ci/run` four times as many of them, and the profile `nightly` forty
# times as many, others every time. All is said: under CI=true what is not said would be of Hypothesis's own profile.
settings.register_profile("quick", deadline=None, derandomize=True, max_examples=25)
settings.register_profile("ci", settings.get_profile("quick"), max_examples=100)
settings.register_profile("nightly", deadline=None, derandomize=False, max_examples=1_000)
# Whether an example fails is all that `make mutants` asks, not which is the smallest that does.
settings.register_profile("mutants", settings.get_profile("ci"), phases=[Phase.explicit, Phase.generate])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


@pytest.fixture(autouse=True, scope="session")
def _no_settings_from_outside() -> Iterator[None]:
    """No test sees the settings of anyone who runs it; one that needs a setting sets it."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("SUBJECT_")]:
            patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Fills a folder with a copy of what a function made once: a store that many tests begin with is written once."""
    made: dict[Callable[[Path], None], Path] = {}

    def fill(make: Callable[[Path], None], folder: Path) -> None:
        if make not in made:
            first = tmp_path_factory.mktemp("prepared")
            make(first)
            made[make] = first
        shutil.copytree(made[make], folder, dirs_exist_ok=True)

    return fill


@pytest.fixture
def store(tmp_path: Path) -> SubjectStore:
    """A local store that was never written, without keys."""
    return SubjectStore.at(str(tmp_path / "store"))


@pytest.fixture
def keyed_store(store: SubjectStore, ring: KeyRingFile) -> SubjectStore:
    """The same with a key ring."""
    return store.with_ring(ring)


@pytest.fixture
def parquet(tmp_path: Path) -> Parquet:
    """Writes a parquet file of keys, with a column that nobody should read beside them."""

    def write(keys: Sequence[Any] | pl.Series, name: str = "people.parquet", *, column: str = KEY_COLUMN) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        values = keys if isinstance(keys, pl.Series) else pl.Series(list(keys), dtype=None if keys else pl.String)
        pl.DataFrame({column: values, "note": pl.Series(["private"] * len(values), dtype=pl.String)}).write_parquet(
            path
        )
        return path

    return write


@pytest.fixture
def declared(parquet: Parquet) -> Declared:
    """Writes a parquet file of keys, and declares it as a dataset."""

    def declare(keys: Sequence[Any], name: str = "people", **fields: Any) -> DatasetDeclaration:
        source = str(parquet(keys, f"{name}.parquet"))
        return DatasetDeclaration(**{"name": name, "source": source, "key_column": KEY_COLUMN, **fields})

    return declare


@pytest.fixture(params=["local", "memory"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """Every object store that needs no server, empty."""
    stores: dict[str, Callable[[], ObjectStore]] = {
        "local": lambda: LocalObjects(tmp_path / "objects"),
        "memory": lambda: RemoteObjects(MemoryStore()),
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


@pytest.fixture
def many_groups(monkeypatch: pytest.MonkeyPatch) -> ManyGroups:
    """Lets a few rows make several chunk groups, as hundreds of thousands would."""

    def rows_per_group(rows: int) -> None:
        monkeypatch.setattr(staging_rules, "ROWS_PER_GROUP", rows)

    return rows_per_group


def listing(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder: files with their bytes, folders with None."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture
def ring(tmp_path: Path) -> KeyRingFile:
    """A key ring of one key that signs."""
    path = tmp_path / "keys" / "ring.json"
    create_ring(path, KeyRing.new(bytes(range(32)), bytes(range(32, 64))))
    return KeyRingFile(path)


@pytest.fixture
def place(tmp_path: Path, ring: KeyRingFile) -> Place:
    """A local store of four chunks with hooks, and its keys."""
    return place_in(tmp_path)
