"""The stack that several modules share, and its datasets."""

from contextlib import ExitStack

import polars as pl
import pytest

from subject_pipeline_tests.real.dagster_stack import CHUNKS, DagsterStack, copy_project, dagster_stack, declare

DRIVERS, NURSES, CLERKS, AGENTS = 1_600, 1_500, 1_400, 1_000
A_DRIVERS_RUN = CHUNKS // 8
BAD_AGENT, FIRST_AGENT = "AGENT_1042", "AGENT/1042"
_SHARED = pytest.StashKey[DagsterStack]()


def people(count: int) -> pl.DataFrame:
    """So many people with a number each."""
    return pl.DataFrame({"id": pl.int_range(count, eager=True, dtype=pl.Int64)})


def agents() -> pl.DataFrame:
    """Agents of whom one has an id that differs from another's only in what a storage key cannot hold."""
    names = [FIRST_AGENT, BAD_AGENT, *(f"AGENT-{number}" for number in range(AGENTS - 2))]
    return pl.DataFrame({"id": names})


@pytest.fixture(scope="session")
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> DagsterStack:
    """One stack for all modules that take it: starting one takes half a minute.

    Its datasets beside `workers` are `drivers` (a backfill has eight runs), `nurses`, `clerks` and `agents`
    (one of them collides with another). A test speaks of a dataset of its own; one module alone has audit events.
    """
    stash = request.config.stash
    if _SHARED not in stash:
        folder = tmp_path_factory.mktemp("stack")
        project = copy_project(folder, 3_000)
        number = {"key_column": "id"}
        declare(
            project,
            "drivers",
            people(DRIVERS),
            candidate_id_prefix="DRIVER-",
            partitions_per_run=A_DRIVERS_RUN,
            **number,
        )
        declare(project, "nurses", people(NURSES), candidate_id_prefix="NURSE-", **number)
        declare(project, "clerks", people(CLERKS), candidate_id_prefix="CLERK-", **number)
        declare(project, "agents", agents(), **number)
        # A fixture that several modules import is one fixture each to pytest, whatever its scope.
        running_stack = ExitStack()
        stash[_SHARED] = running_stack.enter_context(dagster_stack(folder, project=project))
        request.config.add_cleanup(running_stack.close)
    return stash[_SHARED]
