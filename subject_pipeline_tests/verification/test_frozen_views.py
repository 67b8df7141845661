"""Verifications and checkpoints beside honest writers, at the moments that once raised false alarms."""

import datetime as dt
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from subject_pipeline.anchoring.checkpointing import write_checkpoint
from subject_pipeline.errors import IncompleteError, StoreError
from subject_pipeline.manifests.commits import Commits
from subject_pipeline.manifests.table import ManifestTable
from subject_pipeline.registry.imports.importing import import_manifests
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline.verification.whole_store import Verification, verify
from subject_pipeline_tests.conftest import Prepared
from subject_pipeline_tests.helpers.audit_stores import (
    LAYOUT,
    Place,
    assert_sound,
    event,
    found_by,
    manifest,
    people,
    place_in,
)

MODES = pytest.mark.parametrize("incremental", [False, True], ids=["full", "incremental"])
SOMEBODY = people(1, 1)[0]


def _anchored(folder: Path) -> None:
    place = place_in(folder)
    everybody = [one for chunk in LAYOUT.names for one in people(chunk, 2)]
    for one in everybody:
        place.registry().put(manifest(one))
    place.append(*(event(one, "first") for one in everybody))
    assert write_checkpoint(place.store).verification.sound


@pytest.fixture
def place(tmp_path: Path, prepared: Prepared) -> Place:
    """Two people a chunk, with a row each, anchored."""
    prepared(_anchored, tmp_path)
    return place_in(tmp_path)


def _elsewhere(place: Place) -> SubjectStore:
    """The store as another process sees it: without hooks."""
    return SubjectStore.at(str(place.folder), ring=place.ring)


def _killed_put(place: Place, status: str) -> None:
    """Announce a change and die before it is made."""

    def killed(*_: object) -> None:
        raise StoreError("killed here")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Commits, "settle", killed)
        with pytest.raises(IncompleteError):
            place.registry().put(manifest(SOMEBODY, status=status))


@pytest.mark.long
def test_a_checkpoint_beside_an_interrupted_put_signs_no_half_of_a_change(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Announced again at every look and applied after the note, the change is sound, and the next checkpoint has it."""
    _killed_put(place, "first try")
    looks = iter(range(100))
    monkeypatch.setattr(time, "sleep", lambda _: _killed_put(place, f"try {next(looks)}"))
    later = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=6)
    done = write_checkpoint(place.store, clock=lambda: later)
    monkeypatch.undo()
    assert next(looks) > 1, "it was looked at more than once"
    assert done.written is not None
    assert (done.carried, done.pending) == ([], [LAYOUT.names[1]])

    place.registry().put(manifest(SOMEBODY, status="done"))
    for incremental in (False, True):
        assert_sound(place, incremental=incremental, clock=lambda: later)
    assert write_checkpoint(place.store, clock=lambda: later).pending == []
    assert_sound(place)


def _meanwhile(
    place: Place, wanted: Callable[[str, str], bool], act: Callable[[], object], times: int = 1
) -> list[str]:
    """Do something the first times that the store is asked for what `wanted` says; returns the keys of these times."""
    met: list[str] = []

    def around(operation: str, key: str, run: Callable[[], Any]) -> Any:
        if len(met) < times and wanted(operation, key):
            met.append(key)
            act()
        return run()

    place.objects.around = around
    return met


def _verified(place: Place, **options: Any) -> Verification:
    return verify(place.fresh_store(), **options)


@pytest.mark.long
@MODES
@pytest.mark.parametrize("checkpoints", [1, 2, 3])
def test_checkpoints_written_during_a_verification_raise_no_alarm(
    place: Place, incremental: bool, checkpoints: int
) -> None:
    """Once the roster that the verification began with is gone, the chunk starts again under a new view."""
    later = dt.datetime.now(dt.UTC) + dt.timedelta(days=2)  # when what is needed no more goes
    place.append(*(event(one, "second") for chunk in LAYOUT.names for one in people(chunk, 2)))
    number = iter(range(100))

    def write() -> None:
        for _ in range(checkpoints):
            log = place.log()
            log.append([event(one, f"more-{next(number)}") for chunk in LAYOUT.names for one in people(chunk, 2)])
            log.close()
            assert write_checkpoint(_elsewhere(place), clock=lambda: later).written is not None

    met = _meanwhile(place, lambda operation, key: operation == "get" and f"rosters/{LAYOUT.names[1]}/" in key, write)
    report = _verified(place, incremental=incremental)
    assert met, "a roster was read"
    assert report.sound, found_by(report)


@MODES
def test_a_change_made_during_a_verification_raises_no_alarm(place: Place, incremental: bool) -> None:
    """A change that is announced and made after the logs were listed is looked for behind the list."""
    status = iter(range(100))
    place.append(*(event(one, "second") for chunk in LAYOUT.names for one in people(chunk, 2)))
    met = _meanwhile(
        place,
        lambda operation, key: operation == "get" and key.startswith(f"audit/{LAYOUT.names[0]}"),
        lambda: place.registry().put(manifest(SOMEBODY, status=f"moved {next(status)}")),
    )
    report = _verified(place, incremental=incremental)
    assert met
    assert report.sound, found_by(report)
    assert report.pending == []


@pytest.mark.long
def test_an_import_announces_and_commits_chunk_by_chunk(place: Place, tmp_path: Path) -> None:
    """No announcement of a chunk is made before the change of the chunk before it is in the table."""
    path = tmp_path / "manifests.jsonl"
    everybody = [one for chunk in LAYOUT.names for one in people(chunk, 2)]
    path.write_text("".join(manifest(one, vertical="general").to_json() + "\n" for one in everybody), encoding="utf-8")
    versions: list[int] = []

    def note() -> None:
        snapshot = ManifestTable(_elsewhere(place)).snapshot()
        assert snapshot is not None
        versions.append(snapshot.version)

    _meanwhile(place, lambda operation, key: operation == "create" and key.startswith("audit/"), note, times=100)
    assert import_manifests(place.store, path, evidence=place.evidence()).replaced == len(everybody)
    assert len(versions) == len(LAYOUT.names)
    assert versions == sorted(set(versions)), "each chunk's change was committed before the next was announced"


@pytest.mark.long
def test_an_import_that_fails_after_its_announcement_says_run_it_again(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It never says that nothing was written: the log has the change, which the next import finds and settles."""
    path = tmp_path / "manifests.jsonl"
    path.write_text(manifest(SOMEBODY, vertical="general").to_json() + "\n", encoding="utf-8")

    def refused(*_: object) -> None:
        raise StoreError("no space left")

    monkeypatch.setattr(Commits, "settle", refused)
    with pytest.raises(IncompleteError, match=r"run it again.*no space left"):
        import_manifests(place.store, path, evidence=place.evidence())
    monkeypatch.undo()
    assert [one.candidate_id for one in place.verify().pending] == [SOMEBODY]
    assert import_manifests(place.store, path, evidence=place.evidence()).unchanged == 1
    assert_sound(place)


class _PanicError(BaseException):
    """Like a panic of Polars, no `Exception`."""


@pytest.mark.parametrize("trouble", [RuntimeError("boom"), RecursionError(), _PanicError("boom")], ids=repr)
def test_trouble_of_one_chunk_is_that_chunks_alone(place: Place, trouble: BaseException) -> None:
    """Whatever is raised while a chunk is looked at makes that chunk unreadable; all others are judged and anchored."""

    def fail() -> None:
        raise trouble

    broken = LAYOUT.names[2]
    _meanwhile(place, lambda operation, key: operation == "get" and key.startswith(f"audit/{broken}/"), fail, times=100)
    report = _verified(place)
    assert found_by(report)["logs"] == {(broken, "unreadable")}
    assert (report.chains, report.broken) == (2 * (len(LAYOUT.names) - 1), 0)
    place.append(*(event(one, "second") for one in people(1, 2)))
    done = write_checkpoint(place.store)
    assert done.written is not None


@pytest.mark.long
@pytest.mark.parametrize("rounds", [4, pytest.param(8, marks=pytest.mark.real)])
def test_verifications_beside_checkpoints_and_imports_raise_no_alarm(place: Place, tmp_path: Path, rounds: int) -> None:
    """Imports over all chunks, and checkpoints, go on while full and incremental verifications run."""
    stop, failures = threading.Event(), []
    everybody = [one for chunk in LAYOUT.names for one in people(chunk, 2)]

    def work(act: Callable[[int], object]) -> None:
        number = 0
        while not stop.is_set():
            try:
                act(number)
            except BaseException as error:  # noqa: BLE001 - told below
                failures.append(error)
                return
            number += 1

    def imports(number: int) -> None:
        path = tmp_path / "beside.jsonl"
        text = "".join(manifest(one, safe_views=[str(number)]).to_json() + "\n" for one in everybody)
        path.write_text(text, encoding="utf-8")
        import_manifests(_elsewhere(place), path, evidence=place.evidence())

    acts: list[Callable[[int], object]] = [imports, lambda _: write_checkpoint(_elsewhere(place))]
    threads = [threading.Thread(target=work, args=[act]) for act in acts]
    for thread in threads:
        thread.start()
    try:
        for number in range(rounds):
            report = place.verify(incremental=bool(number % 2))
            assert report.sound, found_by(report)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failures
    assert_sound(place)
