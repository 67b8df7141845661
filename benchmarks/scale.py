"""`make bench-scale`: whether time and memory stay as they should while a store grows: subjects, rows, single appends.

Each line is a step in a process of its own, with its seconds, its CPU seconds for each subject or row, and its peak
memory; a peak over its limit is marked. Steps that a user divides among processes run in one here.
"""

import argparse
import shutil
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from appends import grow_step, look_step
from reports import RAM, measured_on, say, write_part
from steps import Found, step
from work import checkpoint_step, events_in, ingest_step, people_in, register_step, verify_step

HALF_GIB, GIB = 512, 1024
HEAD = ("| store | step | s | CPU, us each | peak MiB |", "|---|---|---:|---:|---:|")


def subjects(folder: Path, most: int) -> Iterator[str]:
    """Subjects without a log: registered, anchored, verified."""
    yield from HEAD
    for people, chunks in ((100_000, 64), (1_000_000, 128), (10_000_000, 1024)):
        if people > most:
            continue
        words = f"{people:,} subjects, {chunks:,} chunks"
        home = folder / "subjects"
        home.mkdir()
        source = {"source": people_in(home, people), "chunks": chunks}
        for name, work, options in (
            ("register", register_step, source),
            ("register again", register_step, source),
            ("first checkpoint", checkpoint_step, {}),
            ("verify, full", verify_step, {}),
            ("verify, incremental, nothing new", verify_step, {"incremental": True}),
            ("checkpoint, nothing new", checkpoint_step, {}),
        ):
            yield _line(words, name, step(work, home, **options), people, GIB)
        shutil.rmtree(home)


def events(folder: Path, most: int) -> Iterator[str]:
    """Rows of a log, ten a subject, ingested from one file by one process, and verified."""
    yield from HEAD
    for rows, chunks in ((300_000, 64), (3_000_000, 64), (3_000_000, 1024)):
        if rows > most:
            continue
        words = f"{rows:,} events, {chunks:,} chunks"
        home = folder / "events"
        home.mkdir()
        files = [events_in(folder, rows, people=rows // 10)]
        for name, work, options in (
            ("ingest", ingest_step, {"files": files, "chunks": chunks}),
            ("ingest the same file again", ingest_step, {"files": files, "chunks": chunks}),
            ("verify, full", verify_step, {}),
            ("first checkpoint", checkpoint_step, {}),
            ("verify, incremental, nothing new", verify_step, {"incremental": True}),
        ):
            yield _line(words, name, step(work, home, **options), rows, HALF_GIB)
        shutil.rmtree(home)


def single_appends(folder: Path, most: int) -> Iterator[str]:
    """A log of one chunk in which every row is a segment."""
    yield "| appends in one chunk | append, ms | `show`, ms | cold append, ms | verify, us a row | peak MiB, verify |"
    yield "|---:|---:|---:|---:|---:|---:|"
    for rows in (1_000, 10_000, 100_000):
        if rows > most:
            continue
        home = folder / "appends"
        home.mkdir()
        grown = step(grow_step, home, rows=rows)
        looked = step(look_step, home, rows=rows)
        verified = step(verify_step, home)
        shutil.rmtree(home)
        yield (
            f"| {rows:,} | {grown['seconds'] / rows * 1e3:.2f} | {looked['show_ms']:.1f} | {looked['append_ms']:.1f} | "
            f"{verified['seconds'] / verified['rows'] * 1e6:.0f} | {_peak(verified, HALF_GIB)} |"
        )


def _line(words: str, name: str, found: Found, each: int, limit: int) -> str:
    cpu_us = found["cpu_s"] / each * 1e6
    return f"| {words} | {name} | {found['seconds']:.2f} | {cpu_us:.2f} | {_peak(found, limit)} |"


def _peak(found: Found, limit: int) -> str:
    return f"{found['peak_mib']:,.0f}{'' if found['peak_mib'] < limit else f' **over {limit:,}**'}"


PARTS = {
    "subjects": (subjects, 10_000_000),
    "events": (events, 3_000_000),
    "appends": (single_appends, 100_000),
}


def main() -> None:
    """Measure, print, and keep each table in docs/performance.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=RAM / "subject-pipeline-scale", help="made, and removed")
    parser.add_argument("--only", choices=PARTS, nargs="*", default=list(PARTS), help="measure and keep these alone")
    parser.add_argument("--most", type=int, help="leave out what is larger, and write nothing")
    options = parser.parse_args()
    for name in options.only:
        work, most = PARTS[name]
        shutil.rmtree(options.folder, ignore_errors=True)
        options.folder.mkdir(parents=True)
        try:
            lines = say(chain([measured_on(), ""], work(options.folder, options.most or most)))
        finally:
            shutil.rmtree(options.folder, ignore_errors=True)
        if options.most is None:
            write_part(f"scale of {name}", lines)


if __name__ == "__main__":
    main()
