"""`make bench`: what the audit log costs, beside bare loops of the same steps, and whether it raises a false alarm.

Every figure is of a process of its own, started and imported before the seconds count. What is compared runs in turns
and the medians are divided, because the machine may be busy with something else. A step is kept on one core where the
figure is of one. Stores lie in `--folder`, by default in RAM; only the second warm appends go to a disk.
"""

import argparse
import base64
import collections
import dataclasses
import datetime as dt
import hashlib
import hmac
import itertools
import json
import os
import random
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import xxhash
from reports import RAM, Step, machine, start, tell, write_part

from subject_pipeline.anchoring.checkpointing import write_checkpoint
from subject_pipeline.audit.events import AccessEvent, parse_event
from subject_pipeline.audit.log import AuditLog
from subject_pipeline.changes.evidence import ManifestEvidence
from subject_pipeline.ingestion.event_files import local_file
from subject_pipeline.ingestion.ingesting import ingest
from subject_pipeline.keys.ring import KeyRing
from subject_pipeline.keys.ring_file import KeyRingFile, create_ring
from subject_pipeline.manifests.manifest import SubjectManifest
from subject_pipeline.objects.local import LocalObjects
from subject_pipeline.objects.location import StoreLocation
from subject_pipeline.registry.backfill import backfill
from subject_pipeline.registry.maintenance import compact
from subject_pipeline.registry.subjects import SubjectRegistry
from subject_pipeline.samples.events import sample_events
from subject_pipeline.samples.people import sample_workers
from subject_pipeline.store.catalog import Catalog
from subject_pipeline.store.datasets import DatasetDeclaration
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline.verification.whole_store import verify

if TYPE_CHECKING:
    from subject_pipeline.manifests.manifest import SubjectManifest

HERE = Path(__file__).resolve()
ROWS = 300_000
PEOPLE = 30_000
ROUNDS = 3
LENGTHS = (1, 1_000, 10_000)
DISK_LENGTHS = (1, 1_000)
COLD_ROWS = (400, 40_000)
APPENDS = 256
TEN_MILLION = 10_000_000
PART = 500_000
SOAK_ROUND = 250
KEY = bytes(range(32))
MIB = 1 << 20


# ---- what a store is made of ----


def ring_in(folder: Path) -> KeyRingFile:
    """The benchmark's key ring, made at first use."""
    path = folder / "ring.json"
    if not path.exists():
        create_ring(path, KeyRing.new(KEY, KEY))
    return KeyRingFile(path)


def store_in(folder: Path, chunks: int | None = None) -> SubjectStore:
    """The store below the benchmark's folder."""
    return SubjectStore.at(str(folder / "store"), wanted_chunks=chunks)


class CountingObjects(LocalObjects):
    """Counts the requests to a store by who made them: the appending thread, or the one that writes the index."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.requests: collections.Counter[str] = collections.Counter()

    def _count(self, request: str) -> None:
        own = threading.current_thread() is threading.main_thread()
        self.requests[request if own else f"index {request}"] += 1

    def get(self, key: str, *, limit: int | None = None) -> bytes | None:
        """Counted."""
        self._count("get")
        return super().get(key, limit=limit)

    def create(self, key: str, data: bytes) -> bool:
        """Counted."""
        self._count("create")
        return super().create(key, data)

    def replace(self, key: str, data: bytes) -> None:
        """Counted."""
        self._count("replace")
        super().replace(key, data)

    def delete(self, key: str) -> None:
        """Counted."""
        self._count("delete")
        super().delete(key)

    def list(self, prefix: str, *, after: str = ""):  # noqa: ANN201 - as the class that it extends
        """Counted."""
        self._count("list")
        return super().list(prefix, after=after)


def counting_store(folder: Path) -> tuple[SubjectStore, CountingObjects]:
    """A store of one chunk whose requests are counted."""
    location = StoreLocation.parse(str(folder / "store"))
    objects = CountingObjects(folder / "store")
    return SubjectStore(location, objects, Catalog(objects), 1), objects


# ---- steps: each the whole of one process ----


def ingest_step(folder: Path, options: dict[str, Any]) -> None:
    """This pipeline's ingestion of some files of events."""
    log = AuditLog(store_in(folder, options["chunks"]), ring_in(folder))
    files = [local_file(Path(path)) for path in options["files"]]
    start()
    report = ingest(log, files)
    tell(rows=report.appended, rejected=report.rejected, results=report.results)


def verify_step(folder: Path, options: dict[str, Any]) -> None:
    """This pipeline's verification, of all chunks or of some."""
    store = store_in(folder)
    names = layout.chunks.names if (layout := store.layout()) else ()
    first, last = options.get("part", (0, len(names)))
    chunks = names[first:last] if "part" in options else None
    start()
    report = verify(store, ring_in(folder), chunks=chunks, incremental=options.get("incremental", False))
    tell(rows=report.rows, sound=report.sound, subjects=report.subjects, results=report.results)


def register_step(folder: Path, options: dict[str, Any]) -> None:
    """Manifests of the sample people."""
    source = folder / "workers.parquet"
    sample_workers(options["people"], source)
    store = store_in(folder, options["chunks"])
    dataset = DatasetDeclaration(
        name="workers", source=str(source), key_column="worker_id", candidate_id_prefix="WORKER-"
    )
    store.register(dataset)
    start()
    tell(rows=backfill(store, dataset, limit=None).counts.inserted)


def checkpoint_step(folder: Path, _: dict[str, Any]) -> None:
    """A checkpoint, with the verification that it rests on."""
    start()
    report = write_checkpoint(store_in(folder), ring_in(folder))
    tell(rows=report.verification.rows, sound=report.verification.sound and report.written is not None)


def bare_ingest_step(folder: Path, options: dict[str, Any]) -> None:
    """The steps of an ingestion as one loop: nothing kept for a next time, rejected in words, counted or synced."""
    start()
    rows, results = bare_ingest([Path(path) for path in options["files"]], folder / "bare", options["chunks"])
    tell(rows=rows, results=results)


def bare_verify_step(folder: Path, _: dict[str, Any]) -> None:
    """The steps of a verification as one loop: a first problem ends it."""
    start()
    tell(rows=sum(bare_verify(chunk) for chunk in sorted((folder / "store" / "audit").iterdir())))


# ---- the bare loops ----

BATCH = 100_000
SEGMENT_ROWS = 10_000
REQUIRED = ("event_id", "candidate_id", "ts", "actor", "action")
OPTIONAL = ("dataset", "fields", "purpose", "trace_id")
WORDS = {"error": "error", "failed": "error", "denied": "denied", "forbidden": "denied", "not_found": "not_found"}
STATUSES = {401: "denied", 403: "denied", 404: "not_found", 410: "not_found"}


def bare_result(payload: dict[str, Any]) -> str:
    """What came of an access, for the payloads of the sample."""
    for flag in ("denied", "not_found", "error"):
        if payload.get(flag):
            return flag
    status = payload.get("status")
    if isinstance(status, str) and status.isdigit():
        status = int(status)
    if isinstance(status, int):
        return STATUSES.get(status, "error" if status >= 400 else "success")
    return WORDS.get(status.lower().replace("-", "_"), "success") if status else "success"


def bare_ingest(files: Iterable[Path], folder: Path, chunks: int) -> tuple[int, dict[str, int]]:
    """Read, parse, check, hash, chain, MAC, join and write, a file a segment; returns rows and results."""
    loads, dumps, sort = orjson.loads, orjson.dumps, orjson.OPT_SORT_KEYS
    base = hmac.new(KEY, b"subject-audit-row/v2\0", hashlib.sha256)
    heads: dict[str, tuple[int, str]] = {}
    seen: set[str] = set()
    numbers: collections.Counter[int] = collections.Counter()
    results: collections.Counter[str] = collections.Counter()
    for chunk in range(chunks):
        (folder / f"{chunk:02x}").mkdir(parents=True)
    for path in files:
        with path.open("rb") as lines:
            while batch := list(itertools.islice(lines, BATCH)):
                by_chunk: dict[int, list[dict[str, Any]]] = collections.defaultdict(list)
                for line in batch:
                    event = loads(line)
                    for name in REQUIRED:
                        if not isinstance(event[name], str) or not event[name]:
                            raise SystemExit(f"{name} is no text")
                    payload = event["payload"]
                    row = {name: event[name] for name in REQUIRED}
                    row.update({name: event[name] for name in OPTIONAL if name in event})
                    row["payload_sha256"] = hashlib.sha256(dumps(payload, option=sort)).hexdigest()
                    row["result"] = result = bare_result(payload)
                    results[result] += 1
                    by_chunk[xxhash.xxh64_intdigest(row["candidate_id"].encode()) % chunks].append(row)
                for chunk, rows in by_chunk.items():
                    for first in range(0, len(rows), SEGMENT_ROWS):
                        written = []
                        for row in rows[first : first + SEGMENT_ROWS]:
                            candidate_id = row["candidate_id"]
                            event_key = f"{row['ts'][:7]}{candidate_id}:{row['event_id']}"
                            if event_key in seen:
                                continue
                            seen.add(event_key)
                            seq, prev = heads.get(candidate_id, (0, "0" * 64))
                            nonce = base64.urlsafe_b64encode(os.urandom(16))[:22].decode()
                            row.update(seq=seq, prev=prev, schema="subject_audit.v2", key_id="0" * 16, nonce=nonce)
                            inner = dumps(row, option=sort)
                            mac = base.copy()
                            mac.update(inner)
                            heads[candidate_id] = seq + 1, hashlib.sha256(b"\0" + inner).hexdigest()
                            written.append(b'{"mac":"%b","row":%b}\n' % (mac.hexdigest().encode(), inner))
                        (folder / f"{chunk:02x}" / f"{numbers[chunk]:012d}.jsonl").write_bytes(b"".join(written))
                        numbers[chunk] += 1
    return len(seen), dict(results)


def bare_verify(chunk: Path) -> int:
    """Read, split, hash, MAC, parse, compare with the canonical form, follow every chain; returns rows."""
    loads, dumps, sort = orjson.loads, orjson.dumps, orjson.OPT_SORT_KEYS
    base = hmac.new(KEY, b"subject-audit-row/v2\0", hashlib.sha256)
    heads: dict[str, tuple[int, str]] = {}
    seen: set[str] = set()
    for path in sorted(chunk.iterdir()):
        for line in path.read_bytes().split(b"\n")[1:-1]:
            claimed, inner = line[8:72], line[80:-1]
            mac = base.copy()
            mac.update(inner)
            row = loads(inner)
            candidate_id = row["candidate_id"]
            event_key = f"{row['ts'][:7]}{candidate_id}:{row['event_id']}"
            if (
                not hmac.compare_digest(mac.hexdigest().encode(), claimed)
                or dumps(row, option=sort) != inner
                or (row["seq"], row["prev"]) != heads.get(candidate_id, (0, "0" * 64))
                or event_key in seen
            ):
                raise SystemExit(f"a row of {path} is damaged")
            heads[candidate_id] = row["seq"] + 1, hashlib.sha256(b"\0" + inner).hexdigest()
            seen.add(event_key)
    return len(seen)


# ---- single appends ----


def one_event(at: int) -> AccessEvent:
    """An event as a gateway makes it, all in one month, about one of 1,000 people."""
    second, microsecond = divmod(at, 1_000_000)
    return parse_event(
        {
            "event_id": f"ev-{at}",
            "candidate_id": f"WORKER-{100_001 + at % 1_000}",
            "ts": f"2026-06-{1 + second % 28:02d}T12:00:00.{microsecond:06d}Z",
            "actor": "agent:matcher",
            "action": "view_profile",
            "payload": {"status": 200, "rows": 1},
            "dataset": "workers",
            "trace_id": f"{at:032x}",
        }
    )


def latencies(seconds: Sequence[float], requests: collections.Counter[str]) -> dict[str, Any]:
    """Median and 99th percentile in milliseconds, and requests an append."""
    return {
        "median_ms": statistics.median(seconds) * 1e3,
        "p99_ms": statistics.quantiles(seconds, n=100)[98] * 1e3,
        "requests": {name: count / len(seconds) for name, count in sorted(requests.items())},
    }


def warm_step(folder: Path, options: dict[str, Any]) -> None:
    """Appends of one event by a writer that has been there before, at some lengths of the log."""
    store, objects = counting_store(folder)
    log = AuditLog(store, ring_in(folder))
    start()
    at, found = 0, {}
    for length in options["lengths"]:
        for _ in range(length - at):
            log.append([one_event(at)])
            at += 1
        objects.requests.clear()
        seconds = []
        for _ in range(APPENDS):
            event = one_event(at)
            began = time.perf_counter()
            log.append([event])
            seconds.append(time.perf_counter() - began)
            at += 1
        found[str(length)] = latencies(seconds, objects.requests)
    log.close()
    tell(rows=at, lengths=found)


def cold_step(folder: Path, options: dict[str, Any]) -> None:
    """Appends of one event, each by a writer that has just started, after rows that came one a segment."""
    rows = options["rows"]
    log = AuditLog(counting_store(folder)[0], ring_in(folder))
    for at in range(rows):
        log.append([one_event(at)])
    log.close()
    start()
    found = {}
    for unique in (False, True):
        seconds = []
        requests: collections.Counter[str] = collections.Counter()
        for _ in range(APPENDS // 2):
            store, objects = counting_store(folder)
            ring = ring_in(folder)
            event = one_event(rows)
            rows += 1
            began = time.perf_counter()
            log = AuditLog(store, ring)
            log.append([event], unique=unique)
            seconds.append(time.perf_counter() - began)
            requests += objects.requests
            log.close()  # once in 64 it writes the index, as a program that ends does
        found["fresh id" if unique else "own id"] = latencies(seconds, requests)
    tell(rows=rows, kinds=found)


# ---- the soak: verifications beside writers ----

PEOPLE_SOAKED = 120
SOAK_CHUNKS = 4


def soak_step(folder: Path, options: dict[str, Any]) -> None:
    """Verifications, a full one and an incremental one in turn; tells every alarm."""
    start()
    alarms: list[str] = []
    rows = 0
    for at in range(options["verifications"]):
        report = verify(store_in(folder), ring_in(folder), incremental=bool(at % 2))
        rows += report.rows
        if not report.sound:
            found = [*report.broken_chains, *report.broken_logs, *report.broken_manifests]
            alarms.append(f"{at}: {report.unreadable} unreadable, {found[:3]}")
    tell(rows=rows, alarms=alarms)


def _until_stopped(folder: Path, work: Callable[[], object], pause_s: float) -> int:
    done = 0
    while not (folder / "stop").exists():
        work()
        done += 1
        time.sleep(pause_s)  # so that the log does not outgrow what the verifications can read in a minute
    return done


def appender_step(folder: Path, _: dict[str, Any]) -> None:
    """Appends of one to three events, from two threads."""
    log = AuditLog(store_in(folder), ring_in(folder))
    start()
    numbers = itertools.count()

    def work() -> None:
        log.append([one_event(next(numbers) * 1_000 + random.randrange(PEOPLE_SOAKED)) for _ in range(3)])  # noqa: S311

    second = threading.Thread(target=_until_stopped, args=(folder, work, 0.05))
    second.start()
    done = _until_stopped(folder, work, 0.05)
    second.join()
    log.close()
    tell(done={"appends": done * 2})


def registrar_step(folder: Path, _: dict[str, Any]) -> None:
    """Manifests changed, deleted and registered again."""
    store = store_in(folder)
    registry = SubjectRegistry(store, ManifestEvidence(store, ring_in(folder), "registrar"))
    start()
    absent: list[SubjectManifest] = []
    done: collections.Counter[str] = collections.Counter()

    def work() -> None:
        choice = random.random()  # noqa: S311
        if absent and choice < 0.4:
            registry.put(absent.pop())
            done["puts"] += 1
            return
        candidate_id = f"WORKER-{100_001 + random.randrange(PEOPLE_SOAKED)}"  # noqa: S311
        if any(manifest.candidate_id == candidate_id for manifest in absent):
            return
        manifest = registry.get(candidate_id)
        if choice < 0.7:
            registry.put(manifest.model_copy(update={"updated_at": dt.datetime.now(dt.UTC)}))
            done["changes"] += 1
        else:
            registry.delete(candidate_id)
            absent.append(manifest)
            done["deletes"] += 1

    _until_stopped(folder, work, 0.05)
    tell(done=dict(done))


def keeper_step(folder: Path, _: dict[str, Any]) -> None:
    """Checkpoints, and now and then a compaction."""
    store, ring = store_in(folder), ring_in(folder)
    start()
    done: collections.Counter[str] = collections.Counter()

    def work() -> None:
        report = write_checkpoint(store, ring)
        done["checkpoints"] += 1
        if not report.verification.sound or report.written is None:
            done["checkpoints with an alarm"] += 1
        if done["checkpoints"] % 3 == 0:
            compact(store)
            done["compactions"] += 1

    _until_stopped(folder, work, 0.5)
    tell(done=dict(done))


STEPS = {
    "ingest": ingest_step,
    "verify": verify_step,
    "register": register_step,
    "checkpoint": checkpoint_step,
    "bare-ingest": bare_ingest_step,
    "bare-verify": bare_verify_step,
    "warm": warm_step,
    "cold": cold_step,
    "soak": soak_step,
    "appender": appender_step,
    "registrar": registrar_step,
    "keeper": keeper_step,
}


# ---- the figures ----


@dataclasses.dataclass
class Bench:
    """One run of the benchmark: where it works, and what it has to tell."""

    folder: Path
    lines: list[str] = dataclasses.field(default_factory=list)

    def say(self, line: str = "") -> None:
        """Print a line, and keep it for the report."""
        print(line, flush=True)
        self.lines.append(line)

    def begin(self, name: str, folder: Path | None = None, core: int | None = None, **options: object) -> Step:
        """Start a step."""
        return Step(
            HERE, "--step", name, "--options", json.dumps(options), "--folder", folder or self.folder, core=core
        )

    def step(self, name: str, folder: Path | None = None, core: int | None = None, **options: object) -> dict[str, Any]:
        """A step from its start to its end."""
        return self.begin(name, folder, core, **options).found()

    def events(self, rows: int, *, seed: int = 7, people: int = PEOPLE) -> str:
        """A file of sample events."""
        path = self.folder / f"events-{seed}.jsonl"
        sample_events(rows, path, people=people, seed=seed)
        return str(path)

    def clear(self, *names: str) -> None:
        """Remove what a step wrote."""
        for name in names or ("store",):
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def against_bare(self) -> None:
        """Ingestion and verification on one core against the bare loops."""
        self.say("| chunks | what | rows/s | bare rows/s | of bare | of bare by CPU time | target | peak MiB |")
        self.say("|---:|---|---:|---:|---:|---:|---:|---:|")
        path = self.events(ROWS)
        for chunks in (64, 1):
            took: dict[str, list[dict[str, Any]]] = collections.defaultdict(list)
            for _ in range(ROUNDS):
                self.clear("store", "bare")
                for name in ("ingest", "bare-ingest"):
                    took[name].append(self.step(name, core=0, files=[path], chunks=chunks))
                _check(took["ingest"][-1]["results"] == took["bare-ingest"][-1]["results"], took)
            for _ in range(ROUNDS):
                for name in ("verify", "bare-verify"):
                    took[name].append(self.step(name, core=0))
                _check(took["verify"][-1]["sound"], took["verify"][-1])
            for name, target in (("ingest", 0.6), ("verify", 0.8)):
                own, bare = took[name], took[f"bare-{name}"]
                _check({step["rows"] for step in own + bare} == {ROWS}, (own, bare))
                self.say(
                    f"| {chunks} | {name} | {ROWS / _median(own):,.0f} | {ROWS / _median(bare):,.0f} | "
                    f"{_median(bare) / _median(own):.2f} | {_median(bare, 'cpu_s') / _median(own, 'cpu_s'):.2f} | "
                    f"{target} | {max(step['peak_mib'] for step in own):,.0f} |"
                )
        self.clear("store", "bare")
        self.say()

    def appends(self, disk: Path) -> None:
        """Single appends, warm and cold."""
        self.say("| append of one event | where | rows in the log | median ms | p99 ms | requests an append |")
        self.say("|---|---|---:|---:|---:|---|")
        for folder, where, lengths in ((self.folder, "RAM", LENGTHS), (disk, "disk", DISK_LENGTHS)):
            shutil.rmtree(folder / "store", ignore_errors=True)
            found = self.step("warm", folder, lengths=lengths)["lengths"]
            for length, one in found.items():
                self.say(f"| warm | {where} | {int(length):,} | {_latency(one)} |")
            shutil.rmtree(folder / "store", ignore_errors=True)
        for rows in COLD_ROWS:
            for kind, one in self.step("cold", rows=rows)["kinds"].items():
                self.say(f"| cold, {kind} | RAM | {rows:,} | {_latency(one)} |")
            self.clear()
        self.say()

    def incremental(self) -> None:
        """Incremental verification against full, of a log that has not changed and of one that has gained 1 %."""
        self.say("| verification, 64 chunks | rows read | s | of full | peak MiB |")
        self.say("|---|---:|---:|---:|---:|")
        path = self.events(ROWS)
        _check(self.step("register", people=PEOPLE, chunks=64)["rows"] == PEOPLE, "registration")
        self.step("ingest", files=[path], chunks=64)
        _check(self.step("checkpoint")["sound"], "checkpoint")
        for after in ("of an unchanged log", "1 % later"):
            if after == "1 % later":
                self.step("ingest", files=[self.events(ROWS // 100, seed=8)], chunks=64)
            took: dict[bool, list[dict[str, Any]]] = {False: [], True: []}
            for _ in range(ROUNDS):
                for kind, steps in took.items():
                    steps.append(self.step("verify", core=0, incremental=kind))
                    _check(steps[-1]["sound"], steps[-1])
            for kind, steps in took.items():
                self.say(
                    f"| {'incremental' if kind else 'full'}, {after} | {steps[0]['rows']:,} | {_median(steps):.2f} | "
                    f"{_median(steps) / _median(took[False]):.2f} | {max(step['peak_mib'] for step in steps):,.0f} |"
                )
        self.clear()
        self.say()

    def scaling(self) -> None:
        """One process and two, at the same work."""
        self.say("| work | 1 process, s | 2 processes, s | times as fast |")
        self.say("|---|---:|---:|---:|")
        files = [self.events(ROWS // 2, seed=seed) for seed in (7, 8)]
        took: dict[str, list[float]] = collections.defaultdict(list)
        for _ in range(ROUNDS):
            for name, shares in (("ingest 1", [files]), ("ingest 2", [files[:1], files[1:]])):
                self.clear()
                store_in(self.folder, 64).layout_or_create()
                took[name].append(_together([self.begin("ingest", files=share, chunks=64) for share in shares]))
            for name, parts in (("verify 1", [(0, 64)]), ("verify 2", [(0, 32), (32, 64)])):
                took[name].append(_together([self.begin("verify", part=part) for part in parts]))
        for name, words in (("ingest", f"ingest 2 files of {ROWS // 2:,}"), ("verify", f"verify {ROWS:,} rows")):
            one, two = (statistics.median(took[f"{name} {processes}"]) for processes in (1, 2))
            self.say(f"| {words} | {one:.2f} | {two:.2f} | {one / two:.2f} |")
        self.clear()
        self.say()

    def ten_million(self) -> None:
        """Ten million rows, ingested in parts by two processes, verified by one."""
        store_in(self.folder, 64).layout_or_create()
        began, peaks = time.perf_counter(), [0.0]
        for first in range(0, TEN_MILLION // PART, 2):
            files = [self.events(PART, seed=seed, people=TEN_MILLION // 10) for seed in (first, first + 1)]
            steps = [self.begin("ingest", files=[path], chunks=64) for path in files]
            peaks += [step.found()["peak_mib"] for step in steps]
            for path in files:
                Path(path).unlink()
        ingested = time.perf_counter() - began
        found = self.step("verify")
        _check(found["sound"] and found["rows"] == TEN_MILLION, found)
        self.say(
            f"Ten million rows about a million people, 64 chunks: ingested in {TEN_MILLION // PART} files by 2 "
            f"processes in {ingested:,.0f} s (making the files included, peak {max(peaks):,.0f} MiB each), verified by "
            "one process "
            f"in {found['seconds']:,.0f} s ({TEN_MILLION / found['seconds']:,.0f} rows/s) at a peak of "
            f"{found['peak_mib']:,.0f} MiB."
        )
        self.clear()
        self.say()

    def soak(self, verifications: int) -> None:
        """Verifications beside writers, in fresh stores of a few hundred each."""
        done: collections.Counter[str] = collections.Counter()
        alarms: list[str] = []
        seconds = 0.0
        for first in range(0, verifications, SOAK_ROUND):
            self.clear()
            (self.folder / "stop").unlink(missing_ok=True)
            self.step("register", people=PEOPLE_SOAKED, chunks=SOAK_CHUNKS)
            ring_in(self.folder)
            writers = [self.begin(name) for name in ("appender", "registrar", "keeper")]
            try:
                found = self.step("soak", verifications=min(SOAK_ROUND, verifications - first))
            finally:
                (self.folder / "stop").touch()
                for writer in writers:
                    done.update(writer.found()["done"])
            alarms += found["alarms"]
            seconds += found["seconds"]
        for alarm in alarms[:20]:
            print(alarm, flush=True)
        writes = ", ".join(f"{count:,} {name}" for name, count in done.items())
        self.say(
            f"{verifications:,} verifications, full and incremental in turn, in {seconds:,.0f} s beside writers "
            f"({writes}): {len(alarms)} raised an alarm (must be 0)."
        )
        self.clear()
        self.say()


def _check(holds: object, found: object) -> None:
    if not holds:
        raise SystemExit(f"the benchmark's own check failed: {found}")


def _median(steps: Sequence[dict[str, Any]], name: str = "seconds") -> float:
    return statistics.median(step[name] for step in steps)


def _together(steps: Sequence[Step]) -> float:
    """Seconds from the first beginning to the last end."""
    found = [step.found() for step in steps]
    return max(one["ended"] for one in found) - min(one["began"] for one in found)


def _latency(one: dict[str, Any]) -> str:
    requests = ", ".join(f"{count:.2g} {name}" for name, count in one["requests"].items())
    return f"{one['median_ms']:.2f} | {one['p99_ms']:.2f} | {requests}"


PARTS = ("bare", "appends", "incremental", "scaling", "soak")


def main() -> None:
    """Measure, print, and keep the tables in docs/performance.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=RAM / "subject-pipeline-audit-bench")
    parser.add_argument("--disk", type=Path, default=Path(tempfile.gettempdir()), help="for the warm appends on a disk")
    parser.add_argument("--only", choices=PARTS, nargs="*", help="print these parts and write nothing")
    parser.add_argument("--soak", type=int, default=1_000, help="verifications beside writers")
    parser.add_argument("--ten-million", action="store_true", help="also verify 10 million rows; needs 12 GB")
    parser.add_argument("--step", choices=sorted(STEPS), help=argparse.SUPPRESS)
    parser.add_argument("--options", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        STEPS[arguments.step](arguments.folder, arguments.options)
        return
    bench = Bench(arguments.folder)
    only = arguments.only if arguments.only is not None else PARTS
    bench.folder.mkdir(parents=True, exist_ok=True)
    disk = Path(tempfile.mkdtemp(prefix="audit-bench-", dir=arguments.disk))
    ring_in(bench.folder)
    bench.say(f"Measured {dt.datetime.now(dt.UTC).date().isoformat()} on {machine()}; in RAM, but for the disk's rows.")
    bench.say()
    try:
        if "bare" in only:
            bench.against_bare()
        if "appends" in only:
            bench.appends(disk)
        if "incremental" in only:
            bench.incremental()
        if "scaling" in only:
            bench.scaling()
        if "soak" in only:
            bench.soak(arguments.soak)
        if arguments.ten_million:
            bench.ten_million()
    finally:
        shutil.rmtree(bench.folder, ignore_errors=True)
        shutil.rmtree(disk, ignore_errors=True)
    if arguments.only is None:
        write_part("audit log", bench.lines[:-1])


if __name__ == "__main__":
    main()
