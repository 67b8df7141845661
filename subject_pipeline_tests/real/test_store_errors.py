import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import polars as pl
import pytest
from obstore.store import from_url

from subject_pipeline.errors import ConfigurationError, StoreError
from subject_pipeline.keys.ring import KeyRing
from subject_pipeline.keys.ring_file import create_ring
from subject_pipeline.objects.remote import RemoteObjects
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline_tests.real.azurite import Azurite
from subject_pipeline_tests.real.conftest import BIN
from subject_pipeline_tests.real.remote_stores import azure_server, remote_url

__all__ = ["azure_server", "remote_url"]

pytestmark = pytest.mark.real

SECRET = "c2VjcmV0LW5vdC10by1iZS1zaG93bi1hbnl3aGVyZQ=="
COMMANDS = (
    ("subjects", "count"),
    ("subjects", "get", "P-1"),
    ("datasets", "list"),
    ("datasets", "register", "people", "--source", "people.parquet", "--key-column", "id"),
    ("backfill", "--dataset", "people"),
    ("audit", "append", "P-1", "--action", "view"),
    ("audit", "show", "P-1"),
    ("audit", "verify"),
    ("audit", "checkpoint"),
    ("report",),
    ("doctor",),
)


@pytest.fixture(scope="module")
def silent_port() -> Iterator[int]:
    """A port that takes connections and never answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(64)
        yield listening.getsockname()[1]


def s3(endpoint: str) -> dict[str, str]:
    """What reaches an S3 endpoint."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
    }


def refused(folder: Path, url: str, environment: dict[str, str], names: str) -> None:
    """Every command ends with status 2 within 30 s, says what is wrong, and shows neither traceback nor secret."""
    create_ring(folder / "ring.json", KeyRing.new(b"k" * 32, b"s" * 32))
    pl.DataFrame({"id": [1]}).write_parquet(folder / "people.parquet")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "AZURE", "SUBJECT_"))}

    def call(command: tuple[str, ...]) -> tuple[tuple[str, ...], int, str, float]:
        started = time.monotonic()
        done = subprocess.run(
            [BIN / "subject-pipeline", "--store", url, *command],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            cwd=folder,
            env={**clean, **environment, "SUBJECT_KEY_RING": str(folder / "ring.json")},
        )
        return command, done.returncode, done.stdout + done.stderr, time.monotonic() - started

    with ThreadPoolExecutor(4) as pool:
        for command, status, words, took in pool.map(call, COMMANDS):
            assert status == 2, (command, words)
            assert took < 30, command
            assert re.search(names, words), (command, words)
            assert "Traceback" not in words
            assert SECRET not in words


def test_an_endpoint_where_nobody_listens(tmp_path: Path) -> None:
    """A closed port."""
    refused(tmp_path, "s3://bucket/store", s3("http://127.0.0.1:9"), "127.0.0.1:9")


def test_an_endpoint_that_never_answers(tmp_path: Path, silent_port: int) -> None:
    """A port that takes the request and stays silent."""
    refused(tmp_path, "s3://bucket/store", s3(f"http://127.0.0.1:{silent_port}"), f"127.0.0.1:{silent_port}")


def test_a_bucket_that_is_not_there(tmp_path: Path, s3_endpoint: str) -> None:
    """A wrong name is told from an empty store."""
    refused(tmp_path, "s3://no-such-bucket/store", s3(s3_endpoint), "there is no such bucket")


def test_credentials_that_are_wrong(tmp_path: Path, azure_server: Azurite) -> None:
    """A key that is not the account's: azurite checks signatures, as moto does not."""
    url = azure_server.container("credentials")
    refused(
        tmp_path, f"{url}/store", {**azure_server.environment, "AZURE_STORAGE_ACCOUNT_KEY": SECRET}, "403|[Aa]uthoriz"
    )


@pytest.mark.parametrize("remote_url", ["s3"], indirect=True)
def test_without_conditional_writes_nothing_is_written(remote_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the store is told to do without put-if-absent, creating is refused, and what stood there stands."""
    sound = SubjectStore.at(f"{remote_url}/store")
    assert sound.objects.create("catalog/x", b"first")
    unsound = RemoteObjects(
        from_url(
            f"{remote_url}/store",
            config=cast("Any", {"aws_conditional_put": "disabled"}),
            client_options={"allow_http": True},
        )
    )
    for key in ("catalog/x", "catalog/y"):
        with pytest.raises(StoreError, match="conditional"):
            unsound.create(key, b"second")
    assert sound.objects.get("catalog/x") == b"first"
    assert sound.objects.get("catalog/y") is None
    for name, value in {"aws_conditional_put": "disabled", "AWS_S3_ALLOW_UNSAFE_RENAME": "true"}.items():
        with pytest.raises(ConfigurationError, match=name):
            SubjectStore.at(f"{remote_url}/store", options={name: value})
    monkeypatch.setenv("AWS_S3_ALLOW_UNSAFE_RENAME", "true")
    with pytest.raises(ConfigurationError, match="AWS_S3_ALLOW_UNSAFE_RENAME"):
        SubjectStore.at(f"{remote_url}/store")
