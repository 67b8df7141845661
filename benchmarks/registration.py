"""What registration costs, beside a writer of one file per subject and a bare Delta MERGE.

The two peers write the same rows, and check, count, read back and sync nothing.
"""

import datetime as dt
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
from deltalake import DeltaTable
from reports import Bench, Row
from steps import Found, check, median, step
from work import people_in, register_step

from subject_pipeline.candidates.candidates import candidates
from subject_pipeline.manifests.frames import TABLE_SCHEMA, new_rows, to_json_lines
from subject_pipeline.store.chunks import ChunkLayout

CHUNKS = 64
ROUNDS = 3


def rows(bench: Bench) -> Iterator[Row]:
    """Registration of 500,000, first and again; where wanted of 10 million."""
    people = bench.size(500_000)
    source = people_in(bench.folder, people)
    own, again, merge = [], [], []
    for _ in range(ROUNDS):
        folder, other = bench.stores("own", "merge")
        own.append(_first(bench, folder, people))
        again.append(step(register_step, folder, source=source, chunks=CHUNKS))
        merge.append(step(bare_merge_step, other, source=source))
        check((again[-1]["inserted"], merge[-1]["inserted"]) == (0, people), (again, merge))
        _clear(folder, other)
    few = bench.size(100_000)
    (folder,) = bench.stores("objects")
    objects = step(objects_step, folder, source=people_in(bench.folder, few))
    _clear(folder)
    first, second, bare = median(own), median(again), median(merge)
    times_objects = objects["seconds"] / few * people / first
    yield Row(
        f"register {people:,}, first",
        "<= 0.7 s, ahead of bare MERGE, >= 7x one object each",
        f"{first:.2f} s; bare MERGE {bare:.2f} s, {bare / first:.2f}x; one file each by bare system calls "
        f"{few / objects['seconds']:,.0f}/s, {times_objects:.1f}x",
        (first <= 0.7, first < bare, times_objects >= 7),
    )
    yield Row(f"register {people:,}, again", "<= 0.25 s", f"{second:.2f} s", (second <= 0.25,))
    if bench.ten_million:
        yield _ten_million(bench, first / people)


def _ten_million(bench: Bench, at_500k: float) -> Row:
    people, fewer = bench.size(10_000_000), bench.size(100_000)
    folder, small = bench.stores("many", "few")
    most = _first(bench, folder, people)
    least = _first(bench, small, fewer)
    _clear(folder, small)
    micros = [least["seconds"] / fewer * 1e6, at_500k * 1e6, most["seconds"] / people * 1e6]
    return Row(
        f"register {people:,}",
        "<= 15 s, < 1 GiB, cost per subject flat from 100 k",
        f"{most['seconds']:.1f} s, {most['peak_mib']:,.0f} MiB; {micros[0]:.1f} us each at 100 k, {micros[1]:.1f} at "
        f"500 k, {micros[2]:.1f} at 10 M",
        (most["seconds"] <= 15, most["peak_mib"] < 1024, micros[2] <= micros[0]),
    )


def _first(bench: Bench, folder: Path, people: int) -> Found:
    took = step(register_step, folder, source=people_in(bench.folder, people), chunks=CHUNKS)
    check(took["inserted"] == people, took)
    return took


def _clear(*folders: Path) -> None:
    for folder in folders:
        shutil.rmtree(folder)


def objects_step(folder: Path, source: str) -> Callable[[], Found]:
    """One JSON file per subject by bare system calls, created unless it is there, in one thread: the fastest in RAM."""
    home = folder / "subjects"
    home.mkdir()

    def work() -> Found:
        rows = _rows(source)
        for name, body in zip(rows["storage_key"], to_json_lines(rows), strict=True):
            file = os.open(home / f"{name}.json", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
            os.write(file, body.encode())
            os.close(file)
        return {"inserted": rows.height}

    return work


def bare_merge_step(folder: Path, source: str) -> Callable[[], Found]:
    """The same columns by one bare MERGE of all rows."""

    def work() -> Found:
        rows = _rows(source)
        table = DeltaTable.create(
            folder / "table",
            schema=pl.DataFrame(schema=TABLE_SCHEMA).to_arrow().schema,
            partition_by=["chunk"],
            configuration={"delta.dataSkippingStatsColumns": "created_at,updated_at,status,vertical"},
        )
        chunks = ", ".join(f"'{chunk}'" for chunk in sorted(rows["chunk"].unique()))
        same = f"t.chunk IN ({chunks}) AND t.chunk = s.chunk AND t.storage_key = s.storage_key"
        merge = table.merge(rows, same, source_alias="s", target_alias="t")
        return {"inserted": merge.when_not_matched_insert_all().execute()["num_target_rows_inserted"]}

    return work


def _rows(source: str) -> pl.DataFrame:
    """The rows that the pipeline writes, built the same way but all at once."""
    keys = (
        pl.scan_parquet(source)
        .select(pl.int_range(pl.len(), dtype=pl.UInt64).alias("row"), key=pl.col("worker_id").cast(pl.String))
        .collect()
    )
    layout = ChunkLayout(CHUNKS)
    return new_rows(
        candidates(keys, "WORKER-", layout),
        layout=layout,
        dataset="workers",
        key_column="worker_id",
        safe_views=(),
        now=dt.datetime.now(dt.UTC),
    )
