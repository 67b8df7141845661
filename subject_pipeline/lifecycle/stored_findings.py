"""Findings that name people: lists in the store, so that no report, event log or error has to name anybody."""

import datetime as dt
import hashlib
import io
import json
from collections.abc import Sequence
from typing import Any

import polars as pl

from subject_pipeline.errors import UnknownFindingsError
from subject_pipeline.objects.protocol import ObjectStore
from subject_pipeline.store.layout import FINDINGS
from subject_pipeline.verification.questionable import Questionable

_TIME = "%Y%m%dT%H%M%SZ"
_DIGITS = 8


def store_questionable(objects: ObjectStore, found: Sequence[Questionable], now: dt.datetime) -> str | None:
    """List accesses that should not have been, one a line; the same list again is the object that is there already.

    Returns:
        The key of the list; None: there is nothing to list.

    Raises:
        StoreError: the store failed.
    """
    if not found:
        return None
    lines = [json.dumps({"kind": "questionable", **one._asdict()}, ensure_ascii=False) for one in sorted(found)]
    data = "".join(f"{line}\n" for line in lines).encode()
    ending = f"-{hashlib.sha256(data).hexdigest()[:_DIGITS]}.jsonl"
    for item in objects.list(FINDINGS):
        if item.key.endswith(ending) and objects.get(item.key) == data:
            return item.key
    key = f"{FINDINGS}{now.astimezone(dt.UTC).strftime(_TIME)}{ending}"
    objects.create(key, data)
    return key


def read_findings(objects: ObjectStore, path: str) -> list[dict[str, Any]]:
    """The findings of one list, `.jsonl` or `.parquet`.

    Args:
        objects: the store's.
        path: its key, with or without `findings/` before it.

    Raises:
        UnknownFindingsError: there is no such list, or it is none.
        StoreError: the store failed.
    """
    key = path if path.startswith(FINDINGS) else f"{FINDINGS}{path}"
    data = objects.get(key)
    if data is None:
        there = ", ".join(item.key for item in list(objects.list(FINDINGS))[-_SHOWN:])
        raise UnknownFindingsError(f"no findings are at {key!r}; the latest there are: {there or 'none'}")
    try:
        if key.endswith(".parquet"):
            rows = pl.read_parquet(io.BytesIO(data)).to_dicts()
            return [json.loads(json.dumps(row, default=str)) for row in rows]
        return [json.loads(line) for line in data.splitlines()]
    except (ValueError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise UnknownFindingsError(f"{key!r} is no list of findings: {type(error).__name__}") from error


_SHOWN = 5
