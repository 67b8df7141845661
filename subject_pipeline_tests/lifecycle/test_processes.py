"""Real processes that apply decisions to one store at once, and real kills."""

import json
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from subject_pipeline.manifests.frames import to_rows
from subject_pipeline.manifests.table import ManifestTable
from subject_pipeline_tests.helpers.audit_stores import LAYOUT, Place, assert_sound, manifest, people, place_in
from subject_pipeline_tests.helpers.decisions import line
from subject_pipeline_tests.helpers.recorded import registry_rows_of, replay, table_of

pytestmark = pytest.mark.real  # each starts processes, and waits for what they do

_SCRIPT = Path(__file__).parents[1] / "helpers" / "decide_process.py"


class _Worker:
    """A process that has imported all it needs, and applies the files that it is told."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def begin(self, place: Place, file: Path, **options: int) -> None:
        assert self.process.stdin is not None
        asked = {"store": str(place.folder), "file": str(file), **options}
        self.process.stdin.write(f"{json.dumps(asked)}\n")
        self.process.stdin.flush()

    def told(self) -> dict[str, Any]:
        """What the command printed."""
        assert self.process.stdout is not None
        found: dict[str, Any] = json.loads(self.process.stdout.readline())
        return found


@contextmanager
def _worker(ring: Path, errors: Path) -> Iterator[_Worker]:
    with (
        errors.open("ab") as said,
        subprocess.Popen(
            [sys.executable, str(_SCRIPT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            env={"SUBJECT_KEY_RING": str(ring), "PYTHONPATH": str(_SCRIPT.parents[2]), "PATH": ""},
            text=True,
        ) as process,
    ):
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n", errors.read_text()
            yield _Worker(process)
        finally:
            process.kill()


def _registered(folder: Path, ids: Sequence[str]) -> Place:
    """A store in which some people are registered."""
    place = place_in(folder)
    rows = to_rows([manifest(one) for one in ids], LAYOUT)
    ManifestTable(place.store).snapshot_or_create().insert(rows)
    return place


def _file(path: Path, orders: Sequence[Mapping[str, Any]]) -> Path:
    path.write_text("".join(f"{json.dumps(order)}\n" for order in orders))
    return path


LIFE = ("consent_given", "hold_placed", "restricted", "classified", "interaction", "erasure_ordered")
"""Decisions about one person, all of which are allowed in this order."""


def test_killed_at_any_moments_and_run_once_more(tmp_path: Path) -> None:
    """The table is what the chains say, every decision is in them once, and all of the file is applied."""
    everybody = [one for chunk in range(4) for one in people(chunk, 20)]
    orders = [line(kind, one, decision_id=f"{kind}-{one}") for kind in LIFE for one in everybody]
    step, kills, moments = len(orders) // 7, 6, random.Random(7)  # noqa: S311 - not for secrets
    place, measured = _registered(tmp_path, everybody), _registered(tmp_path / "measured", everybody)
    first = table_of(place.store)
    ring, errors = place.ring.path, tmp_path / "errors"
    assert ring is not None
    with _worker(ring, errors) as worker:
        worker.begin(measured, _file(tmp_path / "measured.jsonl", orders[:step]), group=40)
        length = worker.told()["elapsed_s"]

    for number in range(1, kills + 1):
        # Every run has something new to do, wherever the one before it was killed.
        file = _file(tmp_path / "some.jsonl", orders[: step * number])
        with _worker(ring, errors) as worker:
            worker.begin(place, file, group=40)
            with suppress(subprocess.TimeoutExpired):
                worker.process.wait(timeout=moments.uniform(0, 1.5 * length))
    recorded = len(registry_rows_of(place.objects))
    with _worker(ring, errors) as worker:
        worker.begin(place, _file(tmp_path / "all.jsonl", orders))
        report = worker.told()

    assert (report["applied"], report["already_applied"], report["rejected"]) == (
        len(orders) - recorded,
        recorded,
        0,
    ), errors.read_text()
    rows = registry_rows_of(place.objects)
    assert sorted(row["decision"]["decision_id"] for row in rows) == sorted(order["decision_id"] for order in orders)
    assert table_of(place.store) == replay(place.objects, first)
    assert_sound(place)


Flags = frozenset[str]
"""Of a person: what stands."""


def _then(stands: Flags, kind: str) -> Flags | None:
    """The model: what stands after a decision; None: it is not allowed."""
    what, places = {
        "restricted": ("restriction", True),
        "unrestricted": ("restriction", False),
        "hold_placed": ("hold", True),
        "hold_released": ("hold", False),
        "erasure_ordered": ("order", True),
        "erasure_cancelled": ("order", False),
    }[kind]
    if (what in stands) == places or ("order" in stands and what == "restriction"):
        return None
    return stands | {what} if places else stands - {what}


A, B, C = *people(0, 2), people(1, 1)[0]
POOL = [
    line(kind, one, decision_id=f"{kind}-{number}")
    for one in (A, B, C)
    for kind in ("restricted", "unrestricted", "hold_placed", "hold_released", "erasure_ordered", "erasure_cancelled")
    for number in range(2)
]
FILES = st.lists(st.sampled_from(range(len(POOL))), unique=True, min_size=4, max_size=14)


@pytest.fixture(scope="module")
def three_people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store of three people and its keys, to be copied."""
    return _registered(tmp_path_factory.mktemp("three"), [A, B, C]).folder.parent


@pytest.fixture(scope="module")
def workers(three_people: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[_Worker, _Worker]]:
    """Two processes that stay."""
    ring = three_people / "keys" / "ring.json"
    errors = tmp_path_factory.mktemp("errors") / "errors"
    with _worker(ring, errors) as one, _worker(ring, errors) as other:
        yield one, other


@settings(max_examples=settings().max_examples * 2)
@given(files=st.tuples(FILES, FILES))
def test_files_that_cross_end_as_some_order_of_them_would_and_the_chain_says_which(
    workers: tuple[_Worker, _Worker], three_people: Path, files: tuple[list[int], list[int]]
) -> None:
    """Two processes apply decisions about the same people at once; some of them are in both files.

    Each chain keeps the order of either file, every row is allowed by the model where it stands, and whatever a file
    had rejected is refused by the model at some place between that file's decisions before and after it.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(three_people, folder, dirs_exist_ok=True)
        place = place_in(folder)
        first = table_of(place.store)
        for number, (worker, orders) in enumerate(zip(workers, files, strict=True)):
            worker.begin(place, _file(folder / f"{number}.jsonl", [POOL[at] for at in orders]))
        reports = [worker.told() for worker in workers]

        chains = {one: [row["decision"] for row in registry_rows_of(place.objects, one)] for one in (A, B, C)}
        assert sum(report["applied"] for report in reports) == sum(map(len, chains.values()))
        both = {POOL[at]["decision_id"] for at in set(files[0]) & set(files[1])}
        for orders, report in zip(files, reports, strict=True):
            assert report["decisions"] == len(orders)
            rejected = {one["line"] for one in report["rejections"]}
            outcomes = [(POOL[at], number in rejected) for number, at in enumerate(orders, start=1)]
            for one, chain in chains.items():
                _explains(chain, [that for that in outcomes if that[0]["candidate_id"] == one], both)
        assert table_of(place.store) == replay(place.objects, first)
        assert_sound(place)


def _explains(
    chain: Sequence[Mapping[str, Any]], outcomes: Sequence[tuple[Mapping[str, Any], bool]], both: AbstractSet[str]
) -> None:
    """The decisions of a file about one person were judged in their order, each at one place of the person's chain.

    Args:
        chain: what was decided, in order.
        outcomes: the file's decisions about this person, each with whether it was rejected.
        both: ids of decisions that are in the other file too, so that this one may have found them applied.
    """
    states: list[Flags] = [frozenset()]
    for done in chain:
        then = _then(states[-1], done["kind"])
        assert then is not None, (chain, done)
        states.append(then)
    places = {done["decision_id"]: at for at, done in enumerate(chain)}
    assert len(places) == len(chain), "a decision is there twice"
    earliest = 0
    for order, rejected in outcomes:
        place = places.get(order["decision_id"], len(chain))
        if rejected:
            refused = [at for at in range(earliest, place + 1) if _then(states[at], order["kind"]) is None]
            assert refused, (order, outcomes, chain)
            earliest = refused[0]
        else:
            assert place < len(chain)
            assert earliest <= place or order["decision_id"] in both, (order, outcomes, chain)
            earliest = max(earliest, place + 1)
