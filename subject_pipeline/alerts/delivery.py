"""The state of an alert's delivery, and what to do about it next.

It is noted on the run itself, before each request and after it, because a sensor's cursor is saved after its tick and
a tick may die in between.
"""

import datetime as dt
from dataclasses import dataclass
from enum import Enum

ROUNDS = 6
"""How many ticks try to post one alert before it is given up."""

_FIRST_WAIT = dt.timedelta(minutes=1)
_LONGEST_WAIT = dt.timedelta(hours=1)
_DIED = dt.timedelta(minutes=5)


class State(Enum):
    """How far."""

    sending = "sending"
    """A request is under way, or its process died during it."""
    waiting = "waiting"
    """The receiver has not taken it; it is tried again when it is due."""
    delivered = "delivered"
    refused = "refused"
    """The receiver answered that it will never take it."""
    given_up = "given_up"
    unconfirmed = "unconfirmed"
    """The process died during a request: it may have been taken, so it is not repeated."""


OPEN = (State.sending, State.waiting)
"""What is not settled yet."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What is noted of one alert.

    Attributes:
        state: of the delivery.
        rounds: ticks that tried, this one included.
        at: UTC; when that was noted, or, while waiting, when it is due.
    """

    state: State
    rounds: int
    at: dt.datetime


class Step(Enum):
    """What to do next."""

    post = "post"
    leave = "leave"
    note_death = "note_death"


def next_step(noted: Delivery | None, now: dt.datetime) -> Step:
    """What a tick has to do about an alert in this state."""
    if noted is None:
        return Step.post
    if noted.state is State.waiting:
        return Step.post if now >= noted.at else Step.leave
    if noted.state is State.sending and now - noted.at > _DIED:
        return Step.note_death
    return Step.leave


def after_round(rounds: int, now: dt.datetime, *, asked_s: float | None) -> Delivery:
    """What to note when a whole round was not taken: when the next is due, twice as late each time, or the end.

    Args:
        rounds: rounds done.
        now: the time.
        asked_s: seconds after which the receiver asked to be tried again; more than an hour is not waited for.
    """
    if rounds >= ROUNDS:
        return Delivery(State.given_up, rounds, now)
    asked = dt.timedelta(seconds=min(asked_s or 0.0, _LONGEST_WAIT.total_seconds()))
    return Delivery(State.waiting, rounds, now + max(min(_FIRST_WAIT * 2 ** (rounds - 1), _LONGEST_WAIT), asked))
