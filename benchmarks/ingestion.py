"""What ingestion costs, beside a bare loop of the same steps: JSON lines and parquet, 64 chunks and 1,024.

Seconds are one core's time, unless it says by the clock.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import polars as pl
from bare import bare_ingest_step
from reports import Bench, Row
from steps import Found, Step, check, median, step, together
from work import events_in, ingest_step, ring_in, store_in, verify_all_step, verify_step

CHUNKS = 64
ROUNDS = 3
CPU = "cpu_s"


def rows(bench: Bench) -> Iterator[Row]:
    """300,000 events in one process and two, of a parquet file, into 1,024 chunks; where wanted 3 million."""
    events, people = bench.size(300_000), bench.size(30_000)
    path = events_in(bench.folder, events, people=people)
    halves = [events_in(bench.folder, events // 2, people=people, seed=seed) for seed in (8, 9)]
    columns = _parquet(Path(path))
    own, bare, parquet, crowded, both = [], [], [], [], []
    for _ in range(ROUNDS):
        own.append(_ingested(bench, [path], events, core=0))
        (folder,) = bench.stores("bare-log")
        bare.append(step(bare_ingest_step, folder, core=0, files=[path], chunks=CHUNKS))
        shutil.rmtree(folder)
        check(own[-1]["results"] == bare[-1]["results"], (own, bare))
        parquet.append(_ingested(bench, [columns], events, core=0))
        crowded.append(_ingested(bench, [path], events, core=0, chunks=1024))
        both.append(_two_processes(bench, halves))
    own_s, bare_s = median(own, CPU), median(bare, CPU)
    two = events / sorted(both)[ROUNDS // 2]
    yield Row(
        f"ingest {events:,} JSONL, 64 chunks",
        ">= 0.55 of the bare loop in one process, >= 0.9 of the bare core with both",
        f"{events / own_s:,.0f}/s, {bare_s / own_s:.2f} of the bare loop's {events / bare_s:,.0f}/s; two processes "
        f"{two:,.0f}/s by the clock, {two * bare_s / events:.2f}; peak {_peak(own)}",
        (bare_s / own_s >= 0.55, two * bare_s / events >= 0.9),
    )
    columns_s = median(parquet, CPU)
    yield Row(
        f"ingest {events:,} of a parquet file",
        "no slower than JSONL",
        f"{events / columns_s:,.0f}/s, {columns_s / own_s:.2f} times as long; peak {_peak(parquet)}",
        (columns_s / own_s <= 1.02,),
    )
    crowded_s = median(crowded, CPU)
    yield Row(
        f"{events:,} events into 1,024 chunks",
        "within 1.15x of 64 chunks",
        f"{crowded_s:.1f} s, {crowded_s / own_s:.2f} times as long; peak {_peak(crowded)}",
        (crowded_s / own_s <= 1.15,),
    )
    if bench.ten_million:
        yield from _three_million(bench, own_s / events)


def _three_million(bench: Bench, each_s: float) -> Iterator[Row]:
    events = bench.size(3_000_000)
    path = events_in(bench.folder, events, people=events // 10)
    (folder,) = bench.stores("three-million")
    took = step(ingest_step, folder, core=0, files=[path], chunks=CHUNKS)
    found = step(verify_step, folder, core=0)
    check((took["rows"], found["rows"]) == (events, events), (took, found))
    yield _processes(bench, path, events, folder)
    shutil.rmtree(folder)
    Path(path).unlink()
    longer = took[CPU] / events / each_s
    yield Row(
        f"{events:,} events ingested, and verified",
        "memory < 512 MiB; linear",
        f"{took['seconds']:.0f} s, {took['peak_mib']:,.0f} MiB, {longer:.2f} times the time of a row at 300 k; "
        f"verified in {found['seconds']:.0f} s, {found['peak_mib']:,.0f} MiB",
        (took["peak_mib"] < 512, found["peak_mib"] < 512, longer <= 1.15),
    )


def _processes(bench: Bench, path: str, events: int, verified: Path) -> Row:
    """The same by one process and by two, both by the clock, with the time that processes take to start."""
    ingested, read = {}, {}
    for processes in (1, 2):
        (folder,) = bench.stores("by-processes")
        ingested[processes] = step(ingest_step, folder, files=[path], chunks=CHUNKS, processes=processes)["seconds"]
        shutil.rmtree(folder)
        read[processes] = step(verify_all_step, verified, processes=processes)["seconds"]
    sooner, read_sooner = ingested[1] / ingested[2], read[1] / read[2]
    return Row(
        f"{events:,} events, two processes beside one",
        "1.25 times as fast",
        f"ingested {sooner:.2f} times as fast ({ingested[2]:.0f} s), verified {read_sooner:.2f} ({read[2]:.0f} s)",
        (sooner >= 1.25, read_sooner >= 1.25),
    )


def _peak(steps: list[Found]) -> str:
    return f"{max(one['peak_mib'] for one in steps):,.0f} MiB"


def _ingested(bench: Bench, files: list[str], events: int, *, core: int, chunks: int = CHUNKS) -> Found:
    (folder,) = bench.stores("log")
    took = step(ingest_step, folder, core=core, files=files, chunks=chunks)
    check(took["rows"] == events, took)
    shutil.rmtree(folder)
    return took


def _two_processes(bench: Bench, files: list[str]) -> float:
    (folder,) = bench.stores("log")
    store_in(folder, CHUNKS).layout_or_create()
    ring_in(folder)  # by one, before both need it
    took = together([Step(ingest_step, folder, files=[path], chunks=CHUNKS) for path in files])
    shutil.rmtree(folder)
    return took


def _parquet(path: Path) -> str:
    """The same events as columns, the payload as JSON text."""
    lines = [json.loads(line) for line in path.open()]
    for line in lines:
        line["payload"] = json.dumps(line["payload"], separators=(",", ":"))
    columns = path.with_suffix(".parquet")
    pl.DataFrame(lines, infer_schema_length=None).write_parquet(columns)
    return str(columns)
