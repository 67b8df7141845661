"""Remote stores that can be run here: S3 (moto) and Azure (azurite), each test in a place of its own."""

import re
from collections.abc import Iterator

import pytest

from subject_pipeline_tests.real.azurite import Azurite, azurite
from subject_pipeline_tests.real.conftest import make_bucket

REMOTE = ("s3", "azure")


@pytest.fixture(scope="session")
def azure_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    """One Azure server for the session."""
    with azurite(tmp_path_factory.mktemp("azure")) as started:
        yield started


@pytest.fixture
def remote_url(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A fresh bucket or container of the kind that a test asks for, reached through the standard environment."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[:40].strip("-") + f"-{abs(hash(request.node.nodeid))}"
    if request.param == "azure":
        server: Azurite = request.getfixturevalue("azure_server")
        for variable, value in server.environment.items():
            monkeypatch.setenv(variable, value)
        return server.container(name[:60])
    return make_bucket(request.getfixturevalue("s3_endpoint"), name[:60], monkeypatch)
