import collections
import datetime as dt
import hashlib
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from subject_pipeline.audit.result_state import ResultState, audit_result_state
from subject_pipeline.errors import SourceError
from subject_pipeline.formats.times import format_time
from subject_pipeline.samples.events import SAMPLE_UNTIL, people_of, sample_events
from subject_pipeline.samples.people import sample_workers

_REQUIRED = ["event_id", "candidate_id", "ts", "actor", "action", "payload"]
_OPTIONAL = ["dataset", "fields", "purpose", "trace_id"]


def _events(path: Path) -> list[dict[str, Any]]:
    text = path.read_text()
    assert text == "" or text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """20,000 events, as they come."""
    path = tmp_path_factory.mktemp("sample") / "events.jsonl"
    sample_events(20_000, path)
    return _events(path)


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    """A seed stands for one file, byte for byte, whenever it is asked for; another seed gives other events."""
    sizes = [sample_events(5_000, tmp_path / name, seed=seed) for name, seed in (("a", 7), ("b", 7), ("c", 8))]

    first, second, other = ((tmp_path / name).read_bytes() for name in "abc")
    assert first == second
    assert sizes == [len(first), len(second), len(other)]
    assert not set(first.splitlines()) & set(other.splitlines())
    ids = [{event["event_id"] for event in _events(tmp_path / name)} for name in "ac"]
    assert not ids[0] & ids[1]


def test_the_bytes_are_those_of_every_machine(tmp_path: Path) -> None:
    """No clock, locale or version of a library changes what the default seed gives."""
    sample_events(1_000, tmp_path / "events.jsonl")

    assert hashlib.sha256((tmp_path / "events.jsonl").read_bytes()).hexdigest() == (
        "5da6bdada134f5552eb11aadf615d42598b679d9737ad8879498a91c71278d99"
    )


@pytest.mark.long
def test_an_event_has_the_fields_of_one(events: list[dict[str, Any]]) -> None:
    """Required fields are always there, optional ones often, in their order; what is not given is absent."""
    found = collections.Counter(name for event in events for name in event)
    assert len(events) == 20_000
    assert all(found[name] == 20_000 for name in _REQUIRED)
    assert all(6_000 < found[name] < 15_000 for name in _OPTIONAL)
    for event in events:
        assert list(event) == [name for name in _REQUIRED + _OPTIONAL if name in event]
        assert all(value not in (None, "", []) for value in event.values())
        assert isinstance(event["payload"], dict)
        assert all(isinstance(name, str) for name in event.get("fields", []))
        assert not event["action"].startswith("manifest_")


def test_event_ids_and_traces_are_unique(events: list[dict[str, Any]]) -> None:
    """No two events share an id or a trace."""
    assert len({event["event_id"] for event in events}) == 20_000
    traces = [event["trace_id"] for event in events if "trace_id" in event]
    assert len(set(traces)) == len(traces)
    assert all(len(trace) == 32 and int(trace, 16) for trace in traces)


def test_times_are_spread_over_the_days_before_a_fixed_one(events: list[dict[str, Any]]) -> None:
    """Each is RFC 3339 in UTC with six decimals, within 90 days before 30 June 2026, in order; no day is empty."""
    times = [dt.datetime.fromisoformat(event["ts"]) for event in events]

    assert [format_time(time) for time in times] == [event["ts"] for event in events]
    assert times == sorted(times)
    assert dt.datetime(2026, 4, 1, tzinfo=dt.UTC) <= times[0]
    assert times[-1] < SAMPLE_UNTIL == dt.datetime(2026, 6, 30, tzinfo=dt.UTC)
    assert len({time.date() for time in times}) == 90


def test_another_span_of_time(tmp_path: Path) -> None:
    """The last moment and the number of days may be given, in any zone."""
    until = dt.datetime(2025, 1, 2, 2, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    sample_events(1_000, tmp_path / "events.jsonl", days=1, until=until)

    assert {event["ts"][:10] for event in _events(tmp_path / "events.jsonl")} == {"2025-01-01"}


@pytest.mark.long
def test_results_are_mostly_successes_in_varied_forms(events: list[dict[str, Any]]) -> None:
    """About 91 % succeed, 4 % are denied, 3 % fail and 2 % find nothing, each told in more than one way."""
    states = collections.Counter(audit_result_state(event["payload"]) for event in events)
    forms = {
        state: {json.dumps(e["payload"]) for e in events if audit_result_state(e["payload"]) == state}
        for state in states
    }

    shares: dict[ResultState, float] = {"success": 0.91, "denied": 0.04, "error": 0.03, "not_found": 0.02}
    for state, share in shares.items():
        assert states[state] == pytest.approx(20_000 * share, rel=0.25)
        assert len(forms[state]) >= 4


def test_actors_and_actions_are_varied(events: list[dict[str, Any]]) -> None:
    """A few dozen agents and users do about ten kinds of things."""
    assert 24 <= len({event["actor"] for event in events}) <= 60
    assert len({event["action"] for event in events}) == 10


def test_an_action_touches_its_own_fields(events: list[dict[str, Any]]) -> None:
    """The same action names the same fields wherever it names any."""
    touched = {(event["action"], *event["fields"]) for event in events if "fields" in event}
    assert len(touched) == 10


@pytest.mark.parametrize(("rows", "people"), [(0, 1), (1, 1), (19, 1), (20, 2), (9_999, 999), (10**6, 1_000)])
def test_by_default_there_are_ten_events_a_person(rows: int, people: int) -> None:
    """There is at least one person, and at most 1,000."""
    assert people_of(rows) == people


def test_the_people_are_those_of_the_sample_of_people(tmp_path: Path) -> None:
    """Every id is a sample person's, behind the prefix, and everybody is accessed."""
    sample_workers(200, tmp_path / "people.parquet")
    sample_events(5_000, tmp_path / "events.jsonl", people=200)

    ids = pl.read_parquet(tmp_path / "people.parquet")["worker_id"]
    assert {event["candidate_id"] for event in _events(tmp_path / "events.jsonl")} == {f"WORKER-{id_}" for id_ in ids}


@pytest.mark.parametrize("prefix", ["", "W/", 'a"b\\c', "ü{}\n\u2028%Y", "\U0001f600"])
def test_any_prefix_is_written_as_json(tmp_path: Path, prefix: str) -> None:
    """Whatever the ids begin with, each line is JSON and gives it back."""
    sample_events(50, tmp_path / "events.jsonl", people=1, prefix=prefix)

    lines = (tmp_path / "events.jsonl").read_text().strip("\n").split("\n")
    assert [json.loads(line)["candidate_id"] for line in lines] == [f"{prefix}100001"] * 50


def test_a_prefix_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """Half of a surrogate pair is no text, and nothing is written."""
    with pytest.raises(SourceError, match="not Unicode"):
        sample_events(10, tmp_path / "events.jsonl", prefix="\udc80")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("rows", [0, 1])
def test_hardly_any_event(tmp_path: Path, rows: int) -> None:
    """No event and one event are samples too."""
    size = sample_events(rows, tmp_path / "events.jsonl")

    assert len(_events(tmp_path / "events.jsonl")) == rows
    assert size == (tmp_path / "events.jsonl").stat().st_size


def test_the_file_appears_whole(tmp_path: Path) -> None:
    """Folders are made as needed, and nothing but the file is left in them."""
    path = tmp_path / "deep/er/events.jsonl"
    sample_events(10, path)

    assert list(path.parent.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A file in the way of a folder ends in words that name the file wanted."""
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(SourceError, match=r"cannot write .*file/events\.jsonl"):
        sample_events(10, tmp_path / "file/events.jsonl")
