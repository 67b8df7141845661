"""The Dagster code location: what the YAML below `defs/` declares."""

import warnings
from pathlib import Path

import dagster as dg

from subject_pipeline import defs as folder

CLONE = Path(__file__).parent.parent


@dg.definitions
def defs() -> dg.Definitions:
    """All definitions; a run that is launched from an asset's page is one process, as those of our jobs are."""
    # `dg.load_from_defs_folder` does the same, but only beside a `pyproject.toml`, which an installed wheel has not:
    # then relative paths count from the working directory.
    project = CLONE if (CLONE / "pyproject.toml").is_file() else Path.cwd()
    tree = dg.ComponentTree.from_module(defs_module=folder, project_root=project)
    with warnings.catch_warnings():
        for kind in (dg.BetaWarning, dg.PreviewWarning, DeprecationWarning):  # Dagster's own calls
            warnings.simplefilter("ignore", kind)
        return dg.Definitions.merge(tree.build_defs(), dg.Definitions(executor=dg.in_process_executor))
