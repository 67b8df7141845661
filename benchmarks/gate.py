"""What the gate costs: a decision, an answer about one person, an answer about a thousand, and many threads.

python benchmarks/gate.py            prints its rows of the table of `make bench`
"""

import datetime as dt
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
from reports import RAM, Bench, Row, measured_on, say
from steps import Found, check, step
from work import ring_in, store_in

from subject_pipeline.candidates.candidates import candidates
from subject_pipeline.gate import AuditedTools, SubjectGate
from subject_pipeline.manifests.frames import new_rows
from subject_pipeline.manifests.manifest import BiometricConsent, Consent, GeneralPiiConsent
from subject_pipeline.manifests.table import ManifestTable
from subject_pipeline.objects.local import LocalObjects
from subject_pipeline.store.chunks import ChunkLayout

PEOPLE, CHUNKS, THREADS = 10_000, 64, 64
POLICY = "purposes: {scheduling: {verticals: [general], others: drop}}\nids: {worker_id: WORKER-}\nmax_age: 60s\n"
TOLD: dict[str, Any] = {"purpose": "scheduling", "actor": "agent:7"}


def rows(bench: Bench) -> Iterator[Row]:
    """Decisions from memory, and answers that are recorded, warm, in 64 chunks."""
    (folder,) = bench.stores("gate")
    found = step(gate_step, folder, calls=bench.size(2_000))
    first = _first(folder)
    ratio = found["one_cpu_ms"] / found["put_cpu_ms"]
    yield Row(
        "gate: a decision from memory; the first of all, which loads what reads manifests",
        "< 1 ms; <= 1.5 s",
        f"{found['decision_ms']:.3f} ms; {first['seconds']:.2f} s, {first['cpu_s']:.2f} s CPU",
        (found["decision_ms"] < 1, first["seconds"] <= 1.5),
    )
    yield Row(
        "gate: a decision, an answer about one person, and their record",
        "one PUT",
        f"{found['one_ms']:.2f} ms, {found['one_cpu_ms']:.2f} ms CPU: {ratio:.1f} bare PUTs; "
        f"{found['puts']:.2f} objects a call",
        (found["puts"] <= 1,),
    )
    yield Row(
        "gate: an answer about 1,000 people, in 64 chunks",
        "< 50 ms; one object a chunk",
        f"{found['thousand_ms']:.1f} ms, {found['thousand_cpu_ms']:.1f} ms CPU, "
        f"{found['thousand_cpu_ms'] / found['recorded_cpu_ms']:.2f} times recording alone; "
        f"{found['thousand_puts']} objects",
        (found["thousand_ms"] < 50, found["thousand_puts"] <= CHUNKS),
    )
    yield Row(
        f"gate: {THREADS} threads, answers about one person each",
        "no slower than one",
        f"{found['threads_per_s']:,.0f} a second, {1e3 / found['one_ms']:,.0f} by one thread",
        (found["threads_per_s"] >= 0.9 * 1e3 / found["one_ms"],),
    )


def gate_step(folder: Path, calls: int) -> Callable[[], Found]:
    """A store of people who gave their consent, and calls about them through one gate."""
    store, layout = store_in(folder, CHUNKS), ChunkLayout(CHUNKS)
    store.layout_or_create()
    keys = pl.DataFrame({"key": [str(100_000 + at) for at in range(PEOPLE)]}).with_row_index("row")
    people = candidates(keys.with_columns(pl.col("row").cast(pl.UInt64)), "WORKER-", layout)
    registered = new_rows(
        people,
        layout=layout,
        dataset="workers",
        key_column="worker_id",
        safe_views=(),
        now=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    ).with_columns(vertical=pl.lit("general"))
    given = Consent(general_pii=GeneralPiiConsent(status="given"), biometric=BiometricConsent()).model_dump()
    consent = pl.lit(pl.Series([given], dtype=registered.schema["consent"])).first()
    ManifestTable(store).snapshot_or_create().insert(registered.with_columns(consent=consent))
    policy = folder / "gate.yaml"
    policy.write_text(POLICY)
    ring = ring_in(folder).path
    bare, number = LocalObjects(folder / "bare"), count()

    def objects() -> int:
        return sum(1 for _ in store.objects.list("audit/"))

    def work() -> Found:
        with SubjectGate.open(str(folder / "store"), policy=policy, key_ring=ring) as gate:

            def one(at: int) -> None:
                who = 100_000 + at % PEOPLE
                permit = gate.before("read", subjects=[f"WORKER-{who}"], **TOLD)
                gate.after("read", {"worker_id": who, "trade": "welder"}, permit=permit)

            def thousand(part: int) -> None:
                answer = [{"worker_id": 100_000 + part * 1_000 + at, "trade": "welder"} for at in range(1_000)]
                shown = gate.after("list", answer, permit=gate.before("list", **TOLD))
                check(len(shown) == 1_000, len(shown))

            for part in range(PEOPLE // 1_000):  # everyone who is asked for is known, and every chunk was led once
                thousand(part)
            decided = _timed(lambda at: gate.before("read", subjects=[f"WORKER-{100_000 + at}"], **TOLD), calls)
            before = objects()
            single = _timed(one, calls)
            between = objects()
            many = _timed(thousand, PEOPLE // 1_000)
            after = objects()
            began = time.perf_counter()
            with ThreadPoolExecutor(THREADS) as pool:
                list(pool.map(one, range(calls)))
            threads = time.perf_counter() - began
        with AuditedTools.open(str(folder / "store"), key_ring=ring, actor="agent:7", id_fields=["id"]) as tools:
            numbers = [[100_000 + part * 1_000 + at for at in range(1_000)] for part in range(PEOPLE // 1_000)]
            answers = [[{"id": f"WORKER-{one}", "trade": "welder"} for one in part] for part in numbers]
            recorded = [_timed(lambda part: tools.after("list", answers[part]), len(answers)) for _ in range(2)]
        put = _timed(
            lambda at: check(bare.create(f"audit/chunk-00/{next(number):012d}.jsonl", b"x" * 1_100), at), calls
        )
        return {
            "decision_ms": decided[0], "one_ms": single[0], "one_cpu_ms": single[1],
            "put_cpu_ms": put[1], "recorded_cpu_ms": recorded[1][1],
            "puts": (between - before) / calls, "thousand_ms": many[0],
            "thousand_cpu_ms": many[1], "thousand_puts": (after - between) // (PEOPLE // 1_000),
            "threads_per_s": calls / threads,
        }  # fmt: skip

    return work


def _first(folder: Path) -> Found:
    """Seconds of the first decision of a process that has loaded nothing but the gate; of CPU too."""
    code = (
        "import sys, time; from subject_pipeline.gate import SubjectGate\n"
        "gate = SubjectGate.open(sys.argv[1] + '/store', policy=sys.argv[1] + '/gate.yaml',"
        " key_ring=sys.argv[1] + '/ring.json', actor='a')\n"
        "began, cpu = time.perf_counter(), time.process_time()\n"
        "assert gate.before('read', subjects=['WORKER-100000'], purpose='scheduling').allowed\n"
        "print(time.perf_counter() - began, time.process_time() - cpu)"
    )
    command = [sys.executable, "-c", code, str(folder)]
    seconds, cpu = subprocess.run(command, capture_output=True, check=True, text=True).stdout.split()
    return {"seconds": float(seconds), "cpu_s": float(cpu)}


def _timed(work: Callable[[int], object], times: int) -> tuple[float, float]:
    """Milliseconds of one, the median; and of CPU, the mean."""
    took = []
    cpu = time.process_time()
    for at in range(times):
        began = time.perf_counter()
        work(at)
        took.append(time.perf_counter() - began)
    return statistics.median(took) * 1e3, (time.process_time() - cpu) / times * 1e3


if __name__ == "__main__":
    with TemporaryDirectory(dir=RAM) as made:
        say(["", measured_on(), "", "| work | goal | measured |", "|---|---|---|", *rows(Bench(Path(made)))])
