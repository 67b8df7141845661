from collections.abc import Callable
from pathlib import Path

import pytest

from subject_pipeline.domain import staging as staging_rules
from subject_pipeline.domain.key_ring import KeyRing
from subject_pipeline.storage.key_ring_file import KeyRingFile, create_ring
from subject_pipeline.use_cases.store import SubjectStore
from subject_pipeline_tests.use_cases.audit_stores import CHUNKS, HookedLocal, Place, with_objects

ManyGroups = Callable[[int], None]


@pytest.fixture
def many_groups(monkeypatch: pytest.MonkeyPatch) -> ManyGroups:
    """Lets a few rows make several chunk groups, as hundreds of thousands would."""

    def rows_per_group(rows: int) -> None:
        monkeypatch.setattr(staging_rules, "ROWS_PER_GROUP", rows)

    return rows_per_group


def listing(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder: files with their bytes, folders with None."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture
def ring(tmp_path: Path) -> KeyRingFile:
    """A key ring of one key that signs."""
    path = tmp_path / "keys" / "ring.json"
    create_ring(path, KeyRing.new(bytes(range(32)), bytes(range(32, 64))))
    return KeyRingFile(path)


@pytest.fixture
def place(tmp_path: Path, ring: KeyRingFile) -> Place:
    """A local store of four chunks with hooks, and its keys."""
    store = SubjectStore.at(str(tmp_path / "store"), wanted_chunks=CHUNKS)
    objects = HookedLocal(tmp_path / "store")
    hooked = with_objects(store, objects)
    hooked.layout_or_create()
    return Place(hooked, objects, ring)
