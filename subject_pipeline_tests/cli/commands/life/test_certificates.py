"""Certificates: issued only after looking, by whichever command first may, and checked without our code."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from subject_pipeline_tests.cli.conftest import Ran, Run
from subject_pipeline_tests.conftest import KEY_COLUMN, Parquet
from subject_pipeline_tests.helpers.scripts import DOCS, run_script

ERASED, OTHER = "PERSON-1", "PERSON-10"


@pytest.fixture
def ran(run: Run, workplace: Path, parquet: Parquet, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A store of three people with events, staged candidates left out, and a key ring that signs."""
    run("keys", "new", "ring.json")
    monkeypatch.setenv("SUBJECT_KEY_RING", str(workplace / "ring.json"))
    monkeypatch.setenv("SUBJECT_ACTOR", "dpo")
    people = parquet([ERASED, OTHER, "PERSON-2"])
    run("datasets", "register", "people", "--source", people, "--key-column", KEY_COLUMN)
    assert run("backfill", "--dataset", "people").status == 0
    run("audit", "append", ERASED, "--action", "read", "--actor", "ada")
    return run


def _issued(ran: Run, *command: str) -> tuple[int, int]:
    found = ran(*command, "--json").json
    return found["certificates"], found["certificates_pending"]


def _decoded(path: Path) -> str:
    if path.suffix == ".parquet":
        return json.dumps(pl.read_parquet(path, hive_partitioning=False).to_dicts(), default=str, ensure_ascii=False)
    return path.read_bytes().decode(errors="replace")


def _holding(store: Path, candidate_id: str) -> set[str]:
    """The objects of a store that hold an id, decoded; not as a part of another."""
    others = candidate_id + "0"
    files = [path for path in store.rglob("*") if path.is_file()]
    return {path.relative_to(store).as_posix() for path in files if candidate_id in _decoded(path).replace(others, "")}


def _verified(certificate: Path, line: str, *row: Path) -> tuple[int, str]:
    status, out, err = run_script("verify_certificate.py", certificate, line, *row)
    return status, out + err


def _line(ran: Run) -> str:
    return str(ran("keys", "public", "--json").json["verifier"])


@pytest.fixture
def certified(ran: Run, workplace: Path) -> Run:
    """One person is erased, and the certificate is there; a backup is from before."""
    shutil.copytree(workplace / "data", workplace / "backup")
    ran("subjects", "erase", ERASED, "--reason", "asked")
    ran("subjects", "compact")
    assert _issued(ran, "audit", "checkpoint") == (1, 0)
    return ran


@pytest.mark.long
@pytest.mark.parametrize("last", ["compact", "checkpoint", "erase"])
def test_a_certificate_is_issued_by_whichever_command_first_may(ran: Run, workplace: Path, last: str) -> None:
    """Not before the table's old files are gone and the row is anchored; nothing but the log has the id then."""
    compact, checkpoint = ("subjects", "compact"), ("audit", "checkpoint")
    found = ran("subjects", "erase", ERASED, "--json").json
    assert (found["certificates"], found["certificates_pending"]) == (0, 1)
    if last == "compact":
        assert _issued(ran, *checkpoint) == (0, 1)
        assert _issued(ran, *compact) == (1, 0)
    elif last == "checkpoint":
        assert _issued(ran, *compact) == (0, 1)
        assert _issued(ran, *checkpoint) == (1, 0)
    else:
        assert ran("subjects", "get", ERASED).status == 1
        assert _issued(ran, *compact) == (0, 1)
        (erasures,) = [workplace / "data/erasures"]
        assert _issued(ran, *checkpoint) == (1, 0)
        for path in erasures.iterdir():
            path.unlink()  # lost: anyone who looks next issues it again
        assert ran("subjects", "erase", ERASED, "--dry-run", "--json").json["certificates_pending"] == 1
        assert not list(erasures.iterdir())
        assert ran("subjects", "erase", ERASED, "--json").json["certificates"] == 1
    (item,) = (workplace / "data/erasures").iterdir()
    assert len(item.read_bytes().splitlines()) == 1
    assert {key.split("/")[0] for key in _holding(workplace / "data", ERASED)} == {"audit"}
    assert _issued(ran, *compact) == (0, 0)


@pytest.mark.long
def test_it_says_what_was_done_and_checks_under_the_public_key_alone(certified: Run, workplace: Path) -> None:
    """Cut out, it holds under the line that `keys public` prints; the row shows whose it is."""
    assert certified("subjects", "certificate", ERASED, "--out", "c.json").status == 0
    line = _line(certified)
    rows = certified("audit", "show", ERASED, "--json").json["rows"]
    (workplace / "row").write_text(_canonical(rows[-1]["row"]), encoding="utf-8")
    status, said = _verified(workplace / "c.json", line, workplace / "row")
    assert (status, ERASED in said) == (0, True), said
    program = [sys.executable, str(DOCS / "verify_certificate.py"), "c.json", line]
    assert subprocess.run(program, capture_output=True, check=False, timeout=60).returncode == 0
    document = json.loads((workplace / "c.json").read_bytes())["certificate"]
    assert document["id_mac"].keys() == {"key_id", "mac"}
    assert document["ordered"] == {"at": rows[-2]["row"]["ts"], "by": "dpo", "approved_by": None}
    assert document["erased"] == {"at": rows[-1]["row"]["decision"]["recorded_at"], "by": "dpo"}
    assert document["holds"]["standing"] == 0
    assert document["table"]["version_before"] < document["table"]["version_after"]
    assert document["table"]["files_removed"] > 0
    assert (document["remaining"], document["checkpoint"]["number"]) == ([], 0)
    assert document["unreachable"] == ["sources", "exports", "backups"]
    assert ERASED not in (workplace / "c.json").read_text()
    (workplace / "other").write_text(_canonical(rows[0]["row"]), encoding="utf-8")
    assert _verified(workplace / "c.json", line, workplace / "other")[0] == 1


def _canonical(value: dict[str, Any]) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _changed(text: str) -> dict[str, str]:
    """Certificates that are none, by what was done to them."""
    found = json.loads(text)
    document = found["certificate"]
    return {
        "another number": text.replace('"released":0', '"released":1'),
        "upper case": text.replace(document["erasure_mac"], document["erasure_mac"].upper()),
        "a name twice": text.replace('{"certificate":', '{"certificate":{},"certificate":', 1),
        "one more name": text.replace('"signature"', '"more":1,"signature"'),
        "a space": text.replace('"signature":', '"signature": '),
        "a float": text.replace('"seq":', '"seq":1.0,"x":') if '"seq":' in text else text,
        "base64": text.replace(found["signature"], found["signature"].rstrip("=")),
        "no newline": text.rstrip("\n"),
        "nothing": "",
        "no JSON": "{",
    }


@pytest.mark.long
def test_script_and_project_refuse_the_same(certified: Run, workplace: Path) -> None:
    """Strict: one form, one signature; whatever is changed does not hold, and is issued again by the project."""
    (item,) = (workplace / "data/erasures").iterdir()
    text, line = item.read_text(), _line(certified)
    assert _verified(item, line)[0] == 0
    for what, changed in _changed(text).items():
        assert changed != text, what
        (workplace / "changed").write_text(changed)
        assert _verified(workplace / "changed", line)[0] == 1, what
        item.write_text(changed)
        pending = certified("subjects", "erase", ERASED, "--dry-run", "--json").json["certificates_pending"]
        assert pending == 1, what
    item.write_text(text)
    assert _verified(item, line[:-5])[0] == 2
    assert _verified(workplace / "missing", line)[0] == 2
    certified("keys", "rotate", "--signing")
    new = _line(certified)
    assert (_verified(item, line)[0], _verified(item, new)[0]) == (0, 1)
    assert certified("subjects", "erase", ERASED, "--dry-run", "--json").json["certificates_pending"] == 0


@pytest.mark.long
def test_a_key_of_rows_that_was_rotated_still_finds_it(certified: Run) -> None:
    """`id_mac` names its key, which the ring keeps."""
    certified("keys", "rotate")
    assert certified("subjects", "certificate", ERASED, "--out", "c.json").status == 0
    assert certified("subjects", "certificate", OTHER, "--out", "d.json").status == 1


@pytest.mark.long
def test_what_remains_is_named_and_what_may_not_remain_blocks(ran: Run, workplace: Path) -> None:
    """An inbox file and a report that hold the id are listed; a trace elsewhere keeps the certificate back."""
    data = workplace / "data"
    (data / "inbox").mkdir()
    (data / "inbox/events.jsonl").write_text('{"candidate_id":"\\u0050ERSON-1"}\n{"candidate_id":"PERSON-10"}\n')
    (data / "reports/old").mkdir(parents=True)
    pl.DataFrame({"who": [[{"id": ERASED}]]}).write_parquet(data / "reports/old/report.parquet")
    (data / "reports/old/page.html").write_text(f"<td>{OTHER}</td>")
    ran("subjects", "erase", ERASED)
    ran("subjects", "compact")
    (data / "catalog/note.json").write_text(json.dumps({"said": f"ask {ERASED}!"}))
    blocked: Ran = ran("audit", "checkpoint", "--json")
    assert (blocked.json["certificates"], blocked.json["certificates_pending"]) == (0, 1)
    assert "catalog/note.json" in blocked.err
    (data / "catalog/note.json").unlink()
    assert _issued(ran, "subjects", "compact") == (1, 0)
    (item,) = (data / "erasures").iterdir()
    document = json.loads(item.read_bytes())["certificate"]
    assert document["remaining"] == ["inbox/events.jsonl", "reports/old/report.parquet"]


@pytest.mark.long
def test_a_writers_copy_erases_and_issues_nothing(ran: Run, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the whole ring signs; until it does, the certificate is pending."""
    ran("audit", "checkpoint")
    ran("keys", "rotate", "--writer-copy", "copy.json")
    monkeypatch.setenv("SUBJECT_KEY_RING", str(workplace / "copy.json"))
    assert _issued(ran, "subjects", "erase", ERASED) == (0, 1)
    assert _issued(ran, "subjects", "compact") == (0, 1)
    monkeypatch.setenv("SUBJECT_KEY_RING", str(workplace / "ring.json"))
    assert _issued(ran, "audit", "checkpoint") == (1, 0)


@pytest.mark.long
def test_after_a_restore_certificates_say_whom_to_erase_again(certified: Run, workplace: Path, tmp_path: Path) -> None:
    """Table and log are from before the erasure: found by the id's MAC; a forged one erases nobody."""
    (item,) = (workplace / "data/erasures").iterdir()
    kept = tmp_path / "kept.jsonl"
    shutil.copy(item, kept)
    shutil.rmtree(workplace / "data")
    shutil.copytree(workplace / "backup", workplace / "data")
    assert certified("subjects", "get", ERASED).status == 0

    (tmp_path / "forged").write_text(kept.read_text().replace('"released":0', '"released":1'))
    assert certified("subjects", "erase", "--again", tmp_path / "forged").status == 2
    assert certified("subjects", "erase", "--again", tmp_path / "missing").status == 2
    assert certified("subjects", "erase", "--again").status == 2
    done = certified("subjects", "erase", "--again", kept, kept, "--json")
    assert (done.status, done.json["erased"], done.json["already"]) == (0, 1, [])
    assert certified("subjects", "count", "--json").json == {"count": 2}

    assert certified("subjects", "readmit", ERASED, "--reason", "came back").status == 0
    assert certified("backfill", "--dataset", "people", "--json").json["inserted"] == 1
    done = certified("subjects", "erase", "--again", kept, "--json")
    assert (done.status, done.json["erased"], done.json["ordered"]) == (0, 0, 0)
