"""Processes of our own: they begin as told, and none outlives the process that started it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from subject_pipeline.spawned import cores, spawned


@pytest.mark.long
def test_each_process_begins_as_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """What begins a process is called in it, before anything else; Ctrl-C is none of its business."""
    monkeypatch.delenv("A_PROCESS_OF_OURS", raising=False)
    with spawned(1, _begin, "told") as pool:
        assert pool.submit(os.getenv, "A_PROCESS_OF_OURS").result() == "told"
        assert pool.submit(signal.getsignal, signal.SIGINT).result() == signal.SIG_IGN
    assert os.getenv("A_PROCESS_OF_OURS") is None


@pytest.mark.long
def test_no_process_outlives_who_started_it(tmp_path: Path) -> None:
    """Not even one that was killed, and could not tell them."""
    program = tmp_path / "program.py"
    program.write_text(
        "import os, time\n"
        "from subject_pipeline.spawned import spawned\n"
        "if __name__ == '__main__':\n"
        "    pool = spawned(1, print)\n"
        "    print('child', pool.submit(os.getpid).result(), flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, program], stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout is not None
        child = next(int(line.split()[1]) for line in started.stdout if line.startswith("child"))
        process = psutil.Process(child)
        started.kill()
    gone, alive = psutil.wait_procs([process], timeout=20)
    assert gone
    assert not alive


def test_cores_are_those_that_may_be_used() -> None:
    """At least one; where the system says which, those."""
    assert 1 <= cores() <= (os.cpu_count() or 1)


def _begin(word: str) -> None:
    os.environ["A_PROCESS_OF_OURS"] = word
