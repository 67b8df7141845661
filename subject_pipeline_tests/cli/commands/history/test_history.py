import datetime as dt

from subject_pipeline_tests.cli.conftest import Run


def test_history_tells_registration_accesses_and_the_checkpoint(filled: Run) -> None:
    """One JSON object, or a line for each event; what no checkpoint covers is marked."""
    assert filled("audit", "append", "A", "--action", "view", "--purpose", "support").status == 0
    told = filled("subjects", "history", "A", "--json")
    assert told.status == 0
    assert (told.json["candidate_id"], told.json["checkpoint"]) == ("A", None)
    assert [(one["what"], one["anchored"]) for one in told.json["events"]] == [("registered", False), ("access", False)]

    assert filled("audit", "checkpoint").status == 0
    assert filled("audit", "append", "A", "--action", "edit").status == 0
    told = filled("subjects", "history", "A", "--all", "--json")
    assert [one["anchored"] for one in told.json["events"]] == [True, True, False]
    assert (told.json["checkpoint"]["number"], told.json["checkpoint"]["seq"]) == (0, 0)
    words = filled("subjects", "history", "A").out
    assert "Registered from the dataset people." in words
    assert "view: 1 access (1 answered)" in words
    assert "but the 1 marked with *" in words
    assert filled("subjects", "history", "nobody").status == 1


def test_get_as_of(filled: Run) -> None:
    """A time with an offset or a day; before the registration there was nobody, exit 1; no time at all is exit 2."""
    now = filled("subjects", "get", "A", "--json").json
    assert filled("subjects", "get", "A", "--as-of", now["created_at"], "--json").json == now
    tomorrow = dt.datetime.now(dt.UTC).date() + dt.timedelta(days=1)
    assert filled("subjects", "get", "A", "--as-of", tomorrow, "--json").json == now
    before = filled("subjects", "get", "A", "--as-of", "2020-01-01T00:00:00+02:00", "--json")
    assert before.status == 1
    assert before.json["error"].startswith("no subject had the id 'A' at 2019-12-31T22:00:00.000000Z")
    assert filled("subjects", "get", "A", "--as-of", "yesterday").status == 2
