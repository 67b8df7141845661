"""`make bench`: what registration costs, beside a writer of one object per subject and a bare Delta MERGE.

Every figure is of a process of its own, so that peak memory is that step's, and interpreter start and imports are not
counted in the seconds. Stores and sources lie in `--folder`, by default in RAM: a disk's own limit of new files a
second would otherwise decide (b).
"""

import argparse
import asyncio
import datetime as dt
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

from reports import machine, write_part

HERE = Path(__file__).resolve()
RAM = Path("/dev/shm/subject-pipeline-bench")  # noqa: S108 - made and removed by one run
SIZES = (10_000, 100_000, 500_000, 1_000_000)
TEN_MILLION = 10_000_000
OBJECTS_AT_MOST = 1_000_000


def pipeline(source: Path, store_folder: Path) -> int:
    """(a): this product's backfill of every row."""
    from subject_pipeline.registry.backfill import backfill  # noqa: PLC0415
    from subject_pipeline.store.datasets import DatasetDeclaration  # noqa: PLC0415
    from subject_pipeline.store.opened import SubjectStore  # noqa: PLC0415

    store = SubjectStore.at(str(store_folder))
    dataset = DatasetDeclaration(
        name="workers", source=str(source), key_column="worker_id", candidate_id_prefix="WORKER-"
    )
    store.register(dataset)
    start()
    report = backfill(store, dataset, limit=None)
    return report.counts.inserted


def objects(source: Path, store_folder: Path) -> int:
    """(b): one JSON object per subject through obstore, put if absent, 32 at once."""
    import obstore  # noqa: PLC0415
    from obstore.exceptions import AlreadyExistsError  # noqa: PLC0415
    from obstore.store import LocalStore  # noqa: PLC0415

    from subject_pipeline.manifests.frames import to_json_lines  # noqa: PLC0415

    start()
    rows = _rows(source)
    bodies = to_json_lines(rows)
    names = rows["storage_key"].to_list()
    store = LocalStore(store_folder, mkdir=True)
    inserted = 0

    async def put(work: list[tuple[str, str]]) -> None:
        nonlocal inserted
        while work:
            name, body = work.pop()
            try:
                await obstore.put_async(store, f"subjects/{name}.json", body.encode(), mode="create")
                inserted += 1
            except AlreadyExistsError:
                pass

    async def put_all() -> None:
        work = list(zip(names, bodies, strict=True))
        await asyncio.gather(*(put(work) for _ in range(32)))

    asyncio.run(put_all())
    return inserted


def bare_merge(source: Path, store_folder: Path) -> int:
    """(c): the same columns by one bare MERGE, with nothing counted, confirmed or synced."""
    import polars as pl  # noqa: PLC0415
    from deltalake import DeltaTable  # noqa: PLC0415

    from subject_pipeline.manifests.frames import TABLE_SCHEMA  # noqa: PLC0415

    start()
    rows = _rows(source)
    table = DeltaTable.create(
        store_folder,
        schema=pl.DataFrame(schema=TABLE_SCHEMA).to_arrow().schema,
        partition_by=["chunk"],
        mode="ignore",
        configuration={"delta.dataSkippingStatsColumns": "created_at,updated_at,status,vertical"},
    )
    chunks = ", ".join(f"'{chunk}'" for chunk in sorted(rows["chunk"].unique()))
    metrics = (
        table.merge(
            rows,
            f"t.chunk IN ({chunks}) AND t.chunk = s.chunk AND t.storage_key = s.storage_key",
            source_alias="s",
            target_alias="t",
        )
        .when_not_matched_insert_all()
        .execute()
    )
    return int(metrics["num_target_rows_inserted"])


def _rows(source: Path):  # noqa: ANN202 - a Polars frame; Polars is imported late
    """The rows that (a) writes, built the same way but all at once."""
    import polars as pl  # noqa: PLC0415

    from subject_pipeline.candidates.candidates import candidates  # noqa: PLC0415
    from subject_pipeline.manifests.frames import new_rows  # noqa: PLC0415
    from subject_pipeline.store.chunks import ChunkLayout  # noqa: PLC0415

    layout = ChunkLayout(64)
    keys = (
        pl.scan_parquet(source)
        .select(pl.int_range(pl.len(), dtype=pl.UInt64).alias("row"), key=pl.col("worker_id").cast(pl.String))
        .collect()
    )
    return new_rows(
        candidates(keys, "WORKER-", layout),
        layout=layout,
        dataset="workers",
        key_column="worker_id",
        safe_views=(),
        now=dt.datetime.now(dt.UTC),
    )


WAYS = {"a": pipeline, "b": objects, "c": bare_merge}
STARTED = 0.0


def start() -> None:
    """Begin counting: imports are done."""
    global STARTED  # noqa: PLW0603 - one figure of a one-shot process
    STARTED = time.perf_counter()


def measure(way: str, source: Path, folder: Path) -> dict[str, float]:
    """One step in a process of its own."""
    command = [sys.executable, str(HERE), "--step", way, "--source", str(source), "--folder", str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def step(way: str, source: Path, folder: Path) -> None:
    """What the process of one step does."""
    inserted = WAYS[way](source, folder)
    seconds = time.perf_counter() - STARTED
    # Not ru_maxrss, which a process inherits from the one that started it.
    status = Path("/proc/self/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0]) / 1024
    print(json.dumps({"inserted": inserted, "seconds": seconds, "peak_mib": peak}))


def bench(folder: Path, sizes: list[int]) -> list[str]:
    """All sizes and ways; returns the table's lines."""
    from subject_pipeline.samples.people import sample_workers  # noqa: PLC0415

    lines = [
        "| subjects | way | first run s | subjects/s | peak MiB | re-run s | first run against (a) |",
        "|---:|---|---:|---:|---:|---:|---:|",
    ]
    names = {"a": "(a) this pipeline", "b": "(b) one object each", "c": "(c) bare MERGE"}
    for rows in sizes:
        source = folder / "source.parquet"
        sample_workers(rows, source)
        first_a = 0.0
        for way, name in names.items():
            if way == "b" and rows > OBJECTS_AT_MOST:
                continue
            if way == "c" and rows > OBJECTS_AT_MOST:
                continue  # all rows at once do not fit what (a) is held to
            store = folder / "store"
            shutil.rmtree(store, ignore_errors=True)
            first, again = measure(way, source, store), measure(way, source, store)
            if (first["inserted"], again["inserted"]) != (rows, 0):
                raise SystemExit(f"{name} inserted {first['inserted']} and {again['inserted']} of {rows}")
            first_a = first_a or first["seconds"]
            line = (
                f"| {rows:,} | {name} | {first['seconds']:.2f} | {rows / first['seconds']:,.0f} | "
                f"{max(first['peak_mib'], again['peak_mib']):,.0f} | {again['seconds']:.2f} | "
                f"{first['seconds'] / first_a:.2f} |"
            )
            print(line, flush=True)
            lines.append(line)
            shutil.rmtree(store)
        source.unlink()
    return lines


def main() -> None:
    """Measure, print, and keep the table in docs/performance.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=RAM)
    parser.add_argument("--ten-million", action="store_true", help="also 10 million rows, by (a) alone")
    parser.add_argument("--sizes", type=int, nargs="*", default=list(SIZES))
    parser.add_argument("--step", choices=sorted(WAYS), help=argparse.SUPPRESS)
    parser.add_argument("--source", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        step(arguments.step, arguments.source, arguments.folder)
        return
    arguments.folder.mkdir(parents=True, exist_ok=True)
    try:
        sizes = arguments.sizes + ([TEN_MILLION] if arguments.ten_million else [])
        lines = bench(arguments.folder, sizes)
    finally:
        shutil.rmtree(arguments.folder, ignore_errors=True)
    today = dt.datetime.now(dt.UTC).date().isoformat()
    write_part("registration", [f"Measured {today} on {machine()}, in `{arguments.folder}`.", "", *lines])


if __name__ == "__main__":
    main()
