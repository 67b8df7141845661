import html
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subject_pipeline.alerts.alert import Alert, FailedStep, RedCheck, alert_id, error_name, message, span

RUN = "0d5f3a52-0000-4000-8000-000000000000"
LINK = f"http://127.0.0.1:3000/runs/{RUN}"
CHAINS = RedCheck("audit_verification", "chains_intact", "error", {"found": 3}, ("chunk-07",))
WARNED = RedCheck("audit_log", "every_events_subject_is_registered", "warn", {"events": 12})


def _alert(*checks: RedCheck, steps: tuple[FailedStep, ...] = (), failed: bool = False, job: str = "verify") -> Alert:
    return Alert(job, RUN, failed, "chunk-00...chunk-3f", "STEP_FAILURE" if failed else None, steps, checks, LINK)


def test_the_message_of_a_failed_run() -> None:
    """It names job, run, step's asset, partitions and link, and the error's class."""
    told = message(
        _alert(
            steps=(FailedStep("workers__subject_manifests", "workers/subject_manifests", "StoreError"),),
            failed=True,
            job="register_workers",
        )
    )
    assert told == {
        "schema": "subject_alert.v1",
        "alert_id": f"run/{RUN}",
        "severity": "error",
        "kind": "run_failed",
        "text": "Run failed: register_workers over chunk-00...chunk-3f\n"
        f"- workers/subject_manifests failed: StoreError\n{LINK}",
        "description": "Run failed: register_workers over chunk-00...chunk-3f",
        "job": "register_workers",
        "run": RUN,
        "asset": "workers/subject_manifests",
        "check": None,
        "partitions": "chunk-00...chunk-3f",
        "link": LINK,
        "reason": "STEP_FAILURE",
        "steps": [{"step": "workers__subject_manifests", "asset": "workers/subject_manifests", "error": "StoreError"}],
        "checks_red": 0,
        "checks": [],
    }


def test_the_message_of_red_checks_begins_with_the_gravest() -> None:
    """`asset` and `check` are those of an error where there is one, and all are listed with their counts."""
    told = message(_alert(WARNED, CHAINS))
    assert (told["kind"], told["severity"]) == ("checks_red", "error")
    assert (told["asset"], told["check"], told["checks_red"]) == ("audit_verification", "chains_intact", 2)
    assert told["text"] == (
        "Checks red: verify over chunk-00...chunk-3f\n"
        "- audit_verification: chains_intact (error) in chunk-07: found 3\n"
        f"- audit_log: every_events_subject_is_registered (warn): events 12\n{LINK}"
    )


def test_checks_that_only_warn_say_so() -> None:
    """Where nothing is an error the message's severity is warn, and its first words differ."""
    told = message(_alert(WARNED))
    assert told["severity"] == "warn"
    assert str(told["text"]).startswith("Checks warn: verify")


def test_a_run_that_failed_outside_its_steps_tells_why() -> None:
    """Dagster's own reason stands in for a step."""
    assert "- STEP_FAILURE\n" in str(message(_alert(failed=True))["text"])


@pytest.mark.long
@given(st.text(), st.text(), st.text(), st.integers(1, 60))
def test_no_name_can_write_more_than_text(job: str, asset: str, partition: str, many: int) -> None:
    """Whatever names hold, the text has Slack's control characters escaped, its lines are ours, and it is bounded."""
    checks = [RedCheck(asset, f"check-{index}", "error", {asset: index}, [partition] * 40) for index in range(many)]
    told = message(_alert(*checks, job=job))
    text = str(told["text"])
    assert not re.search(r"[<>]|&(?!amp;|lt;|gt;)", text)
    assert all(character.isprintable() for character in text.replace("\n", ""))
    assert text.count("\n") <= 22
    assert text.endswith(LINK)
    assert len(text) <= 3_100
    assert len(json.dumps(told, ensure_ascii=False)) < 60_000
    assert told["checks_red"] == many


def test_nobody_is_called_by_a_name() -> None:
    """Slack's `<!channel>` in a job's name stays words."""
    text = str(message(_alert(CHAINS, job="<!channel> & <http://x|y>\u202e"))["text"])
    assert "<" not in text
    assert html.unescape(text).startswith("Checks red: <!channel> & <http://x|y> ")


def test_an_error_is_told_by_its_class_alone() -> None:
    """The words after it may name a subject."""
    assert error_name("StoreError: CAND-7 of Jane Doe") == "StoreError"
    assert error_name(None, "no class here", "dagster._core.errors.Failure: x") == "Failure"
    assert error_name("Jane Doe: has no consent") == "Error"
    assert error_name("", None) == "Error"


def test_a_range_is_told_in_one_word() -> None:
    """First and last, once where they are the same."""
    assert span("a", "b") == "a...b"
    assert span("a", "a") == "a"
    assert span(None, None) is None


def test_an_alert_id_is_one_a_run() -> None:
    """The same run has the same id each time, another has another."""
    assert alert_id("1") == alert_id("1") != alert_id("2")
