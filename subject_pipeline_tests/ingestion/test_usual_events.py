from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from subject_pipeline.audit.events import parse_event
from subject_pipeline.errors import EventError
from subject_pipeline.ingestion.usual_events import UsualEvents

EVENT: dict[str, Any] = {
    "candidate_id": "WORKER-1",
    "event_id": "e-1",
    "ts": "2026-06-30T12:00:00Z",
    "actor": "ada",
    "action": "read",
    "payload": {"status": 200},
}
texts = st.text(st.sampled_from('aB0 _-/.:\n\t"\\é\x00'), max_size=5) | st.just("manifest_updated")
anything = st.none() | st.integers(0, 3) | texts | st.lists(texts, max_size=3) | st.just("x" * 1_025)
payloads = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([1.0, 1e400, -0.0, 404, "denied", "é", 2**60]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["status", "denied", "a"]), inner, max_size=2)
    ),
    max_leaves=4,
)
times = st.sampled_from(["2026-06-30T12:00:00Z", "2026-06-30T12:00:00.5+02:00", "2026-13-30T12:00:00Z", "", "now"])
changes = st.fixed_dictionaries(
    {},
    optional={
        "payload": payloads,
        "ts": times | anything,
        "result": anything,
        **dict.fromkeys(
            ["candidate_id", "event_id", "actor", "action", "dataset", "purpose", "trace_id", "fields", "other"],
            anything,
        ),
    },
)


def _parsed(value: object) -> Any:
    try:
        return parse_event(value)
    except EventError as error:
        return str(error)


@given(st.lists(changes, max_size=4), st.sets(st.sampled_from(sorted(EVENT)), max_size=1))
@example([{"payload": {"a": None}}, {"payload": {"a": 1e400}}], set())
@example([{"actor": "a\nb"}, {"fields": ["a", "b\nc"]}, {"fields": [" "]}], set())
def test_a_usual_event_is_what_parsing_makes_of_it(events: list[dict[str, Any]], gone: set[str]) -> None:
    """Whatever is taken for usual is parsed alike, also where an earlier payload is remembered; the rest is left."""
    usual = UsualEvents()
    for changed in events:
        value = {name: part for name, part in (EVENT | changed).items() if name not in gone}
        found = usual.event(value)
        if found is not None:
            assert found == _parsed(value)


@pytest.mark.parametrize("value", [None, [], "x", {}, EVENT | {"payload": None}, EVENT | {"candidate_id": "a/b"}])
def test_what_is_not_usual_is_left_to_the_rules(value: object) -> None:
    """Nothing is refused here, and nothing odd is taken."""
    assert UsualEvents().event(value) is None


def test_plain_events_are_usual() -> None:
    """The quick way is taken where it can be."""
    full = EVENT | {"dataset": "d", "purpose": "p q", "trace_id": "t", "fields": ["a", "b"]}
    assert UsualEvents().event(EVENT) == parse_event(EVENT)
    assert UsualEvents().event(full) == parse_event(full)
