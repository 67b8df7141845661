"""The Dagster code location: everything below `defs/`, run in one process unless a job says otherwise."""

from pathlib import Path

import dagster as dg

from subject_pipeline.operations import Operations
from subject_pipeline.orchestration.lineage import connected


@dg.definitions
def defs() -> dg.Definitions:
    """All definitions.

    The in-process executor is the default because a launched run then takes 8-12 s instead of 14-16 s, and because
    a Celery worker's runs cannot have children.
    """
    loaded = dg.Definitions.merge(
        dg.load_from_defs_folder(path_within_project=Path(__file__).parent),
        dg.Definitions(executor=dg.in_process_executor),
    )
    return connected(loaded, Operations.read().owners)
