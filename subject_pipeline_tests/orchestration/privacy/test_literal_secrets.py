"""Secrets are named in run config, and never stand there."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from subject_pipeline.components import SubjectDataset
from subject_pipeline.definitions import defs as load_definitions
from subject_pipeline.orchestration.resources import LayoutResource, StoreResource
from subject_pipeline_tests.helpers.instances import dagster_instance

SECRET = "wJalrXUtnFEMI"


@pytest.fixture
def instance(monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """An instance, and a variable that holds the secret."""
    monkeypatch.setenv("BUCKET_SECRET", SECRET)
    with dagster_instance() as made:
        yield made


def run(
    instance: dg.DagsterInstance, folder: Path, config: Mapping[str, Any], *, declared: Mapping[str, Any] | None = None
) -> tuple[dg.ExecuteInProcessResult, list[dict[str, str]]]:
    """Run an asset on a store whose resource gets this config; what the store was opened with."""
    opened = []

    @dg.asset
    def made(store: StoreResource) -> None:
        opened.append(dict(store.options))

    store = StoreResource(url=str(folder), layout=LayoutResource(), options=dict(declared or {}))
    result = dg.materialize(
        [made],
        instance=instance,
        resources={"store": store},
        run_config={"resources": {"store": {"config": {"url": str(folder), **config}}}} if config else {},
        raise_on_error=False,
    )
    return result, opened


@pytest.mark.parametrize(
    "name", ["aws_secret_access_key", "AZURE_STORAGE_ACCOUNT_KEY", "session_token", "password", "sas_token"]
)
def test_a_secret_in_run_config_is_refused_and_not_repeated(
    instance: dg.DagsterInstance, tmp_path: Path, name: str
) -> None:
    """The run fails before its work, and says which option, what to do about it, and how else to give it."""
    result, opened = run(instance, tmp_path, {"options": {name: SECRET, "aws_region": "eu-central-1"}})
    assert not result.success
    assert opened == []
    told = [str(event.event_specific_data) for event in result.all_events if event.is_failure]
    assert any(name in one and "{env: NAME}" in one and "{{ env.NAME }}" in one for one in told)
    assert not any(SECRET in one for one in told)


def test_a_variable_in_run_config_is_resolved(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    """Its name stands in the run's config, its value reaches the store; what is no secret may stand there as it is."""
    options = {"aws_secret_access_key": {"env": "BUCKET_SECRET"}, "aws_region": "eu-central-1"}
    result, opened = run(instance, tmp_path, {"options": options})
    assert result.success
    assert opened == [{"aws_secret_access_key": SECRET, "aws_region": "eu-central-1"}]
    stored = instance.get_run_by_id(result.run_id)
    assert stored is not None
    assert SECRET not in str(stored.run_config)


def test_a_variable_in_code_is_resolved(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    """`EnvVar` is what a code location gives."""
    result, opened = run(instance, tmp_path, {}, declared={"aws_secret_access_key": dg.EnvVar("BUCKET_SECRET")})
    assert result.success
    assert opened == [{"aws_secret_access_key": SECRET}]


def test_credentials_in_a_url_are_refused_too(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    """An endpoint or proxy with a password is one, whatever the option is called."""
    result, opened = run(instance, tmp_path, {"options": {"proxy_url": f"http://user:{SECRET}@proxy:3128"}})
    assert (result.success, opened) == (False, [])
    assert run(instance, tmp_path, {"options": {"proxy_url": "http://proxy:3128"}})[0].success


def test_a_source_with_credentials_in_its_url_is_refused_when_loading() -> None:
    """It would be shown on its asset's page."""
    with pytest.raises(ValueError, match="leave it out, and give credentials"):
        SubjectDataset(name="people", source=f"https://user:{SECRET}@host/people.parquet", key_column="id")
    assert SubjectDataset(name="people", source="s3://bucket/a@b/*.parquet", key_column="id").source.startswith("s3")
    assert SubjectDataset(name="people", source="people@home.parquet", key_column="id")


def test_the_run_config_that_the_guide_shows_is_accepted() -> None:
    """docs/stores.md says what can stand there."""
    guide = (Path(__file__).parents[3] / "docs" / "stores.md").read_text(encoding="utf-8")
    (shown,) = [text.partition("```")[0] for text in guide.split("```yaml\n")[1:] if "resources:" in text]
    assert dg.validate_run_config(load_definitions().resolve_job_def("maintain_store"), yaml.safe_load(shown))
