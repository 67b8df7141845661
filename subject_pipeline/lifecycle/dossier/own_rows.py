"""A person's own rows of the datasets that their manifest refers to, with all columns, as the sources have them now."""

import datetime as dt
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from subject_pipeline.candidates.source_files import find_source_files
from subject_pipeline.candidates.source_keys import SourceKeys
from subject_pipeline.errors import SourceError, StoreError
from subject_pipeline.formats.shown_text import without_credentials
from subject_pipeline.manifests.manifest import DatasetReference, SubjectManifest
from subject_pipeline.store.datasets import DatasetDeclaration
from subject_pipeline.store.opened import SubjectStore


@dataclass(frozen=True, slots=True)
class OwnRows:
    """What one dataset has of a person.

    Attributes:
        reference: where the manifest says that it is.
        rows: as JSON values; None where they were not read.
        why: where they were not read, the reason in words.
        retired: the dataset is not registered any more.
    """

    reference: DatasetReference
    rows: list[dict[str, Any]] | None = None
    why: str = ""
    retired: bool = False


def own_rows(store: SubjectStore, manifest: SubjectManifest, *, read: bool) -> Iterator[OwnRows]:
    """What each dataset of a manifest has of its subject; a source that cannot be read stops no other.

    Args:
        store: where the datasets are declared.
        manifest: whose references are followed.
        read: open the sources; False: they are only named.
    """
    for reference in manifest.datasets:
        try:
            declared = {one.name: one for one in store.catalog.datasets()}.get(reference.name)
            if declared is None:
                yield OwnRows(reference, why="this dataset is no longer registered", retired=True)
            elif not read:
                yield OwnRows(reference, why="the source was left out of this folder")
            else:
                yield OwnRows(reference, _rows(declared, reference))
        except (SourceError, StoreError) as error:
            yield OwnRows(reference, why=f"the source could not be read: {without_credentials(str(error))}")


def _rows(declared: DatasetDeclaration, reference: DatasetReference) -> list[dict[str, Any]]:
    keys = SourceKeys(find_source_files(declared.source), reference.key_column)
    return [_plain(row) for rows in keys.rows_of(reference.key_value) for row in rows.iter_rows(named=True)]


def _plain(value: Any) -> Any:  # noqa: ANN401 - whatever a parquet file holds
    """A value as JSON: times in ISO 8601, bytes in hex, and whatever JSON lacks as text."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    known = value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value))
    return value if known else str(value)


def as_text(value: Any) -> str:  # noqa: ANN401 - any JSON
    """A JSON value in one cell: a text as it is, nothing as nothing."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
