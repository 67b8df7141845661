from collections.abc import Callable
from typing import Any

import pytest

from subject_pipeline.audit.chunk_state import ChunkState
from subject_pipeline.audit.events import AccessEvent, evidence_event
from subject_pipeline.audit.index.records import subject_digest
from subject_pipeline.audit.segment import Evidence
from subject_pipeline.changes.registry_rows import RegistryRow, registry_rows
from subject_pipeline.errors import AuditLogError, StoreError
from subject_pipeline_tests.helpers.audit_stores import JUNE, LAYOUT, Place, event, failing, people

CHUNK = LAYOUT.names[0]
A, B, C = people(0, 3)


def recorded(candidate_id: str, event_id: str, sha256: str | None = "ab" * 32) -> AccessEvent:
    """A registry row; a deletion where there is no hash."""
    decision: dict[str, Any] = {"kind": "deleted"} if sha256 is None else {"kind": "replaced", "changes": {"a": "1"}}
    return evidence_event(
        candidate_id=candidate_id, event_id=event_id, ts=JUNE, actor="ada", manifest_sha256=sha256, decision=decision
    )


@pytest.fixture
def state(place: Place) -> ChunkState:
    """Four segments: A and B are registered, A is deleted, C only looked at."""
    log = place.log()
    for events in (
        [event(A, "1"), recorded(A, "2"), event(C, "3")],
        [recorded(B, "4", "cd" * 32)],
        [event(A, "5"), event(B, "6")],
        [recorded(A, "7", None), event(C, "8")],
    ):
        log.append_to(CHUNK, events)
    log.close(index_after_bytes=0)
    return place.log().chunk_state(CHUNK)


def read(place: Place, state: ChunkState, *candidate_ids: str) -> dict[str, list[RegistryRow]]:
    """The registry rows of some subjects."""
    ends = {subject_digest(one): state.chains([one])[one] for one in candidate_ids}
    return registry_rows(place.log().segments, state, ends)


def test_the_registrys_rows_come_back_in_their_order(place: Place, state: ChunkState) -> None:
    """Of those asked for and no others, each with what it says and its decision; other rows are passed over."""
    changed = {"kind": "replaced", "changes": {"a": "1"}}
    rows_of_a = [
        RegistryRow(Evidence(1, "ab" * 32, "present"), changed),
        RegistryRow(Evidence(3, "", "deleted"), {"kind": "deleted"}),
    ]
    assert read(place, state, A) == {A: rows_of_a}
    assert read(place, state, A, B) == {A: rows_of_a, B: [RegistryRow(Evidence(0, "cd" * 32, "present"), changed)]}
    assert read(place, state, C) == {}
    assert read(place, state) == {}


def test_only_the_segments_of_those_asked_for_are_read(place: Place, state: ChunkState) -> None:
    """The index tells which; without it, all are."""
    place.objects.calls.clear()
    read(place, state, B)
    assert [key for done, key in place.objects.calls if done == "get" and key.startswith("audit/")] == [
        f"audit/{CHUNK}/{number:012d}.jsonl" for number in (1, 2)
    ]
    found = read(place, state, A)
    for item in list(place.objects.list("audit_index/")):
        place.objects.delete(item.key)
    assert read(place, state, A) == found


def _change_a_decision(data: bytes) -> bytes:
    return data.replace(b'"a":"1"', b'"a":"2"')


def _make_it_an_access(data: bytes) -> bytes:
    return data.replace(b'"action":"manifest_updated"', b'"action":"manifest_viewed"')


def _swap_the_rows(data: bytes) -> bytes:
    first, *lines = data.splitlines(keepends=True)
    return b"".join([first, *reversed(lines)])


def _leave_out(number: int) -> Callable[[bytes], bytes]:
    def without(data: bytes) -> bytes:
        lines = data.splitlines(keepends=True)
        return b"".join(lines[:number] + lines[number + 1 :])

    return without


def _repeat_the_rows(data: bytes) -> bytes:
    return data + b"".join(data.splitlines(keepends=True)[1:])


DAMAGE = [
    (0, _change_a_decision), (0, _make_it_an_access), (0, _swap_the_rows), (0, _leave_out(1)), (0, _leave_out(2)),
    (0, _repeat_the_rows), (3, _leave_out(1)), (3, _repeat_the_rows),
]  # fmt: skip


@pytest.mark.parametrize(("number", "damage"), DAMAGE)
def test_rows_that_do_not_lead_to_the_known_end_are_refused(
    place: Place, state: ChunkState, number: int, damage: Callable[[bytes], bytes]
) -> None:
    """Forged, reordered, repeated or missing: nothing is replayed of it. No key is needed to make them."""
    key = f"audit/{CHUNK}/{number:012d}.jsonl"
    data = place.objects.get(key)
    assert data is not None
    assert damage(data) != data
    place.objects.replace(key, damage(data))
    with pytest.raises(AuditLogError, match="audit verify"):
        read(place, state, A)


@pytest.mark.parametrize("number", [0, 2, 3])
def test_a_segment_that_is_gone_is_refused(place: Place, state: ChunkState, number: int) -> None:
    """Wherever in the chain its rows stood."""
    place.objects.delete(f"audit/{CHUNK}/{number:012d}.jsonl")
    with pytest.raises(AuditLogError, match="audit verify"):
        read(place, state, A)


def test_a_chain_that_is_longer_than_known_is_refused(place: Place, state: ChunkState) -> None:
    """Rows beyond the known end are not the log that was looked at."""
    data = place.objects.get(f"audit/{CHUNK}/{3:012d}.jsonl")
    assert data is not None
    known = {subject_digest(A): place.log().chunk_state(CHUNK).chains([A])[A]._replace(seq=2)}
    with pytest.raises(AuditLogError, match="does not end"):
        registry_rows(place.log().segments, state, known)


def test_a_segment_that_cannot_be_read_is_the_stores_failure(place: Place, state: ChunkState) -> None:
    """It is not taken for damage."""
    place.objects.around = failing("get", f"audit/{CHUNK}/{3:012d}", StoreError("no answer"))
    with pytest.raises(StoreError, match="no answer") as caught:
        read(place, state, A)
    assert not isinstance(caught.value, AuditLogError)
