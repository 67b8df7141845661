from pathlib import Path

import pytest

from subject_pipeline_tests.cli.conftest import Run


def test_an_unused_place_is_fit_for_work(run: Run) -> None:
    """Nothing is wrong with a folder that is not there yet; no ring is only to be looked at."""
    ran = run("doctor", "--json")
    assert ran.status == 0
    assert (ran.json["sound"], ran.json["problems"], ran.json["warnings"]) == (True, 0, 1)
    levels = {one["name"]: one["level"] for one in ran.json["findings"]}
    assert levels["conditional writes"] == "ok"
    assert levels["key ring"] == "warning"


def test_what_is_wrong_is_said_with_how_to_mend_it(run: Run, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ring that others can read: exit status 1, and the command that mends it."""
    run("keys", "new", "ring.json")
    (workplace / "ring.json").chmod(0o644)
    monkeypatch.setenv("SUBJECT_KEY_RING", "ring.json")
    ran = run("doctor")
    assert ran.status == 1
    assert "WRONG" in ran.out
    assert "chmod 600" in ran.out
    assert ran.out.endswith("1 wrong, 0 to look at\n")


@pytest.mark.long
def test_a_store_that_cannot_be_reached_is_a_wrong_call(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens at the endpoint: exit status 2, one finding, no traceback, no secret."""
    for name, value in {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "not-to-be-shown",
    }.items():
        monkeypatch.setenv(name, value)
    ran = run("--store", "s3://bucket/store", "doctor", "--json")
    assert (ran.status, len(ran.json["findings"])) == (2, 1)
    assert "127.0.0.1:9" in ran.json["findings"][0]["detail"]
    assert "not-to-be-shown" not in ran.out + ran.err
