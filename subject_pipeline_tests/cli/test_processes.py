"""The command line as a process: signals, pipes and what a shell sees."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from subject_pipeline.samples.people import sample_workers
from subject_pipeline_tests.cli.conftest import COMMAND, Ran, Run, run_process
from subject_pipeline_tests.conftest import KEY_COLUMN, Parquet

_ROWS = 400_000


@pytest.fixture(scope="module")
def many_people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source that takes a while."""
    path = tmp_path_factory.mktemp("many") / "people.parquet"
    sample_workers(_ROWS, path)
    return path


def _signalled(store: Path, pattern: str, number: signal.Signals, *arguments: str) -> Ran:
    """Calls the command line, and sends it a signal once a file that matches the pattern is in the store."""
    with subprocess.Popen(
        [COMMAND, "--store", store, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        while process.poll() is None and not any(store.glob(pattern)):
            time.sleep(0.002)
        process.send_signal(number)
        out, err = process.communicate(timeout=120)
    assert "Traceback" not in out + err
    return Ran(process.returncode, out, err)


@pytest.mark.parametrize(
    ("pattern", "number", "status"),
    [
        # In one process: commands/test_backfill.py.
        pytest.param(".staging/*", signal.SIGINT, 130, marks=pytest.mark.real),
        pytest.param("subjects/_delta_log/*.json", signal.SIGINT, 130, marks=pytest.mark.real),
        ("subjects/_delta_log/*.json", signal.SIGTERM, 143),
    ],
)
def test_an_interrupted_backfill_is_completed_by_the_next(
    tmp_path: Path, run: Run, many_people: Path, pattern: str, number: signal.Signals, status: int
) -> None:
    """Interrupted while it stages or commits, a backfill ends with its signal's status, and a re-run completes it."""
    store = tmp_path / "store"
    register = ("datasets", "register", "people", "--source", many_people, "--key-column", "worker_id")
    assert run("--store", store, *register).status == 0

    interrupted = _signalled(store, pattern, number, "backfill", "--dataset", "people", "--all", "--json")

    assert interrupted.status == status
    assert not (store / "staging").exists()
    if number is signal.SIGINT:
        assert "run the same command again" in interrupted.err
        done = interrupted.json["inserted"]
        assert done < _ROWS
        again = run("--store", store, "backfill", "--dataset", "people", "--all", "--json")
        assert again.status == 0
        assert (again.json["attempted"], again.json["failed"]) == (_ROWS, 0)
        assert again.json["skipped"] >= done
        assert again.json["subjects_total"] == _ROWS


def test_a_corrupt_source_prints_one_line(tmp_path: Path, run: Run, parquet: Parquet) -> None:
    """What Rust prints of its own when a file is corrupt does not reach the terminal."""
    good = parquet([f"P{number}" for number in range(100_000)]).read_bytes()
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(good[:1_000] + bytes(100_000) + good[101_000:])
    store = tmp_path / "store"
    run("--store", store, "datasets", "register", "people", "--source", broken, "--key-column", KEY_COLUMN)

    ran = run("--store", store, "backfill", "--dataset", "people", "--all")  # it sees the descriptors

    assert (ran.status, ran.out) == (2, "")
    assert str(broken) in ran.err
    assert ran.err.count("\n") == 1


@pytest.mark.long
def test_a_reader_that_goes_away_is_no_traceback(tmp_path: Path, run: Run) -> None:
    """A closed pipe ends the command without a word."""
    register = ("datasets", "register", "people", "--source", "/people.parquet", "--key-column", "id")
    assert run("--store", tmp_path / "store", *register).status == 0
    with subprocess.Popen(
        [COMMAND, "--store", tmp_path / "store", "datasets", "list"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        err = process.stderr.read()
        process.wait(timeout=60)

    assert err == ""
    assert process.returncode == 1


@pytest.mark.long
def test_a_terminal_that_lacks_a_letter_shows_it_spelt_out(
    tmp_path: Path, run: Run, parquet: Parquet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Words and JSON come out whatever the encoding of standard output is, and the JSON is the same JSON."""
    call = ("--store", tmp_path / "store")
    source = parquet(["\N{CJK UNIFIED IDEOGRAPH-5B57}"])
    run(*call, "datasets", "register", "people", "--source", source, "--key-column", KEY_COLUMN)
    latin = {**os.environ, "PYTHONIOENCODING": "latin-1"}

    words = run_process(*call, "backfill", "--dataset", "people", env=latin)
    with Path("/dev/fd/1").open("w", encoding="latin-1") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        ran = run(*call, "backfill", "--dataset", "people", "--json")

    assert (words.status, ran.status) == (0, 0)
    assert "\\u5b57" in words.out
    assert ran.json["sample"] == ["\N{CJK UNIFIED IDEOGRAPH-5B57}"]


@pytest.mark.long
@pytest.mark.parametrize("options", [(), ("--json",)])
def test_an_output_that_takes_nothing_is_words(tmp_path: Path, run: Run, options: tuple[str, ...]) -> None:
    """A full disk under standard output is status 1 with the reason, and no traceback."""
    call = ("--store", tmp_path / "store")
    run(*call, "datasets", "register", "people", "--source", "/people.parquet", "--key-column", "id")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [COMMAND, *call, "datasets", "list", *options], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 1
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
