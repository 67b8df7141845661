from pathlib import Path

import pytest

from subject_pipeline.decisions.decision import Kind
from subject_pipeline.keys.ring_file import KeyRingFile
from subject_pipeline_tests.conftest import Prepared
from subject_pipeline_tests.helpers.lives import days_ago, life
from subject_pipeline_tests.helpers.recorded_lives import LivedStore


def _three_people(folder: Path) -> None:
    found = LivedStore.in_folder(folder)
    found.put(life("W-1"), life("W-2", retention={"general_pii_until": days_ago(1)}), life("0017"))
    found.decide(Kind.HOLD_PLACED, "W-2", hold_id="H-1")
    found.decide(Kind.CONSENT_GIVEN, "0017", scope="general_pii", version="1", ts=days_ago(9))


@pytest.fixture
def lived(
    tmp_path: Path, workplace: Path, ring: KeyRingFile, prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> LivedStore:
    """The store of the working folder, with its key ring set, in which something was decided about three people."""
    assert ring.path is not None
    monkeypatch.setenv("SUBJECT_KEY_RING", str(ring.path))
    monkeypatch.setenv("SUBJECT_ACTOR", "ada")
    prepared(_three_people, tmp_path)
    (tmp_path / "store").rename(workplace / "data")
    return LivedStore.at(workplace / "data", ring, decided=2)
