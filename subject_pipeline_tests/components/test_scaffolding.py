"""`dg scaffold defs` writes YAML that loads as it stands."""

from typing import Any

import dagster as dg
import pytest
import yaml
from dagster.components.testing import create_defs_folder_sandbox

from subject_pipeline.components import SubjectDataset, SubjectPlatform

PEOPLE = {"source": "people.parquet", "key_column": "id"}


def written(component: Any, **params: Any) -> dict[str, Any]:
    """What is written into a folder `people`."""
    with create_defs_folder_sandbox() as sandbox:
        folder = sandbox.scaffold_component(component_cls=component, defs_path="people", scaffold_params=params or None)
        found: dict[str, Any] = yaml.safe_load((folder / "defs.yaml").read_text(encoding="utf-8"))
        return found


def test_what_is_scaffolded_loads_as_it_stands() -> None:
    """A platform and a dataset make a code location."""
    with create_defs_folder_sandbox() as sandbox:
        sandbox.scaffold_component(component_cls=SubjectPlatform, defs_path="platform")
        sandbox.scaffold_component(component_cls=SubjectDataset, defs_path="people", scaffold_params=PEOPLE)
        with sandbox.build_all_defs() as definitions:
            graph = definitions.resolve_asset_graph()
    assert dg.AssetKey(["people", "subject_manifests"]) in graph.get_all_asset_keys()


def test_a_platform_comes_from_the_environment() -> None:
    """Each variable that it uses is a requirement."""
    platform = written(SubjectPlatform)
    names = ["SUBJECT_STORE_URL", "SUBJECT_CHUNKS", "SUBJECT_KEY_RING"]
    assert platform["requirements"]["env"] == names
    attributes = platform["attributes"]
    assert [attributes[name] for name in ("store", "chunks", "key_ring")] == [f"{{{{ env.{name} }}}}" for name in names]


def test_a_platform_has_what_was_given() -> None:
    """Then the environment is not asked for it."""
    platform = written(SubjectPlatform, store="s3://bucket/subjects", chunks=16)
    assert platform["requirements"]["env"] == ["SUBJECT_KEY_RING"]
    assert (platform["attributes"]["store"], platform["attributes"]["chunks"]) == ("s3://bucket/subjects", 16)


@pytest.mark.parametrize("source", ["people.parquet", "s3://b/p/*.parquet", 'a"b#c: d.parquet', "yes", "Ünï/*", "1"])
def test_a_dataset_has_the_name_of_its_folder_and_what_was_given(source: str) -> None:
    """Whatever characters it has, YAML reads back what was given."""
    dataset = written(SubjectDataset, source=source, key_column="no", candidate_id_prefix="P-")
    assert dataset["attributes"] == {
        "name": "people",
        "source": source,
        "key_column": "no",
        "candidate_id_prefix": "P-",
        "all": True,
    }


def test_a_second_document_is_appended() -> None:
    """`dg scaffold defs` may add to a file that there is."""
    with create_defs_folder_sandbox() as sandbox:
        folder = sandbox.scaffold_component(component_cls=SubjectPlatform, defs_path="people")
        request = dg.ScaffoldRequest(
            type_name="subject_pipeline.components.SubjectDataset",
            target_path=folder / "defs.yaml",
            scaffold_format="yaml",
            project_root=None,
            params=SubjectDataset.__scaffolder_cls__.get_scaffold_params()(**PEOPLE),  # type: ignore[attr-defined]
            append=True,
        )
        SubjectDataset.__scaffolder_cls__().scaffold(request)  # type: ignore[attr-defined]
        with sandbox.build_all_defs() as definitions:
            assert "register_people" in {job.name for job in definitions.jobs or []}
