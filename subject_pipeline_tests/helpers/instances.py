"""Dagster instances for tests."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg


@contextmanager
def dagster_instance() -> Iterator[dg.DagsterInstance]:
    """An instance of its own that keeps its records in memory: runs take a third of the time that files take.

    Instances with files, and with Postgres, are what the tests against a real web server and daemon have.
    """
    with dg.DagsterInstance.ephemeral() as made:
        yield made
