"""A real Postgres for tests, run as `make cluster` runs its own."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from postgres_server import PostgresError, PostgresServer, binaries, postgres_server

from subject_pipeline_tests.real.conftest import free_port


@contextmanager
def reachable_folder() -> Iterator[Path]:
    """A folder that the system's user `postgres` reaches, unlike pytest's own; removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="subject-"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """A fresh cluster; the test is skipped where Postgres is not installed, and fails where CI is set."""
    need(lambda: binaries() is not None, "Postgres", "postgres")
    with reachable_folder() as folder, postgres_server(folder / "postgres", free_port()) as server:
        yield server


def need(is_there: Callable[[], bool], what: str, part: str) -> None:
    """Skip what needs a part that is not installed; fail where CI is set."""
    try:
        there = is_there()
    except PostgresError:
        there = False
    if there:
        return
    reason = f"{what} is not installed: run scripts/install_real_parts.sh {part}"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
