"""Killing one of the processes that the package starts, as the system does where memory runs out."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil


@contextmanager
def killing_a_spawned_process(number: signal.Signals = signal.SIGKILL) -> Iterator[None]:
    """The first process that is spawned meanwhile is killed, or gets another signal, as soon as it is there."""
    done = threading.Event()

    def kill() -> None:
        while not done.is_set():
            for child in psutil.Process().children():
                if any("spawn_main" in part for part in child.cmdline()):
                    child.send_signal(number)
                    done.set()
                    break
            time.sleep(0.01)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        yield
    finally:
        done.set()
        killer.join()
