from pathlib import Path

import pytest

from subject_pipeline.keys.ring import KeyRing
from subject_pipeline.keys.ring_file import create_ring
from subject_pipeline_tests.cli.conftest import Run


@pytest.fixture
def keyed(run: Run, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a key ring, and a store that knows a dataset."""
    create_ring(workplace / "ring.json", KeyRing.new(b"k" * 32, b"s" * 32))
    monkeypatch.setenv("SUBJECT_KEY_RING", str(workplace / "ring.json"))
    register = ("datasets", "register", "people", "--source", "/people.parquet", "--key-column", "id")
    assert run(*register).status == 0
    return workplace


def access(run: Run, candidate_id: str, result: str = "{}") -> None:
    """Append one row."""
    path = Path("payload.json")
    path.write_text(result, encoding="utf-8")
    assert run("audit", "append", candidate_id, "--action", "view", "--actor", "ada", "--payload", path).status == 0


def test_a_report_is_written_and_told(run: Run, keyed: Path) -> None:
    """The JSON gives the headline and the written keys, each of which is there."""
    access(run, "W-1")
    access(run, "W-1", '{"denied": true}')
    done = run("report", "--json")
    assert done.status == 0
    told = done.json
    assert told["headline"]["accesses"] == 2
    assert told["headline"]["denied_rate"] == 0.5
    assert told["headline"]["unregistered_subjects"] == 1
    assert told["copied_to"] is None
    assert all((keyed / "data" / key).is_file() for key in told["keys"])
    assert f"reports/{told['report']}/report.html" in told["keys"]
    assert told["url"] == (keyed / "data" / "reports" / told["report"] / "report.html").as_uri()


def test_a_report_is_copied(run: Run, keyed: Path) -> None:
    """`--out` makes the folder, and puts the report below its name."""
    told = run("--json", "report", "--out", keyed / "new" / "folder").json
    copy = Path(told["copied_to"])
    assert copy == keyed / "new" / "folder" / told["report"]
    assert {path.name for path in copy.iterdir()} == {Path(key).name for key in told["keys"]}


def test_words_say_what_needs_attention(run: Run, keyed: Path) -> None:
    """For people it names the page and every finding."""
    access(run, "W-1")
    done = run("report")
    assert done.status == 0
    assert "report.html" in done.out
    assert "Look at:" in done.out
    assert "1 subject in the audit log without a manifest" in done.out
    assert "There is no checkpoint that holds." in done.out


def test_a_report_of_a_tampered_log_ends_with_1(run: Run, keyed: Path) -> None:
    """It is written, and the exit status says that something was found."""
    access(run, "W-1")
    segment = next((keyed / "data" / "audit").rglob("*.jsonl"))
    segment.write_bytes(segment.read_bytes().replace(b'"result":"success"', b'"result":"denied"'))
    done = run("report", "--json")
    assert done.status == 1
    assert done.json["headline"]["verification_problems"] >= 1
    assert (keyed / "data" / "reports" / done.json["report"] / "report.html").is_file()


def test_how_long_consent_may_be_undecided_can_be_said(run: Run, keyed: Path) -> None:
    """The page names the days given, else the default; none or fewer is a wrong call."""
    for option, days in ((["--consent-pending-days", "7"], "7 days"), ([], "30 days")):
        told = run("report", "--json", *option).json
        page = (keyed / "data" / "reports" / told["report"] / "report.html").read_text(encoding="utf-8")
        assert f"undecided for more than {days}" in page
    assert run("report", "--consent-pending-days", "0").status == 2


def test_what_cannot_be_done_is_refused_before_anything_is_written(
    run: Run, keyed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No folder to copy to, or no key ring: exit 2 with a reason, and no report."""
    (keyed / "file").write_text("", encoding="utf-8")
    refused = run("report", "--out", keyed / "file" / "below")
    assert refused.status == 2
    assert "cannot make the folder" in refused.err
    monkeypatch.setenv("SUBJECT_KEY_RING", "")
    refused = run("report", "--json")
    assert refused.status == 2
    assert "keys new" in refused.json["error"]
    assert not (keyed / "data" / "reports").exists()
