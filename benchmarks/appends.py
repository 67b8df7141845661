"""What single appends cost: a gateway's record of an answer, and a log in which every row is a segment."""

import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from reports import Bench, Row
from steps import Found, check, step
from work import one_event, store_in, verify_step

from subject_pipeline.audit.events import AccessEvent
from subject_pipeline.audit.log import AuditLog
from subject_pipeline.audit.reading import show
from subject_pipeline.gate.recording import AuditedTools
from subject_pipeline.objects.local import LocalObjects

REPEATS = 21


def rows(bench: Bench) -> Iterator[Row]:
    """A gateway's record, and a log of many single appends in one chunk."""
    (folder,) = bench.stores("gateway")
    answers = bench.size(1_000)
    found = step(record_step, folder, core=0, answers=answers)
    shutil.rmtree(folder)
    one, twenty, put = (found[name] for name in ("one_ms", "twenty_ms", "put_ms"))
    yield Row(
        "gate: record, 1 / 20 subjects, warm",
        "<= 0.4 / 3 ms CPU",
        f"{one:.2f} / {twenty:.2f} ms CPU; one PUT {put:.2f} ms",
        (one <= 0.4, twenty <= 3),
    )
    yield _long_log(bench)


def _long_log(bench: Bench) -> Row:
    long = bench.size(bench.appends)
    verified, grown = {}, {}
    for rows in (long // 10, long):
        (folder,) = bench.stores("log")
        grown[rows] = step(grow_step, folder, rows=rows)
        looked = step(look_step, folder, rows=rows)
        verified[rows] = step(verify_step, folder)
        check(verified[rows]["rows"] == rows + REPEATS, verified)
        shutil.rmtree(folder)
    less, micros = (found["seconds"] / found["rows"] * 1e6 for found in verified.values())
    return Row(
        f"a log of {long:,} single appends in one chunk",
        "`show`, cold append <= 10 ms; verify linear, requests overlapped",
        f"`show` {looked['show_ms']:.1f} ms, cold append {looked['append_ms']:.1f} ms; verify {micros:.0f} us a row, "
        f"{less:.0f} at a tenth as many, {verified[long]['peak_mib']:,.0f} MiB; appended in "
        f"{grown[long]['seconds'] / long * 1e3:.2f} ms each",
        (looked["show_ms"] <= 10, looked["append_ms"] <= 10, micros <= 1.2 * less),
    )


def record_step(folder: Path, answers: int) -> Callable[[], Found]:
    """Records of answers about one subject, and about 20, in 64 chunks; and bare creations of objects as large."""
    log = AuditLog(store_in(folder, 64))
    tools = AuditedTools(log, actor="agent:matcher")
    objects = LocalObjects(folder / "bare")

    def record(names: int, calls: int) -> float:
        people = [{"candidate_id": f"WORKER-{100_001 + at}", "trade": "welder"} for at in range(names * 50)]
        began = time.process_time()
        for call in range(calls):
            first = call % 50 * names
            tools.after("read_worker", {"status": 200, "rows": people[first : first + names]}, trace_id=f"{call:032x}")
        return (time.process_time() - began) / calls * 1e3

    def put() -> float:
        began = time.process_time()
        for at in range(answers):
            objects.create(f"audit/chunk-00/{at:012d}.jsonl", b"x" * 900)
        return (time.process_time() - began) / answers * 1e3

    for names in (1, 20):
        record(names, 60)  # every chunk has been led once
    return lambda: {"one_ms": record(1, answers), "twenty_ms": record(20, max(answers // 10, 1)), "put_ms": put()}


def grow_step(folder: Path, rows: int) -> Callable[[], Found]:
    """A log of one chunk, of rows that come one at a time."""
    log = AuditLog(store_in(folder, 1))

    def work() -> Found:
        for at in range(rows):
            log.append([one_event(at)])
        log.close()
        return {}

    return work


def look_step(folder: Path, rows: int) -> Callable[[], Found]:
    """Rows of one person, and appends of one event, each time in a store that was just opened."""

    def append(events: list[AccessEvent]) -> None:
        AuditLog(store_in(folder)).append(events)

    def work() -> Found:
        shown = [_ms(lambda: show(store_in(folder), one_event(7).candidate_id)) for _ in range(REPEATS)]
        events = [one_event(rows + at) for at in range(REPEATS)]
        appended = [_ms(partial(append, [one])) for one in events]
        return {"show_ms": statistics.median(shown), "append_ms": statistics.median(appended)}

    return work


def _ms(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1e3
