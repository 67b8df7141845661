"""Warm workers: each has imported all it needs; anyone who is killed is replaced by one that is warm already."""

import json
import os
import select
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from subject_pipeline_tests.real.conftest import ROOT
from subject_pipeline_tests.real.store_model import Run

_PATIENCE_S = 240
_MOMENT_S = 0.001
_SPARE = 3


class WorkerPool:
    """Processes that do what they are asked to one store; safe to share between threads.

    Args:
        arguments: the workers'.
        log: where the workers' standard error goes.
    """

    def __init__(self, arguments: list[str], log: Path) -> None:
        self._command = [sys.executable, "-m", "subject_pipeline_tests.real.store_worker", *arguments]
        self._log = log
        self._lock = threading.Lock()
        self._idle: deque[subprocess.Popen[bytes]] = deque()
        self._warming: deque[subprocess.Popen[bytes]] = deque(self._start() for _ in range(_SPARE))

    def run(self, asked: Mapping[str, Any], kill_after_s: float | None, watched: Sequence[Path] = ()) -> Run:
        """Have an operation done by a process, and kill that with SIGKILL in its midst.

        What the process had answered before it died was acknowledged, however late it is read.

        Args:
            asked: the operation.
            kill_after_s: when the process is killed; None: it is not.
            watched: folders: the process is killed at once when an entry of one of them changes.
        """
        process = self._take()
        assert process.stdin is not None
        assert process.stdout is not None
        before = _state(watched)
        started = time.monotonic()
        deadline = started + (_PATIENCE_S if kill_after_s is None else kill_after_s)
        process.stdin.write(json.dumps(asked).encode() + b"\n")
        process.stdin.flush()
        while not (answered := _has_answered(process.stdout, deadline, poll=bool(watched))):
            if time.monotonic() >= deadline or _state(watched) != before:
                process.kill()
                process.wait()
                break
        line = process.stdout.readline()
        ended = time.monotonic()
        if process.poll() is None and line:
            with self._lock:
                self._idle.append(process)
        else:
            _end(process)
            with self._lock:
                self._warming.append(self._start())
        if line.endswith(b"\n"):
            [(outcome, answer)] = json.loads(line).items()
            return Run(asked, started, ended, outcome, answer)
        if answered or kill_after_s is None:
            return Run(asked, started, ended, "failed", f"it died, or did not end in {_PATIENCE_S} s: see {self._log}")
        return Run(asked, started, ended, "killed")

    def close(self) -> None:
        """End all of them."""
        for process in (*self._idle, *self._warming):
            process.kill()
            _end(process)

    def _take(self) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._idle:
                return self._idle.popleft()
            process = self._warming.popleft() if self._warming else self._start()
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n", f"a worker did not start: see {self._log}"
        return process

    def _start(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(
                self._command,
                cwd=ROOT,
                # One thread each: several of them share few cores with each other.
                env={**os.environ, "POLARS_MAX_THREADS": "1", "TOKIO_WORKER_THREADS": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )


def _state(folders: Sequence[Path]) -> list[int]:
    return [folder.stat().st_mtime_ns if folder.exists() else 0 for folder in folders]


def _has_answered(answers: IO[bytes], deadline: float, *, poll: bool) -> bool:
    """Whether there is an answer, at the deadline at the latest, or a moment from now."""
    left = max(0, deadline - time.monotonic())
    return bool(select.select([answers], [], [], min(left, _MOMENT_S) if poll else left)[0])


def _end(process: subprocess.Popen[bytes]) -> None:
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
