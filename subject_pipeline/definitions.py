"""The Dagster code location: everything below `defs/`, run in one process unless a job says otherwise."""

import warnings
from pathlib import Path

import dagster as dg

from subject_pipeline import defs as folder
from subject_pipeline.operations import Operations
from subject_pipeline.orchestration.assets.audit import audit
from subject_pipeline.orchestration.assets.compliance import compliance_report
from subject_pipeline.orchestration.assets.lifecycle import lifecycle
from subject_pipeline.orchestration.assets.maintenance import maintain_store
from subject_pipeline.orchestration.automation import automation
from subject_pipeline.orchestration.freshness import freshness
from subject_pipeline.orchestration.lineage import connected
from subject_pipeline.orchestration.platform_resources import resources
from subject_pipeline.orchestration.sensors.alerts import alert_sensors


@dg.definitions
def defs() -> dg.Definitions:
    """All definitions.

    The in-process executor is the default because a launched run then takes 8-12 s instead of 14-16 s, and because
    a Celery worker's runs cannot have children.
    """
    shared = dg.Definitions(
        assets=[compliance_report],
        jobs=[maintain_store],
        sensors=alert_sensors(),
        executor=dg.in_process_executor,
    )
    loaded = dg.Definitions.merge(
        _folder_of_definitions(), audit(), lifecycle(), automation(), freshness(), resources(), shared
    )
    return connected(loaded, Operations.read().owners)


def _folder_of_definitions() -> dg.Definitions:
    # `dg.load_from_defs_folder` does the same, but only beside a `pyproject.toml`, which an installed wheel has not.
    tree = dg.ComponentTree.from_module(defs_module=folder, project_root=_project_folder())
    with warnings.catch_warnings():
        for kind in (dg.BetaWarning, dg.PreviewWarning, DeprecationWarning):  # Dagster's own calls
            warnings.simplefilter("ignore", kind)
        return tree.build_defs()


def _project_folder() -> Path:
    """Where relative sources count from: the clone; where the package is installed, the working directory."""
    clone = Path(__file__).parent.parent
    return clone if (clone / "pyproject.toml").is_file() else Path.cwd()
