from pathlib import Path

import pytest

from subject_pipeline_tests.helpers.store_story import flip, story


@pytest.mark.long
def test_a_local_store_holds_what_it_promises(tmp_path: Path) -> None:
    """Register, race, collide, ingest, append race, delete, verify, anchor, tamper: on local files."""
    story(str(tmp_path / "store"), tmp_path, flip)
