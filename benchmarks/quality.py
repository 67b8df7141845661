"""`make bench`: what this pipeline costs, beside its peers and its goals. A goal that is missed is marked.

What is compared runs in turns, each in a process of its own, and the medians are divided, because the machine may be
busy with something else. What is told of one core is kept on it, and measured in CPU time.
"""

import argparse
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import appends
import commands
import gate
import importing
import ingestion
import registration
import verification
from reports import RAM, Bench, Row, measured_on, say, write_part

PARTS = {
    "registration": registration.rows,
    "importing": importing.rows,
    "ingestion": ingestion.rows,
    "verification": verification.rows,
    "appends": appends.rows,
    "gate": gate.rows,
    "commands": commands.rows,
}


def table(bench: Bench, parts: list[str]) -> Iterator[str | Row]:
    """The table's lines."""
    began = time.monotonic()
    yield from (measured_on(), "", "| work | goal | measured |", "|---|---|---|")
    for part in parts:
        yield from PARTS[part](bench)
    yield from ("", f"All of it took {time.monotonic() - began:.0f} s.")


def main() -> None:
    """Measure, print, and keep the table in docs/performance.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=RAM / "subject-pipeline-bench", help="made, and removed")
    parser.add_argument("--only", choices=PARTS, nargs="*", help="print these parts and write nothing")
    parser.add_argument("--appends", type=int, default=10_000, help="single appends in one chunk")
    parser.add_argument("--ten-million", action="store_true", help="also 10 million rows; needs 12 GB")
    parser.add_argument("--smaller", type=int, default=1, help="divide all sizes, to try this; writes nothing")
    options = parser.parse_args()
    shutil.rmtree(options.folder, ignore_errors=True)
    options.folder.mkdir(parents=True)
    try:
        bench = Bench(options.folder, options.smaller, options.appends, options.ten_million)
        lines = say(table(bench, options.only or list(PARTS)))
    finally:
        shutil.rmtree(options.folder, ignore_errors=True)
    if options.only is None and options.smaller == 1:
        write_part("goals", lines)


if __name__ == "__main__":
    main()
