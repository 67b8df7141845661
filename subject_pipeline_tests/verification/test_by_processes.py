"""Verification by several processes: the same verdicts as by one, and never a green light for what nobody looked at."""

import datetime as dt
import threading
import time
from dataclasses import replace
from multiprocessing.context import SpawnProcess
from pathlib import Path

import psutil
import pytest

from subject_pipeline import spawned
from subject_pipeline.errors import KeyRingError, StoreError
from subject_pipeline.keys.ring_file import KeyRingFile
from subject_pipeline.objects.protocol import ObjectInfo
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline.verification import by_processes
from subject_pipeline.verification.by_processes import WORTH_A_PROCESS, parts_of, processes_for, verify_by_processes
from subject_pipeline.verification.public_keys import PublicKeys
from subject_pipeline.verification.whole_store import Verification, verify
from subject_pipeline_tests.conftest import Prepared
from subject_pipeline_tests.helpers.forked import forked
from subject_pipeline_tests.helpers.killing import killing_a_spawned_process
from subject_pipeline_tests.helpers.tampering import (
    Auditee,
    change_a_row,
    edit_a_manifest,
    edit_the_note,
    eight_subjects,
)

_NOW = dt.datetime.now(dt.UTC)


@pytest.fixture
def auditee(tmp_path: Path, prepared: Prepared) -> Auditee:
    """Eight subjects in four chunks, anchored, then written on."""
    prepared(eight_subjects, tmp_path)
    return Auditee(tmp_path)


@pytest.fixture
def _forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that start at once, in place of some that import everything themselves."""
    monkeypatch.setattr(spawned, "get_context", lambda _: forked())


def _timeless(report: Verification) -> Verification:
    return replace(report, elapsed_s=0, pending=sorted(report.pending, key=str))


@pytest.mark.usefixtures("_forked")
@pytest.mark.parametrize("mode", ["full", "public"])
def test_processes_find_what_one_finds(auditee: Auditee, mode: str) -> None:
    """Two processes of their own: of a sound store, and of one with a row, a manifest and a note that were changed."""
    store, shown = SubjectStore.at(str(auditee.root), ring=KeyRingFile(auditee.ring.path)), []
    public = PublicKeys.of([auditee.line]) if mode == "public" else None
    report = verify_by_processes(
        store, public=public, processes=2, progress=lambda done, total: shown.append((done, total))
    )
    assert report.sound
    assert _timeless(report) == _timeless(verify(store, public=public))
    assert shown[-1] == (4, 4)
    for tamper in (change_a_row, edit_a_manifest, edit_the_note):
        tamper(auditee)
    report = verify_by_processes(store, public=public, processes=2)
    assert not report.sound
    assert _timeless(report) == _timeless(verify(store, public=public))


@pytest.mark.usefixtures("_forked")
def test_a_note_known_from_elsewhere_is_missed_once(auditee: Auditee) -> None:
    """What every process has against the whole store is told once."""
    earlier = auditee.checkpoint().written
    assert earlier is not None
    known = earlier.note.replace("\n2\n", "\n3\n")
    report = verify_by_processes(
        SubjectStore.at(str(auditee.root), ring=auditee.ring), processes=2, known_notes=[known]
    )
    assert [one.kind for one in report.broken_logs if one.chunk is None] == ["bad_checkpoint"]


def test_an_error_of_a_process_is_the_error(auditee: Auditee, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process raises ends the verification as it would have in one, and is not lost between them."""
    ring = KeyRingFile(auditee.ring.path)
    ring.ring()
    real = by_processes.parts_of

    def parts(*args: object) -> list[list[str]]:
        auditee.ring.path.unlink()  # once this process has read it, and before the others do
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(by_processes, "parts_of", parts)
    with pytest.raises(KeyRingError):
        verify_by_processes(SubjectStore.at(str(auditee.root), ring=ring), processes=2)


@pytest.mark.parametrize("between_s", [0, 0.5])
def test_a_killed_process_leaves_no_verdict(
    auditee: Auditee, monkeypatch: pytest.MonkeyPatch, between_s: float
) -> None:
    """As when memory runs out: nothing is reported, least of all that everything is sound; no process stays behind.

    Nor where the first is gone before the second has started: Python's pool of two would wait for that one for ever.
    """
    start, started = SpawnProcess.start, threading.Event()

    def later(process: SpawnProcess) -> None:
        if started.is_set():
            time.sleep(between_s)
        started.set()
        start(process)

    monkeypatch.setattr(SpawnProcess, "start", later)
    with (
        pytest.raises(StoreError, match="a process that verified was ended"),
        killing_a_spawned_process(),
    ):
        verify_by_processes(SubjectStore.at(str(auditee.root), ring=auditee.ring), processes=2)
    assert not [one for one in psutil.Process().children() if any("spawn_main" in part for part in one.cmdline())]


@pytest.mark.parametrize(
    ("sizes", "cores", "expected"),
    [
        ([1], 8, 1),
        ([WORTH_A_PROCESS - 1, WORTH_A_PROCESS], 8, 1),
        ([WORTH_A_PROCESS, WORTH_A_PROCESS], 8, 2),
        ([WORTH_A_PROCESS] * 9, 8, 8),
        ([9 * WORTH_A_PROCESS, 1], 8, 2),
        ([], 8, 1),
    ],
)
def test_logs_are_worth_so_many_processes(
    monkeypatch: pytest.MonkeyPatch, sizes: list[int], cores: int, expected: int
) -> None:
    """Small logs are verified sooner than a process starts; more processes than cores or chunks are of no use."""
    monkeypatch.setattr(spawned, "cores", lambda: cores)
    assert processes_for(_listed(sizes)) == expected


@pytest.mark.parametrize("sizes", [[], [5], [1] * 64, [100, 1, 1, 1], [1, 1, 1, 100], [0, 0, 0]])
def test_parts_hold_each_chunk_once_in_order(sizes: list[int]) -> None:
    """However unequal the chunks are, each is in one part, and there are about four parts a process."""
    chunks = [f"{number:02x}" for number in range(len(sizes))]
    parts = parts_of(_listed(sizes), chunks, 2)
    assert [chunk for part in parts for chunk in part] == chunks
    assert len(parts) <= 2 * 2 * 4


def _listed(sizes: list[int]) -> dict[str, dict[int, ObjectInfo]]:
    return {f"{number:02x}": {0: ObjectInfo(f"{number:02x}", size, _NOW, "")} for number, size in enumerate(sizes)}
