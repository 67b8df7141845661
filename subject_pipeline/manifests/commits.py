"""Commits to the manifests' table: settled by reading the log back, and on disk when they return."""

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import polars as pl
from deltalake.exceptions import CommitFailedError, DeltaError

from subject_pipeline.errors import ConflictError, OutcomeUnknownError, StoreError, VanishedFileError
from subject_pipeline.objects.backends import reason
from subject_pipeline.objects.durability import sync_file, sync_folders
from subject_pipeline.store.layout import TABLE
from subject_pipeline.store.opened import SubjectStore

_FILES = {"add", "remove"}
_PLAIN = _FILES | {"commitInfo"}
_PARTITION = re.compile(r"chunk=([^/]+)/")


@dataclass(frozen=True, slots=True)
class Commit:
    """One landed commit.

    Attributes:
        version: the table's after it.
        operation: the id that the commit carries; empty where it carries none.
        added: the files that it added, relative to the table.
        chunks: those whose files it added or removed.
        plain: it did nothing but that.
    """

    version: int
    operation: str
    added: tuple[str, ...]
    chunks: frozenset[str]
    plain: bool

    @classmethod
    def parse(cls, version: int, data: bytes) -> "Commit":
        """A commit of its JSON lines.

        Raises:
            ValueError: it is not JSON, or not that of a commit.
        """
        actions = [json.loads(line) for line in data.splitlines()]
        paths = [(kind, unquote(action[kind]["path"])) for action in actions for kind in _FILES & action.keys()]
        places = [_PARTITION.match(path) for _, path in paths]
        operations = [action["commitInfo"].get("operationId", "") for action in actions if "commitInfo" in action]
        return cls(
            version,
            str(operations[0]) if operations else "",
            tuple(path for kind, path in paths if kind == "add"),
            frozenset(place[1] for place in places if place),
            all(places) and all(action.keys() <= _PLAIN for action in actions),
        )

    def concerns(self, chunks: AbstractSet[str]) -> bool:
        """Whether what was decided about these chunks before this commit may be wrong after it."""
        return not self.plain or not self.chunks.isdisjoint(chunks)


class Commits:
    """Commits to one store's table."""

    def __init__(self, store: SubjectStore) -> None:
        folder = store.location.local_path
        self._objects = store.objects
        self._folder = None if folder is None else folder / TABLE

    def settle(self, operation: str, since: int, commit: Callable[[], Any]) -> None:
        """Run a commit, and learn by reading back whether it landed where it says that it did not.

        Args:
            operation: the id that the commit carries in its metadata.
            since: the version that it was decided against.
            commit: what commits.

        Raises:
            ConflictError: another writer committed meanwhile; nothing was written.
            OutcomeUnknownError: it could not be learnt whether the commit landed.
            StoreError: the store failed; nothing was written.
        """
        try:
            with table_errors("commit to the manifests"):
                commit()
        except StoreError as error:
            landed = self._landed(operation, since, error)
            if landed is None:
                raise
            self._sync(landed)
        else:
            if self._folder is not None:
                self._sync(self._landed(operation, since))

    def between(self, since: int, last: int) -> list[Commit]:
        """The commits after one version, up to another.

        Raises:
            StoreError: the store failed, or one of them is gone or damaged.
        """
        found = [self._read(version) for version in range(since + 1, last + 1)]
        if None in found:
            raise StoreError(f"a commit to the manifests between versions {since} and {last} is gone")
        return [one for one in found if one is not None]

    def _landed(self, operation: str, since: int, error: StoreError | None = None) -> Commit | None:
        """The commit that carries an operation's id, among those after version `since`.

        Raises:
            OutcomeUnknownError: the log cannot be read.
        """
        version = since + 1
        try:
            while (commit := self._read(version)) is not None:
                if commit.operation == operation:
                    return commit
                version += 1
        except StoreError as second:
            first = f"{error}; then " if error else ""
            raise OutcomeUnknownError(f"cannot tell whether a commit to the manifests landed: {first}{second}") from (
                error or second
            )
        return None

    def _read(self, version: int) -> Commit | None:
        data = self._objects.get(f"{TABLE}/_delta_log/{version:020d}.json")
        try:
            return None if data is None else Commit.parse(version, data)
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            raise StoreError(f"cannot read version {version} of the manifests' table: it is damaged") from error

    def _sync(self, commit: Commit | None) -> None:
        if commit is None or self._folder is None:
            return
        files = [self._folder / name for name in commit.added]
        log = self._folder / "_delta_log"
        try:
            for file in files:
                with contextlib.suppress(FileNotFoundError):  # it was compacted and vacuumed meanwhile
                    sync_file(file)
            sync_file(log / f"{commit.version:020d}.json")
            sync_folders([log, self._folder, *(file.parent for file in files)])
        except OSError as error:
            raise OutcomeUnknownError(f"committed to the manifests, but could not flush it to disk: {error}") from error


@contextlib.contextmanager
def table_errors(doing: str) -> Iterator[None]:
    """Turn what delta-rs and Polars raise into our errors; a file that is gone was vacuumed under the reader."""
    try:
        yield
    except CommitFailedError as error:
        raise ConflictError(f"cannot {doing}: another writer won: {reason(error)}") from error
    except (DeltaError, OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        text = str(error).lower()
        # A file that is gone was vacuumed after this version was opened.
        if isinstance(error, FileNotFoundError) or "not found" in text or "no such file" in text:
            raise VanishedFileError(f"cannot {doing}: a file is gone: {reason(error)}") from error
        raise StoreError(f"cannot {doing}: {reason(error)}") from error
