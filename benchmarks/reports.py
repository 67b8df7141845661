"""What the benchmarks share: a step in a process of its own, what it was measured on, where its tables are kept."""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent.parent / "docs" / "performance.md"
RAM = Path("/dev/shm")  # noqa: S108 - the caller makes and removes a folder of its own in it

_started: dict[str, float] = {}


def start() -> None:
    """Begin counting: imports are done."""
    _started.update(began=time.monotonic(), cpu=time.process_time())


def tell(**found: object) -> None:
    """End a step: print what it found, its seconds since `start`, and the process's peak memory.

    `began` and `ended` are of a clock that all processes of the machine share; `cpu_s` counts all threads.
    """
    ended, cpu = time.monotonic(), time.process_time()
    # Not ru_maxrss, which a process inherits from the one that started it.
    status = Path("/proc/self/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0]) / 1024
    began = _started["began"]
    own = {"seconds": ended - began, "cpu_s": cpu - _started["cpu"], "began": began, "ended": ended, "peak_mib": peak}
    print(json.dumps({**own, **found}))


class Step:
    """A step under way in a process of its own.

    Args:
        script: the benchmark.
        arguments: what it is called with.
        core: keep it on this core.
    """

    def __init__(self, script: Path, *arguments: object, core: int | None = None) -> None:
        command = [sys.executable, str(script), *map(str, arguments)]
        pin = ["taskset", "-c", str(core)] if core is not None else []
        self._process = subprocess.Popen([*pin, *command], stdout=subprocess.PIPE, text=True)

    def found(self) -> dict[str, Any]:
        """What it found, once it has ended.

        Raises:
            CalledProcessError: it failed; its own words are on standard error.
        """
        output, _ = self._process.communicate()
        if self._process.returncode:
            raise subprocess.CalledProcessError(self._process.returncode, self._process.args)
        told: dict[str, Any] = json.loads(output.splitlines()[-1])
        return told


def machine() -> str:
    """What was measured on."""
    cpu = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores of {cpu}, {memory:.0f} GiB, Python {platform.python_version()}"


def write_part(name: str, lines: Sequence[str]) -> None:
    """Put a benchmark's tables between its own two marks in docs/performance.md, and leave all else as it is.

    Raises:
        SystemExit: the marks are not there; the tables were printed.
    """
    first, last = (f"<!-- {word} by make bench: {name} -->" for word in ("written", "end of what is written"))
    before, begun, rest = RESULTS.read_text().partition(first)
    _, ended, after = rest.partition(last)
    if not (begun and ended):
        raise SystemExit(f"{RESULTS} has no {first} with {last} after it: nothing was written")
    RESULTS.write_text("\n".join([before + first, "", *lines, "", last + after]))
