"""What an import of manifests costs: documents in the form of an export by column, and beside them one by one."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from reports import Bench, Row
from steps import Found, check, median, step
from work import people_in, register_step, store_in

from subject_pipeline.manifests.usual_documents import usual_rows
from subject_pipeline.registry.exporting import export
from subject_pipeline.registry.imports import rows as import_rows
from subject_pipeline.registry.imports.importing import import_manifests

CHUNKS = 64
ROUNDS = 3


def rows(bench: Bench) -> Iterator[Row]:
    """An export of 100,000 into an empty store, and again, which changes nothing."""
    people = bench.size(100_000)
    (source,) = bench.stores("exported")
    step(register_step, source, source=people_in(bench.folder, people), chunks=CHUNKS)
    path = source / "manifests.jsonl"
    check(export(store_in(source), path) == people, "the export")
    first, again, singly = [], [], []
    for _ in range(ROUNDS):
        by_column, one_by_one = bench.stores("by-column", "one-by-one")
        first.append(step(import_step, by_column, path=str(path), by_column=True))
        singly.append(step(import_step, one_by_one, path=str(path), by_column=False))
        again.append(step(import_step, by_column, path=str(path), by_column=True))
        told = [(one["inserted"], one["unchanged"]) for one in (first[-1], singly[-1], again[-1])]
        check(told == [(people, 0), (people, 0), (0, people)], told)
        shutil.rmtree(by_column)
        shutil.rmtree(one_by_one)
    shutil.rmtree(source)
    took = median(first)
    yield Row(
        f"import {people:,} manifests",
        "<= 2 s",
        f"{took:.2f} s, again {median(again):.2f} s; {median(first, 'cpu_s') / median(singly, 'cpu_s'):.2f} of the CPU "
        f"time of one by one, {median(again, 'cpu_s') / median(singly, 'cpu_s'):.2f} again",
        (took <= 2,),
    )


def import_step(folder: Path, path: str, *, by_column: bool) -> Callable[[], Found]:
    """Imports manifests; those in the form of an export by column, or none."""
    if not by_column:
        vars(import_rows)["usual_rows"] = lambda _, layout, words: usual_rows([], layout, words)
    store = store_in(folder, CHUNKS)

    def work() -> Found:
        report = import_manifests(store, Path(path))
        return {"inserted": report.inserted, "unchanged": report.unchanged}

    return work
