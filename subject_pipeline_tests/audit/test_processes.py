import subprocess
import sys
from pathlib import Path

import pytest

from subject_pipeline.audit.reading import show
from subject_pipeline.keys.ring import KeyRing
from subject_pipeline.keys.ring_file import KeyRingFile, create_ring
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline.verification.whole_store import verify

PROCESS = Path(__file__).parents[1] / "helpers" / "append_process.py"


@pytest.fixture
def ring(tmp_path: Path) -> KeyRingFile:
    """A key ring beside the store."""
    create_ring(tmp_path / "ring.json", KeyRing.new(b"k" * 32, b"s" * 32))
    return KeyRingFile(tmp_path / "ring.json")


def _appending(folder: Path, name: str, count: int) -> "subprocess.Popen[str]":
    command = [sys.executable, str(PROCESS), str(folder), name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _event_ids(store: SubjectStore) -> list[str]:
    return [row["row"]["event_id"] for number in range(3) for row in show(store, f"P-{number}")]


@pytest.mark.long
@pytest.mark.parametrize(("processes", "appends"), [(3, 60), pytest.param(8, 500, marks=pytest.mark.real)])
def test_processes_at_once_make_intact_chains(tmp_path: Path, ring: KeyRingFile, processes: int, appends: int) -> None:
    """Appends to three subjects of one chunk, from several processes at once: every row once, nothing broken."""
    writers = [_appending(tmp_path, f"w{number}", appends) for number in range(processes)]
    acknowledged = [line for writer in writers for line in writer.communicate(timeout=240)[0].split()]
    assert [writer.returncode for writer in writers] == [0] * processes
    store = SubjectStore.at(str(tmp_path / "store"), ring=ring)
    assert sorted(_event_ids(store)) == sorted(acknowledged)
    assert len(acknowledged) == processes * appends
    report = verify(store)
    assert report.sound
    assert (report.chains, report.rows) == (3, processes * appends)


@pytest.mark.long
@pytest.mark.parametrize("kills", [2, pytest.param(6, marks=pytest.mark.real)])
def test_what_a_killed_writer_acknowledged_is_there(tmp_path: Path, ring: KeyRingFile, kills: int) -> None:
    """SIGKILL at any moment: every acknowledged row is there once, at most one more a kill, chains are intact."""
    acknowledged: set[str] = set()
    for number in range(kills):
        writer = _appending(tmp_path, f"k{number}", 100_000)
        assert writer.stdout is not None
        for _ in range(20 + 17 * number):
            acknowledged.add(writer.stdout.readline().strip())
        writer.kill()
        # Not `communicate`, which does not know what `readline` has taken in already.
        acknowledged.update(line for line in writer.stdout.read().split("\n") if line)
        writer.wait(60)
    store = SubjectStore.at(str(tmp_path / "store"), ring=ring)
    there = _event_ids(store)
    assert len(there) == len(set(there))
    assert acknowledged <= set(there)
    assert len(there) <= len(acknowledged) + kills
    assert verify(store).sound
