import json
from pathlib import Path

import pytest

from subject_pipeline_tests.cli.conftest import Run

_REGISTER = ("datasets", "register", "people", "--source", "/people.parquet", "--key-column", "id")


@pytest.mark.parametrize(
    "call",
    [
        ("--json", "subjects", "count"),
        ("subjects", "count", "--json"),
        ("--json", "subjects", "count", "--json"),
    ],
)
def test_json_before_and_after_the_command(run: Run, call: tuple[str, ...]) -> None:
    """`--json` may stand before or after the command, or both."""
    assert run(*call).json == {"count": 0}


@pytest.mark.parametrize("option", ["--store", "--storage-root"])
@pytest.mark.parametrize("place", ["shop", "file://{}/shop"])
def test_the_store_before_and_after_the_command(run: Run, workplace: Path, option: str, place: str) -> None:
    """The store may be named before or after the command, as a folder or a URL."""
    place = place.format(workplace)

    assert run(option, place, *_REGISTER).status == 0
    assert run(*_REGISTER, option, place).status == 0

    assert [path.name for path in workplace.iterdir()] == ["shop"]
    assert len(run("datasets", "list", option, place, "--json").json["datasets"]) == 1


def test_the_store_after_the_command_wins(run: Run, workplace: Path) -> None:
    """The nearer option counts."""
    run("--store", "far", *_REGISTER, "--store", "near")

    assert [path.name for path in workplace.iterdir()] == ["near"]


def test_two_stores_are_refused(run: Run, workplace: Path) -> None:
    """`--store` and `--storage-root` together are one too many."""
    for call in (
        ("--store", "a", "--storage-root", "b", "subjects", "count"),
        ("subjects", "count", "--store", "a", "--storage-root", "b"),
    ):
        ran = run(*call)
        assert (ran.status, ran.out) == (2, "")
        assert "--store or --storage-root, not both" in ran.err
    assert list(workplace.iterdir()) == []


def test_the_default_store_is_data(run: Run, workplace: Path) -> None:
    """Without a word about it, the store is `./data`."""
    run(*_REGISTER)

    assert [path.name for path in workplace.iterdir()] == ["data"]


def test_the_environment_names_the_store(run: Run, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`$SUBJECT_STORE_URL` names the store; an option wins over it, and an empty variable counts as unset."""
    monkeypatch.setenv("SUBJECT_STORE_URL", str(workplace / "from-the-environment"))
    run(*_REGISTER)
    run("--store", "from-an-option", *_REGISTER)
    monkeypatch.setenv("SUBJECT_STORE_URL", "")
    run(*_REGISTER)

    assert {path.name for path in workplace.iterdir()} == {"from-the-environment", "from-an-option", "data"}


@pytest.mark.parametrize("url", ["http://example.org/store", "ftp://x", "s3://", "nothing://x", " "])
def test_a_store_that_cannot_be_is_refused(run: Run, workplace: Path, url: str) -> None:
    """An unknown scheme, a URL without a bucket and an empty one are refused by name."""
    ran = run("--store", url, "subjects", "count")

    assert (ran.status, ran.out) == (2, "")
    assert "store URL" in ran.err
    assert list(workplace.iterdir()) == []


def test_a_store_in_the_place_of_a_file_is_refused(run: Run, workplace: Path) -> None:
    """A store that cannot be written is named, status 2."""
    (workplace / "data").write_text("in the way")

    ran = run(*_REGISTER)

    assert (ran.status, ran.out) == (2, "")
    assert "error: cannot" in ran.err


@pytest.mark.parametrize("chunks", ["many", "0", "-1", "1.5", "1048577", "٣", "9" * 5_000])
@pytest.mark.parametrize("call", [("subjects", "count"), _REGISTER, ("backfill", "--dataset", "people")])
def test_a_chunk_count_that_cannot_be_is_refused(
    run: Run, workplace: Path, monkeypatch: pytest.MonkeyPatch, chunks: str, call: tuple[str, ...]
) -> None:
    """A value of `$SUBJECT_CHUNKS` that is no usable number is refused with the variable's name."""
    monkeypatch.setenv("SUBJECT_CHUNKS", chunks)

    ran = run(*call)

    assert (ran.status, ran.out) == (2, "")
    assert "SUBJECT_CHUNKS" in ran.err
    assert list(workplace.iterdir()) == []


@pytest.mark.parametrize(
    "call",
    [
        ("subjects", "count"),
        ("subjects", "get", "A"),
        ("subjects", "delete", "A"),
        ("subjects", "compact"),
        ("subjects", "export", "--out", "out.jsonl"),
        ("subjects", "import", "in.json"),
        ("backfill", "--dataset", "people"),
        ("backfill", "--dataset", "people", "--dry-run"),
        _REGISTER,
    ],
)
def test_a_contradicting_chunk_count_is_refused(
    run: Run, workplace: Path, monkeypatch: pytest.MonkeyPatch, call: tuple[str, ...]
) -> None:
    """Another `$SUBJECT_CHUNKS` than the store's is refused with both numbers; unset, the store's counts."""
    monkeypatch.setenv("SUBJECT_CHUNKS", "8")
    assert run(*_REGISTER).status == 0
    (workplace / "in.json").write_text("{}")
    monkeypatch.setenv("SUBJECT_CHUNKS", "16")

    ran = run(*call)

    assert (ran.status, ran.out) == (2, "")
    assert "16 chunks are asked for" in ran.err
    assert "laid out with 8" in ran.err
    assert not (workplace / "out.jsonl").exists()
    for unset in ("", " "):
        monkeypatch.setenv("SUBJECT_CHUNKS", unset)
        assert run("subjects", "count").status == 0


def test_a_damaged_layout_is_named(run: Run, workplace: Path) -> None:
    """A layout that cannot be read is status 2 with its place."""
    run(*_REGISTER)
    (workplace / "data/catalog/layout.json").write_text("{}")

    ran = run("subjects", "count")

    assert (ran.status, ran.out) == (2, "")
    assert "catalog/layout.json" in ran.err


@pytest.mark.parametrize("call", [("--help",), ("-h",), ("backfill", "--help"), ("subjects", "get", "-h")])
def test_help_is_no_error(run: Run, call: tuple[str, ...]) -> None:
    """Help is on standard output, status 0."""
    ran = run(*call)

    assert ran.status == 0
    assert "Usage: " in ran.out


def test_the_version_is_told(run: Run) -> None:
    """`--version` tells it."""
    ran = run("--version")

    assert ran.status == 0
    assert "version" in ran.out


def test_without_a_command_help_is_shown(run: Run) -> None:
    """Called with nothing, help is shown."""
    ran = run()

    assert ran.status == 0
    assert "Usage: " in ran.out


def test_a_wrong_call_with_json_is_one_object(run: Run) -> None:
    """A call that no command understands is one JSON object too, with the usage on standard error."""
    ran = run("--json", "subjects", "get")

    assert ran.status == 2
    assert list(ran.json) == ["error"]
    assert "Usage:" in ran.err


def test_words_beside_results_are_json_lines_where_asked_for(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """`SUBJECT_LOG_FORMAT=json`: each line of standard error is an object, whether a call is wrong or fails."""
    monkeypatch.setenv("SUBJECT_LOG_FORMAT", "json")
    for call in (["subjects", "get", "nobody"], ["backfill"], ["nonsense"], ["subjects"], ["keys", "new", "r.json"]):
        ran = run(*call)
        lines = [json.loads(line) for line in ran.err.splitlines()]
        assert lines
        assert all(set(line) == {"ts", "level", "message"} for line in lines)
        assert (lines[-1]["level"] == "error") == (ran.status != 0)
