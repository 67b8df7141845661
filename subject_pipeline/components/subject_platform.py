"""The component that brings what all datasets of a code location share."""

import dagster as dg

from subject_pipeline.components.declared import Declared, DeclaresSubjects
from subject_pipeline.components.scaffolding import PlatformScaffolder
from subject_pipeline.errors import ConfigurationError
from subject_pipeline.orchestration.platform import platform_definitions
from subject_pipeline.project.platform import PLATFORM_TYPE, PlatformSettings


@dg.scaffold_with(PlatformScaffolder)
class SubjectPlatform(Declared, PlatformSettings):
    """The store of the subjects, one a code location: audit log, decisions, reviews, erasures, verification, reports.

    Brings their assets, checks, jobs, schedules and sensors, and the resources that every dataset uses.
    """

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Everything that belongs to no dataset.

        Raises:
            ConfigurationError: the code location has another platform as well.
        """
        platform_of(context)
        datasets = context.component_tree.get_all_components(DeclaresSubjects)  # type: ignore[type-abstract]
        return platform_definitions(self.located(context.project_root), [dataset.manifests for dataset in datasets])


def platform_of(context: dg.ComponentLoadContext) -> SubjectPlatform:
    """The platform of a code location, with its paths located.

    Raises:
        ConfigurationError: there is none, or more than one.
    """
    platforms = context.component_tree.get_all_components(SubjectPlatform)
    if not platforms:
        raise ConfigurationError(
            f"a dataset needs the code location's platform, and no YAML declares one; add it with: dg scaffold defs "
            f"{PLATFORM_TYPE} platform"
        )
    if len(platforms) > 1:
        raise ConfigurationError(
            f"{len(platforms)} YAML documents declare a {PLATFORM_TYPE}, and a code location has one, since all of "
            "its datasets share a store: remove the others, or give each store a code location of its own"
        )
    return platforms[0].located(context.project_root)
