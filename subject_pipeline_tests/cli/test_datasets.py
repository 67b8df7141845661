from pathlib import Path

import pytest

from subject_pipeline_tests.cli.conftest import Run

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


def test_an_unused_store_lists_nothing_and_stays_unused(run: Run, workplace: Path) -> None:
    """Listing creates nothing."""
    assert run("datasets", "list", "--json").json == {"datasets": []}
    assert run("datasets", "list").out == "no dataset is registered\n"
    assert list(workplace.iterdir()) == []


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
