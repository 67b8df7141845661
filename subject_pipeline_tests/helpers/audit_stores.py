"""Stores to audit: hooks around every call of an object store, events, and a log's rows read without our own code."""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from subject_pipeline.audit.events import AccessEvent
from subject_pipeline.audit.log import AuditLog
from subject_pipeline.changes.evidence import ManifestEvidence
from subject_pipeline.checkpoints.trusted_keys import TrustedKeys
from subject_pipeline.errors import StoreError
from subject_pipeline.keys.ring import KeyRing
from subject_pipeline.keys.ring_file import KeyRingFile, create_ring
from subject_pipeline.manifests.manifest import SubjectManifest
from subject_pipeline.objects.local import LocalObjects
from subject_pipeline.objects.protocol import ObjectStore
from subject_pipeline.objects.remote import RemoteObjects
from subject_pipeline.registry.subjects import SubjectRegistry
from subject_pipeline.store.catalog import Catalog
from subject_pipeline.store.chunks import ChunkLayout
from subject_pipeline.store.ids import storage_key
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline.verification.public_keys import PublicKeys
from subject_pipeline.verification.whole_store import Verification, verify

CHUNKS = 4
LAYOUT = ChunkLayout(CHUNKS)
MONTH = "2026-06"
JUNE = f"{MONTH}-30T12:00:00.000000Z"

Around = Callable[[str, str, Callable[[], Any]], Any]
"""Called with an operation, its key and what does it; returns what the caller is to get."""


def _as_it_is(_operation: str, _key: str, run: Callable[[], Any]) -> Any:
    return run()


class Hooks:
    """Mixed into an object store: notes every call, and lets a test stand around it."""

    around: Around = staticmethod(_as_it_is)

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.calls: list[tuple[str, str]] = []

    def _do(self, operation: str, key: str, run: Callable[[], Any]) -> Any:
        self.calls.append((operation, key))
        return self.around(operation, key, run)

    def get(self, key: str, *, limit: int | None = None) -> bytes | None:
        """See `ObjectStore.get`."""
        found: bytes | None = self._do("get", key, lambda: super(Hooks, self).get(key, limit=limit))  # type: ignore[misc]
        return found

    def create(self, key: str, data: bytes) -> bool:
        """See `ObjectStore.create`."""
        created: bool = self._do("create", key, lambda: super(Hooks, self).create(key, data))  # type: ignore[misc]
        return created

    def replace(self, key: str, data: bytes) -> None:
        """See `ObjectStore.replace`."""
        self._do("replace", key, lambda: super(Hooks, self).replace(key, data))  # type: ignore[misc]

    def delete(self, key: str) -> None:
        """See `ObjectStore.delete`."""
        self._do("delete", key, lambda: super(Hooks, self).delete(key))  # type: ignore[misc]

    def list(self, prefix: str, *, after: str = "") -> Any:
        """See `ObjectStore.list`."""
        return self._do("list", prefix, lambda: super(Hooks, self).list(prefix, after=after))  # type: ignore[misc]

    def counted(self, operation: str, below: str = "") -> int:
        """How many calls of one kind there were, below a prefix."""
        return sum(done == operation and key.startswith(below) for done, key in self.calls)


class HookedLocal(Hooks, LocalObjects):
    """Local files with hooks."""


class HookedMemory(Hooks, RemoteObjects):
    """A bucket in memory with hooks."""


def failing(operation: str, part: str, error: Exception) -> Around:
    """The store that fails one operation on keys that hold a text, before it does anything."""

    def around(done: str, key: str, run: Callable[[], Any]) -> Any:
        if done == operation and part in key:
            raise error
        return run()

    return around


def with_objects(store: SubjectStore, objects: ObjectStore) -> SubjectStore:
    """The same store seen through other objects."""
    return replace(store, objects=objects, catalog=Catalog(objects))


def folder_of(store: SubjectStore) -> Path:
    """A local store's folder."""
    assert store.location.local_path is not None
    return store.location.local_path


@dataclass(frozen=True, slots=True)
class Place:
    """Where one thing after another is tried: a store with hooks and its keys.

    Attributes:
        objects: the hooks of `store`.
    """

    store: SubjectStore
    objects: HookedLocal

    @property
    def ring(self) -> KeyRingFile:
        """The store's."""
        return self.store.ring

    @property
    def folder(self) -> Path:
        """The store's."""
        return folder_of(self.store)

    def fresh_ring(self) -> KeyRingFile:
        """The ring's file as another process would open it."""
        return KeyRingFile(self.ring.path)

    def fresh_store(self) -> SubjectStore:
        """The store with the ring as another process would open it."""
        return self.store.with_ring(self.fresh_ring())

    def log(self) -> AuditLog:
        """A writer that knows nothing yet, as after a restart."""
        return AuditLog(self.fresh_store())

    def evidence(self) -> ManifestEvidence:
        """Announces changes, as another process would."""
        return ManifestEvidence(self.fresh_store(), "tester")

    def registry(self) -> SubjectRegistry:
        """The registry, as another process would open it."""
        return SubjectRegistry(self.store, self.evidence())

    def append(self, *events: AccessEvent) -> list[bool]:
        """Append by a new writer; says which events were new."""
        log = self.log()
        done = [result.new for result in log.append(events)]
        log.close()
        return done

    def verify(self, **options: Any) -> Verification:
        """A verification, as another process does it."""
        return verify(SubjectStore.at(str(self.folder), ring=self.fresh_ring()), **options)

    def verify_publicly(self, **options: Any) -> Verification:
        """A verification by somebody who has the verifier lines of the ring, and nothing else."""
        layout = self.store.layout()
        assert layout is not None
        lines = TrustedKeys.of_ring(self.fresh_ring().ring(), layout.log_id).lines
        return verify(SubjectStore.at(str(self.folder)), public=PublicKeys.of(lines), **options)


def place_in(folder: Path) -> Place:
    """A local store of four chunks with hooks, and its keys; what is there already stays."""
    path = folder / "keys" / "ring.json"
    store = SubjectStore.at(str(folder / "store"), wanted_chunks=CHUNKS, ring=KeyRingFile(path))
    objects = HookedLocal(folder / "store")
    hooked = with_objects(store, objects)
    hooked.layout_or_create()
    if not path.exists():
        create_ring(path, KeyRing.new(bytes(range(32)), bytes(range(32, 64))))
    return Place(hooked, objects)


def people(chunk: int | str, count: int) -> list[str]:
    """The first ids that live in a chunk of four."""
    name = chunk if isinstance(chunk, str) else LAYOUT.names[chunk]
    ids = (f"W-{number}" for number in range(100_000))
    return list(islice((one for one in ids if LAYOUT.chunk_of(storage_key(one)) == name), count))


def event(candidate_id: str, event_id: str, **changes: Any) -> AccessEvent:
    """An event with nothing optional."""
    parts = {"ts": JUNE, "actor": "ada", "action": "read", "result": "success", **changes}
    return AccessEvent(candidate_id, event_id, **parts)


def manifest(candidate_id: str, **fields: Any) -> SubjectManifest:
    """A manifest at a fixed time."""
    return SubjectManifest.parse(
        {
            "schema": "subject_manifest.v1",
            "candidate_id": candidate_id,
            "created_at": JUNE,
            "updated_at": JUNE,
            "retention": {"general_pii_until": JUNE},
            **fields,
        }
    )


def rows_of(objects: ObjectStore) -> list[dict[str, Any]]:
    """Every row of a store's logs, in the logs' order, read with the standard library."""
    found = []
    for item in objects.list("audit/"):
        data = objects.get(item.key)
        assert data is not None
        found += [json.loads(line)["row"] for line in data.splitlines()[1:]]
    return found


def event_ids(objects: ObjectStore) -> Counter[str]:
    """How often each event is in a store's logs."""
    return Counter(row["event_id"] for row in rows_of(objects))


def segments_of(objects: ObjectStore, chunk: str) -> list[str]:
    """The keys of a chunk's segments."""
    return [item.key for item in objects.list(f"audit/{chunk}/")]


def found_by(report: Verification) -> dict[str, Any]:
    """What a verification found, as plain values to compare."""
    return {
        "chains": {one.candidate_id: one.kind for one in report.broken_chains},
        "logs": {(one.chunk, one.kind) for one in report.broken_logs},
        "manifests": {one.candidate_id: one.kind for one in report.broken_manifests},
        "unreadable": report.unreadable,
    }


NOTHING: dict[str, Any] = {"chains": {}, "logs": set(), "manifests": {}, "unreadable": 0}


def assert_sound(place: Place, **options: Any) -> Verification:
    """A full verification finds nothing."""
    report = place.verify(**options)
    assert found_by(report) == NOTHING, found_by(report)
    assert report.sound
    return report


def copied(folder: Path, to: Path) -> Path:
    """A copy of a folder, in place of what is there."""
    if to.exists():
        shutil.rmtree(to)
    shutil.copytree(folder, to)
    return to


def holding(folder: Path, text: bytes) -> list[str]:
    """The files below a folder whose bytes or names hold a text."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [str(path) for path in files if text in path.read_bytes() or text in str(path).encode()]


class PlugPulledError(StoreError):
    """What a test raises where a process would have been killed."""
