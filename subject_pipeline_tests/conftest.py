import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import Phase, settings

from subject_pipeline.domain.datasets import DatasetDeclaration
from subject_pipeline.use_cases.store import SubjectStore

KEY_COLUMN = "person_id"

Parquet = Callable[..., Path]
"""Called with keys, and a file's name if not `people.parquet`."""

Declared = Callable[..., DatasetDeclaration]
"""Called with keys, and the fields of the declaration that are not the default."""

# `make test` gives the same examples every time; `HYPOTHESIS_PROFILE=nightly make check` others every time, and more.
# All is said: under CI=true what is not said would be of Hypothesis's own profile for that.
settings.register_profile("ci", deadline=None, derandomize=True, max_examples=100)
settings.register_profile("nightly", deadline=None, derandomize=False, max_examples=1_000)
# Whether an example fails is all that `make mutants` asks, not which is the smallest that does.
settings.register_profile("mutants", settings.get_profile("ci"), phases=[Phase.explicit, Phase.generate])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(autouse=True, scope="session")
def _no_settings_from_outside() -> Iterator[None]:
    """No test sees the settings of whoever runs it; one that needs a setting sets it."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("SUBJECT_")]:
            patch.delenv(name)
        yield


@pytest.fixture
def store(tmp_path: Path) -> SubjectStore:
    """A local store that was never written."""
    return SubjectStore.at(str(tmp_path / "store"))


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
