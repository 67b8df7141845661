import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from deltalake import write_deltalake

from subject_pipeline.changes.current import UNREADABLE, ChunkView, CurrentManifests
from subject_pipeline.errors import StoreError
from subject_pipeline.manifests.table import ManifestTable
from subject_pipeline_tests.helpers.audit_stores import LAYOUT, failing, people
from subject_pipeline_tests.helpers.gated import Gated, gated_in

A, B = people(0, 2)
ELSEWHERE = people(1, 1)[0]
CHUNK, OTHER = LAYOUT.names[0], LAYOUT.names[1]


@pytest.fixture
def gated(tmp_path: Path) -> Gated:
    """A store with two people in one chunk and one in another."""
    return gated_in(tmp_path, A, B, ELSEWHERE)


@pytest.fixture
def current(gated: Gated) -> CurrentManifests:
    """Reads the store by a log that is kept."""
    return CurrentManifests(gated.place.log())


def view(current: CurrentManifests, before: ChunkView | None = None) -> ChunkView:
    """A view of the chunk."""
    return current.views([CHUNK], {} if before is None else {CHUNK: before})[CHUNK]


@pytest.mark.long
def test_a_view_knows_manifests_and_whoever_has_none(gated: Gated, current: CurrentManifests) -> None:
    """With the last registry row of each, and the table's version."""
    gated.withdraw(A)
    made = view(current)
    known, other = made.look(A), made.look(B)
    assert known is not None
    assert other is not None
    assert known.document == gated.place.registry().get(A).as_json()
    assert (known.last, other.last, made.look("nobody")) == (0, -1, (None, -1, True))
    latest = ManifestTable(gated.place.store).snapshot()
    assert latest is not None
    assert made.stored.version == latest.version


@pytest.mark.long
def test_a_later_view_keeps_what_has_not_changed(gated: Gated, current: CurrentManifests) -> None:
    """Rows are read again where the chunk's files changed, and only then; a newer decision is always seen."""
    first = view(current)
    first.look(B)
    gated.put(ELSEWHERE, status="restricted")
    second = view(current, first)
    assert second.stored.rows is first.stored.rows
    assert second.stored.version == first.stored.version + 1
    assert second.known == first.known
    gated.withdraw(A)
    third = view(current, second)
    assert third.stored.rows is not second.stored.rows
    known = third.look(A)
    assert known is not None
    assert known.document is not None
    assert known.document["consent"]["general_pii"]["status"] == "withdrawn"


def test_what_the_log_has_before_the_table_is_settled_in_memory(
    gated: Gated, current: CurrentManifests, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is written; of the others nothing changes."""
    with monkeypatch.context() as patch:
        patch.setattr("subject_pipeline.manifests.snapshot.Snapshot.upsert", _killed)
        with pytest.raises(StoreError):
            gated.withdraw(A)
    made = view(current)
    assert made.look(A) is None
    gated.place.objects.calls.clear()
    current.settle(CHUNK, made, [A])
    known = made.look(A)
    assert known is not None
    assert known.document is not None
    assert (known.document["consent"]["general_pii"]["status"], known.last) == ("withdrawn", 0)
    assert not [call for call in gated.place.objects.calls if call[0] in {"create", "replace", "delete"}]


def _killed(*_: Any) -> None:
    raise StoreError("killed")


def test_one_chunk_that_cannot_be_read_hides_no_other(gated: Gated, current: CurrentManifests) -> None:
    """Neither where its files are damaged, nor where its log is."""
    gated.withdraw(A)
    for path in gated.place.folder.glob(f"subjects/chunk={OTHER}/*.parquet"):
        path.write_bytes(b"damaged")
    assert set(current.views([CHUNK, OTHER], {})) == {CHUNK}
    gated.place.objects.around = failing("get", f"audit/{CHUNK}", StoreError("no"))
    assert set(CurrentManifests(gated.place.log()).views([CHUNK, OTHER], {})) == set()


def test_a_table_that_cannot_be_opened_is_not_asked_chunk_by_chunk(
    gated: Gated, current: CurrentManifests, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its failure is the answer."""
    asked: list[str] = []

    def snapshot(_: ManifestTable) -> None:
        asked.append("opened")
        raise StoreError("down")

    monkeypatch.setattr(ManifestTable, "snapshot", snapshot)
    with pytest.raises(StoreError, match="down"):
        current.views(list(LAYOUT.names), {})
    assert asked == ["opened"]


def test_a_row_that_breaks_a_rule_is_no_manifest(gated: Gated, current: CurrentManifests) -> None:
    """Anyone who is named by it cannot be read; the others can."""
    snapshot = ManifestTable(gated.place.store).snapshot()
    assert snapshot is not None
    rows = snapshot.rows([CHUNK])
    write_deltalake(str(gated.place.folder / "subjects"), rows.filter(candidate_id=A).to_arrow(), mode="append")
    made = view(current)
    assert made.look(A) == UNREADABLE
    other = made.look(B)
    assert other is not None
    assert other.readable


@pytest.mark.long
def test_views_are_made_while_others_append(gated: Gated, current: CurrentManifests) -> None:
    """Every view has the end that the log had then or later, and whole."""
    done = threading.Event()

    def append() -> None:
        try:
            for turn in range(3):
                gated.decide(A, "restricted" if turn % 2 == 0 else "unrestricted")
        finally:
            done.set()

    def look(read: Callable[[], ChunkView]) -> list[int]:
        lasts = []
        while not done.is_set():
            made = read()
            if made.look(A) is None:
                current.settle(CHUNK, made, [A])
            known = made.look(A)
            assert known is not None
            assert known.readable
            lasts.append(known.last)
        return lasts

    with ThreadPoolExecutor(3) as pool:
        looked = [pool.submit(look, lambda: view(current)) for _ in range(2)]
        pool.submit(append).result()
        for one in looked:
            assert one.result() == sorted(one.result())
    final = view(current).look(A)
    assert final is not None
    assert final.last == 2
