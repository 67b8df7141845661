"""Files of decisions in each of their forms, with what spreadsheet programs make of them."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from subject_pipeline.decisions.decision import Decision, candidate_check
from subject_pipeline.errors import SourceError, StoreError
from subject_pipeline.ingestion import line_files
from subject_pipeline.ingestion.line_files import FileLine, LineFile
from subject_pipeline.ingestion.parquet_worker import CONTENTS, DECISIONS
from subject_pipeline.lifecycle import applying_files
from subject_pipeline.lifecycle.applying import Decisions
from subject_pipeline.lifecycle.applying_files import DecisionReport, apply_files
from subject_pipeline.lifecycle.decision_files import ENDINGS, read_decisions
from subject_pipeline.lifecycle.id_files import read_ids
from subject_pipeline_tests.conftest import Prepared
from subject_pipeline_tests.helpers.audit_stores import Place, manifest, people, place_in
from subject_pipeline_tests.helpers.decisions import line
from subject_pipeline_tests.helpers.recorded import registry_rows_of, table_of

P, Q = people(0, 2)
COLUMNS = ("decision_id", "candidate_id", "candidate_check", "kind", "ts", "actor", "scope", "about_status")


def _two_people(folder: Path) -> None:
    place = place_in(folder)
    for one in [P, Q]:
        place.registry().put(manifest(one))


@pytest.fixture
def held(tmp_path: Path, prepared: Prepared) -> Place:
    """A store in which two people are registered."""
    prepared(_two_people, tmp_path)
    return place_in(tmp_path)


def run(place: Place, *paths: Path, **options: Any) -> DecisionReport:
    """Apply files as another process would."""
    report = DecisionReport()
    applying = Decisions(place.fresh_store(), "tester")
    apply_files(applying, place.objects, [LineFile.local(path, ENDINGS) for path in paths], report, **options)
    applying.close()
    return report


def counts(report: DecisionReport) -> tuple[int, int, int, int]:
    """Applied, already applied, rejected, undecided."""
    assert report.decisions == report.applied + report.already_applied + report.rejected
    return report.applied, report.already_applied, report.rejected, report.undecided


def rows() -> list[dict[str, str]]:
    """Two decisions, a draft, and one of nobody."""
    return [
        {**line("restricted", P), "candidate_check": candidate_check(P)},
        {**line("consent_given", Q), "about_status": "active"},
        {**line("restricted", Q), "kind": ""},
        {**line("restricted", "NOBODY")},
    ]


def as_lines(path: Path) -> None:
    """JSON lines."""
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows()))


def as_table(path: Path, delimiter: str = ",", end: str = "\n", mark: str = "", first: str = "") -> None:
    """CSV, every cell quoted."""
    names = [*COLUMNS, "version"]
    cells = [names, *([row.get(name, "") for name in names] for row in rows())]
    text = "".join(delimiter.join(f'"{cell}"' for cell in row) + end for row in cells)
    path.write_bytes((mark + first + text).encode())


WRITERS: dict[str, Callable[[Path], None]] = {
    "d.jsonl": as_lines,
    "d.csv": as_table,
    "semicolons.csv": lambda path: as_table(path, ";", "\r\n", "\ufeff"),
    "named.csv": lambda path: as_table(path, ";", "\r\n", "\ufeff", "sep=;\r\n"),
    "tabs.csv": lambda path: as_table(path, "\t"),
    "d.parquet": lambda path: pl.DataFrame(rows(), infer_schema_length=None).write_parquet(path),
}


@pytest.mark.long
@pytest.mark.parametrize("name", WRITERS)
def test_every_form_says_the_same(held: Place, tmp_path: Path, name: str) -> None:
    """Applied once, counted as such again, and the line that is rejected is named with its place."""
    path = tmp_path / name
    WRITERS[name](path)
    report = run(held, path)
    assert counts(report) == (2, 0, 1, 1)
    (rejection,) = report.rejections
    place = {"d.jsonl": 4, "d.parquet": 4, "named.csv": 6}.get(name, 5)
    assert (rejection.line, rejection.reason.split(":")[0]) == (place, "unknown subject")
    letter = json.loads(held.objects.get(report.dead_letters[0]) or b"")
    assert [one["line"] for one in letter["rejections"]] == [place]
    assert "NOBODY" not in json.dumps(letter)
    assert counts(run(held, path)) == (0, 2, 1, 1)
    assert table_of(held.store)[P]["status"] == "restricted"
    assert len(registry_rows_of(held.objects)) == 2


def test_an_id_that_a_spreadsheet_changed_is_caught(held: Place, tmp_path: Path) -> None:
    """0017 became 17: the check does not match, whether or not there is somebody with that id."""
    held.registry().put(manifest("17"))
    path = tmp_path / "d.csv"
    check = candidate_check("0017")
    path.write_text(
        f"decision_id,candidate_id,candidate_check,kind,ts,actor\nd-1,17,{check},restricted,2026-06-01T12:00:00Z,dpo\n"
    )
    report = run(held, path)
    assert counts(report) == (0, 0, 1, 0)
    assert "candidate_check does not match" in report.rejections[0].reason


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("decision_id,candidate_id,kind,resaon\n", "no column 'resaon'"),
        ("decision_id,candidate_id,kind,kind\n", "the column kind twice"),
        ("decision_id,kind\n", "no column candidate_id"),
        ("", "no column decision_id"),
        ("decision_id,candidate_id,kind\nd,\xff,x\n", "not UTF-8"),
        ("decision_id,candidate_id,kind\nd," + "x" * 200_000 + ",x\n", "line 2: field larger"),
        ("decision_id,candidate_id,kind\nd," + "x" * 5_000_000, "a line is longer"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused_whole(held: Place, tmp_path: Path, text: str, words: str) -> None:
    """Other files of the same call are applied."""
    path, sound = tmp_path / "d.csv", tmp_path / "sound.jsonl"
    path.write_bytes(text.encode("latin-1"))
    sound.write_text(json.dumps(line("restricted", P)))
    with pytest.raises(SourceError, match=words):
        run(held, path, sound)
    assert table_of(held.store)[P]["status"] == "restricted"


def test_lines_that_are_no_decisions_are_rejected_by_themselves(held: Place, tmp_path: Path) -> None:
    """JSON with a repeated key, no JSON, a list, and what no calendar has."""
    path = tmp_path / "d.jsonl"
    bad = ['{"kind":"restricted","kind":"erasure_ordered"}', "{", "[]", json.dumps(line("restricted", P, ts="soon"))]
    path.write_text("\n".join([*bad, json.dumps(line("restricted", P))]))
    report = run(held, path)
    assert counts(report) == (1, 0, 4, 0)
    assert all(one.reason.startswith("malformed: ") for one in report.rejections)


def test_cells_beyond_the_columns_reject_their_row(held: Place, tmp_path: Path) -> None:
    """Empty ones do not: spreadsheets write them; blank lines are skipped."""
    head = "decision_id,candidate_id,kind,ts,actor\n"
    row = f"d-1,{P},restricted,2026-06-01T12:00:00Z,dpo"
    (tmp_path / "d.csv").write_text(f"{head}{row},more\n,,,,\n\n{row},,\n")
    assert counts(run(held, tmp_path / "d.csv")) == (1, 0, 1, 0)


@pytest.mark.long
def test_a_parquet_file_has_no_other_columns(held: Place, tmp_path: Path) -> None:
    """One that informs is not read; any other is taken for a mistake."""
    pl.DataFrame([{**line("restricted", P), "resaon": "x"}]).write_parquet(tmp_path / "d.parquet")
    with pytest.raises(SourceError, match="no column 'resaon'"):
        run(held, tmp_path / "d.parquet")
    times = pl.DataFrame([{**line("restricted", P), "about_x": [1, 2]}])
    times.with_columns(pl.col("ts").str.to_datetime(time_zone="UTC")).write_parquet(tmp_path / "d.parquet")
    assert counts(run(held, tmp_path / "d.parquet")) == (1, 0, 0, 0)


def test_the_columns_of_a_file_are_the_fields_of_a_decision() -> None:
    """The process that reads parquet imports as little as it can, so it has a copy."""
    assert set(CONTENTS[DECISIONS]) == {*Decision._fields, "candidate_check"}


def test_a_dry_run_writes_no_dead_letters(held: Place, tmp_path: Path) -> None:
    """It counts the same."""
    as_lines(tmp_path / "d.jsonl")
    report = run(held, tmp_path / "d.jsonl", dry_run=True)
    assert (counts(report), report.dead_letters) == ((2, 0, 1, 1), [])
    assert not (held.folder / "dead_letters").exists()


def test_a_store_that_fails_between_batches_leaves_what_is_counted_applied(
    held: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a second run completes the file."""
    monkeypatch.setattr(applying_files, "_BATCH", 1)
    as_lines(tmp_path / "d.jsonl")
    real, calls = Decisions.apply, []

    def failing(self: Decisions, decisions: list[Decision], **options: Any) -> Any:
        calls.append(decisions)
        if len(calls) == 2:
            raise StoreError("the store is away")
        return real(self, decisions, **options)

    monkeypatch.setattr(Decisions, "apply", failing)
    report = DecisionReport()
    with pytest.raises(StoreError, match="away"):
        apply_files(
            Decisions(held.store, "tester"), held.objects,
            [LineFile.local(tmp_path / "d.jsonl", ENDINGS)], report,
        )  # fmt: skip
    assert counts(report) == (1, 0, 0, 0)
    assert counts(run(held, tmp_path / "d.jsonl")) == (1, 1, 1, 1)


def test_a_reader_gives_lines_and_not_its_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long line of JSON is rejected by itself."""
    monkeypatch.setattr(line_files, "MAX_LINE", 100)
    found: list[FileLine] = list(read_decisions("d.jsonl", io.BytesIO(b"x" * 500 + b"\n{}\n")))
    assert [one.problem for one in found] == ["longer than 100 bytes", ""]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("ids.txt", f"{P}\n\n{Q}\r\n{P}\n".encode()),
        ("ids.csv", f"\ufeffabout_x;candidate_id\r\n1;{P}\r\n2;\r\n3;{Q}\r\n".encode()),
        ("ids.csv", f"candidate_id,candidate_check\n{P},{candidate_check(P)}\n{Q},\n".encode()),
    ],
)
def test_a_file_names_people(tmp_path: Path, name: str, data: bytes) -> None:
    """One a line, or a column; each once, in order."""
    (tmp_path / name).write_bytes(data)
    assert read_ids(tmp_path / name) == [P, Q]


def test_a_parquet_file_names_people(tmp_path: Path) -> None:
    """By its column, which must be text."""
    pl.DataFrame({"candidate_id": [P, None, Q], "other": [1, 2, 3]}).write_parquet(tmp_path / "ids.parquet")
    assert read_ids(tmp_path / "ids.parquet") == [P, Q]
    pl.DataFrame({"candidate_id": [1]}).write_parquet(tmp_path / "ids.parquet")
    with pytest.raises(SourceError, match="no column candidate_id of texts"):
        read_ids(tmp_path / "ids.parquet")


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("ids.csv", f"candidate_id,candidate_check\n17,{candidate_check('0017')}\n".encode(), "does not match '17'"),
        ("ids.csv", b"id\n1\n", "no column candidate_id"),
        ("ids.txt", b"\n\n", "names nobody"),
        ("ids.txt", b"\xff\xfe1\x00", "not UTF-8"),
        ("ids.parquet", b"not parquet", "cannot read"),
    ],
)
def test_a_file_that_does_not_is_refused_in_words(tmp_path: Path, name: str, data: bytes, words: str) -> None:
    """Nothing is decided about anybody."""
    (tmp_path / name).write_bytes(data)
    with pytest.raises(SourceError, match=words):
        read_ids(tmp_path / name)
    with pytest.raises(SourceError, match="cannot read"):
        read_ids(tmp_path / "missing.txt")
