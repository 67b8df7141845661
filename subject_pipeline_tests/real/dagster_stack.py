"""A web server and a daemon as `make dev` starts them, over a project folder, a history and a store of their own."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from subject_pipeline.keys.ring import KeyRing
from subject_pipeline.keys.ring_file import create_ring
from subject_pipeline.samples.people import sample_workers
from subject_pipeline_tests.real.conftest import BIN, ROOT, free_port, running, wait_until
from subject_pipeline_tests.real.web_server import ALL_PARTITIONS, CHUNKS, ENDED, PARTITIONS, SELECTOR, DagsterStack

__all__ = [
    "ALL_PARTITIONS",
    "CHUNKS",
    "ENDED",
    "PARTITIONS",
    "SELECTOR",
    "DagsterStack",
    "copy_project",
    "dagster_stack",
    "declare",
]


def copy_project(folder: Path, people: int) -> Path:
    """A copy of what Dagster loads, with a sample dataset of so many people, which a test may change."""
    project = folder / "project"
    shutil.copytree(
        ROOT / "subject_pipeline", project / "subject_pipeline", ignore=shutil.ignore_patterns("__pycache__")
    )
    for name in ("pyproject.toml", "workspace.yaml", "dagster.yaml"):
        shutil.copy(ROOT / name, project)
    sample_workers(people, project / "sample_data" / "workers.parquet")
    return project


def declare(project: Path, name: str, rows: pl.DataFrame, **attributes: Any) -> None:
    """Add a dataset to a copied project: its parquet file and the YAML that declares it."""
    rows.write_parquet(project / "sample_data" / f"{name}.parquet")
    folder = project / "subject_pipeline" / "defs" / name
    folder.mkdir()
    declaration = {
        "type": "subject_pipeline.components.SubjectDataset",
        "attributes": {"name": name, "source": f"sample_data/{name}.parquet", "all": True, **attributes},
    }
    (folder / "defs.yaml").write_text(yaml.safe_dump(declaration), encoding="utf-8")


@contextmanager
def dagster_stack(
    folder: Path, *, project: Path | None = None, people: int = 3_000, settings: Mapping[str, str] | None = None
) -> Iterator[DagsterStack]:
    """Start a stack below a folder, and stop it; started again over the same folder it goes on with its history.

    It is given when the code location is loaded and the daemon's heartbeats are there, so that what is launched runs.

    Args:
        folder: where home, store, key ring and project are.
        project: a project made by `copy_project`; None: one is made, or the one of an earlier start is used.
        people: how many people the sample dataset has.
        settings: further environment variables.
    """
    made = folder / "project"
    project = project or (made if made.exists() else copy_project(folder, people))
    home, store_folder, key_ring = folder / "home", folder / "store", folder / "ring.json"
    home.mkdir(exist_ok=True)
    shutil.copy(project / "dagster.yaml", home)
    if not key_ring.exists():
        create_ring(key_ring, KeyRing.new(b"k" * 32, b"s" * 32))
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("SUBJECT_", "DAGSTER_"))},
        "DAGSTER_HOME": str(home),
        "DAGSTER_COMPUTE_LOGS": str(home / "compute_logs"),
        "PYTHONPATH": str(project),
        "SUBJECT_CHUNKS": str(CHUNKS),
        "SUBJECT_STORE_URL": str(store_folder),
        "SUBJECT_KEY_RING": str(key_ring),
        **(settings or {}),
    }
    log = home / "log"
    with ExitStack() as started:
        # Between choosing a free port and listening on it, somebody else may have taken it.
        for _ in range(3):
            port = free_port()
            address = ["-h", "127.0.0.1", "-p", str(port)]
            command: list[str | Path] = [BIN / "dagster", "dev", "-w", project / "workspace.yaml", *address]
            attempt = ExitStack()
            process = attempt.enter_context(running(command, log, environment, cwd=project))
            stack = DagsterStack(project, home, store_folder, key_ring, f"http://127.0.0.1:{port}")
            try:
                wait_until(_either(process, stack.is_ready), 180, f"the web server and the daemon: see {log}")
            except BaseException:
                attempt.close()
                raise
            if process.poll() is None:
                started.push(attempt)
                yield stack
                return
            with suppress(ProcessLookupError):
                attempt.close()  # its children may still be there
    pytest.fail(f"dagster dev ended at its start: {log.read_text(encoding='utf-8', errors='replace')[-4_000:]}")


def _either(process: subprocess.Popen[bytes], is_ready: Callable[[], bool]) -> Callable[[], bool]:
    """Whether a server is ready, or has ended."""
    return lambda: process.poll() is not None or is_ready()
