"""Exporting a review: the drafts of everybody who waits, as a file for a spreadsheet program or any other."""

import datetime as dt
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import polars as pl

from subject_pipeline.errors import ConfigurationError
from subject_pipeline.lifecycle.lists.drafts import DRAFT_SCHEMA, Export, ReviewKind, drafts
from subject_pipeline.lifecycle.lists.files import CSV, PARQUET, check_ending, write_frames
from subject_pipeline.lifecycle.lists.life_columns import LIFE_COLUMNS, Frames
from subject_pipeline.lifecycle.lists.reading import read_manifests
from subject_pipeline.lifecycle.lists.subjects import Conditions
from subject_pipeline.registry.vanished import vanished
from subject_pipeline.store.opened import SubjectStore

_AGE = re.compile(r"([0-9]{1,5})d")


def parse_age(text: str) -> dt.timedelta:
    """What `90d` means.

    Raises:
        ConfigurationError: it is not of this form.
    """
    match = _AGE.fullmatch(text)
    if match is None:
        raise ConfigurationError(f"--older-than {text!r}: give days, such as 90d")
    return dt.timedelta(days=int(match[1]))


def export_review(store: SubjectStore, path: Path, export: Export, conditions: Conditions) -> int:
    """Write a review to a file; returns the number of drafts.

    Args:
        store: whose subjects.
        path: `.csv` or `.parquet`.
        export: which review.
        conditions: whom it is about. For `vanished`, `dataset` is the one whose source they are gone from; without it,
            each that is registered is looked at.

    Raises:
        ConfigurationError: the file's ending, or a condition's word.
        DatasetError: `vanished`: no such dataset is registered.
        SourceError: the file cannot be written, or a source not be read.
        StoreError: the store failed.
    """
    check_ending(path, (CSV, PARQUET))
    gone = _gone(store, conditions.dataset) if export.kind == ReviewKind.VANISHED else None

    def write(frames: Frames) -> Iterator[pl.DataFrame]:
        for rows in conditions.met(frames, export.now):
            if gone is None:
                yield drafts(rows, export)
                continue
            for dataset, ids in gone.items():
                yield drafts(rows.join(ids, on="candidate_id", how="semi", maintain_order="left"), export, dataset)

    return read_manifests(store, LIFE_COLUMNS, lambda frames: write_frames(path, write(frames), DRAFT_SCHEMA))


def _gone(store: SubjectStore, dataset: str | None) -> Mapping[str, pl.DataFrame]:
    """Everyone who is gone from the source of a dataset, or of each that is registered."""
    return {name: vanished(store, name) for name in ([dataset] if dataset is not None else store.catalog.names())}
