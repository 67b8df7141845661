import gc
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future, wait
from functools import partial
from typing import Any

import pytest

from subject_pipeline.gate.daemon_threads import DaemonThreads

PATIENCE_S = 30


class Hung:
    """A call that does not return before it is let go."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.let_go = threading.Event()

    def __call__(self) -> str:
        """Hang."""
        self.begun.release()
        assert self.let_go.wait(PATIENCE_S)
        return "done"

    def has_begun(self, times: int) -> None:
        """Wait until it was called so often."""
        for _ in range(times):
            assert self.begun.acquire(timeout=PATIENCE_S)


@pytest.fixture
def hung() -> Iterator[Hung]:
    """It is let go at the end whatever happens."""
    call = Hung()
    yield call
    call.let_go.set()


def _alive(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == name]


def test_results_and_errors_come_back() -> None:
    """Whatever a call returns or raises is its future's, an error that is no `Exception` too."""
    threads = DaemonThreads(2, "results")

    assert threads.submit(lambda: 7).result(PATIENCE_S) == 7
    with pytest.raises(ZeroDivisionError):
        threads.submit(lambda: 1 // 0).result(PATIENCE_S)
    with pytest.raises(SystemExit):
        threads.submit(sys.exit).result(PATIENCE_S)
    assert threads.submit(lambda: 8).result(PATIENCE_S) == 8
    assert threads.close(PATIENCE_S) == 0


def test_calls_begin_in_order_and_no_more_at_once_than_there_are_threads(hung: Hung) -> None:
    """A thread that is free is used again; what is too much waits its turn."""
    threads, order = DaemonThreads(2, "bounded"), list[int]()
    for number in range(3):
        assert threads.submit(partial(int, number)).result(PATIENCE_S) == number
    first: list[Future[Any]] = [threads.submit(hung) for _ in range(2)]
    hung.has_begun(2)
    later: list[Future[Any]] = [threads.submit(partial(order.append, number)) for number in range(50)]

    assert len(_alive("bounded")) == 2
    assert not wait(later, 0.01).done
    hung.let_go.set()
    assert not wait([*first, *later], PATIENCE_S).not_done
    assert sorted(order) == list(range(50))
    assert len(_alive("bounded")) <= 2
    assert threads.close(PATIENCE_S) == 0


def test_one_thread_keeps_the_order(hung: Hung) -> None:
    """First come, first served."""
    threads, order = DaemonThreads(1, "one"), list[int]()
    threads.submit(hung)
    waiting = [threads.submit(partial(order.append, number)) for number in range(20)]
    hung.let_go.set()

    assert not wait(waiting, PATIENCE_S).not_done
    assert order == list(range(20))


@pytest.mark.long
def test_a_cancelled_call_is_forgotten_though_no_thread_is_free(hung: Hung) -> None:
    """What nobody waits for any more takes no memory while a hung call holds the thread, and never runs."""
    threads, ran = DaemonThreads(1, "cancelled"), list[int]()

    class Call:
        def __call__(self) -> None:
            """Leave a trace."""
            ran.append(1)

    threads.submit(hung)
    hung.has_begun(1)
    call = Call()
    gone, future = weakref.ref(call), threads.submit(call)
    del call

    assert future.cancel()
    gc.collect()
    assert gone() is None
    hung.let_go.set()
    assert threads.submit(lambda: "next").result(PATIENCE_S) == "next"
    assert not ran


@pytest.mark.long
def test_an_idle_thread_keeps_nothing_of_what_it_did() -> None:
    """An answer, its call and its result are free as soon as the caller lets go of them."""
    threads = DaemonThreads(1, "idle")

    class Answer:
        def __call__(self) -> "Answer":
            """The answer is its call's result too."""
            return self

    answer = Answer()
    gone = weakref.ref(answer)
    threads.submit(answer).result(PATIENCE_S)
    assert threads.submit(lambda: 1).result(PATIENCE_S) == 1
    del answer
    gc.collect()

    assert gone() is None
    assert threads.close(PATIENCE_S) == 0


def test_closing_waits_for_what_is_there_and_ends_the_threads() -> None:
    """Calls that wait are still made; then nothing is taken, and no thread is left."""
    threads = DaemonThreads(1, "closing")
    futures: list[Future[int]] = [threads.submit(lambda: 1) for _ in range(10)]
    started = _alive("closing")

    assert threads.close(PATIENCE_S) == 0
    assert [future.result(0) for future in futures] == [1] * 10
    with pytest.raises(RuntimeError, match="closing is closed"):
        threads.submit(lambda: 1)
    for thread in started:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
    assert threads.close(PATIENCE_S) == 0


def test_closing_does_not_wait_longer_than_it_is_told_to(hung: Hung) -> None:
    """What runs is counted and left behind; what waits is cancelled and never made."""
    threads = DaemonThreads(2, "bounded closing")
    running = [threads.submit(hung) for _ in range(2)]
    waiting = threads.submit(lambda: "never")
    hung.has_begun(2)

    assert threads.close(0.01) == 2
    with pytest.raises(CancelledError):
        waiting.result(0)
    hung.let_go.set()
    assert [future.result(PATIENCE_S) for future in running] == ["done"] * 2


def test_where_the_system_has_no_thread_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller is told, and once there are threads again calls are made."""
    threads, ran = DaemonThreads(1, "none left"), list[int]()

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start"):
            threads.submit(lambda: ran.append(1))

    assert threads.submit(lambda: "next").result(PATIENCE_S) == "next"
    assert not ran


@pytest.mark.long
def test_a_hung_call_keeps_no_process_from_ending() -> None:
    """A program that ends does so, whatever its threads wait for."""
    code = (
        "import threading; from subject_pipeline.gate.daemon_threads import DaemonThreads as D\n"
        "begun = threading.Event(); D(1, 'x').submit(lambda: (begun.set(), threading.Event().wait())); begun.wait()"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
