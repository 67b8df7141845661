"""Real processes that work on one store at once, and real kills."""

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest

from subject_pipeline.keys.ring_file import KeyRingFile
from subject_pipeline.manifests.table import ManifestTable
from subject_pipeline.registry.backfill import backfill
from subject_pipeline.samples.people import sample_workers
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline_tests.conftest import KEY_COLUMN, Declared, Parquet
from subject_pipeline_tests.helpers.backfill_process import backfill_when_told
from subject_pipeline_tests.helpers.forked import running
from subject_pipeline_tests.helpers.recorded import registry_rows_of, replay, table_of

_PATIENCE_S = 120


class _Worker:
    """A process that has imported all it needs, and starts to backfill when it is told to."""

    def __init__(self, process: ForkServerProcess, pipe: Connection) -> None:
        self.process = process
        self._pipe = pipe

    def go(self) -> None:
        self._pipe.send("go")

    def counts(self) -> dict[str, Any]:
        assert self._pipe.poll(_PATIENCE_S)
        told: dict[str, Any] = self._pipe.recv()
        return told


@contextmanager
def _worker(store: SubjectStore, source: Path, **options: Any) -> Iterator[_Worker]:
    asked = {"store": store.location.url, "source": str(source), "key_column": KEY_COLUMN, **options}
    with running(backfill_when_told, asked) as (process, pipe):
        assert pipe.recv() == "ready"
        yield _Worker(process, pipe)


def _at_once(store: SubjectStore, sources: Sequence[Path], **options: Any) -> list[dict[str, Any]]:
    with ExitStack() as stack:
        # Few chunks, so that every two commits conflict, and none of them takes long.
        workers = [stack.enter_context(_worker(store, source, chunks=4, **options)) for source in sources]
        for worker in workers:
            worker.go()
        return [worker.counts() for worker in workers]


def _ids(store: SubjectStore) -> list[str]:
    snapshot = ManifestTable(store).snapshot()
    assert snapshot is not None
    rows = snapshot.rows()
    assert rows["storage_key"].is_unique().all()
    return rows["candidate_id"].sort().to_list()


@pytest.mark.parametrize("writers", [3, pytest.param(8, marks=pytest.mark.real)])
def test_processes_with_the_same_people(store: SubjectStore, parquet: Parquet, writers: int) -> None:
    """On a store that nobody has written yet, writers of the same rows insert every row once between them."""
    keys = [f"P{number:04}" for number in range(2_000)]

    done = _at_once(store, [parquet(keys)] * writers)

    assert sum(counts["inserted"] for counts in done) == 2_000
    assert all(counts["inserted"] + counts["skipped"] == 2_000 for counts in done)
    assert all(counts["failed"] == 0 for counts in done)
    assert _ids(store) == keys
    assert list(store.objects.list("staging/")) == []


@pytest.mark.real  # colliding people from two processes, below, are different people too
def test_eight_processes_with_different_people(store: SubjectStore, parquet: Parquet) -> None:
    """Eight writers of different people each insert all of theirs, though they share every chunk."""
    keys = [[f"P{writer}-{number:03}" for number in range(250)] for writer in range(8)]

    done = _at_once(store, [parquet(mine, f"{writer}.parquet") for writer, mine in enumerate(keys)])

    assert [(counts["inserted"], counts["skipped"], counts["failed"]) for counts in done] == [(250, 0, 0)] * 8
    assert _ids(store) == sorted(key for mine in keys for key in mine)


def test_two_processes_with_colliding_people(store: SubjectStore, parquet: Parquet) -> None:
    """Of two ids with one storage key from two processes one is registered; the other fails, and is never skipped."""
    sources = [
        parquet([f"CAND{sign}{number}" for number in range(300)], f"{name}.parquet")
        for sign, name in (("/", "slash"), ("_", "line"))
    ]

    done = _at_once(store, sources)

    assert [counts["skipped"] for counts in done] == [0, 0]
    assert all(counts["inserted"] + counts["failed"] == 300 for counts in done)
    assert sum(counts["inserted"] for counts in done) == 300
    ids = set(_ids(store))
    assert len(ids) == 300
    for counts in done:
        for candidate, reason in counts["failures"]:
            owner = candidate.translate(str.maketrans("/_", "_/"))
            assert candidate not in ids
            assert owner in ids
            assert repr(candidate) in reason
            assert repr(owner) in reason


@pytest.mark.long
@pytest.mark.parametrize("writers", [2, pytest.param(6, marks=pytest.mark.real)])
def test_processes_that_link_the_same_people(
    store: SubjectStore, declared: Declared, ring: KeyRingFile, writers: int
) -> None:
    """People of another dataset are linked once between writers at once, each with one row."""
    keys = [f"P{number:03}" for number in range(400)]
    backfill(SubjectStore.at(store.location.url, wanted_chunks=4), declared(keys, "others"))
    first = table_of(store)

    done = _at_once(store, [Path(declared(keys).source)] * writers, ring=str(ring.path))

    assert sum(counts["linked"] for counts in done) == 400
    assert all((counts["skipped"], counts["failed"]) == (400, 0) for counts in done)
    table = table_of(store)
    assert all([there["name"] for there in one["datasets"]] == ["others", "people"] for one in table.values())
    assert len(registry_rows_of(store.objects)) == 400
    assert replay(store.objects, first) == table


@pytest.mark.real  # the next test kills at the two moments that matter most
def test_killed_six_times_and_run_once_more(store: SubjectStore, declared: Declared, tmp_path: Path) -> None:
    """Killed at any moment, a backfill leaves whole commits only, and one more run makes the total exact."""
    step, kills, options = 400, 6, {"rows_per_group": 100}
    people = declared([f"P{number:05}" for number in range(step * (kills + 1))])
    source = Path(people.source)
    with _worker(SubjectStore.at(str(tmp_path / "measured")), source, limit=step, **options) as measured:
        measured.go()
        length = measured.counts()["elapsed_s"]

    moments = random.Random(7)  # noqa: S311 - not for secrets
    for number in range(kills):
        # Every run has something new to do, wherever the one before it was killed.
        with _worker(store, source, limit=step * (number + 1), **options) as worker:
            worker.go()
            worker.process.join(timeout=moments.uniform(0, length))
            worker.process.kill()

    before = 0 if ManifestTable(store).snapshot() is None else len(_ids(store))
    report = backfill(store, people, limit=None)

    assert (report.counts.inserted, report.counts.skipped, report.counts.failed) == (
        step * (kills + 1) - before,
        before,
        0,
    )
    assert _ids(store) == [f"P{number:05}" for number in range(step * (kills + 1))]


@pytest.mark.long
@pytest.mark.parametrize("kill_at", ["staging/*/*/*.parquet", "subjects/_delta_log/*1.json"])
def test_killed_at_a_known_place(store: SubjectStore, tmp_path: Path, kill_at: str) -> None:
    """Killed when parts are staged, or after the first commit, a run is completed by the next."""
    source = tmp_path / "people.parquet"
    sample_workers(5_000, source)
    with _worker(store, source, key_column="worker_id", rows_per_group=500) as worker:
        worker.go()
        while worker.process.is_alive() and not any((tmp_path / "store").glob(kill_at)):
            time.sleep(0.001)
        worker.process.kill()
    left = 0 if ManifestTable(store).snapshot() is None else len(_ids(store))
    assert left < 5_000

    with _worker(store, source, key_column="worker_id") as worker:
        worker.go()
        done = worker.counts()

    assert (done["inserted"], done["skipped"], done["failed"]) == (5_000 - left, left, 0)
    assert len(_ids(store)) == 5_000
