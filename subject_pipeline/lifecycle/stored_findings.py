"""Findings that name people: lists in the store, so that no report, event log or error has to name anybody.

A run of Dagster lists what each of its assets found, `findings/<run id>/<asset>.parquet`; `audit verify` at a terminal
lists accesses, `findings/<time>-<digits>.jsonl`. Both go after thirty days.
"""

import datetime as dt
import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from subject_pipeline.errors import UnknownFindingsError
from subject_pipeline.objects.protocol import ObjectStore
from subject_pipeline.store.layout import FINDINGS, findings_key
from subject_pipeline.verification.questionable import Questionable

KEPT = dt.timedelta(days=30)
MOST_LISTED = 10_000
"""Findings of one kind of check in one list; all are counted."""

_TIME = "%Y%m%dT%H%M%SZ"
_DIGITS = 8
_SHOWN = 5

Listed = Mapping[str, str | int]
"""One finding, a value a column; those that a finding does not have are left out."""


def store_findings(objects: ObjectStore, run_id: str, asset: str, found: Iterable[Listed]) -> str | None:
    """List what one asset of one run found, a row each, in place of what an earlier attempt of the run listed.

    Returns:
        The key of the list; None: there is nothing to list.

    Raises:
        StoreError: the store failed.
    """
    rows = [{name: _storable(value) for name, value in one.items()} for one in found]
    if not rows:
        return None
    buffer = io.BytesIO()
    pl.DataFrame(rows, infer_schema_length=None).write_parquet(buffer)
    key = findings_key(run_id, asset)
    objects.replace(key, buffer.getvalue())
    return key


def _storable(value: str | int) -> str | int:
    """A text that parquet takes: a file's name may hold bytes that are no UTF-8."""
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value


def remove_old_findings(objects: ObjectStore, now: dt.datetime) -> int:
    """Delete the lists that are older than thirty days; how many there were.

    Raises:
        StoreError: the store failed; run it again.
    """
    old = [item.key for item in objects.list(FINDINGS) if item.modified < now - KEPT]
    for key in old:
        objects.delete(key)
    return len(old)


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
        raise UnknownFindingsError(
            f"no findings are at {key!r}; the latest there are: {there or 'none'}. Lists are removed after "
            f"{KEPT.days} days: run again what found something, and it lists it again"
        )
    try:
        if key.endswith(".parquet"):
            rows = pl.read_parquet(io.BytesIO(data)).to_dicts()
            said = [{name: value for name, value in row.items() if value is not None} for row in rows]
            return [json.loads(json.dumps(row, default=str)) for row in said]
        return [json.loads(line) for line in data.splitlines()]
    except (ValueError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise UnknownFindingsError(f"{key!r} is no list of findings: {type(error).__name__}") from error
