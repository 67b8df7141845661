import datetime as dt
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from subject_pipeline.candidates.source_keys import SourceKeys
from subject_pipeline.cli.shell import Shell
from subject_pipeline.errors import StoreError
from subject_pipeline.keys.ring_file import KeyRingFile
from subject_pipeline.manifests.snapshot import Snapshot
from subject_pipeline.registry import registering
from subject_pipeline_tests.cli.conftest import Ran, Run
from subject_pipeline_tests.conftest import KEY_COLUMN, Parquet

REPORT = {
    "rows_scanned": int,
    "attempted": int,
    "inserted": int,
    "skipped": int,
    "failed": int,
    "duplicates": int,
    "linked": int,
    "linkable": int,
    "vanished": int,
    "suppressed": int,
    "failures": list,
    "sample": list,
    "subjects_total": int,
    "dry_run": bool,
    "elapsed_s": float,
}


@pytest.fixture
def register(run: Run, parquet: Parquet) -> Any:
    """Writes a parquet of keys and registers it."""

    def call(keys: Any, name: str = "people", *options: str) -> Path:
        path = parquet(keys, f"{name}.parquet")
        ran = run("datasets", "register", name, "--source", path, "--key-column", KEY_COLUMN, *options)
        assert ran.status == 0, ran.err
        return path

    return call


def _refused(ran: Ran, *words: str) -> None:
    assert ran.status == 2
    assert ran.out == ""
    for word in words:
        assert word in ran.err


def _nothing_written(workplace: Path) -> None:
    assert not (workplace / "data/subjects").exists()
    assert not (workplace / "data/staging").exists()


def test_the_json_has_these_keys_and_types(run: Run, register: Any) -> None:
    """The JSON of a backfill has exactly these keys, in this order, with these types."""
    register(["A", "A", "", "B", "CAND/1", "CAND_1"])

    ran = run("backfill", "--dataset", "people", "--json")

    assert ran.status == 1
    assert {name: type(value) for name, value in ran.json.items()} == REPORT
    assert list(ran.json) == list(REPORT)
    told = {name: value for name, value in ran.json.items() if name not in {"elapsed_s", "failures"}}
    assert told == {
        "rows_scanned": 6,
        "attempted": 5,
        "inserted": 3,
        "skipped": 0,
        "failed": 2,
        "duplicates": 1,
        "linked": 0,
        "linkable": 0,
        "vanished": 0,
        "suppressed": 0,
        "sample": ["A", "A", "", "B", "CAND/1"],
        "subjects_total": 3,
        "dry_run": False,
    }
    assert [set(failure) for failure in ran.json["failures"]] == [{"candidate_id", "reason"}] * 2
    assert {failure["candidate_id"] for failure in ran.json["failures"]} == {"", "CAND_1"}


def test_words_for_people(run: Run, register: Any) -> None:
    """Without --json the summary is on standard output, and says how many rows there are beyond the limit."""
    register([f"P{number}" for number in range(1_500)])

    ran = run("backfill", "--dataset", "people")

    assert ran.status == 0
    assert "1,000 of 1,500 source rows scanned" in ran.out
    assert "--all" in ran.out
    assert "subjects in the catalog now: 1,000" in ran.out
    assert ran.err == ""


def test_with_json_the_words_go_to_standard_error(run: Run, register: Any) -> None:
    """With --json, what is for people is on standard error, failures among it."""
    register(["A", ""])

    ran = run("backfill", "--dataset", "people", "--json")

    assert ran.json["failed"] == 1
    assert "failed: ''" in ran.err
    assert "source rows scanned" in ran.err


def test_a_re_run_is_done(run: Run, register: Any) -> None:
    """Running again is status 0 and skips everybody."""
    register(["A", "B"])
    assert run("backfill", "--dataset", "people").status == 0

    again = run("backfill", "--dataset", "people", "--all", "--json")

    assert again.status == 0
    assert (again.json["inserted"], again.json["skipped"], again.json["subjects_total"]) == (0, 2, 2)


def test_a_failing_candidate_is_status_1(run: Run, register: Any) -> None:
    """Where a candidate fails the others are done, the reason is on standard error, and the status is 1."""
    register(["A", "CAND/1", "CAND_1"])

    ran = run("backfill", "--dataset", "people")

    assert ran.status == 1
    assert "failed: 'CAND_1'" in ran.err
    assert "'CAND/1'" in ran.err
    assert run("subjects", "count", "--json").json == {"count": 2}


def test_twenty_failures_are_shown(run: Run, register: Any) -> None:
    """People see twenty failures and how many more there are; the JSON names all."""
    register(["L" * (201 + number) for number in range(25)])

    ran = run("backfill", "--dataset", "people", "--json")

    assert ran.err.count("failed: ") == 20
    assert "... and 5 more" in ran.err
    assert len(ran.json["failures"]) == ran.json["failed"] == 25


def test_a_refusing_store_is_status_1(run: Run, register: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the store refuses every commit, every candidate is failed with its reason."""
    register(["A", "B"])

    def full(_snapshot: Snapshot, _rows: pl.DataFrame) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(Snapshot, "insert", full)
    ran = run("backfill", "--dataset", "people", "--json")

    assert ran.status == 1
    assert (ran.json["failed"], ran.json["inserted"]) == (2, 0)
    assert all("the disk is full" in failure["reason"] for failure in ran.json["failures"])


def test_a_dry_run_writes_nothing(run: Run, register: Any, workplace: Path) -> None:
    """A dry run says what it would do, inserts 0, shows five ids and leaves no file; it is status 0."""
    register([f"P{number}" for number in range(7)])
    before = sorted(workplace.rglob("*"))

    ran = run("backfill", "--dataset", "people", "--dry-run", "--json")

    assert ran.status == 0
    assert sorted(workplace.rglob("*")) == before
    assert {name: type(value) for name, value in ran.json.items()} == REPORT
    assert (ran.json["rows_scanned"], ran.json["inserted"], ran.json["dry_run"]) == (7, 0, True)
    assert ran.json["sample"] == ["P0", "P1", "P2", "P3", "P4"]
    assert "nothing was written" in ran.err
    assert "P0, P1, P2, P3, P4" in run("backfill", "--dataset", "people", "--dry-run").out


def test_an_unregistered_dataset_says_how_to_register(run: Run, parquet: Parquet, workplace: Path) -> None:
    """A dataset that the catalog does not know is refused with the command that registers it."""
    path = parquet(["A"])

    ran = run("backfill", "--dataset", "people", "--source", path, "--key-column", KEY_COLUMN)

    _refused(ran, "'people' is not registered", "subject-pipeline datasets register people")
    assert not (workplace / "data").exists()


@pytest.mark.parametrize(
    ("options", "declared", "given"),
    [
        (("--key-column", "note"), KEY_COLUMN, "note"),
        (("--candidate-id-prefix", "OTHER-"), "WORKER-", "OTHER-"),
        (("--candidate-id-prefix", ""), "WORKER-", "''"),
    ],
)
def test_a_flag_that_contradicts_the_declaration_is_refused(
    run: Run, register: Any, workplace: Path, options: tuple[str, ...], declared: str, given: str
) -> None:
    """Key column and prefix must be those declared; both are named, and nothing is written."""
    register(["A"], "people", "--candidate-id-prefix", "WORKER-")

    _refused(run("backfill", "--dataset", "people", *options), declared, given)
    _nothing_written(workplace)


def test_flags_that_repeat_the_declaration_are_fine(run: Run, register: Any) -> None:
    """What is declared may be said again."""
    path = register(["A"], "people", "--candidate-id-prefix", "W-")

    ran = run(
        *("backfill", "--dataset", "people", "--source", path, "--key-column", KEY_COLUMN),
        *("--candidate-id-prefix", "W-", "--safe-view", "v1", "--safe-view", "v2", "--concurrency", "1", "--limit", 5),
    )

    assert ran.status == 0
    assert run("subjects", "get", "W-A", "--json").json["safe_views"] == ["v1", "v2"]


def test_another_source_may_be_given(run: Run, register: Any, parquet: Parquet) -> None:
    """A source on the command line takes the place of the declared one, a relative one too."""
    register(["A"])
    other = parquet(["B", "C"], "workplace/other.parquet")
    assert other.exists()

    assert run("backfill", "--dataset", "people", "--source", "other.parquet", "--json").json["inserted"] == 2


@pytest.mark.parametrize(
    "options",
    [
        ("--limit", "5", "--all"),
        ("--limit", "0"),
        ("--limit", "-1"),
        ("--limit", "many"),
        ("--concurrency", "0"),
        ("--concurrency", "100000"),
        ("--unheard-of",),
    ],
)
def test_a_wrong_call_is_status_2(run: Run, register: Any, workplace: Path, options: tuple[str, ...]) -> None:
    """Options that contradict each other or cannot be used are named, and nothing is written."""
    register(["A"])

    _refused(run("backfill", "--dataset", "people", *options), options[0])
    _nothing_written(workplace)


def test_a_missing_dataset_option_is_status_2(run: Run) -> None:
    """`--dataset` must be given."""
    _refused(run("backfill"), "--dataset")


def _damaged(tmp_path: Path, parquet: Parquet) -> dict[str, str]:
    good = parquet([f"P{number * 7919}" for number in range(5_000)], "good.parquet").read_bytes()
    holed = bytearray(good)
    holed[len(good) // 4 : len(good) // 2] = bytes(len(good) // 2 - len(good) // 4)
    contents = {
        "empty.parquet": b"",
        "text.parquet": b"person_id\n1\n",
        "truncated.parquet": good[: len(good) // 2],
        "footless.parquet": good[:-4],
        "garbage.parquet": b"PAR1" + bytes(range(256)) * 4 + b"PAR1",
        "holed.parquet": bytes(holed),
    }
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/_SUCCESS").write_text("")
    return {name: str(tmp_path / name) for name in contents}


@pytest.mark.parametrize(
    "name",
    ["empty.parquet", "text.parquet", "truncated.parquet", "footless.parquet", "garbage.parquet", "holed.parquet"],
)
@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_a_damaged_source_is_status_2(
    run: Run, register: Any, parquet: Parquet, workplace: Path, name: str, dry: tuple[str, ...]
) -> None:
    """A file that is not whole parquet is named in one line of words, and nothing is written."""
    register(["A"])
    path = _damaged(workplace.parent, parquet)[name]

    ran = run("backfill", "--dataset", "people", "--source", path, "--all", *dry)

    _refused(ran, path)
    assert ran.err.count("\n") == 1
    _nothing_written(workplace)


@pytest.mark.parametrize("name", ["missing.parquet", "folder", "*.nothing", "folder/*.parquet"])
def test_a_source_that_is_not_there_is_status_2(
    run: Run, register: Any, parquet: Parquet, workplace: Path, name: str
) -> None:
    """A missing file, a folder and a pattern without parquet are refused by name."""
    register(["A"])
    _damaged(workplace.parent, parquet)
    path = str(workplace.parent / name)

    _refused(run("backfill", "--dataset", "people", "--source", path), path)
    _nothing_written(workplace)


@pytest.mark.parametrize(
    ("keys", "name"),
    [
        (pl.Series([1.5]), "Float64"),
        (pl.Series([True]), "Boolean"),
        (pl.Series([dt.date(2026, 1, 1)]), "Date"),
        (pl.Series([b"x"]), "Binary"),
        (pl.Series([["x"]]), "List"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_unsupported_key_type_is_status_2(
    run: Run, register: Any, workplace: Path, keys: pl.Series, name: str
) -> None:
    """A key column that cannot form ids is refused with its type."""
    register(keys)

    _refused(run("backfill", "--dataset", "people"), f"unsupported key column type: {name}", KEY_COLUMN)
    _nothing_written(workplace)


def test_a_missing_key_column_names_those_that_are_there(run: Run, register: Any, parquet: Parquet) -> None:
    """Which columns there are is said where the one that is asked for is not."""
    register(["A"])
    other = parquet(["A"], "other.parquet", column="somebody")

    _refused(run("backfill", "--dataset", "people", "--source", other), KEY_COLUMN, "somebody, note")


def test_a_null_key_is_status_2(run: Run, register: Any, workplace: Path) -> None:
    """A null key is named with its row, and nothing is written."""
    register(["A", None, "B"])

    _refused(run("backfill", "--dataset", "people"), "row 1", "people.parquet")
    _nothing_written(workplace)


def test_a_source_without_rows_is_done(run: Run, register: Any) -> None:
    """No row is no error."""
    register([])

    ran = run("backfill", "--dataset", "people", "--json")

    assert (ran.status, ran.json["rows_scanned"], ran.json["subjects_total"]) == (0, 0, 0)


def test_an_error_with_json_is_one_object_too(run: Run) -> None:
    """With --json an error is one object on standard output, and words on standard error."""
    ran = run("backfill", "--dataset", "nobody", "--json")

    assert ran.status == 2
    assert set(ran.json) == {"error"}
    assert ran.json["error"] in ran.err


@pytest.mark.long
def test_an_interruption_says_how_to_go_on(run: Run, register: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupted, a backfill tells what it has done, how many subjects there are, and ends with 130."""
    register(["A", "B"], "first")
    assert run("backfill", "--dataset", "first").status == 0
    register(["C", "D"])

    register_group = registering._Job.register

    def interrupted(*arguments: Any) -> Any:
        time.sleep(0.2)  # until it is waited for
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        return register_group(*arguments)

    monkeypatch.setattr(registering._Job, "register", interrupted)
    ran = run("backfill", "--dataset", "people", "--json")

    assert ran.status == 130
    assert {name: type(value) for name, value in ran.json.items()} == {**REPORT, "vanished": type(None)}
    assert "run the same command again" in ran.err
    assert (ran.json["inserted"], ran.json["subjects_total"]) == (2, 4), "the commit under way is done and counted"


@pytest.mark.parametrize("options", [(), ("--dry-run",)])
def test_an_interruption_while_reading_says_how_many_rows_were_read(
    run: Run, register: Any, monkeypatch: pytest.MonkeyPatch, workplace: Path, options: tuple[str, ...]
) -> None:
    """Status 130, the rows read in the words and the JSON, nobody registered, and nothing left behind."""
    register([f"P{number}" for number in range(70)])
    batches = SourceKeys.batches

    def interrupted(keys: SourceKeys, limit: int | None = None) -> Iterator[pl.DataFrame]:
        yield from (batch.head(40) for batch in batches(keys, limit))
        raise KeyboardInterrupt

    monkeypatch.setattr(SourceKeys, "batches", interrupted)
    words = run("backfill", "--dataset", "people", "--all", *options)
    ran = run("backfill", "--dataset", "people", "--all", "--json", *options)

    assert words.status == ran.status == 130
    assert "40 source rows scanned" in words.out
    assert "interrupted while reading, after 40 rows: nobody was registered" in words.err
    assert {name: type(value) for name, value in ran.json.items()} == {**REPORT, "vanished": type(None)}
    assert (ran.json["rows_scanned"], ran.json["attempted"], ran.json["subjects_total"]) == (40, 0, 0)
    _nothing_written(workplace)


def test_an_interruption_elsewhere_is_130_too(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever command is interrupted, it ends with 130 and without a traceback."""

    def interrupt(_shell: Shell) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Shell, "open_store", interrupt)
    ran = run("subjects", "count", "--json")

    assert ran.status == 130
    assert ran.json == {"error": "interrupted"}


def test_without_a_ring_the_words_say_who_would_be_linked(run: Run, register: Any, parquet: Parquet) -> None:
    """Nobody is linked without a key ring: the words and the JSON say how many, and with `--no-link` nothing."""
    register(["A", "B"])
    run("backfill", "--dataset", "people")
    source = str(parquet(["A", "B", "C"], "others.parquet"))
    others = ["datasets", "register", "others", "--source", source, "--key-column", KEY_COLUMN]
    assert run(*others, "--json").json["link"] is True

    ran = run("backfill", "--dataset", "others", "--json")

    assert (ran.status, ran.json["skipped"], ran.json["linked"], ran.json["linkable"]) == (0, 2, 0, 2)
    assert "2 who are registered would be linked to others, but that needs a key ring: set SUBJECT_KEY_RING" in ran.err
    assert run(*others, "--no-link", "--json").json["link"] is False
    assert run("backfill", "--dataset", "others", "--json").json["linkable"] == 0


@pytest.mark.long
def test_with_a_ring_the_words_say_who_was_linked_and_who_vanished(
    run: Run, register: Any, parquet: Parquet, ring: KeyRingFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Links and people who are gone from the source are told where there are any."""
    monkeypatch.setenv("SUBJECT_KEY_RING", str(ring.path))
    register(["A", "B"])
    run("backfill", "--dataset", "people")
    source = str(parquet(["A", "C"], "others.parquet"))
    run("datasets", "register", "others", "--source", source, "--key-column", KEY_COLUMN)

    linked = run("backfill", "--dataset", "others")
    parquet(["C"], "others.parquet")
    vanished = run("backfill", "--dataset", "others", "--all", "--json")

    assert "linked                 1   (of those skipped: given a reference to it)" in linked.out
    assert (vanished.json["vanished"], vanished.json["linked"]) == (1, 0)
    assert "vanished               1   (refer to it, and are not in its source)" in vanished.err
