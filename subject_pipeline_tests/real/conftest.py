import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(condition: Callable[[], bool], seconds: float, what: str, *, every: float = 1) -> None:
    """Poll a condition, seldom: what a page is asked takes time from the runs that it is asked about.

    The test fails when it does not come true in time.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"waited {seconds:.0f} s for {what}")
        time.sleep(every)


def answers(url: str) -> bool:
    """Whether a server answers there at all."""
    try:
        with urllib.request.urlopen(url, timeout=2):  # noqa: S310 - our own server on loopback
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


@contextmanager
def running(
    command: list[str | Path], log: Path, environment: dict[str, str], cwd: Path = ROOT
) -> Iterator[subprocess.Popen[bytes]]:
    """A server and all its children, stopped at the end."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=cwd, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            yield process
        finally:
            os.killpg(process.pid, signal.SIGINT)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


@pytest.fixture(scope="session")
def s3_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real S3 protocol server (moto's) on loopback."""
    server = BIN / "moto_server"
    if not server.exists():
        if os.environ.get("CI"):
            pytest.fail("moto's server is not installed")
        pytest.skip("moto's server is not installed: run make setup")
    port = free_port()
    log = tmp_path_factory.mktemp("s3") / "log"
    url = f"http://127.0.0.1:{port}"
    with running([server, "-H", "127.0.0.1", "-p", str(port)], log, dict(os.environ)):
        wait_until(lambda: answers(url), 60, "the S3 server")
        yield url


@pytest.fixture
def bucket(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """A fresh bucket's URL, reached through the provider's standard environment."""
    return make_bucket(s3_endpoint, request.node.name.replace("_", "-")[:60].strip("-"), monkeypatch)


def make_bucket(endpoint: str, name: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A fresh bucket's URL, and the environment that reaches it."""
    for variable, value in {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(variable, value)
    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{name}", method="PUT"), timeout=30)  # noqa: S310
    return f"s3://{name}"
