import os
import subprocess
import sys
from pathlib import Path

import pytest

from subject_pipeline.audit.reading import show
from subject_pipeline.keys.ring import KeyRing
from subject_pipeline.keys.ring_file import KeyRingFile, create_ring
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline.verification.whole_store import verify

pytestmark = pytest.mark.real

PROCESS = Path(__file__).parents[1] / "helpers" / "append_process.py"


def test_two_machines_write_one_log_in_a_bucket(bucket: str, tmp_path: Path) -> None:
    """Writers that share nothing but the bucket and the keys: every acknowledged row once, all chains intact."""
    create_ring(tmp_path / "ring.json", KeyRing.new(b"k" * 32, b"s" * 32))
    environment = {**os.environ, "APPEND_STORE": f"{bucket}/store"}
    writers = [
        subprocess.Popen(
            [sys.executable, str(PROCESS), str(tmp_path), name, "40"],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for name in ("one", "two")
    ]
    acknowledged = [line for writer in writers for line in writer.communicate(timeout=240)[0].split()]
    assert [writer.returncode for writer in writers] == [0, 0]
    store = SubjectStore.at(f"{bucket}/store", ring=KeyRingFile(tmp_path / "ring.json"))
    there = [row["row"]["event_id"] for number in range(3) for row in show(store, f"P-{number}")]
    assert sorted(there) == sorted(acknowledged)
    assert len(there) == 80
    assert verify(store).sound
