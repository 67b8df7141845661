"""Processes of our own: they begin as told, and none outlives the process that started it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from subject_pipeline import spawned as module
from subject_pipeline.spawned import PinnedProcesses, cores, spawned, worth
from subject_pipeline_tests.helpers.killing import killing_a_spawned_process


@pytest.mark.long
def test_each_process_begins_as_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """What begins a process is called in it, before anything else; Ctrl-C is none of its business."""
    monkeypatch.delenv("A_PROCESS_OF_OURS", raising=False)
    with spawned(_begin, "told") as pool:
        assert pool.submit(os.getenv, "A_PROCESS_OF_OURS").result() == "told"
        assert pool.submit(signal.getsignal, signal.SIGINT).result() == signal.SIG_IGN
    assert os.getenv("A_PROCESS_OF_OURS") is None


@pytest.mark.long
def test_ctrl_c_does_not_end_a_process_that_starts() -> None:
    """A terminal sends it to every process of the command, while this one may still be importing."""
    with spawned(_begin, "told") as pool, killing_a_spawned_process(signal.SIGINT):
        assert pool.submit(os.getenv, "A_PROCESS_OF_OURS").result() == "told"
        assert pool.submit(signal.pthread_sigmask, signal.SIG_BLOCK, ()).result() == set()
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()


@pytest.mark.long
def test_no_process_outlives_who_started_it(tmp_path: Path) -> None:
    """Not even one that was killed, and could not tell them."""
    program = tmp_path / "program.py"
    program.write_text(
        "import os, time\n"
        "from subject_pipeline.spawned import spawned\n"
        "if __name__ == '__main__':\n"
        "    pool = spawned(print)\n"
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


@pytest.mark.parametrize(
    ("size", "have", "expected"), [(0, 8, 1), (199, 8, 1), (200, 8, 2), (9_900, 2, 2), (9_900, 99, 99)]
)
def test_work_is_worth_so_many_processes(monkeypatch: pytest.MonkeyPatch, size: int, have: int, expected: int) -> None:
    """Small work is done sooner than a process starts; more processes than cores are of no use."""
    monkeypatch.setattr(module, "cores", lambda: have)
    assert worth(size, 100) == expected


@pytest.mark.parametrize(("chunks", "processes"), [(1, 1), (1, 3), (4, 2), (5, 2), (64, 3)])
def test_a_chunk_is_always_the_same_processs(chunks: int, processes: int) -> None:
    """Neighbours are one's; all work is handed out once, to as many processes as have any."""
    names = [f"chunk-{number:02x}" for number in range(chunks)]
    pinned = PinnedProcesses(names, processes, os.getpid)  # which start when they are given work
    parts = [list(own) for _, own in pinned.parts(dict.fromkeys(names, 0))]
    assert [name for part in parts for name in part] == names
    assert len(parts) == min(chunks, processes)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    (alone,) = pinned.parts({names[-1]: 0})
    assert alone[1] == {names[-1]: 0}
