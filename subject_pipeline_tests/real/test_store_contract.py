"""The one contract of every object store, over servers that speak S3 and Azure."""

import pytest

from subject_pipeline.storage.location import StoreLocation
from subject_pipeline.storage.objects import ObjectStore
from subject_pipeline.storage.remote_objects import RemoteObjects
from subject_pipeline_tests.real.remote_stores import REMOTE, azure_server, remote_url
from subject_pipeline_tests.storage.test_objects import *  # noqa: F403 - the suite itself

__all__ = ["azure_server", "remote_url"]

pytestmark = [pytest.mark.real, pytest.mark.parametrize("remote_url", REMOTE, indirect=True)]


@pytest.fixture
def objects(remote_url: str) -> ObjectStore:
    """An empty store in a bucket of its own."""
    return RemoteObjects.at(StoreLocation.parse(f"{remote_url}/store"))
