import json
import sys
from pathlib import Path

import click
import polars as pl
import pytest

from subject_pipeline.cli.commands import subjects_manifests as subject_commands
from subject_pipeline.cli.main import main
from subject_pipeline.errors import IncompleteError
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
    run(*_REGISTER)
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
    _lay_out(run, workplace)
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


def _lay_out(run: Run, workplace: Path) -> None:
    assert run(*_REGISTER).status == 0
    assert not (workplace / "data/catalog/layout.json").exists()
    pl.DataFrame({"id": ["A"]}).write_parquet(workplace / "one.parquet")
    assert run("backfill", "--dataset", "people", "--source", "one.parquet").status == 0


def test_a_damaged_layout_is_named(run: Run, workplace: Path) -> None:
    """A layout that cannot be read is status 2 with its place."""
    _lay_out(run, workplace)
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


_READING = [
    ("subjects", "get", "A"),
    ("subjects", "count"),
    ("subjects", "export", "--out", "out.jsonl"),
    ("subjects", "delete", "A"),
    ("subjects", "compact"),
    ("datasets", "list"),
    ("datasets", "retire", "people"),
    ("audit", "show", "A"),
    ("audit", "verify"),
    ("audit", "verify", "A"),
    ("audit", "checkpoint"),
    ("audit", "prove", "A", "--out", "proof.json"),
    ("report",),
    ("rebuild",),
]


@pytest.mark.parametrize("call", _READING, ids=" ".join)
def test_a_store_that_was_never_written_is_an_error_for_what_makes_none(
    run: Run, workplace: Path, monkeypatch: pytest.MonkeyPatch, call: tuple[str, ...]
) -> None:
    """A mistyped address does not look like an empty store: exit 2, the address, how to go on, nothing created."""
    run("keys", "new", "ring.json")
    monkeypatch.setenv("SUBJECT_KEY_RING", "ring.json")
    assert run("doctor").status == 0, "a probe does not make a store"

    ran = run(*call, "--store", "dta", "--json")

    assert ran.status == 2
    assert f"no subject store at {(workplace / 'dta').as_uri()}; " in ran.json["error"]
    assert "SUBJECT_STORE_URL" in ran.json["error"]
    assert not (workplace / "dta").exists()
    assert run("--store", "data", "subjects", "count").status == 2


def test_declarations_alone_are_a_store(run: Run) -> None:
    """With a dataset registered and nothing else there are 0 subjects, and nobody is known."""
    run(*_REGISTER)

    assert run("subjects", "count", "--json").json == {"count": 0}
    assert run("subjects", "get", "A").status == 1


def test_registering_does_not_decide_how_many_chunks_there_are(run: Run, workplace: Path) -> None:
    """The count is decided by the first write of subjects."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SUBJECT_CHUNKS", "8")
        run(*_REGISTER)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SUBJECT_CHUNKS", "16")
        _lay_out(run, workplace)
    assert json.loads((workplace / "data/catalog/layout.json").read_text())["chunk_count"] == 16


class _Panic(BaseException):
    """What a library's panic in Rust looks like."""


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no URL http://u:not-shown@h/?sig=not-shown\nTraceback of its own"),
        ValueError(),
        KeyError("x"),
        RecursionError("too deep"),
        MemoryError(),
        UnicodeEncodeError("latin-1", "x", 0, 1, "no such letter"),
        OSError(28, "No space left on device"),
        EOFError("no more"),
        pl.exceptions.PanicException("a panic"),
        _Panic("another panic"),
        click.ClickException("http://u:not-shown@h is wrong"),
        IncompleteError("announced, not written"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_is_raised_becomes_words_and_one_object(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """No error of whatever class ends in a traceback; the status is 1, unless the call was wrong."""

    def fails(_: object) -> None:
        raise error

    run(*_REGISTER)
    monkeypatch.setattr(subject_commands, "SubjectRegistry", fails)
    words = run("subjects", "count")
    ran = run("subjects", "count", "--json")

    wrong_call = isinstance(error, click.ClickException)
    assert words.status == ran.status == (2 if wrong_call else 1)
    assert words.out == ""
    assert words.err
    assert "not-shown" not in words.err + ran.out + ran.err
    assert list(ran.json) == ["error"]
    expected = isinstance(error, (click.ClickException, IncompleteError))
    assert ("run it again" in ran.json["error"]) is not expected
    assert expected or type(error).__name__ in ran.json["error"]


def test_a_traceback_is_shown_to_who_asks_for_it(
    run: Run, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """`SUBJECT_TRACEBACK=1` shows where an error came from, before the words."""

    def fails(_: object) -> None:
        raise ValueError("http://u:not-shown@h")

    run(*_REGISTER)
    monkeypatch.setattr(subject_commands, "SubjectRegistry", fails)
    monkeypatch.setattr(sys, "argv", ["subject-pipeline", "subjects", "count"])
    monkeypatch.setenv("SUBJECT_TRACEBACK", "1")
    with pytest.raises(SystemExit, match="1"):
        main()
    shown = capfd.readouterr().err
    assert "Traceback" in shown
    assert "in fails" in shown
    assert "not-shown" not in shown
    monkeypatch.setenv("SUBJECT_TRACEBACK", "0")
    assert run("subjects", "count").status == 1


@pytest.mark.parametrize(
    "call",
    [
        ("--store", "s3://user:not-shown@bucket/x", "subjects", "count"),
        ("--store", "https://user:not-shown@host/x", "doctor"),
        ("--store", "az://box/x?sv=1&sig=not-shown", "doctor"),
        ("datasets", "register", "p", "--source", "s3://k:not-shown@bucket/*.parquet", "--key-column", "id"),
        ("backfill", "--dataset", "people", "--source", "az://box/x.parquet?sig=not-shown"),
        ("subjects", "get", "A", "https://h/?sig=not-shown"),
    ],
    ids=" ".join,
)
def test_credentials_in_a_url_are_refused_and_never_shown(run: Run, call: tuple[str, ...]) -> None:
    """Neither words nor JSON repeat them, and no declaration stores them."""
    run(*_REGISTER)
    ran = run(*call, "--json")

    assert ran.status == 2
    assert "***" in ran.json["error"]
    assert "not-shown" not in ran.out + ran.err + json.dumps(run("datasets", "list", "--json").json)


def test_a_declaration_of_before_is_listed_without_its_credentials(run: Run, workplace: Path) -> None:
    """What an earlier version stored is still read, and not shown."""
    run(*_REGISTER)
    path = workplace / "data/catalog/datasets/people.json"
    path.write_text(path.read_text().replace("/people.parquet", "s3://k:not-shown@bucket/p.parquet"))

    for ran in (run("datasets", "list"), run("datasets", "list", "--json"), run("doctor"), run("doctor", "--json")):
        assert "not-shown" not in ran.out + ran.err
        assert "s3://***@bucket/p.parquet" in ran.out
