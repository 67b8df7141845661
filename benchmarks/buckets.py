"""`make bench-buckets`: how many requests each operation makes on an S3 server, and what 30 ms a request cost.

The server and a counting proxy run beside the work on the same cores, so its own share of each time is shown too: the
same work with no latency added.
"""

import argparse
import os
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from reports import RAM, measured_on, say, write_part
from work import dataset_of, events_in, one_event, people_in, ring_in

from subject_pipeline.anchoring.checkpointing import write_checkpoint
from subject_pipeline.audit.events import AccessEvent
from subject_pipeline.audit.log import AuditLog
from subject_pipeline.audit.reading import show
from subject_pipeline.ingestion.event_files import local_file
from subject_pipeline.ingestion.ingesting import ingest
from subject_pipeline.registry.backfill import backfill
from subject_pipeline.registry.subjects import SubjectRegistry
from subject_pipeline.reports.collecting import collect_numbers
from subject_pipeline.reports.report import write_compliance_report
from subject_pipeline.store.chunks import ChunkLayout
from subject_pipeline.store.ids import storage_key
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline.verification.whole_store import verify
from subject_pipeline_tests.real.s3_proxy import Counted, make_bucket, s3_server

LATENCY_S = 0.03
KINDS = ("LIST", "GET", "HEAD", "PUT", "DELETE")
THREADS = 32
Watch = Callable[[str, Callable[[], object]], None]
"""Called with an operation's name, and what does it."""


@dataclass(slots=True)
class Work:
    """One store, and the operations tried on it in their order; `cost` is told of each."""

    folder: Path
    url: str
    people: int
    events: int
    chunks: int = 64

    def run(self, watch: Watch) -> None:
        """Every operation, each through `watch`."""
        ring = ring_in(self.folder)
        people = dataset_of(people_in(self.folder, self.people))

        def store() -> SubjectStore:
            return SubjectStore.at(self.url, wanted_chunks=self.chunks, ring=ring)

        def report() -> object:
            fresh = store()
            return write_compliance_report(fresh, collect_numbers(fresh, pending_days=30))

        file = local_file(Path(events_in(self.folder, self.events, people=self.people)))
        one = "WORKER-100001"
        store().register(people)
        watch(f"register {self.people:,} people", lambda: backfill(store(), people, limit=None))
        watch("register them again", lambda: backfill(store(), people, limit=None))
        watch(f"ingest {self.events:,} events", lambda: ingest(AuditLog(store()), [file]))
        watch("verify, full", lambda: _sound(verify(store()).sound))
        watch("first checkpoint", lambda: write_checkpoint(store()))
        watch("verify, incremental, nothing new", lambda: _sound(verify(store(), incremental=True).sound))
        watch("checkpoint, nothing new", lambda: write_checkpoint(store()))
        watch("report", report)
        watch("subjects get", lambda: SubjectRegistry(store()).get(one))
        watch("audit show", lambda: show(store(), one))
        watch("audit append, cold", lambda: AuditLog(store()).append([_event(one, 0)]))
        warm = AuditLog(store())
        warm.append([_event(one, 1)])
        watch("audit append, warm", lambda: warm.append([_event(one, 2)]))
        chunks = _one_a_chunk(self.chunks, THREADS)
        for person in chunks:
            warm.append([_event(person, 3)])
        watch(f"{THREADS} appends to {THREADS} chunks, warm, a thread each", lambda: _appends(warm, chunks))
        watch("verify, incremental, after those", lambda: _sound(verify(store(), incremental=True).sound))


def _sound(sound: bool) -> None:  # noqa: FBT001 - the claim itself
    if not sound:
        raise SystemExit("the store is not sound: the figures would mean nothing")


def _event(candidate_id: str, number: int) -> AccessEvent:
    return one_event(number)._replace(candidate_id=candidate_id, event_id=f"bench-{number}-{time.monotonic_ns()}")


def _one_a_chunk(chunks: int, wanted: int) -> list[str]:
    layout = ChunkLayout(chunks)
    found: dict[str, str] = {}
    for person in (f"BENCH-{number}" for number in range(100_000)):
        if len(found) < wanted:
            found.setdefault(layout.chunk_of(storage_key(person)), person)
    return list(found.values())


def _appends(log: AuditLog, people: list[str]) -> None:
    threads = [threading.Thread(target=lambda who=who: log.append([_event(who, 4)])) for who in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def requests_table(proxy: Counted, work: Callable[[Watch], None]) -> list[str]:
    """A row an operation: what it asked of the bucket."""
    lines = [
        "| operation, 64 chunks | " + " | ".join(KINDS) + " | writes a chunk | most at once | s |",
        "|---|" + "---:|" * (len(KINDS) + 3),
    ]

    def watch(name: str, run: Callable[[], object]) -> None:
        proxy.reset()
        started = time.perf_counter()
        run()
        took = time.perf_counter() - started
        counts = Counter(proxy.counts)
        numbers = " | ".join(f"{counts[kind]:,}" for kind in KINDS)
        lines.append(f"| {name} | {numbers} | {counts['PUT'] / 64:.2f} | {proxy.most_at_once} | {took:.2f} |")

    work(watch)
    return lines


def latency_table(folder: Path, proxy: Counted, people: int, events: int) -> list[str]:
    """A row an operation: in a local store, on the S3 server, and there with every request late."""
    times: dict[str, list[float]] = {}

    def watch(name: str, run: Callable[[], object]) -> None:
        started = time.perf_counter()
        run()
        times.setdefault(name, []).append(time.perf_counter() - started)

    Work(folder, str(folder / "local"), people, events).run(watch)
    Work(folder, f"{make_bucket(proxy, 'quick')}/store", people, events).run(watch)
    proxy.latency_s = LATENCY_S
    Work(folder, f"{make_bucket(proxy, 'late')}/store", people, events).run(watch)
    proxy.latency_s = 0.0
    lines = [
        "| operation, 64 chunks | local s | S3 server s | with 30 ms a request s | of local | of the S3 server |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, (local, quick, late) in times.items():
        lines.append(f"| {name} | {local:.3f} | {quick:.3f} | {late:.3f} | {late / local:.1f} | {late / quick:.1f} |")
    return lines


def gateway_table(folder: Path, proxy: Counted, appends: int) -> Iterator[str]:
    """What single appends ask for, and what those who come after them are asked to look through."""
    ring, url = ring_in(folder), f"{make_bucket(proxy, 'gateway')}/store"

    def store() -> SubjectStore:
        return SubjectStore.at(url, wanted_chunks=8, ring=ring)  # few, so that each is indexed many times

    def counted(work: Callable[[], object]) -> Counter[str]:
        proxy.reset()
        work()
        return Counter(proxy.counts)

    def gateway(first: int) -> None:
        log = AuditLog(store())
        for at in range(first, first + appends // 2):
            log.append([one_event(at)], unique=True)
        log.close()

    yield "| a gateway's single appends, 8 chunks | " + " | ".join(KINDS) + " |"
    yield "|---|" + "---:|" * len(KINDS)
    for done in (appends // 2, appends):
        for name, work in (
            (f"{appends // 2:,} appends, for each", lambda done=done: gateway(done - appends // 2)),
            ("verify, full", lambda: _sound(verify(store()).sound)),
            ("checkpoint", lambda: write_checkpoint(store())),
            (
                "verify, incremental, nothing new",
                lambda: _sound(verify(store(), incremental=True).sound),
            ),
            ("`audit show`, of one", lambda: show(store(), "WORKER-100001")),
            (
                "`audit append`, cold",
                lambda done=done: AuditLog(store()).append([one_event(appends * 2 + done)]),
            ),
        ):
            counts = counted(work)
            share = appends // 2 if name.endswith("for each") else 1
            told = " | ".join(f"{counts[kind] / share:,.3f}" if share > 1 else f"{counts[kind]:,}" for kind in KINDS)
            yield f"| after {done:,}: {name} | {told} |"


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=RAM / "subject-pipeline-buckets", help="made, and removed")
    parser.add_argument("--people", type=int, default=500_000)
    parser.add_argument("--events", type=int, default=300_000)
    parser.add_argument("--appends", type=int, default=4_000, help="single appends of a gateway")
    parser.add_argument("--only", choices=["requests", "latency", "gateway"], help="print this, and write nothing")
    options = parser.parse_args()
    folder = options.folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    parts: dict[str, Callable[[Counted], Iterable[str]]] = {
        "requests": lambda proxy: requests_table(
            proxy, Work(folder, f"{make_bucket(proxy, 'requests')}/store", options.people, options.events).run
        ),
        "latency": lambda proxy: latency_table(folder, proxy, options.people, options.events),
        "gateway": lambda proxy: gateway_table(folder, proxy, options.appends),
    }
    try:
        with s3_server(folder) as proxy:
            os.environ.update(proxy.environment)
            lines = say([f"{measured_on()[:-1]}; server and proxy on the same cores."])
            for part in [options.only] if options.only else parts:
                lines += say(chain([""], parts[part](proxy)))
        if options.only is None:
            write_part("buckets", lines)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
