"""The page of everything that the Dagster UI has is what the definitions say, and says what each thing is."""

from pathlib import Path

import dagster as dg
import pytest
from dagster_reference import PAGE, main, reference

from subject_pipeline.definitions import defs as load_definitions
from subject_pipeline.orchestration.ui.data import LINEAGE, SCHEMA, URI

WORDS = 8
"""Fewer say nothing to a newcomer."""


def test_the_page_is_current(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`make reference` would write what is there; the script says so where it is not."""
    assert PAGE.read_text(encoding="utf-8") == reference(), "run `make reference`"
    other = tmp_path / "page.md"
    other.write_text("older", encoding="utf-8")
    monkeypatch.setattr("dagster_reference.PAGE", other)
    monkeypatch.setattr("sys.argv", ["dagster_reference.py", "--check"])
    with pytest.raises(SystemExit, match="make reference"):
        main()


def test_everything_says_what_it_is() -> None:
    """Every asset, check, job, schedule, sensor and resource has a description of some words."""
    definitions = load_definitions()
    repository, graph = definitions.get_repository_def(), definitions.resolve_asset_graph()
    said = {
        **{f"asset {key.to_user_string()}": graph.get(key).description for key in graph.get_all_asset_keys()},
        **{f"check {key}": graph.get_check_spec(key).description for key in graph.asset_check_keys},
        **{f"job {job.name}": job.description for job in repository.get_all_jobs() if not job.name.startswith("__")},
        **{f"schedule {one.name}": one.description for one in repository.schedule_defs},
        **{f"sensor {one.name}": one.description for one in repository.sensor_defs},
        **{
            f"resource {name}": one.description
            for name, one in repository.get_top_level_resources().items()
            if name != "io_manager"  # Dagster's own
        },
    }
    assert {name for name, text in said.items() if len((text or "").split()) < WORDS} == set()


def test_assets_say_where_they_are_and_what_their_columns_are_made_of() -> None:
    """Every asset links its data; the manifests' `candidate_id` comes from the source's key column, by the staging."""
    specs = {spec.key: spec for spec in load_definitions().resolve_all_asset_specs()}
    for key, spec in specs.items():
        assert str(spec.metadata[URI].value).startswith("file:///"), key
    source, staged, manifests = (
        specs[dg.AssetKey(["workers", name])] for name in ("source", "candidate_chunks", "subject_manifests")
    )
    column, came_from = "candidate_id", []
    for spec in (manifests, staged):
        described = {one.name: one.description for one in spec.metadata[SCHEMA].columns}
        assert all(described.values())
        (dep,) = spec.metadata[LINEAGE].deps_by_column[column]
        came_from.append((dep.asset_key, dep.column_name))
        column = dep.column_name
    assert came_from == [(staged.key, "candidate_id"), (source.key, "worker_id")]
    assert [one.name for one in source.metadata[SCHEMA].columns] == ["worker_id"]
