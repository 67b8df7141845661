"""Commits to the manifests' table: settled by reading the log back, and on disk when they return."""

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import unquote

import polars as pl
from deltalake.exceptions import CommitFailedError, DeltaError

from subject_pipeline.errors import ConflictError, OutcomeUnknownError, StoreError, VanishedFileError
from subject_pipeline.objects.backends import reason
from subject_pipeline.objects.durability import sync_file, sync_folders
from subject_pipeline.store.layout import TABLE
from subject_pipeline.store.opened import SubjectStore


class Commit:
    """One landed commit: its version and the files it added, relative to the table."""

    __slots__ = ("added", "version")

    def __init__(self, version: int, added: tuple[str, ...]) -> None:
        self.version = version
        self.added = added


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
            try:
                landed = self._commit_of(operation, since)
            except StoreError as second:
                raise OutcomeUnknownError(
                    f"cannot tell whether a commit to the manifests landed: {error}; then {second}"
                ) from error
            if landed is None:
                raise
            self._sync(landed)
        else:
            if self._folder is not None:
                self._sync(self._commit_of(operation, since))

    def _commit_of(self, operation: str, since: int) -> Commit | None:
        """The commit that carries an operation's id, among those after version `since`."""
        version = since + 1
        while (data := self._objects.get(f"{TABLE}/_delta_log/{version:020d}.json")) is not None:
            actions = [json.loads(line) for line in data.splitlines()]
            if any(action.get("commitInfo", {}).get("operationId") == operation for action in actions):
                added = tuple(unquote(action["add"]["path"]) for action in actions if "add" in action)
                return Commit(version, added)
            version += 1
        return None

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
