"""What a command costs before it does anything, beside Python itself."""

import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Iterator

from reports import Bench, Row
from work import ring_in

REPEATS = 7
MAIN = ("-c", "from subject_pipeline.cli.main import main; main()")


def rows(bench: Bench) -> Iterator[Row]:
    """`--help` and `audit append`: CPU seconds of user and system."""
    (folder,) = bench.stores("commands")
    ring_in(folder)
    where = {"SUBJECT_STORE_URL": str(folder / "store"), "SUBJECT_KEY_RING": str(folder / "ring.json")}
    asked = [
        ("-c", "pass"),
        (*MAIN, "--help"),
        (*MAIN, "audit", "append", "WORKER-100001", "--action", "view", "--actor", "agent:matcher"),
    ]
    python, told, appended = (statistics.median(_cpu_s(*one, **where) for _ in range(REPEATS)) for one in asked)
    yield Row(
        "`--help` / `audit append`, CPU",
        "<= 0.3 / 0.4 s",
        f"{told:.2f} / {appended:.2f} s; Python itself {python:.2f} s",
        (told <= 0.3, appended <= 0.4),
    )


def _cpu_s(*arguments: str, **environment: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=os.environ | environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
