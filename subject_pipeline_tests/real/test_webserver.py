import pytest

from subject_pipeline.use_cases.registry import SubjectRegistry
from subject_pipeline_tests.real.conftest import wait_until
from subject_pipeline_tests.real.dagster_stack import DagsterStack, stack

__all__ = ["stack"]

pytestmark = pytest.mark.real

PEOPLE = 3_000
MANIFESTS = "workers/subject_manifests"


def test_launch_one_partition_then_all_from_the_page(stack: DagsterStack) -> None:
    """A launched run registers one partition; a backfill of all partitions is one run and skips what is there."""
    registry = SubjectRegistry(stack.store)
    run = stack.launch("register_workers", tags={"dagster/partition": "chunk-07"})
    assert stack.wait(run) == "SUCCESS"
    first = stack.newest(MANIFESTS)
    assert set(first) == {"chunk-07"}
    assert registry.count() == first["chunk-07"]["inserted"] > 0

    stack.backfill([MANIFESTS], [f"chunk-{index:02x}" for index in range(64)])
    wait_until(lambda: len(stack.newest(MANIFESTS)) == 64, 180, "64 materialized partitions")
    every = stack.newest(MANIFESTS)
    assert sum(counts["attempted"] for counts in every.values()) == PEOPLE
    assert every["chunk-07"]["inserted"] == 0
    assert every["chunk-07"]["skipped"] == first["chunk-07"]["inserted"]
    assert registry.count() == PEOPLE
    runs = {item["runId"] for item in stack.materializations(MANIFESTS) if item["runId"] != run}
    assert len(runs) == 1

    def checked() -> bool:
        checks = stack.checks(MANIFESTS)
        return len(checks) == 3 and all(checks.values())

    wait_until(checked, 60, "three green checks")
