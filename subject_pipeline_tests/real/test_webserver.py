import pytest

from subject_pipeline_tests.real.conftest import wait_until
from subject_pipeline_tests.real.dagster_stack import PARTITIONS, DagsterStack
from subject_pipeline_tests.real.shared_stack import GUARDS, stack

__all__ = ["stack"]

pytestmark = pytest.mark.real

MANIFESTS = "guards/subject_manifests"


def test_launch_one_partition_then_all(stack: DagsterStack) -> None:
    """A launched run registers one partition; a backfill of all partitions is one run and skips what is there."""
    run = stack.launch("register_guards", tags={"dagster/partition": "chunk-07"})
    stack.succeed(run)
    first = stack.newest(MANIFESTS)
    assert set(first) == {"chunk-07"}
    assert first["chunk-07"]["inserted"] > 0

    backfill = stack.backfill([MANIFESTS], PARTITIONS)
    assert stack.wait_for_backfill(backfill) == "COMPLETED_SUCCESS"
    every = stack.newest(MANIFESTS)
    assert sorted(every) == PARTITIONS
    assert sum(counts["attempted"] for counts in every.values()) == GUARDS
    assert every["chunk-07"]["inserted"] == 0
    assert every["chunk-07"]["skipped"] == first["chunk-07"]["inserted"]
    assert sum(counts["inserted"] for counts in every.values()) == GUARDS - first["chunk-07"]["inserted"]
    assert len({item["runId"] for item in stack.materializations(MANIFESTS) if item["runId"] != run}) == 1

    def checked() -> bool:
        checks = stack.checks(MANIFESTS)
        return len(checks) == 3 and all(checks.values())

    wait_until(checked, 60, "three green checks")
