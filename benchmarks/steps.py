"""A step of a benchmark: one function in a process of its own, so that its seconds and its peak memory are its own.

A step's function sets up what it needs and returns the work to measure; interpreter start, imports and set-up are not
counted. What it returns is told as JSON, with its seconds, its CPU seconds and its peak memory.
"""

import importlib
import inspect
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()

Found = dict[str, Any]
Work = Callable[..., Callable[[], Found]]


class Step:
    """A step under way.

    Args:
        work: a function of a module in this folder.
        folder: given to it, with the options, which JSON can say.
        core: keep it, and what it starts, on this core.
    """

    def __init__(self, work: Work, folder: Path, *, core: int | None = None, **options: object) -> None:
        module = Path(inspect.getfile(work)).stem
        pin = ["taskset", "-c", str(core)] if core is not None else []
        command = [sys.executable, str(HERE), module, work.__name__, str(folder), json.dumps(options)]
        self._process = subprocess.Popen([*pin, *command], stdout=subprocess.PIPE, text=True)

    def found(self) -> Found:
        """What it found, once it has ended: also `seconds`, `cpu_s` (all threads and children) and `peak_mib`.

        `peak_mib` is of the larger process, where it started another. `began` and `ended` are of a clock that all
        processes of the machine share.

        Raises:
            CalledProcessError: it failed; its own words are on standard error.
        """
        output, _ = self._process.communicate()
        if self._process.returncode:
            raise subprocess.CalledProcessError(self._process.returncode, self._process.args)
        told: Found = json.loads(output.splitlines()[-1])
        return told


def step(work: Work, folder: Path, *, core: int | None = None, **options: object) -> Found:
    """A step from its start to its end."""
    return Step(work, folder, core=core, **options).found()


def together(steps: Sequence[Step]) -> float:
    """Seconds from the first beginning to the last end of steps that were started at once."""
    found = [one.found() for one in steps]
    return float(max(one["ended"] for one in found) - min(one["began"] for one in found))


def median(steps: Sequence[Found], name: str = "seconds") -> float:
    """The middle one of what some steps found."""
    return float(statistics.median(one[name] for one in steps))


def check(holds: object, found: object) -> None:
    """End the benchmark if what it measured is not what it meant to measure.

    Raises:
        SystemExit: it does not hold.
    """
    if not holds:
        raise SystemExit(f"the benchmark's own check failed: {found}")


def _main(module: str, name: str, folder: str, options: str) -> None:
    work = getattr(importlib.import_module(module), name)(Path(folder), **json.loads(options))
    began, cpu = time.monotonic(), _cpu_s()
    found = work()
    ended, cpu_s = time.monotonic(), _cpu_s() - cpu
    # The process's own peak is not ru_maxrss, which it inherits from the one that started it. A child's inherits ours,
    # so it counts only where it is larger.
    own = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
    peak = max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / 1024
    times = {"seconds": ended - began, "cpu_s": cpu_s, "began": began, "ended": ended, "peak_mib": peak}
    print(json.dumps(times | found))


def _cpu_s() -> float:
    return sum(os.times()[:4])


if __name__ == "__main__":
    _main(*sys.argv[1:])
