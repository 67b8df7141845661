"""What is wrong in a project's YAML is said with its file and line, and what is missing with what to add."""

import re
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import jsonschema
import pytest
from dagster.components.core.component_tree import ComponentTreeException

from subject_pipeline.components import SubjectDataset, SubjectPlatform
from subject_pipeline.decisions.stored_policies import read_policies_file, stored_policies
from subject_pipeline.keys.ring import KeyRing
from subject_pipeline.keys.ring_file import KeyRingFile, create_ring
from subject_pipeline.orchestration.resources import KeyRingResource, StoreResource
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline_tests.helpers.projects import Document, definitions_of

PEOPLE = {"name": "people", "source": "people.parquet", "key_column": "id"}
FROM_ENVIRONMENT = {
    "store": "{{ env.SUBJECT_STORE_URL }}",
    "key_ring": "{{ env.SUBJECT_KEY_RING }}",
    "chunks": "{{ env.SUBJECT_CHUNKS }}",
    "automation": {"enabled": "{{ env.SUBJECT_AUTOMATION }}"},
}


def refused(platform: dict[str, Any] | None, *datasets: dict[str, Any], more: Sequence[Document] = ()) -> str:
    """What the loading of a project ends with."""
    with pytest.raises(ComponentTreeException) as error, definitions_of(platform, *datasets, more=more):
        """It does not load."""
    return "".join(traceback.format_exception(error.value))


def resource(definitions: dg.Definitions, name: str) -> Any:
    """A resource of the code location."""
    return (definitions.resources or {})[name]


@pytest.mark.parametrize(
    ("platform", "dataset", "name", "file"),
    [
        ({"stoer": "s3://bucket"}, PEOPLE, "stoer", "platform"),
        ({"chunks": 0}, PEOPLE, "chunks", "platform"),
        ({"automation": {"timezon": "UTC"}}, PEOPLE, "timezon", "platform"),
        ({"automation": {"timezone": "Mars"}}, PEOPLE, "timezone", "platform"),
        ({"alerts": {"webhook": "https://hooks/secret"}}, PEOPLE, "webhook", "platform"),
        ({"store_options": {"aws_secret_access_key": "abc"}}, PEOPLE, "store_options", "platform"),
        ({}, {**PEOPLE, "key_colum": "id"}, "key_colum", "0"),
        ({}, {**PEOPLE, "limit": "many"}, "limit", "0"),
        ({}, {**PEOPLE, "source": "https://me:secret@host/x"}, "source", "0"),
    ],
)
def test_a_wrong_key_or_value_is_refused_with_file_and_line(
    platform: dict[str, Any], dataset: dict[str, Any], name: str, file: str
) -> None:
    """Of the platform as of a dataset; a secret that stands in the file is one."""
    assert re.search(rf"attributes\.\S*{name}.* at \S+/{file}/defs\.yaml:\d", refused(platform, dataset))


def test_a_wrong_value_of_the_environment_is_refused_with_file_and_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the YAML names the variable."""
    monkeypatch.setenv("SUBJECT_CHUNKS", "many")
    assert re.search(r"platform/defs\.yaml:\d+ - attributes\.chunks", told := refused(FROM_ENVIRONMENT, PEOPLE))
    assert "chunks: Input should be a valid integer" in told


@pytest.mark.parametrize(
    ("component", "attributes", "valid"),
    [
        (SubjectPlatform, FROM_ENVIRONMENT, True),
        (SubjectPlatform, {"chunks": 64, "owners": ["team:a"], "automation": {"enabled": True}}, True),
        (SubjectPlatform, {"chunks": "many"}, False),
        (SubjectPlatform, {"chunks": 0}, False),
        (SubjectPlatform, {"alerts": {"webhook": "https://hooks.example.com"}}, False),
        (SubjectPlatform, {"automation": {"timezon": "UTC"}}, False),
        (SubjectDataset, PEOPLE, True),
        (SubjectDataset, {**PEOPLE, "vanished_share": "{{ env.SHARE }}"}, True),
        (SubjectDataset, {**PEOPLE, "vanished_share": 2}, False),
        (SubjectDataset, {**PEOPLE, "name": "../escape"}, False),
        (SubjectDataset, {"name": "people"}, False),
    ],
)
def test_the_schema_tells_right_from_wrong(component: Any, attributes: dict[str, Any], valid: bool) -> None:
    """`dg check yaml` and editors know no more of a component than its JSON schema."""
    schema = component.model().model_json_schema()
    assert jsonschema.Draft202012Validator(schema).is_valid(attributes) == valid


@pytest.mark.parametrize("component", [SubjectPlatform, SubjectDataset])
def test_every_attribute_has_a_description_and_an_example(component: Any) -> None:
    """Nested ones as well; editors show both."""
    schema = component.model().model_json_schema()
    models = [schema, *schema.get("$defs", {}).values()]
    for name, field in [item for model in models for item in model.get("properties", {}).items()]:
        assert field.get("description"), name
        assert field.get("examples") or "$ref" in str(field), name


def test_a_dataset_without_a_platform_is_told_what_to_add() -> None:
    """The error has the command that adds one."""
    assert "dg scaffold defs subject_pipeline.components.SubjectPlatform" in refused(None, PEOPLE)


def test_two_platforms_are_refused(tmp_path: Path) -> None:
    """A code location has one store."""
    again = (SubjectPlatform, "again", {"store": str(tmp_path)})
    told = refused({"store": str(tmp_path)}, more=[again])
    assert "2 YAML documents declare a subject_pipeline.components.SubjectPlatform" in told


def test_what_the_environment_does_not_say_has_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty variable counts as unset."""
    monkeypatch.setenv("SUBJECT_CHUNKS", "")
    with definitions_of(FROM_ENVIRONMENT, PEOPLE) as definitions:
        assert resource(definitions, "store").url.endswith("/data")
        assert Path(resource(definitions, "store").url).is_absolute(), "it counts from the project's folder"
        assert resource(definitions, "store").layout.chunk_count == 64
        assert isinstance(resource(definitions, "key_ring"), KeyRingResource)
        assert resource(definitions, "key_ring").path is None


def test_what_the_environment_says_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A number is a number, on is on, and a relative path counts from the project's folder."""
    for name, value in {"STORE_URL": str(tmp_path), "KEY_RING": "ring.json", "CHUNKS": "4", "AUTOMATION": "on"}.items():
        monkeypatch.setenv(f"SUBJECT_{name}", value)
    with definitions_of(FROM_ENVIRONMENT, PEOPLE) as definitions:
        assert resource(definitions, "store").url == str(tmp_path)
        assert Path(resource(definitions, "key_ring").path).is_absolute()
        graph = definitions.resolve_asset_graph()
        partitions = graph.get(dg.AssetKey(["people", "subject_manifests"])).partitions_def
        assert partitions is not None
        assert list(partitions.get_partition_keys()) == ["chunk-0", "chunk-1", "chunk-2", "chunk-3"]
        sensor = definitions.resolve_sensor_def("register_people_when_changed")
        assert sensor.default_status is dg.DefaultSensorStatus.RUNNING


def test_a_secret_option_keeps_its_variables_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """The UI shows a resource's configuration; the value is looked up where a run opens the store."""
    monkeypatch.setenv("STORE_SECRET", "wJalrXUtnFEMI")
    options = {"aws_secret_access_key": "{{ env.STORE_SECRET }}", "aws_region": "eu-central-1"}
    with definitions_of({"store": "s3://bucket", "store_options": options}) as definitions:
        store = resource(definitions, "store")
        assert "wJalrXUtnFEMI" not in repr(store)
        opened: list[StoreResource] = []

        @dg.asset
        def made(store: StoreResource) -> None:
            opened.append(store)

        assert dg.materialize([made], resources={"store": store}).success
        assert opened[0].options == {"aws_secret_access_key": "wJalrXUtnFEMI", "aws_region": "eu-central-1"}


POLICIES = "policies:\n  four_years: {keep: 1460d, from: registered}\nverticals: [general]\n"


@pytest.mark.long
def test_policies_that_the_yaml_names_are_put_in_force_before_decisions(tmp_path: Path) -> None:
    """By an asset upstream of the decisions, in their job; without the attribute there is none."""
    create_ring(tmp_path / "ring.json", KeyRing.new(b"k" * 32, b"s" * 32))
    file = tmp_path / "policies.yaml"
    platform: dict[str, Any] = {"store": str(tmp_path / "store"), "chunks": 4, "key_ring": str(tmp_path / "ring.json")}
    with definitions_of(platform) as definitions:
        assert dg.AssetKey("policies") not in definitions.resolve_asset_graph().get_all_asset_keys()
    file.write_text(POLICIES, encoding="utf-8")
    SubjectStore.at(platform["store"], wanted_chunks=4).layout_or_create()
    with definitions_of({**platform, "policies": str(file)}) as definitions:
        graph = definitions.resolve_asset_graph()
        assert dg.AssetKey("policies") in graph.get(dg.AssetKey("decisions")).parent_keys
        job = definitions.resolve_job_def("apply_decisions")
        assert job.execute_in_process(instance=dg.DagsterInstance.ephemeral()).success
    in_force = stored_policies(SubjectStore.at(platform["store"], ring=KeyRingFile(tmp_path / "ring.json")))
    assert in_force.sha256 == read_policies_file(file).sha256


def test_policies_that_cannot_be_used_are_refused_when_loading(tmp_path: Path) -> None:
    """And not by the first run at night."""
    file = tmp_path / "policies.yaml"
    file.write_text("retention: [", encoding="utf-8")
    assert "cannot read policies from" in refused({"store": str(tmp_path), "policies": str(file)})
