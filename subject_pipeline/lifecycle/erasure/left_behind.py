"""What an erasure left behind: files of the table that went, and staged parts that were written again."""

import contextlib
import datetime as dt
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote

import orjson

from subject_pipeline.candidates import staged_parts
from subject_pipeline.lifecycle.erasure.traces import Traces
from subject_pipeline.manifests.table import ManifestTable
from subject_pipeline.objects.protocol import ObjectInfo
from subject_pipeline.store.layout import STAGING, TABLE
from subject_pipeline.store.opened import SubjectStore

_LOG = f"{TABLE}/_delta_log/"
_is_commit = re.compile(r"[0-9]{20}\.json").fullmatch


@dataclass(frozen=True, slots=True)
class LeftBehind:
    """The table and the staging at the time of a look.

    Attributes:
        version: the table's.
        removed: by chunk, the versions that dropped files which are gone from the store, as far as Delta's log goes.
        staged: what the look listed below `staging/`.
    """

    version: int
    removed: Mapping[str, list[int]] = field(repr=False)
    staged: Sequence[ObjectInfo] = field(repr=False)

    @classmethod
    def of(cls, store: SubjectStore, traces: Traces) -> "LeftBehind":
        """What there is.

        Raises:
            StoreError: the store failed.
        """
        snapshot = ManifestTable(store).snapshot()
        removed: dict[str, list[int]] = {}
        for key in traces.listed:
            name = key.removeprefix(_LOG)
            if key.startswith(_LOG) and _is_commit(name):
                for path in _dropped(store.objects.get(key) or b""):
                    if f"{TABLE}/{path}" not in traces.listed:
                        chunk = path.partition("/")[0].removeprefix("chunk=")
                        removed.setdefault(chunk, []).append(int(name.removesuffix(".json")))
        staged = [item for key, item in traces.listed.items() if key.startswith(STAGING)]
        return cls(snapshot.version if snapshot else 0, removed, staged)

    def files_removed(self, chunk: str, since: int) -> int:
        """How many files of a chunk the table dropped after a version, that are gone."""
        return sum(version > since for version in self.removed.get(chunk, ()))

    def parts_rewritten(self, chunk: str, since: str) -> int:
        """How many staged parts that may hold people of a chunk were written after a time."""
        then = dt.datetime.fromisoformat(since)
        return sum(item.modified >= then and staged_parts.may_hold(item.key, chunk) for item in self.staged)


def _dropped(commit: bytes) -> Iterator[str]:
    """The paths of the files that a commit of Delta's log drops; of one that is damaged, none."""
    for line in commit.splitlines():
        with contextlib.suppress(orjson.JSONDecodeError, LookupError, TypeError):
            yield unquote(orjson.loads(line)["remove"]["path"])
