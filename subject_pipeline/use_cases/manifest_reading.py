"""The manifests of a store as verification sees them: their hashes by chunk, and which files they lie in."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote

from subject_pipeline.domain.chunks import ChunkLayout
from subject_pipeline.domain.manifest_hashes import manifest_hashes
from subject_pipeline.domain.staging import plan_groups
from subject_pipeline.storage.checkpoints import Files
from subject_pipeline.storage.manifest_snapshot import Snapshot, table_errors
from subject_pipeline.storage.manifest_table import TABLE
from subject_pipeline.storage.overlapping import at_once
from subject_pipeline.use_cases.store import SubjectStore


@dataclass(slots=True)
class ManifestReader:
    """The manifests at one version of the table; made anew to look again.

    Attributes:
        store: where they are.
        layout: the store's chunks.
        count: how many there are.
        files: the table's files of each chunk, as the store lists them.
    """

    store: SubjectStore
    layout: ChunkLayout
    count: int = 0
    files: dict[str, Files] = field(default_factory=dict)
    _hashes: dict[str, Mapping[str, str]] = field(default_factory=dict)
    _group_of: dict[str, Sequence[str]] = field(default_factory=dict)
    _kept: list[Sequence[str]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def open(cls, store: SubjectStore, layout: ChunkLayout, *, listed: bool) -> "ManifestReader":
        """Open the table at its latest version.

        Args:
            store: where the manifests are.
            layout: its chunks.
            listed: also look up which files each chunk lies in.

        Raises:
            StoreError: the store failed.
        """
        reader = cls(store, layout)

        def look(snapshot: Snapshot) -> int:
            reader.count = snapshot.count()
            if listed:
                reader.files = _files(store, snapshot)
            return reader.count

        store.table.read(look, 0)
        for group in plan_groups(reader.count, layout.count):
            names = layout.names[group.first : group.last + 1]
            reader._group_of.update(dict.fromkeys(names, names))
        return reader

    def hashes(self, chunk: str) -> Mapping[str, str]:
        """The hash of each manifest of a chunk, by candidate id.

        Several chunks are read at once, as many as memory holds well. Threads may ask, for chunks in about their order:
        one such group is kept, and the one before it where the store is not local.

        Raises:
            StoreError: the store failed.
        """
        if not self.count:
            return {}
        with self._lock:
            if chunk not in self._hashes:
                names = self._group_of[chunk]
                if len(self._kept) == at_once(self.store.objects, 2):
                    for name in self._kept.pop(0):
                        del self._hashes[name]
                self._hashes.update(self._read(names))
                self._kept.append(names)
            return self._hashes[chunk]

    def _read(self, names: Sequence[str]) -> Mapping[str, Mapping[str, str]]:
        found: dict[str, dict[str, str]] = {name: {} for name in names}
        rows = self.store.table.read(lambda snapshot: snapshot.rows(names), None)
        if rows is not None:
            for at, candidate_id, digest in zip(
                rows["chunk"], rows["candidate_id"], manifest_hashes(rows), strict=True
            ):
                found[at][candidate_id] = digest
        return found


def _files(store: SubjectStore, snapshot: Snapshot) -> dict[str, Files]:
    with table_errors("list the manifests' files"):
        live = snapshot.files()
    listed = {item.key: item for item in store.objects.list(f"{TABLE}/")}
    found: dict[str, list[list[str | int]]] = {}
    for path, chunk in sorted(live.select("path", "chunk").iter_rows()):
        item = listed.get(f"{TABLE}/{unquote(path)}")
        found.setdefault(chunk, []).append([path, item.size if item else -1, item.tag if item else ""])
    return dict(found)
