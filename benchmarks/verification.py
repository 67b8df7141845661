"""What verification and checkpoints cost, beside a bare loop of the same steps.

Seconds are one core's time, unless it says by the clock.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

from bare import bare_verify_step
from reports import Bench, Row
from steps import Step, check, median, step, together
from work import checkpoint_step, events_in, ingest_step, people_in, register_step, ring_in, store_in, verify_step

CHUNKS = 64
ROUNDS = 3
CPU = "cpu_s"
PART = 500_000


def rows(bench: Bench) -> Iterator[Row]:
    """Logs, manifests, and a checkpoint of an unchanged store; where wanted 10 million rows."""
    yield _logs(bench)
    yield from _manifests(bench)
    if bench.ten_million:
        yield _ten_million(bench)


def _logs(bench: Bench) -> Row:
    events, people = bench.size(300_000), bench.size(30_000)
    (folder,) = bench.stores("log")
    step(ingest_step, folder, files=[events_in(bench.folder, events, people=people)], chunks=CHUNKS)
    own, bare, both = [], [], []
    for _ in range(ROUNDS):
        own.append(step(verify_step, folder, core=0))
        bare.append(step(bare_verify_step, folder, core=0))
        check(own[-1]["rows"] == bare[-1]["rows"] == events, (own, bare))
        halves = ((0, CHUNKS // 2), (CHUNKS // 2, CHUNKS))
        both.append(together([Step(verify_step, folder, part=part) for part in halves]))
    shutil.rmtree(folder)
    own_s, bare_s, two = median(own, CPU), median(bare, CPU), events / sorted(both)[ROUNDS // 2]
    return Row(
        f"verify {events:,}, full",
        ">= 1.1 of the bare loop in one process, >= 1.4 with both",
        f"{events / own_s:,.0f}/s, {bare_s / own_s:.2f} of the bare loop's {events / bare_s:,.0f}/s; two processes "
        f"{two:,.0f}/s by the clock, {two * bare_s / events:.2f}; peak {max(one['peak_mib'] for one in own):,.0f} MiB",
        (bare_s / own_s >= 1.1, two * bare_s / events >= 1.4),
    )


def _manifests(bench: Bench) -> Iterator[Row]:
    people = bench.size(500_000)
    (folder,) = bench.stores("manifests")
    step(register_step, folder, source=people_in(bench.folder, people), chunks=CHUNKS)
    check(step(checkpoint_step, folder)["entries"] == people, "the first checkpoint")
    full, again, written = [], [], []
    for _ in range(ROUNDS):
        full.append(step(verify_step, folder, core=0))
        check(full[-1]["subjects"] == people, full)
        before = _objects(folder)
        again.append(step(checkpoint_step, folder))
        written.append([path for path, state in _objects(folder).items() if before.get(path) != state])
    size = sum(path.stat().st_size for path in written[-1])
    shutil.rmtree(folder)
    took = median(full, CPU)
    yield Row(f"manifests of {people:,} subjects verified", "<= 2 s", f"{took:.2f} s", (took <= 2,))
    took, most = median(again), max(map(len, written))
    yield Row(
        f"checkpoint, {people:,}, nothing new",
        "<= 0.6 s, two small objects",
        f"{took:.2f} s by the clock, {most} objects of {size:,} bytes together",
        (took <= 0.6, most <= 2 and size < 10_000),
    )


def _ten_million(bench: Bench) -> Row:
    """Ingested in parts by two processes, verified by one."""
    events = bench.size(10_000_000)
    part = bench.size(PART)
    (folder,) = bench.stores("log")
    store_in(folder, CHUNKS).layout_or_create()
    ring_in(folder)  # by one, before both need it
    peaks = []
    for first in range(0, events // part, 2):
        files = [events_in(bench.folder, part, people=events // 10, seed=100 + first + at) for at in (0, 1)]
        steps = [Step(ingest_step, folder, files=[path], chunks=CHUNKS) for path in files]
        peaks += [one.found()["peak_mib"] for one in steps]
        for path in files:
            Path(path).unlink()
    found = step(verify_step, folder, core=0)
    check(found["rows"] == events, found)
    shutil.rmtree(folder)
    return Row(
        f"verify {events:,} rows",
        "memory < 512 MiB; linear",
        f"{found[CPU]:.0f} s, {events / found[CPU]:,.0f}/s, {found['peak_mib']:,.0f} MiB; the last of "
        f"{events // part} files of {part:,} ingested with {max(peaks):,.0f} MiB",
        (found["peak_mib"] < 512,),
    )


def _objects(folder: Path) -> dict[Path, tuple[int, int]]:
    """Each object of the store: when and as which file it was written."""
    stats = {path: path.stat() for path in (folder / "store").rglob("*") if path.is_file()}
    return {path: (stat.st_mtime_ns, stat.st_ino) for path, stat in stats.items()}
