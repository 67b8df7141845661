"""Everything that honest people do to one store, at once and killed anywhere, compared with a model.

For an hour, with the seed that a failure printed:

    SUBJECT_MACHINE_SECONDS=3600 SUBJECT_MACHINE_SEED=7 pytest -m real subject_pipeline_tests/real/test_state_machine.py

A seed gives the operations and where in them they are killed, as a share of their usual duration; what they then meet
is the machine's. So a failure also tells what was done, in order.
"""

import os
import random
import shutil
import statistics
import tempfile
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from subject_pipeline.keys.ring import KeyRing
from subject_pipeline.keys.ring_file import create_ring
from subject_pipeline.manifests.frames import to_manifest
from subject_pipeline.manifests.table import ManifestTable
from subject_pipeline.store.ids import storage_key
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline_tests.helpers.audit_stores import event_ids
from subject_pipeline_tests.helpers.recorded import registry_rows_of, table_of
from subject_pipeline_tests.real.store_model import Run, StoreModel
from subject_pipeline_tests.real.worker_pool import WorkerPool

# Read here, since no test sees settings from outside.
_SECONDS = float(os.environ.get("SUBJECT_MACHINE_SECONDS", "120"))
_SEED = int(os.environ.get("SUBJECT_MACHINE_SEED", random.SystemRandom().randrange(1_000_000)))
_FOLDERS = [None, Path("/dev/shm")]  # noqa: S108 - a disk, and memory: there an operation meets others at other places
_SUBJECTS = [f"P-{number}" for number in range(12)]
_CHUNKS = 3
_AUDITS = {"verify": 4, "checkpoint": 5, "compact": 1}
_WRITES = {"append": 4, "ingest": 3, "put": 6, "import": 4, "delete": 4, "again": 7, "known": 1, "rotate": 2}
_MIXED = {**_WRITES, "checkpoint": 2, "compact": 1}
_KILLED = {"put": 0.5, "import": 0.5, "delete": 0.6, "checkpoint": 0.3, "verify": 0}
"""How many of a kind are killed at first. A verification never: it only reads, and a killed process is what costs."""
_PROVING = {(kind, "done") for kind in _MIXED if kind not in {"again", "known"}} | {
    (kind, "killed") for kind in ("append", "ingest", "put", "import", "delete", "checkpoint")
}
"""What a run must have seen, else it proves nothing: on a busy machine it goes on a while for that."""
_PATIENCE_S = 180
_ANNOUNCED = -1.0
"""In place of a moment: when the log has gained something."""
_MOST_STEPS = 14
_REST_S = 0.3
_LOOKS_FOR_S = 2
"""About as long as a checkpoint looks again and again at what is announced and not made."""
_EVENT = "e-"
"""What the ids of our events begin with; those of the registry's own rows do not."""
_TIME = "2026-0{}-30T12:00:00.{:06}Z"

pytestmark = pytest.mark.real


class Machine:
    """One store, the processes that work on it, and what the model says of them."""

    def __init__(self, folder: Path, store: Path, seed: int) -> None:
        self.seed = seed
        self.store = SubjectStore.at(str(store), wanted_chunks=_CHUNKS)
        chunk_of = self.store.layout_or_create().chunks.chunk_of
        create_ring(folder / "ring.json", KeyRing.new(b"k" * 32, b"s" * 32))
        self.model = StoreModel({subject: chunk_of(storage_key(subject)) for subject in _SUBJECTS})
        self.pool = WorkerPool([str(store), str(folder / "ring.json"), str(folder)], folder / "workers.log")
        self.journal: list[str] = []
        self.counts: Counter[tuple[str, str]] = Counter()  # of runs, by kind and outcome
        self._usual: dict[str, deque[float]] = {}
        self._acknowledged: list[dict[str, Any]] = []
        self._started = time.monotonic()

    def round(self, number: int) -> None:
        """Three processes at once: one audits or tidies up, the others write, each until all have done their part."""
        busy = {f"{number}a", f"{number}b", f"{number}c"}
        with ThreadPoolExecutor(len(busy)) as pool:
            lanes = [
                pool.submit(self._lane, name, _AUDITS if name[-1] == "a" else _MIXED, busy) for name in sorted(busy)
            ]
        self._settle([run for lane in lanes for run in lane.result()])

    def check(self, number: str) -> None:
        """With nobody at work, all that was acknowledged is there, and a full verification says only what is so."""
        self.alone({**self._audit("verify", number), "incremental": False})
        rows = {one: count for one, count in event_ids(self.store.objects).items() if one.startswith(_EVENT)}
        self._hold(self.model.wrong_rows(rows))
        snapshot = ManifestTable(self.store).snapshot()
        manifests = [] if snapshot is None else snapshot.rows().iter_rows(named=True)
        documents = [to_manifest(row).as_json() for row in manifests]
        self._hold(self.model.wrong_manifests([(one["candidate_id"], one["mark"]) for one in documents]))

    def finish(self, number: int) -> None:
        """All is settled, or run again too: then nothing is said of the store, and no checkpoint carries anything."""
        rng = _rng(self.seed, number, "finish")
        if rng.random() < 0.5:
            self.alone({"number": f"{number}s", "do": "compact"})
            self._hold([f"{number}: {one} is not settled" for one, left in self.model.unmade.items() if left])
            self.check(f"{number}-settled")
            self._hold(self._unlike_the_log())
        for asked in rng.sample(list(self.model.unfinished.values()), len(self.model.unfinished)):
            self.alone(_touched(asked, rng))
        self._hold([f"{number}: {one} is unfinished" for one in self.model.unfinished])
        self.check(f"{number}-whole")
        self._hold(self._unlike_the_log())
        self.alone({**self._audit("verify", f"{number}-new"), "incremental": True})
        self.alone(self._audit("checkpoint", f"{number}-anchor"))
        self.check(f"{number}-anchored")

    def _unlike_the_log(self) -> list[str]:
        """Whose manifest has another mark than the registry's rows, one after the other, have left it."""
        recorded: dict[str, str | None] = {}
        for row in registry_rows_of(self.store.objects):
            if row["action"] == "manifest_deleted":
                recorded[row["candidate_id"]] = None
            elif "mark" in row["decision"]["changes"]:
                recorded[row["candidate_id"]] = row["decision"]["changes"]["mark"]
        there = {one: document["mark"] for one, document in table_of(self.store).items()}
        return [
            f"{one} has the manifest {there.get(one)}, the log {mark}"
            for one, mark in recorded.items()
            if there.get(one) != mark
        ]

    def interrupt(self, number: int) -> None:
        """A change is interrupted when it is announced, and so is what is done next of it while a checkpoint looks."""
        rng = _rng(self.seed, number, "interrupt")
        registered = sorted(subject for subject, marks in self.model.manifests.items() if None not in marks)
        if not registered:
            return
        subject = rng.choice(registered)
        put = {"number": f"{number}d0", "do": "put", "manifests": [_manifest(subject, f"{number}d0")]}
        delete = {"number": f"{number}d1", "do": "delete", "subject": subject}
        self._settle([self._attempt(put, _ANNOUNCED)])
        with ThreadPoolExecutor(1) as pool:
            looking = pool.submit(self._attempt, self._audit("checkpoint", f"{number}e"), None)
            time.sleep(rng.uniform(0, _LOOKS_FOR_S))
            again = self._attempt(rng.choice([_touched(put, rng), delete]), _ANNOUNCED)
            self._settle([again, looking.result()])

    def alone(self, asked: dict[str, Any]) -> None:
        """One operation to its end, while nobody else is at work."""
        self._settle([self._attempt(asked, None)])

    def _lane(self, name: str, weights: dict[str, int], busy: set[str]) -> list[Run]:
        rng = _rng(self.seed, name)
        runs: list[Run] = []
        part = rng.randint(1, 3)
        for step in range(_MOST_STEPS):
            asked = self._draw(rng, f"{name}{step}", rng.choices(list(weights), list(weights.values()))[0])
            for moment in _moments(rng, asked["do"]):
                runs.append(self._attempt(asked, moment))
                if runs[-1].outcome != "killed":
                    break
                time.sleep(rng.choice([0, 0, rng.uniform(0, 0.5)]))  # run again at once, or later
                asked = _touched(asked, rng)
            if step + 1 >= part:
                busy.discard(name)
                if not busy:
                    break
            time.sleep(rng.uniform(0, _REST_S) if weights is _AUDITS else 0)
        busy.discard(name)
        return runs

    def _draw(self, rng: random.Random, number: str, kind: str) -> dict[str, Any]:
        """An operation of a kind; in place of one that there is nothing for yet, an append."""
        if kind == "again" and self.model.unfinished:
            return _touched(rng.choice(list(self.model.unfinished.values())), rng)
        if kind == "known" and self._acknowledged:
            return {**rng.choice(self._acknowledged), "number": number}
        if kind in {"verify", "checkpoint"}:
            return {**self._audit(kind, number), "incremental": rng.random() < 0.5}
        asked: dict[str, Any] = {"number": number, "do": "append" if kind in {"again", "known"} else kind}
        if kind in {"put", "import"}:
            subjects = rng.sample(_SUBJECTS, 1 if kind == "put" else rng.randint(2, 6))
            asked["manifests"] = [_manifest(subject, number) for subject in subjects]
        elif kind == "delete":
            asked["subject"] = rng.choice(_SUBJECTS)
        elif kind == "rotate":
            asked["key"] = rng.randbytes(32).hex()
        elif kind != "compact":
            count = rng.randint(5, 40) if kind == "ingest" else rng.randint(1, 4)
            asked["events"] = [_event(rng, f"{_EVENT}{number}-{at}") for at in range(count)]
        return asked

    def _audit(self, kind: str, number: str) -> dict[str, Any]:
        """A verification or checkpoint; the notes of the last checkpoints are known to anyone who asks for it."""
        return {"number": number, "do": kind, "notes": self.model.notes[-2:]}

    def _attempt(self, asked: dict[str, Any], moment: float | None) -> Run:
        usual = statistics.median(self._usual.get(asked["do"], [0.1]))
        if moment == _ANNOUNCED:
            audit = Path(str(self.store.location.local_path), "audit")
            run = self.pool.run(asked, usual, [audit / chunk for chunk in set(self.model.homes.values())])
        else:
            run = self.pool.run(asked, None if moment is None else moment * usual)
        self.counts[run.does, run.outcome] += 1
        if run.outcome == "done":
            self._usual.setdefault(run.does, deque(maxlen=9)).append(run.ended - run.started)
        self.journal.append(f"{run.started - self._started:9.3f} {run.ended - self._started:9.3f} {run}")
        return run

    def _settle(self, runs: list[Run]) -> None:
        self._acknowledged += [dict(run.asked) for run in runs if run.does == "append" and run.outcome == "done"]
        self._hold(self.model.settle(runs))

    def _hold(self, wrong: list[str]) -> None:
        if wrong:
            pytest.fail("\n".join([f"SUBJECT_MACHINE_SEED={self.seed}", *self.journal[-60:], "", *wrong]))


def _rng(*seeds: object) -> random.Random:
    return random.Random(repr(seeds))  # noqa: S311 - not for secrets


def _moments(rng: random.Random, kind: str) -> list[float | None]:
    """When the attempts at an operation are killed, as shares of its usual duration; None: that one is not.

    What changes manifests is often killed when it has announced that in the log: there it does most harm.
    """
    if rng.random() > _KILLED.get(kind, 0.3):
        return [None]
    announced = 0.5 if kind in {"put", "import", "delete"} else 0
    kills: list[float | None] = [
        _ANNOUNCED if rng.random() < announced else rng.uniform(0, 1.1) for _ in range(rng.choice([1, 1, 2, 2, 5]))
    ]
    return kills if rng.random() < 0.3 else [*kills, None]


def _touched(asked: Mapping[str, Any], rng: random.Random) -> dict[str, Any]:
    """The operation as it is run again: a put may bear the time of that, a file stays, a key is made again."""
    if asked["do"] == "rotate":
        return {**asked, "key": rng.randbytes(32).hex()}
    if asked["do"] != "put" or rng.random() < 0.5:
        return dict(asked)
    now = _TIME.format(7, rng.randrange(10**6))
    return {**asked, "manifests": [{**one, "updated_at": now} for one in asked["manifests"]]}


def _manifest(subject: str, mark: str) -> dict[str, Any]:
    times = dict.fromkeys(("created_at", "updated_at"), _TIME.format(6, 0))
    retention = {"general_pii_until": _TIME.format(9, 0)}
    return {"schema": "subject_manifest.v1", "candidate_id": subject, **times, "retention": retention, "mark": mark}


def _event(rng: random.Random, event_id: str) -> dict[str, Any]:
    ts = _TIME.format(rng.choice([5, 6]), 0)
    return {"candidate_id": rng.choice(_SUBJECTS), "event_id": event_id, "ts": ts, "actor": "ada", "action": "view"}


def _missing(machine: Machine) -> set[tuple[str, str]]:
    """What has not happened yet of that without which a run proves nothing."""
    return _PROVING - machine.counts.keys()


@pytest.fixture(params=_FOLDERS, ids=["disk", "memory"])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Machine]:
    """A store that was never written, on a disk or in memory."""
    if request.param is not None and not request.param.is_dir():
        pytest.skip(f"this system has no {request.param}")
    with tempfile.TemporaryDirectory(dir=request.param or tmp_path) as folder:
        made = Machine(tmp_path, Path(folder) / "store", _SEED)
        yield made
        made.pool.close()
        (tmp_path / "journal").write_text("".join(f"{line}\n" for line in made.journal))
        shutil.copytree(Path(folder), tmp_path / "as_it_was", dirs_exist_ok=True)


def test_nothing_killed_is_lost_and_nothing_honest_is_blamed(machine: Machine) -> None:
    """Acknowledged is there, once; killed is before or after, until run again; and no verification says otherwise."""
    started, seconds = time.monotonic(), _SECONDS / len(_FOLDERS)
    number = 0
    while (late := time.monotonic() - started - seconds) < 0 or (_missing(machine) and late < _PATIENCE_S):
        machine.round(number)
        if number % 3 == 1:
            machine.check(f"{number}-meanwhile")
        elif number % 3 == 2:
            machine.finish(number)
            machine.interrupt(number)
            machine.finish(number)
        number += 1
    machine.finish(number)
    assert not _missing(machine)
