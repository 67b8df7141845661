"""Dagster projects whose defs folder holds YAML of our components, and nothing else."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import dagster as dg
from dagster.components.testing import create_defs_folder_sandbox

from subject_pipeline.components import SubjectDataset, SubjectPlatform

Attributes = Mapping[str, Any]


Document = tuple[type[dg.Component], str, Attributes]
"""A component, the folder of its YAML, and its attributes."""


@contextmanager
def definitions_of(
    platform: Attributes | None, *datasets: Attributes, more: Sequence[Document] = ()
) -> Iterator[dg.Definitions]:
    """The definitions of a project with this platform, unless it has none, these datasets, and whatever else."""
    declared: list[Document] = [(SubjectDataset, str(number), one) for number, one in enumerate(datasets)]
    if platform is not None:
        declared.append((SubjectPlatform, "platform", platform))
    with create_defs_folder_sandbox() as sandbox:
        for component, folder, attributes in (*declared, *more):
            sandbox.scaffold_component(
                component_cls=component,
                defs_path=folder,
                scaffold_params={"source": "", "key_column": ""} if component is SubjectDataset else None,
                defs_yaml_contents={
                    "type": f"subject_pipeline.components.{component.__name__}",
                    "attributes": dict(attributes),
                },
            )
        with sandbox.build_all_defs() as built:
            yield dg.Definitions.merge(built, dg.Definitions(executor=dg.in_process_executor))
