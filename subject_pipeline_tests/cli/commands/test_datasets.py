from pathlib import Path

import pytest

from subject_pipeline_tests.cli.conftest import Run
from subject_pipeline_tests.conftest import KEY_COLUMN, Parquet

_OPTIONS = ("--source", "/people.parquet", "--key-column", "id")


def test_a_declaration_is_recorded_as_given(run: Run, workplace: Path) -> None:
    """Registering records all that was declared, without opening the source."""
    ran = run(
        *("datasets", "register", "people", "--source", "people/*.parquet", "--key-column", "id"),
        *("--candidate-id-prefix", "W-", "--safe-view", "a", "--safe-view", "b", "--json"),
    )

    declared = {
        "schema": "subject_dataset.v1",
        "name": "people",
        "source": str(workplace / "people/*.parquet"),
        "key_column": "id",
        "candidate_id_prefix": "W-",
        "safe_views": ["a", "b"],
        "link": True,
    }
    assert ran.status == 0
    assert ran.json == declared
    assert run("datasets", "list", "--json").json == {"datasets": [declared]}


def test_a_url_is_recorded_as_it_is(run: Run) -> None:
    """A URL names its source wherever the command is called."""
    ran = run("datasets", "register", "people", "--source", "s3://bucket/a/*.parquet", "--key-column", "id", "--json")

    assert ran.json["source"] == "s3://bucket/a/*.parquet"


def test_registering_again_replaces(run: Run) -> None:
    """One of the same name takes the place of the earlier one."""
    run("datasets", "register", "people", *_OPTIONS, "--safe-view", "v")
    run("datasets", "register", "people", "--source", "/new.parquet", "--key-column", "other")

    (found,) = run("datasets", "list", "--json").json["datasets"]
    assert (found["source"], found["key_column"], found["safe_views"]) == ("/new.parquet", "other", [])


def test_the_list_is_sorted_by_name(run: Run) -> None:
    """Datasets are listed by name, in words or as JSON."""
    for name in ("b", "a", "c"):
        run("datasets", "register", name, *_OPTIONS)

    assert [item["name"] for item in run("datasets", "list", "--json").json["datasets"]] == ["a", "b", "c"]
    assert [line.split(":")[0] for line in run("datasets", "list").out.splitlines()] == ["a", "b", "c"]


def test_a_retired_dataset_is_gone_and_its_subjects_stay(run: Run, workplace: Path, parquet: Parquet) -> None:
    """Declaration and staging go, those of other datasets and all manifests stay; people are told of the YAML."""
    for name in ("people", "people2"):
        source = parquet([f"{name}-1"], f"{name}.parquet")
        run("datasets", "register", name, "--source", source, "--key-column", KEY_COLUMN)
        assert run("backfill", "--dataset", name).status == 0
        (workplace / f"data/staging/{name}/x").mkdir(parents=True)
        (workplace / f"data/staging/{name}/x/part").touch()

    retired = run("datasets", "retire", "people", "--json")

    assert (retired.status, retired.json) == (0, {"name": "people", "retired": True, "staged_removed": 1})
    assert "defs.yaml" in retired.err
    assert [item["name"] for item in run("datasets", "list", "--json").json["datasets"]] == ["people2"]
    assert not (workplace / "data/staging/people").exists()
    assert (workplace / "data/staging/people2/x/part").exists()
    assert run("subjects", "count", "--json").json == {"count": 2}
    assert run("backfill", "--dataset", "people").status == 2
    assert run("datasets", "retire", "people2").status == 0
    assert run("datasets", "list").out == "no dataset is registered\n"


@pytest.mark.parametrize("name", ["nobody", "../layout", ""])
def test_an_unknown_dataset_is_not_retired(run: Run, name: str) -> None:
    """A name that no dataset has is refused, status 2, as everywhere else."""
    run("datasets", "register", "people", *_OPTIONS)

    ran = run("datasets", "retire", name, "--json")

    assert ran.status == 2
    assert repr(name) in ran.json["error"]
    assert len(run("datasets", "list", "--json").json["datasets"]) == 1


def test_a_damaged_declaration_can_be_retired(run: Run, workplace: Path) -> None:
    """What cannot be read can still go."""
    run("datasets", "register", "people", *_OPTIONS)
    (workplace / "data/catalog/datasets/people.json").write_text("{")

    assert run("datasets", "retire", "people").status == 0


@pytest.mark.parametrize("name", ["", "a/b", "..", "a b", "_a", "ü", "a" * 101, "a.json", "a\n"])
def test_an_invalid_name_is_refused(run: Run, workplace: Path, name: str) -> None:
    """A name that is no dataset's is refused with the rule, and nothing is written."""
    ran = run("datasets", "register", name, *_OPTIONS)

    assert (ran.status, ran.out) == (2, "")
    assert "is not a dataset name" in ran.err
    assert list(workplace.iterdir()) == []
    assert run("backfill", "--dataset", name).status == 2


@pytest.mark.parametrize(
    "options",
    [
        ("--source", "", "--key-column", "id"),
        ("--source", "/p.parquet", "--key-column", ""),
        ("--source", "/p.parquet"),
        ("--key-column", "id"),
    ],
)
def test_a_declaration_without_source_or_column_is_refused(run: Run, workplace: Path, options: tuple[str, ...]) -> None:
    """Source and key column must be given and not be empty."""
    ran = run("datasets", "register", "people", *options)

    assert (ran.status, ran.out) == (2, "")
    assert ran.err
    assert list(workplace.iterdir()) == []


def test_a_damaged_declaration_is_named(run: Run, workplace: Path) -> None:
    """A declaration that cannot be read is named with its place."""
    run("datasets", "register", "people", *_OPTIONS)
    (workplace / "data/catalog/datasets/people.json").write_text("{")

    for command in (("datasets", "list"), ("backfill", "--dataset", "people")):
        ran = run(*command)
        assert ran.status == 2
        assert "catalog/datasets/people.json" in ran.err
