"""The manifests of a store as verification sees them: their hashes by chunk, and the files that they are in."""

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import unquote

import polars as pl

from subject_pipeline.candidates.staged import plan_groups
from subject_pipeline.checkpoints.leaves import Files
from subject_pipeline.errors import ManifestError, StoreError
from subject_pipeline.manifests.commits import table_errors
from subject_pipeline.manifests.frames import TABLE_SCHEMA, to_manifest
from subject_pipeline.manifests.hashes import manifest_hashes
from subject_pipeline.manifests.rows import PROBLEM, told
from subject_pipeline.manifests.snapshot import Snapshot
from subject_pipeline.manifests.table import ManifestTable
from subject_pipeline.objects.overlapping import at_once
from subject_pipeline.store.chunks import ChunkLayout
from subject_pipeline.store.layout import TABLE
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline.verification.manifest_verdicts import BrokenManifest

_BYTES_A_ROW = 8
"""Fewer bytes than a manifest takes in a file, so that memory easily holds those that are read at once."""


@dataclass(frozen=True, slots=True)
class ChunkManifests:
    """The manifests of one chunk.

    Attributes:
        hashes: of each manifest that keeps the rules of rows, by candidate id.
        broken: rows that break one, and files that are not the chunk's own.
    """

    hashes: dict[str, str] = field(default_factory=dict)
    broken: list[BrokenManifest] = field(default_factory=list)


@dataclass(slots=True)
class ManifestReader:
    """The manifests at one version of the table; constructed again to look again.

    Attributes:
        store: where they are.
        layout: the store's chunks.
        files: the table's files of each chunk, as the store lists them.
    """

    store: SubjectStore
    layout: ChunkLayout
    files: dict[str, Files] = field(default_factory=dict)
    _rows: dict[str, int] = field(default_factory=dict)
    _read: dict[str, "ChunkManifests | StoreError"] = field(default_factory=dict)
    _group_of: dict[str, Sequence[str]] = field(default_factory=dict)
    _kept: list[Sequence[str]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def open(cls, store: SubjectStore, layout: ChunkLayout) -> "ManifestReader":
        """Open the table at its latest version, and look up which files each chunk is in.

        Raises:
            StoreError: the store failed.
        """
        reader = cls(store, layout)

        def look(snapshot: Snapshot) -> None:
            reader.files = _files(store, snapshot, layout)
            claimed = Counter[str]()
            for file in snapshot.files():
                claimed[file.chunk] += file.claimed
            reader._rows = dict(claimed)

        ManifestTable(store).read(look, None)
        # By the files' own sizes: what the log says of them must not decide how much is read at once.
        size = sum(int(item[1]) for files in reader.files.values() for item in files)
        for group in plan_groups(size // _BYTES_A_ROW, layout.count):
            names = layout.names[group.first : group.last + 1]
            reader._group_of.update(dict.fromkeys(names, names))
        return reader

    @property
    def count(self) -> int:
        """How many rows there are: in chunks that were read as their files have it, in others as Delta's log says."""
        return sum(self._rows.values())

    def chunk(self, chunk: str) -> "ChunkManifests":
        """The manifests of a chunk.

        Several chunks are read at once, as many as memory easily holds. Threads may ask for chunks in about
        their order: one such group is kept, and the one before it if the store is not local.

        Raises:
            StoreError: the store failed.
        """
        with self._lock:
            if chunk not in self._read:
                names = self._group_of[chunk]
                if len(self._kept) == at_once(self.store.objects, 2):
                    for name in self._kept.pop(0):
                        del self._read[name]
                self._read.update(self._group(names))
                self._kept.append(names)
            found = self._read[chunk]
        if isinstance(found, StoreError):
            raise found
        return found

    def documents(self, chunk: str) -> Callable[[str], dict[str, Any] | None]:
        """Tells the JSON of a manifest as the table has it when first asked; None: there is none, or it is none.

        What it returns raises:
            StoreError: the store failed.
        """

        @cache
        def rows() -> pl.DataFrame:
            nobody = pl.DataFrame(schema=TABLE_SCHEMA)
            return ManifestTable(self.store).read(lambda now: now.judged_rows([chunk]), nobody)

        def document(candidate_id: str) -> dict[str, Any] | None:
            theirs = rows().filter(pl.col("candidate_id") == candidate_id)
            try:
                return to_manifest(theirs.row(0, named=True)).as_json() if theirs.height == 1 else None
            except ManifestError:
                return None

        return document

    def restricted(self, chunk: str) -> set[str]:
        """Whose manifest in a chunk says that a consent was withdrawn, or anything but that they are active.

        Raises:
            StoreError: the store failed.
        """
        scopes = (
            pl.col("consent").struct.field(scope).struct.field("status") for scope in ("general_pii", "biometric")
        )
        said = (pl.col("status") != "active", *(one.is_in(["withdrawn", "destroyed"]) for one in scopes))

        def look(now: Snapshot) -> pl.DataFrame:
            return now.rows([chunk], ["candidate_id", "status", "consent"], pl.any_horizontal(said))

        found = ManifestTable(self.store).read(look, pl.DataFrame(schema={"candidate_id": pl.String}))
        return set(found["candidate_id"])

    def _group(self, names: Sequence[str]) -> Mapping[str, "ChunkManifests | StoreError"]:
        """The manifests of some chunks, read together; if that fails, each by itself, so that only that one fails."""
        try:
            return self._chunks(names)
        except StoreError as error:
            if len(names) == 1:
                return {names[0]: error}
        return {name: found for one in names for name, found in self._group([one]).items()}

    def _chunks(self, names: Sequence[str]) -> Mapping[str, "ChunkManifests"]:
        found = {name: ChunkManifests() for name in names}

        def read(snapshot: Snapshot) -> pl.DataFrame:
            for name in names:
                found[name].broken[:] = [
                    BrokenManifest(None, "misplaced", f"{file.stray}") for file in snapshot.strays(name)
                ]
            return snapshot.judged_rows(names)

        rows = ManifestTable(self.store).read(read, pl.DataFrame(schema={**TABLE_SCHEMA, PROBLEM: pl.String}))
        self._rows.update({**dict.fromkeys(names, 0), **dict(rows.group_by("chunk").len().iter_rows())})
        sound = pl.col(PROBLEM).is_null()
        for (at,), fine in rows.filter(sound).partition_by("chunk", as_dict=True).items():
            found[at].hashes.update(zip(fine["candidate_id"].to_list(), manifest_hashes(fine), strict=True))
        for at, candidate_id, problem in rows.filter(~sound).select("chunk", "candidate_id", PROBLEM).iter_rows():
            found[at].broken.append(BrokenManifest(candidate_id, *told(problem)))
        return found


def _files(store: SubjectStore, snapshot: Snapshot, layout: ChunkLayout) -> dict[str, Files]:
    with table_errors("list the manifests' files"):
        live = snapshot.files()
    listed = {item.key: item for item in store.objects.list(f"{TABLE}/")}
    found: dict[str, list[list[str | int]]] = {}
    known = set(layout.names)
    for file in live:
        chunk = file.chunk if file.chunk in known else layout.names[0]  # as `Snapshot.strays` has it
        key = f"{TABLE}/{unquote(file.path)}"
        item = listed.get(key)
        found.setdefault(chunk, []).append([key, item.size if item else -1, item.tag if item else ""])
    return {chunk: sorted(files) for chunk, files in found.items()}
