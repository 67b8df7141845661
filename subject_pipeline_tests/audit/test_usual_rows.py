import os
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from subject_pipeline.audit import row_form
from subject_pipeline.audit.events import AccessEvent
from subject_pipeline.audit.row_form import judged_row, row_of
from subject_pipeline.audit.segment import ROW_INNER, write_segment
from subject_pipeline_tests.helpers.audit_samples import NEW_KEY, START, A, event, full_event, key_id

texts = st.text(st.sampled_from("aZ0 ,:{}[]_-/'é\\\"\n\x7f\u2028"), min_size=1, max_size=6)
events = st.builds(
    AccessEvent,
    candidate_id=texts,
    event_id=texts,
    ts=st.just("2026-06-30T12:00:00.000000Z"),
    actor=texts,
    action=st.sampled_from(["read", "manifest", "manifest_", "a b"]),
    result=st.sampled_from(["success", "error", "denied", "not_found"]),
    dataset=st.none() | texts,
    fields=st.none() | st.lists(texts, min_size=1, max_size=3).map(tuple),
    purpose=st.none() | texts,
    trace_id=st.none() | texts,
    payload_sha256=st.none() | st.just("cd" * 32),
    reason=st.none() | texts,
    manifest_sha256=st.none(),
    decision=st.none(),
    gate=st.none() | st.just({"policy_sha256": "ab" * 32, "table_version": 7, "max_age_s": 0}),
)


def _inner(one: AccessEvent) -> bytes:
    written = write_segment(START, {}, [one], key_id=key_id(NEW_KEY), key=NEW_KEY, written_at=one.ts, random=os.urandom)
    return written.data.split(b"\n")[1][ROW_INNER:-1]


def _by_parsing(inner: bytes) -> tuple[Any, ...] | None:
    row = row_of(inner)
    if row is None:
        return None
    return tuple(row[name] for name in ("action", "candidate_id", "event_id", "key_id", "prev", "result", "seq", "ts"))


@given(events)
def test_a_usual_row_is_judged_as_parsing_would(one: AccessEvent) -> None:
    """What the one expression says of a row is what parsing it says, whatever letters are in it."""
    inner = _inner(one)
    judged = judged_row(inner)
    assert (judged and judged[:-1]) == _by_parsing(inner)


@given(events, st.data())
def test_no_other_bytes_pass_for_a_usual_row(one: AccessEvent, data: st.DataObject) -> None:
    """Bytes changed, taken out or put in anywhere: whatever the expression takes, parsing takes, and says the same."""
    inner = bytearray(_inner(one))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(inner) - 1))
        put = data.draw(st.sampled_from([b"", b" ", b'"', b",", b"0", b"\\", b"}", b'","', b"a", b"\xc3", b"\n"]))
        inner[at : at + data.draw(st.integers(0, 2))] = put
    judged = judged_row(bytes(inner))
    assert (judged and judged[:-1]) == _by_parsing(bytes(inner))


def test_rows_of_plain_letters_are_usual_and_the_registrys_never() -> None:
    """The quick way is taken where it can be: the tests above compare two ways, and not one with itself."""
    assert row_form._usual(_inner(event(A, "a0")).decode())
    assert row_form._usual(_inner(event(A, "a0", dataset="d", purpose="p", trace_id="t", fields=("a", "b"))).decode())
    assert row_form._usual(_inner(full_event(A, "a0")).decode()) is None
    assert row_form._usual(_inner(event(A, "a0", action="manifest_updated")).decode()) is None
