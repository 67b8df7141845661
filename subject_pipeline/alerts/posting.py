"""Posting one alert: a few requests now, and what is noted of it before and after each."""

import datetime as dt
import time
from collections.abc import Callable

from tenacity import RetryCallState, Retrying, retry_if_result, stop_after_attempt, wait_random_exponential

from subject_pipeline.alerts.alert import Message
from subject_pipeline.alerts.delivery import Delivery, State, Step, after_round, next_step
from subject_pipeline.alerts.webhook import Answer, Webhook

_REQUESTS = 2
_PATIENCE_S = 2.0
"""Of one round: a sensor's tick has 60 s for up to five runs, and a request up to 4 s of silence."""

Note = Callable[[Delivery], None]


def post_alert(
    message: Message,
    webhook: Webhook,
    noted: Delivery | None,
    note: Note,
    *,
    clock: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[Delivery | None, str]:
    """Do what is due about one alert; returns what is noted of it now, and a description of what was done.

    Once the receiver has answered that it took the message, and once a process has died during a request,
    nothing is posted again. A request that is not answered in time, refused a connection, or answered with 429, 408
    or 5xx counts as not taken: it is repeated, in this round once and in `ROUNDS` rounds at most. Other answers,
    including a redirect, are final.

    Args:
        message: what to post.
        webhook: where to.
        noted: what is noted so far.
        note: keeps the new state where the next tick finds it.
        clock: UTC.
        sleep: waits between the requests of a round.
    """
    step = next_step(noted, clock())
    if step is Step.leave:
        return noted, "nothing is due"
    rounds = (noted.rounds if noted else 0) + 1
    if step is Step.note_death:
        dead = Delivery(State.unconfirmed, rounds - 1, clock())
        note(dead)
        return dead, "a process died while posting it: it may have been taken, so it is not repeated"

    def request() -> Answer:
        note(Delivery(State.sending, rounds, clock()))
        answer = webhook.post(message)
        if answer.outcome == "not_now":
            # Noted before the pause: if the process dies in it, it is known that the message was not taken.
            note(after_round(rounds, clock(), asked_s=answer.after_s))
        return answer

    answer = _round(request, sleep)
    if answer.outcome == "not_now":
        now = after_round(rounds, clock(), asked_s=answer.after_s)
    else:
        now = Delivery(State.delivered if answer.outcome == "taken" else State.refused, rounds, clock())
    note(now)
    return now, answer.detail


def _round(request: Callable[[], Answer], sleep: Callable[[float], None]) -> Answer:
    jitter = wait_random_exponential(multiplier=0.5, max=_PATIENCE_S)

    def wait(state: RetryCallState) -> float:
        return max(jitter(state), _asked(state))

    last: Answer = Retrying(
        retry=retry_if_result(lambda answer: answer.outcome == "not_now"),
        wait=wait,
        stop=lambda state: stop_after_attempt(_REQUESTS)(state) or _asked(state) > _PATIENCE_S,
        sleep=sleep,
        retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
    )(request)
    return last


def _asked(state: RetryCallState) -> float:
    answer = state.outcome.result() if state.outcome else None
    return (answer.after_s or 0.0) if answer else 0.0
