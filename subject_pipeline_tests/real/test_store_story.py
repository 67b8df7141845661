from pathlib import Path

import pytest

from subject_pipeline_tests.helpers.store_story import flip, story
from subject_pipeline_tests.real.remote_stores import REMOTE, azure_server, remote_url

__all__ = ["azure_server", "remote_url"]

pytestmark = [pytest.mark.real, pytest.mark.parametrize("remote_url", REMOTE, indirect=True)]


def test_a_remote_store_holds_what_it_promises(remote_url: str, tmp_path: Path) -> None:
    """Register, race, collide, ingest, append race, delete, verify, anchor, tamper: the same as on local files."""
    story(f"{remote_url}/store", tmp_path, flip)
