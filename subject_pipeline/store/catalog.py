"""The catalog: the store's layout and the datasets' declarations, as JSON objects below `catalog/`."""

import datetime as dt
import secrets
from collections.abc import Callable
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from subject_pipeline.errors import DatasetError, StoreError
from subject_pipeline.objects.protocol import ObjectStore
from subject_pipeline.store.chunks import ChunkLayout
from subject_pipeline.store.datasets import DatasetDeclaration, check_dataset_name
from subject_pipeline.store.layout import AUDIT, CATALOG, CHECKPOINTS, DATASETS, LAYOUT_KEY, PROBES, TABLE, StoreLayout

_LAID_OUT = (AUDIT, CHECKPOINTS, f"{TABLE}/")
"""What is only written once there is a layout."""

_LIMIT = 1 << 20
"""Bytes of a layout or a declaration; a larger object is not read."""

Model = TypeVar("Model", bound=BaseModel)


class Catalog:
    """The catalog of one store."""

    def __init__(self, objects: ObjectStore, chunks: ChunkLayout | None = None) -> None:
        self._objects = objects
        self._chunks = chunks  # given by who knows them from elsewhere than the layout

    def layout(self, wanted: int | None = None) -> StoreLayout | None:
        """The store's layout, or None where nothing was written yet that needs one.

        Raises:
            ConfigurationError: `wanted` contradicts it.
            StoreError: the layout cannot be read, or is gone while objects that depend on it are there.
        """
        data = self._objects.get(LAYOUT_KEY, limit=_LIMIT)
        if data is None:
            below = (self._objects.list(prefix) for prefix in _LAID_OUT)
            orphan = next((item.key for items in below for item in items), None)
            if orphan is None:
                return None
            data = self._objects.get(LAYOUT_KEY, limit=_LIMIT)  # the layout is always written before the other
            if data is None:
                raise StoreError(
                    f"cannot use this store: {LAYOUT_KEY} is gone, and {orphan!r} is there. It says how many chunks "
                    "the store has and which log is its own, and nothing is read or written without it: restore it "
                    "from a backup or an earlier version of the object; docs/deployment.md says how to write it by hand"
                )
        layout = _parse(StoreLayout, LAYOUT_KEY, data)
        layout.check_wanted(wanted)
        return layout

    def chunks(self) -> ChunkLayout:
        """The chunks of a store that has a table, read once: they never change.

        Raises:
            StoreError: the layout cannot be read, or is gone.
        """
        if self._chunks is None:
            layout = self.layout()
            if layout is None:
                raise StoreError(f"cannot read the manifests: {LAYOUT_KEY} is gone; restore it from a backup")
            self._chunks = layout.chunks
        return self._chunks

    def layout_or_create(self, wanted: int | None, default: int, *, now: Callable[[], dt.datetime]) -> StoreLayout:
        """The store's layout, written now if it is the first use; of two writers at once, one decides for both.

        Raises:
            ConfigurationError: `wanted` contradicts what is or was just written.
            StoreError: the layout can be neither read nor written.
        """
        found = self.layout(wanted)
        if found is not None:
            return found
        created = StoreLayout(chunk_count=wanted or default, log_id=secrets.token_hex(16), created_at=now())
        if self._objects.create(LAYOUT_KEY, _text(created)):
            return created
        found = self.layout(wanted)
        if found is None:
            raise StoreError(f"cannot settle who wrote {LAYOUT_KEY}: run the command again")
        return found

    def written(self) -> bool:
        """Whether anything was ever recorded here: a layout, a declaration, a receipt.

        Raises:
            StoreError: the store failed.
        """
        return any(not item.key.startswith(PROBES) for item in self._objects.list(CATALOG))

    def register(self, declaration: DatasetDeclaration) -> None:
        """Record a declaration; one of the same name is replaced.

        Raises:
            StoreError: the store failed.
        """
        key, data = self._key(declaration.name), _text(declaration)
        if self._objects.get(key, limit=_LIMIT) != data:
            self._objects.replace(key, data)

    def check_registered(self, name: str) -> None:
        """Make sure that a dataset has a declaration, readable or not.

        Raises:
            DatasetError: the name is invalid, or no such dataset is registered.
            StoreError: the store failed.
        """
        self._stored(name)

    def retire(self, name: str) -> None:
        """Delete a dataset's declaration, even a damaged one.

        Raises:
            DatasetError: the name is invalid, or no such dataset is registered.
            StoreError: the store failed.
        """
        key, _ = self._stored(name)
        self._objects.delete(key)

    def dataset(self, name: str) -> DatasetDeclaration:
        """A dataset's declaration.

        Raises:
            DatasetError: the name is invalid, or no such dataset is registered.
            StoreError: the declaration cannot be read.
        """
        return self._declared(*self._stored(name))

    def names(self) -> list[str]:
        """The names of the registered datasets, sorted; no declaration is read.

        Raises:
            StoreError: the store failed.
        """
        keys = (item.key for item in self._objects.list(DATASETS))
        return sorted(key.removeprefix(DATASETS).removesuffix(".json") for key in keys if key.endswith(".json"))

    def datasets(self) -> list[DatasetDeclaration]:
        """Every registered dataset, sorted by name.

        Raises:
            StoreError: a declaration cannot be read.
        """
        found = []
        for item in self._objects.list(DATASETS):
            if not item.key.endswith(".json"):
                continue
            data = self._objects.get(item.key, limit=_LIMIT)
            if data is not None:
                found.append(self._declared(item.key, data))
        return sorted(found, key=lambda declaration: declaration.name)

    def _stored(self, name: str) -> tuple[str, bytes]:
        key = self._key(name)
        data = self._objects.get(key, limit=_LIMIT)
        if data is None:
            raise DatasetError(
                f"dataset {name!r} is not registered in this store: run `subject-pipeline datasets register {name} "
                "--source URI --key-column COLUMN` first"
            )
        return key, data

    @classmethod
    def _declared(cls, key: str, data: bytes) -> DatasetDeclaration:
        """A declaration, if it is under its own dataset's name."""
        found = _parse(DatasetDeclaration, key, data)
        if cls._key(found.name) != key:
            raise StoreError(f"cannot read {key}: it declares the dataset {found.name!r}: remove or rename it")
        return found

    @staticmethod
    def _key(name: str) -> str:
        return f"{DATASETS}{check_dataset_name(name)}.json"


def _text(value: BaseModel) -> bytes:
    return value.model_dump_json(by_alias=True, indent=2).encode() + b"\n"


def _parse(model: type[Model], key: str, data: bytes) -> Model:
    try:
        return model.model_validate_json(data)
    except (ValidationError, DatasetError) as error:
        raise StoreError(f"cannot read {key}: it is damaged: {str(error).splitlines()[0]}") from error
