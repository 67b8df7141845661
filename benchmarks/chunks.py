"""`make bench-scale`: what ten times too few chunks cost, so that the count, fixed at creation, can be chosen well.

The same people and events go into two stores: one with about 10,000 subjects a chunk, one with ten times as many.
"""

import argparse
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

from reports import RAM, measured_on, say, write_part
from steps import Found, step
from work import (
    checkpoint_step,
    events_in,
    ingest_step,
    one_event,
    people_in,
    register_step,
    store_in,
    verify_step,
)

from subject_pipeline.audit.log import AuditLog
from subject_pipeline.changes.evidence import ManifestEvidence
from subject_pipeline.registry.maintenance import compact
from subject_pipeline.registry.subjects import SubjectRegistry

COMFORTABLE = 10_000
SUBJECTS, EVENTS = 1_000_000, 1_000_000
REPEATS = 5


def measure(folder: Path, subjects: int, events: int) -> Iterator[str]:
    """The table: a row a step, both stores side by side."""
    good = max(10, subjects // COMFORTABLE)
    stores = {count: folder / f"{count}-chunks" for count in (good, good // 10)}
    for home in stores.values():
        home.mkdir()
    source = people_in(folder, subjects)
    every = [events_in(folder, events, people=subjects)]
    few = [events_in(folder, events // 100, people=subjects, seed=11)]
    yield f"{subjects:,} subjects, {events:,} events: {good} chunks against {good // 10}, ten times too few."
    yield ""
    names = [f"{count} chunks" for count in stores]
    yield f"| step | {names[0]}, s | {names[1]}, s | times as long | {names[0]}, peak MiB | {names[1]}, peak MiB |"
    yield "|---|---:|---:|---:|---:|---:|"
    for words, work, options in (
        ("register all", register_step, {"source": source}),
        ("register them again", register_step, {"source": source}),
        ("ingest the events", ingest_step, {"files": every}),
        ("verify, full", verify_step, {}),
        ("first checkpoint", checkpoint_step, {}),
        ("ingest 1 % more events", ingest_step, {"files": few}),
        ("verify, incremental, after those", verify_step, {"incremental": True}),
        ("next checkpoint", checkpoint_step, {}),
        ("`subjects get`, of one", one_step, {"name": "get"}),
        ("change one manifest, recorded", one_step, {"name": "put"}),
        ("`audit append`, cold", one_step, {"name": "append"}),
        ("compact", one_step, {"name": "compact"}),
    ):
        sized = work in {register_step, ingest_step}
        right, wrong = (
            step(work, home, **options, **({"chunks": count} if sized else {})) for count, home in stores.items()
        )
        right_s, wrong_s = (float(found.get("each_s") or found["seconds"]) for found in (right, wrong))
        yield (
            f"| {words} | {right_s:.3f} | {wrong_s:.3f} | {wrong_s / right_s:.1f} | "
            f"{right['peak_mib']:,.0f} | {wrong['peak_mib']:,.0f} |"
        )


def one_step(folder: Path, name: str) -> Callable[[], Found]:
    """What concerns one subject, a few times; `compact` once."""
    store = store_in(folder)
    registry = SubjectRegistry(store, ManifestEvidence(store, "benchmark"))
    one = "WORKER-100001"

    def change() -> None:
        registry.put(registry.get(one).model_copy(update={"vertical": f"v{uuid.uuid4().hex}"}))

    def append() -> None:
        event = one_event(0)._replace(event_id=uuid.uuid4().hex, ts=AuditLog(store).now())
        AuditLog(store).append([event])

    kinds: dict[str, Callable[[], object]] = {
        "get": lambda: registry.get(one),
        "put": change,
        "append": append,
        "compact": lambda: compact(store),
    }
    times = 1 if name == "compact" else REPEATS

    def work() -> Found:
        began = time.perf_counter()
        for _ in range(times):
            kinds[name]()
        return {"each_s": (time.perf_counter() - began) / times}

    return work


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=RAM / "subject-pipeline-chunks", help="made, and removed")
    parser.add_argument("--subjects", type=int, default=SUBJECTS, help="fewer: nothing is written")
    parser.add_argument("--events", type=int, default=EVENTS)
    options = parser.parse_args()
    shutil.rmtree(options.folder, ignore_errors=True)
    options.folder.mkdir(parents=True)
    try:
        lines = say(chain([measured_on(), ""], measure(options.folder, options.subjects, options.events)))
    finally:
        shutil.rmtree(options.folder, ignore_errors=True)
    if options.subjects == SUBJECTS:
        write_part("chunks", lines)


if __name__ == "__main__":
    main()
