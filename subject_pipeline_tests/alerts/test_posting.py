import datetime as dt
from collections.abc import Iterator

import pytest

from subject_pipeline.alerts.delivery import ROUNDS, Delivery, State, Step, next_step
from subject_pipeline.alerts.posting import post_alert
from subject_pipeline.alerts.webhook import Webhook
from subject_pipeline_tests.helpers.receiver import Receiver, receiver

MESSAGE = {"alert_id": "run/1", "text": "red"}
NOON = dt.datetime(2026, 11, 24, 12, tzinfo=dt.UTC)


class Owed:
    """One alert, its notes, and a clock that only a pause moves."""

    def __init__(self, inbox: Receiver) -> None:
        self.inbox, self.now, self.notes, self.pauses = inbox, NOON, list[Delivery](), list[float]()
        self.webhook = Webhook(inbox.url, timeout_s=0.3)

    @property
    def noted(self) -> Delivery | None:
        """What anyone who comes next finds."""
        return self.notes[-1] if self.notes else None

    def tick(self) -> State | None:
        """One tick; how far the alert is then."""
        now, _ = post_alert(
            MESSAGE, self.webhook, self.noted, self.notes.append, clock=lambda: self.now, sleep=self._pause
        )
        assert now == self.noted
        return now.state if now else None

    def wait(self) -> None:
        """Until the next round is due."""
        assert self.noted is not None
        self.now = max(self.now, self.noted.at)

    def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += dt.timedelta(seconds=seconds)


@pytest.fixture
def owed() -> Iterator[Owed]:
    """An alert that nobody was told of yet."""
    with receiver() as inbox:
        yield Owed(inbox)


def test_a_taken_alert_is_not_posted_again(owed: Owed) -> None:
    """It is noted before and after the request, and anyone who comes next does nothing."""
    assert owed.tick() is State.delivered
    assert [note.state for note in owed.notes] == [State.sending, State.delivered]
    owed.now += dt.timedelta(days=400)
    assert owed.tick() is State.delivered
    assert owed.inbox.ids == ["run/1"]


def test_a_failed_request_is_repeated_at_once(owed: Owed) -> None:
    """500, then success: two requests of one id, and a short pause between them."""
    owed.inbox.will_answer(500)
    assert owed.tick() is State.delivered
    assert owed.inbox.ids == ["run/1", "run/1"]
    assert [note.state for note in owed.notes] == [State.sending, State.waiting, State.sending, State.delivered]
    assert 0 <= owed.pauses[0] <= 2


def test_pauses_are_jittered(owed: Owed) -> None:
    """Not every sender comes back at the same moment."""
    for _ in range(8):
        owed.inbox.will_answer(500)
        owed.notes.clear()
        owed.tick()
    assert len(set(owed.pauses)) > 1


def test_a_receiver_that_asks_for_time_gets_it(owed: Owed) -> None:
    """A short Retry-After is waited for in the tick; a long one ends the round, and the next is not due before."""
    owed.inbox.will_answer(429, retry_after="2")
    assert owed.tick() is State.delivered
    assert owed.pauses[0] >= 2
    owed.notes.clear()
    owed.inbox.will_answer(429, retry_after="600")
    began, taken = owed.now, len(owed.inbox.received)
    assert owed.tick() is State.waiting
    assert len(owed.inbox.received) == taken + 1
    assert owed.noted is not None
    assert owed.noted.at - began >= dt.timedelta(seconds=600)
    assert owed.tick() is State.waiting
    assert len(owed.inbox.received) == taken + 1


def test_nobody_is_waited_for_longer_than_an_hour(owed: Owed) -> None:
    """An absurd Retry-After does not put an alert off for years."""
    owed.inbox.will_answer(503, retry_after="999999999")
    owed.tick()
    assert owed.noted is not None
    assert owed.noted.at - NOON <= dt.timedelta(hours=1)


def test_an_answer_that_is_final_ends_it(owed: Owed) -> None:
    """A 404 or a redirect is asked once and never again."""
    for status in (404, 302):
        owed.notes.clear()
        owed.inbox.will_answer(status)
        assert owed.tick() is State.refused
        assert owed.tick() is State.refused
    assert len(owed.inbox.received) == 2


def test_a_receiver_that_is_gone_is_given_up_after_bounded_rounds(owed: Owed) -> None:
    """Rounds come later and later, and end; nothing is posted between them or after them."""
    owed.inbox.will_answer(*[500] * 100)
    due: list[float] = []
    for _ in range(ROUNDS - 1):
        began = owed.now
        assert owed.tick() is State.waiting
        assert owed.tick() is State.waiting
        owed.wait()
        due.append((owed.now - began).total_seconds())
    assert owed.tick() is State.given_up
    owed.now += dt.timedelta(days=1)
    assert owed.tick() is State.given_up
    assert len(owed.inbox.received) == 2 * ROUNDS
    assert due == sorted(due)
    assert 60 <= due[0] < due[-1] < 20 * 60


def test_silence_is_repeated(owed: Owed) -> None:
    """A receiver that hangs, then works, has the alert at the end."""
    owed.inbox.will_answer(None)
    assert owed.tick() is State.delivered
    assert owed.inbox.ids == ["run/1"] * 2


def test_who_died_with_a_request_on_its_way_may_have_been_heard(owed: Owed) -> None:
    """Such an alert is left alone for five minutes, then noted as unconfirmed; it is never posted twice."""
    owed.notes.append(Delivery(State.sending, 1, NOON))
    assert owed.tick() is State.sending
    owed.now += dt.timedelta(minutes=6)
    assert owed.tick() is State.unconfirmed
    assert owed.tick() is State.unconfirmed
    assert owed.inbox.received == []


def test_who_dies_between_two_requests_leaves_the_alert_owed(owed: Owed) -> None:
    """A death in the pause after a refusal is told from one amid a request: it is posted again when due."""

    class Death(Exception):  # noqa: N818 - it is one
        pass

    def die(_: float) -> None:
        raise Death

    owed.inbox.will_answer(500)
    with pytest.raises(Death):
        post_alert(MESSAGE, owed.webhook, None, owed.notes.append, clock=lambda: owed.now, sleep=die)
    assert owed.tick() is State.waiting
    owed.wait()
    assert owed.tick() is State.delivered
    assert len(owed.inbox.received) == 2


@pytest.mark.parametrize("state", [State.delivered, State.refused, State.given_up, State.unconfirmed])
def test_what_is_settled_stays_so(state: State) -> None:
    """No time brings a settled alert back."""
    assert next_step(Delivery(state, 1, NOON), NOON + dt.timedelta(days=4000)) is Step.leave
