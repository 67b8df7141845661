import datetime as dt
import socket
from collections.abc import Iterator
from email.utils import format_datetime

import pytest

from subject_pipeline.alerts.webhook import Webhook
from subject_pipeline.errors import ConfigurationError
from subject_pipeline_tests.helpers.receiver import Receiver, receiver

MESSAGE = {"text": "a <b> & ünïcode \u202e", "alert_id": "run/1"}


@pytest.fixture
def inbox() -> Iterator[Receiver]:
    """A receiver."""
    with receiver() as made:
        yield made


def test_a_message_arrives_as_it_is(inbox: Receiver) -> None:
    """One POST of JSON in UTF-8; a 2xx is taken."""
    inbox.will_answer(204)
    assert Webhook(inbox.url).post(MESSAGE).outcome == "taken"
    assert inbox.received == [MESSAGE]
    assert inbox.headers[0]["Content-Type"] == "application/json; charset=utf-8"


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(500, "not_now"), (503, "not_now"), (429, "not_now"), (408, "not_now"), (400, "refused"), (404, "refused")],
)
def test_an_answer_says_whether_to_try_again(inbox: Receiver, status: int, outcome: str) -> None:
    """What may pass is not now; what will not is refused; the words name the status."""
    inbox.will_answer(status)
    answer = Webhook(inbox.url).post(MESSAGE)
    assert (answer.outcome, answer.detail) == (outcome, f"the receiver answered {status}")
    assert len(inbox.received) == 1


def test_retry_after_is_read_as_seconds_and_as_a_date(inbox: Receiver) -> None:
    """Both forms of RFC 9110 are read; nonsense, and a date gone by, ask for nothing."""
    asked = []
    later = format_datetime(dt.datetime.now(dt.UTC) + dt.timedelta(seconds=90), usegmt=True)
    for value in ["17", later, "soon", "-3", "Mon, 01 Jan 2001 00:00:00 GMT", "9" * 40]:
        inbox.will_answer(429, retry_after=value)
        asked.append(Webhook(inbox.url).post(MESSAGE).after_s)
    assert asked[0] == 17
    assert 80 < (asked[1] or 0) <= 90
    assert asked[2:5] == [None, None, 0]
    assert asked[5] is not None


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(inbox: Receiver, status: int) -> None:
    """A redirect is a refusal: the message goes nowhere that was not configured."""
    with receiver() as elsewhere:
        inbox.will_answer(status, location=elsewhere.url)
        assert Webhook(inbox.url).post(MESSAGE).outcome == "refused"
        assert elsewhere.received == []


def test_a_receiver_that_hangs_is_left(inbox: Receiver) -> None:
    """Silence counts as not taken, after the timeout."""
    inbox.will_answer(None)
    answer = Webhook(inbox.url, timeout_s=0.3).post(MESSAGE)
    assert answer.outcome == "not_now"
    assert answer.detail == "TimeoutError"


def test_a_refused_connection_a_lost_one_and_a_stranger_are_not_now(inbox: Receiver) -> None:
    """A closed port, a server that speaks no HTTP or hangs up, and an unknown host may all be otherwise tomorrow."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    answers = [Webhook(f"http://127.0.0.1:{port}/secret-token").post(MESSAGE)]
    answers.append(Webhook("http://no-such-host.invalid/secret-token").post(MESSAGE))
    answers.append(Webhook(inbox.url.replace("http:", "https:")).post(MESSAGE))
    assert [answer.outcome for answer in answers] == ["not_now"] * 3
    assert answers[0].detail == "ConnectionRefusedError"
    assert not any("secret" in answer.detail or "127" in answer.detail for answer in answers)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hooks.example.com/secret-token",
        "ftp://example.com/secret-token",
        "file:///etc/secret-token",
        "http://",
        "http://example.com:port/secret-token",
        "http://[::1/secret-token",
        "https://example.com/secret-token\nHost: other",
        "https://example.com/secret token",
        "https://exämple.com/secret-token",
        "https://user:secret-token@example.com/",
    ],
)
def test_a_url_that_cannot_be_posted_to_is_refused_without_repeating_it(url: str) -> None:
    """The variable is named, the secret is not, in the error or in what it came from."""
    with pytest.raises(ConfigurationError, match="SUBJECT_ALERT_WEBHOOK") as caught:
        Webhook(url)
    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_the_url_is_not_shown() -> None:
    """A webhook in a log line or a traceback does not tell its URL."""
    assert "secret" not in repr(Webhook("https://example.com/secret-token"))
