from pathlib import Path

import pytest

from subject_pipeline_tests.conftest import Prepared
from subject_pipeline_tests.helpers.audit_stores import place_in
from subject_pipeline_tests.helpers.gated import Gated, gated_in

PEOPLE = [f"W-{number}" for number in range(1, 9)]


def _eight(folder: Path) -> None:
    gated_in(folder, *PEOPLE)


@pytest.fixture
def gated(tmp_path: Path, prepared: Prepared) -> Gated:
    """A store of eight people, W-1 to W-8, all of whom may be shown for `scheduling` and for `payroll`."""
    prepared(_eight, tmp_path / "gated")
    return Gated(place_in(tmp_path / "gated"), tmp_path / "gate.yaml")
