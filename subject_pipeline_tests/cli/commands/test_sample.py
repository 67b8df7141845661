import json
from pathlib import Path

import pytest

from subject_pipeline_tests.cli.conftest import Run


def test_events_are_written(run: Run, workplace: Path) -> None:
    """The file has as many events as asked, about as many people, with the prefix given; the JSON sums it up."""
    ran = run(
        *("sample", "events", "--rows", 300, "--out", "in/events.jsonl"),
        *("--people", 3, "--candidate-id-prefix", "CAND/", "--seed", 5, "--json"),
    )

    file = workplace / "in/events.jsonl"
    events = [json.loads(line) for line in file.read_text().splitlines()]
    assert ran.status == 0
    assert ran.json == {
        "rows": 300, "out": "in/events.jsonl", "bytes": file.stat().st_size, "seed": 5, "people": 3,
    }  # fmt: skip
    assert {event["candidate_id"] for event in events} == {f"CAND/{number}" for number in (100001, 100002, 100003)}
    assert len(events) == 300


def test_by_default_the_people_are_the_sample_workers(run: Run, workplace: Path) -> None:
    """Without options the ids begin with WORKER-, and there is a person for every ten events."""
    assert run("sample", "events", "--rows", 100, "--out", "events.jsonl", "--json").json["people"] == 10
    words = run("sample", "events", "--rows", 100, "--out", "again.jsonl").out

    assert words.startswith("100 events about 10 people written to again.jsonl")
    assert (workplace / "again.jsonl").read_bytes() == (workplace / "events.jsonl").read_bytes()
    assert all('"WORKER-1000' in line for line in (workplace / "events.jsonl").read_text().splitlines())


@pytest.mark.parametrize(
    "options",
    [
        ("--out", "f"), ("--rows", "1"), ("--rows", "-1", "--out", "f"), ("--rows", "x", "--out", "f"),
        ("--rows", "1", "--out", "f", "--people", "0"),
        ("--rows", "1", "--out", "f", "--candidate-id-prefix", "\udc80"),
    ],
)  # fmt: skip
def test_a_wrong_call_writes_nothing(run: Run, workplace: Path, options: tuple[str, ...]) -> None:
    """What is missing or cannot be is status 2."""
    ran = run("sample", "events", *options)

    assert (ran.status, ran.out) == (2, "")
    assert ran.err
    assert list(workplace.iterdir()) == []
