"""The one contract of every object store, over servers that speak S3 and Azure."""

import pytest

from subject_pipeline.objects.location import StoreLocation
from subject_pipeline.objects.protocol import ObjectStore
from subject_pipeline.objects.remote import RemoteObjects
from subject_pipeline_tests.objects.test_protocol import *  # noqa: F403 - the suite itself
from subject_pipeline_tests.real.remote_stores import REMOTE, azure_server, remote_url

__all__ = ["azure_server", "remote_url"]

pytestmark = [pytest.mark.real, pytest.mark.parametrize("remote_url", REMOTE, indirect=True)]


@pytest.fixture
def objects(remote_url: str) -> ObjectStore:
    """An empty store in a bucket of its own."""
    return RemoteObjects.at(StoreLocation.parse(f"{remote_url}/store"))
