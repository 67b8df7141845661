"""`python benchmarks/lifecycle.py`: what lists and decisions cost, each figure of a store of its own in RAM."""

import argparse
import datetime as dt
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import polars as pl
from work import dataset_of, people_in, ring_in, store_in

from subject_pipeline.candidates.candidates import candidates
from subject_pipeline.changes.evidence import ManifestEvidence
from subject_pipeline.formats.times import format_time
from subject_pipeline.manifests.frames import new_rows
from subject_pipeline.manifests.table import ManifestTable
from subject_pipeline.registry.backfill import backfill
from subject_pipeline.store.opened import SubjectStore

COMMAND = Path(sys.executable).with_name("subject-pipeline")
RAM = Path("/dev/shm/subject-pipeline-lifecycle")  # noqa: S108 - made and removed by one run
INTERACTION = '{"retention":{"last_interaction_at":"2020-01-01T00:00:00.000000Z"}}'


class Took(NamedTuple):
    """What a command took, in seconds."""

    elapsed: float
    cpu: float


def due_listed(folder: Path, people: int) -> dict[str, Took]:
    """What it takes to list so many people who are due, beside as many who are not.

    A third of them has a field that decisions add, so that these are looked for. Each command is a process of its own.
    """
    store = SubjectStore.at(str(folder / "store"))
    layout = store.layout_or_create().chunks
    now = dt.datetime.now(dt.UTC)
    registered = {0: now - dt.timedelta(days=2_000), people: now}
    parts = []
    for first, when in registered.items():
        numbers = pl.int_range(first, first + people, dtype=pl.UInt64, eager=True)
        keys = pl.DataFrame({"row": numbers, "key": numbers.cast(pl.String)})
        found = candidates(keys, "WORKER-", layout)
        parts.append(new_rows(found, layout=layout, dataset="workers", key_column="id", safe_views=[], now=when))
    third = pl.int_range(pl.len()) % 3 == 0
    rows = pl.concat(parts).with_columns(extra=pl.when(third).then(pl.lit(INTERACTION)))
    ManifestTable(store).snapshot_or_create().insert(rows)
    return {
        "subjects list --due": took(store, "subjects", "list", "--due"),
        "subjects list --due --json": took(store, "subjects", "list", "--due", "--json"),
        "reviews export retention_due": took(
            store, "reviews", "export", "retention_due", "--out", str(folder / "due.csv")
        ),
    }


def decided(folder: Path, people: int) -> Took:
    """What it takes to record the consent of so many registered people, by one file of decisions."""
    folder.mkdir()
    ring = ring_in(folder)
    registered = backfill(
        store_in(folder),
        dataset_of(people_in(folder, people)),
        limit=None,
        evidence=ManifestEvidence(store_in(folder), "bench"),
    )
    if registered.counts.inserted != people:
        raise SystemExit(f"{registered.counts.inserted:,} of {people:,} were registered")
    now = format_time(dt.datetime.now(dt.UTC))
    keys = pl.read_parquet(people_in(folder, people), columns=["worker_id"]).select(pl.col("worker_id").cast(pl.String))
    keys.select(
        candidate_id="WORKER-" + pl.col("worker_id"),
        decision_id="bench-" + pl.col("worker_id"),
        kind=pl.lit("consent_given"),
        scope=pl.lit("general_pii"),
        version=pl.lit("1"),
        actor=pl.lit("bench"),
        ts=pl.lit(now),
    ).write_ndjson(folder / "decisions.jsonl")
    return took(store_in(folder), "decisions", "apply", str(folder / "decisions.jsonl"), ring=ring.path)


def took(store: SubjectStore, *call: str, ring: Path | None = None) -> Took:
    """What a command takes; its seconds of CPU say the same on a machine that is busy otherwise."""
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "SUBJECT_KEY_RING": str(ring or "")}
    command = [str(COMMAND), "--store", store.location.url, *call]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Took(time.perf_counter() - began, cpu)


def main() -> None:
    """Run what is asked for, and print a line for each figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=100_000, help="who are due")
    parser.add_argument("--decisions", type=int, nargs="+", default=[5_000, 500_000], help="in one file")
    parser.add_argument("--folder", type=Path, default=RAM)
    options = parser.parse_args()
    try:
        options.folder.mkdir(parents=True)
        for name, figure in due_listed(options.folder, options.people).items():
            print(f"{name}: {options.people:,} people in {figure.elapsed:.2f} s, {figure.cpu:.2f} s of CPU")
        for count in options.decisions:
            figure = decided(options.folder / f"decided-{count}", count)
            print(f"decisions apply: {count:,} people in {figure.elapsed:.2f} s, {figure.cpu:.2f} s of CPU")
    finally:
        shutil.rmtree(options.folder, ignore_errors=True)


if __name__ == "__main__":
    main()
