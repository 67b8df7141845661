"""Reports in the store, `reports/<time>/`: create-only, so that no report ever takes the place of another."""

import datetime as dt
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count, islice
from typing import Any

from subject_pipeline.errors import ConflictError, StoreError
from subject_pipeline.objects.protocol import ObjectStore
from subject_pipeline.store.layout import REPORTS

CONTENTS = "contents.json"
_NAMES = 100


@dataclass(frozen=True, slots=True)
class StoredReport:
    """A report as it lies in the store.

    Attributes:
        name: `20261124T031500Z`, with `-2` and so on where a second one is of the same second.
        keys: of its objects, sorted.
    """

    name: str
    keys: tuple[str, ...]

    def key(self, file: str) -> str:
        """Where one of its files lies."""
        return f"{REPORTS}{self.name}/{file}"


def contents(about: Mapping[str, Any], files: Mapping[str, bytes]) -> bytes:
    """A report's `contents.json`: what it is about, then size and SHA-256 of each file."""
    listed = {
        name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in sorted(files.items())
    }
    text = json.dumps({"schema": "subject_report.v1", **about, "files": listed}, ensure_ascii=False, indent=1)
    return text.encode() + b"\n"


def write_report(
    objects: ObjectStore, time: dt.datetime, about: Mapping[str, Any], files: Mapping[str, bytes]
) -> StoredReport:
    """Store a report under a name of its own; all of it is on disk when this returns.

    `contents.json` is written first and takes the name. Since it holds the hash of every file, two writers of one
    second either take two names or write the same bytes.

    Args:
        objects: the store.
        time: of the report, UTC.
        about: what `contents.json` says of it.
        files: by name.

    Raises:
        ConflictError: a hundred reports are of this second.
        StoreError: the store failed; a folder that has `contents.json` and lacks a file is what is left of it.
    """
    index = contents(about, files)
    for name in islice(_names(time), _NAMES):
        stored = StoredReport(name, tuple(sorted(f"{REPORTS}{name}/{file}" for file in (*files, CONTENTS))))
        taken = next(objects.list(f"{REPORTS}{name}/"), None) is not None
        if taken or not objects.create(stored.key(CONTENTS), index):
            continue
        for file, data in files.items():
            if not objects.create(stored.key(file), data):
                raise StoreError(f"another object stands in the place of {stored.key(file)!r}")
        return stored
    raise ConflictError(f"{_NAMES} reports are of {time:%Y-%m-%d %H:%M:%S} UTC already")


def _names(time: dt.datetime) -> Iterator[str]:
    first = time.astimezone(dt.UTC).strftime("%Y%m%dT%H%M%SZ")
    yield first
    yield from (f"{first}-{number}" for number in count(2))
