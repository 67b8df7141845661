"""How the benchmarks tell what they found: rows with a goal, what it was measured on, where the tables are kept."""

import datetime as dt
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

RESULTS = Path(__file__).resolve().parent.parent / "docs" / "performance.md"
RAM = Path("/dev/shm")  # noqa: S108 - the caller makes and removes a folder of its own in it


@dataclass(frozen=True, slots=True)
class Bench:
    """One run: where it works, and how large.

    Attributes:
        smaller: every size is divided by this, to try the benchmark itself.
        appends: single appends in one chunk.
        ten_million: also what takes long.
    """

    folder: Path
    smaller: int = 1
    appends: int = 10_000
    ten_million: bool = False

    def size(self, rows: int) -> int:
        """So many rows, in this run."""
        return max(rows // self.smaller, 100)

    def stores(self, *names: str) -> list[Path]:
        """Folders for stores, each with nothing in it."""
        folders = [self.folder / name for name in names]
        for folder in folders:
            folder.mkdir(parents=True)
        return folders


@dataclass(frozen=True, slots=True)
class Row:
    """One measured thing; `met` says for each goal whether it was reached."""

    work: str
    goal: str
    measured: str
    met: Sequence[bool]

    def __str__(self) -> str:
        missed = f" **missed{f' ({self.met.count(False)} of {len(self.met)})' if any(self.met) else ''}**"
        return f"| {self.work} | {self.goal} | {self.measured}{'' if all(self.met) else missed} |"


def machine() -> str:
    """What was measured on."""
    cpu = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores of {cpu}, {memory:.0f} GiB, Python {platform.python_version()}"


def measured_on() -> str:
    """The sentence above a table."""
    load = os.getloadavg()[0]
    return f"Measured {dt.datetime.now(dt.UTC):%Y-%m-%d} on {machine()}, in RAM; load {load:.1f} at its start."


def say(lines: Iterable[object]) -> list[str]:
    """Print each line as soon as it is known; all of them, for the report."""
    told = []
    for line in lines:
        print(line, flush=True)
        told.append(str(line))
    return told


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
