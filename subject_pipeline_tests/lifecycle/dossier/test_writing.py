"""Dossiers as folders: what is in them, and that they are there whole or not at all."""

import csv
import datetime as dt
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from subject_pipeline.anchoring.checkpointing import write_checkpoint
from subject_pipeline.checkpoints.proofs import check_proof
from subject_pipeline.checkpoints.trusted_keys import TrustedKeys
from subject_pipeline.errors import SourceError, UnknownSubjectError
from subject_pipeline.lifecycle.dossier import writing
from subject_pipeline.lifecycle.dossier.contents import Wanted
from subject_pipeline.lifecycle.dossier.own_rows import own_rows
from subject_pipeline.lifecycle.dossier.writing import Dossier, write_dossier
from subject_pipeline.registry.backfill import backfill
from subject_pipeline.store.datasets import DatasetDeclaration
from subject_pipeline_tests.helpers.audit_stores import Place, event, people, rows_of
from subject_pipeline_tests.helpers.html_pages import parse

P, OTHER = people(0, 2)


def source(folder: Path) -> Path:
    """Two files of people, not of the same columns, with values that JSON and CSV must cope with."""
    folder.mkdir()
    when = dt.datetime(2026, 6, 30, 12, tzinfo=dt.UTC)
    first = {"id": [P, OTHER], "name": ["=cmd()", "Mallory"], "born": [dt.date(1990, 1, 2), None], "seen": [when, None]}
    pl.DataFrame(first).write_parquet(folder / "a.parquet")
    odd = {"id": [P, P], "tags": [["a", "b"], []], "raw": [b"\x00\xff", None], "score": [float("nan"), 1.5]}
    pl.DataFrame(odd).write_parquet(folder / "b.parquet")
    return folder


@pytest.fixture
def lived(place: Place, tmp_path: Path) -> Place:
    """A store with two registered subjects, of whom one was accessed."""
    dataset = DatasetDeclaration(name="people", source=str(source(tmp_path / "people")), key_column="id")
    place.store.catalog.register(dataset)
    backfill(place.store, dataset, evidence=place.evidence())
    place.append(event(P, "e1", purpose="=support", dataset="people", fields=("name", "born"), actor="bob"))
    return place


def made(place: Place, **options: Any) -> tuple[Dossier, Path]:
    """A dossier."""
    out = place.folder.parent / "dossier"
    return write_dossier(place.store, P, out, actor="ada", **options), out


def test_everything_that_is_held(lived: Place) -> None:
    """The manifest, the history, the accesses and the person's own rows; nobody else's, and not who had access."""
    assert write_checkpoint(lived.store).written
    dossier, out = made(lived)
    there = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    assert there == dossier.files == [
        "accesses.csv", "datasets/people.csv", "datasets/people.json", "history.json", "index.html", "manifest.json",
        "proof.json",
    ]  # fmt: skip
    assert (out.stat().st_mode & 0o777, (out / "datasets").stat().st_mode & 0o777) == (0o700, 0o700)
    assert {path.stat().st_mode & 0o777 for path in out.rglob("*.*")} == {0o600}

    assert json.loads((out / "manifest.json").read_text()) == lived.registry().get(P).as_json()
    rows = json.loads((out / "datasets/people.json").read_text())
    assert rows == [
        {"id": P, "name": "=cmd()", "born": "1990-01-02", "seen": "2026-06-30T12:00:00+00:00"},
        {"id": P, "tags": ["a", "b"], "raw": "00ff", "score": "nan"},
        {"id": P, "tags": [], "raw": None, "score": 1.5},
    ]
    with (out / "datasets/people.csv").open(newline="") as text:
        lines = list(csv.reader(text))
    assert lines[0] == ["id", "name", "born", "seen", "tags", "raw", "score"]
    assert lines[1][:3] == [P, "'=cmd()", "1990-01-02"]
    with (out / "accesses.csv").open(newline="") as text:
        accesses = list(csv.reader(text))
    assert accesses[0] == ["when", "what", "dataset", "fields", "purpose", "result"]
    assert [one[1:] for one in accesses[1:]] == [
        ["read", "people", "name born", "'=support", "success"],
        ["dossier", "", "", "data_subject_request", "success"],
    ]
    history = json.loads((out / "history.json").read_text())
    assert sorted(one["what"] for one in history["events"]) == ["access", "access", "registered"]
    assert not [one for one in history["events"] if "actor" in one]
    everything = "".join(path.read_text() for path in out.rglob("*.*") if path.name != "proof.json")
    assert "bob" not in everything
    assert OTHER not in everything
    assert "Mallory" not in everything
    links = {one.attributes["href"] for one in parse((out / "index.html").read_text()).all("a")}
    assert links == set(dossier.files) - {"index.html"}


def test_who_had_access_where_it_is_asked_for(lived: Place) -> None:
    """In both files."""
    _, out = made(lived, wanted=Wanted(actors=True))
    assert (out / "accesses.csv").read_text().splitlines()[1].endswith('"bob"')
    assert {"bob", "ada"} == {one["actor"] for one in json.loads((out / "history.json").read_text())["events"]
                              if one["what"] == "access"}  # fmt: skip


def test_the_access_is_recorded_first(lived: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dossier that was killed while it was written is in the log, and nothing is there under its name."""

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(writing, "sync_folders", killed)
    with pytest.raises(KeyboardInterrupt):
        made(lived)
    assert [path.name for path in lived.folder.parent.iterdir() if "dossier" in path.name] == []
    *_, last = rows_of(lived.objects)
    assert (last["action"], last["purpose"], last["result"], last["actor"]) == (
        "dossier", "data_subject_request", "success", "ada",
    )  # fmt: skip


def test_the_proof_is_the_whole_history(lived: Place) -> None:
    """It holds by the note; before any checkpoint, or where it is not wanted, the page says why there is none."""
    dossier, out = made(lived)
    assert "proof.json" not in dossier.files
    assert "no checkpoint was signed yet" in (out / "index.html").read_text()
    assert write_checkpoint(lived.store).written
    _, out = made_again(lived)
    proof = json.loads((out / "proof.json").read_text())
    assert (proof["kind"], len(proof["rows"])) == ("history", 2)
    layout = lived.store.layout()
    assert layout is not None
    (line,) = TrustedKeys.of_ring(lived.ring.ring(), layout.log_id).lines
    assert check_proof(proof, line).statement.number == 0
    dossier = write_dossier(lived.store, P, out.with_name("third"), actor="ada", wanted=Wanted(proof=False))
    assert "proof.json" not in dossier.files


def made_again(place: Place) -> tuple[Dossier, Path]:
    """A second one."""
    out = place.folder.parent / "second"
    return write_dossier(place.store, P, out, actor="ada"), out


def test_sources_that_cannot_be_read_are_named(lived: Place, tmp_path: Path) -> None:
    """A retired dataset, a source that is gone, and sources that were not wanted; the rest is there."""
    person = lived.registry().get(P)
    (plain,) = own_rows(lived.store, person, read=False)
    assert plain.rows is None
    for path in (tmp_path / "people").iterdir():
        path.unlink()
    (gone,) = own_rows(lived.store, person, read=True)
    assert gone.why.startswith("the source could not be read: no parquet file is in the source folder")
    lived.store.catalog.retire("people")
    dossier, out = made(lived)
    assert (dossier.retired, dossier.unread) == (["people"], [])
    assert not (out / "datasets").exists()
    assert "this dataset is no longer registered" in (out / "index.html").read_text()


def test_who_is_gone_gets_the_history(lived: Place) -> None:
    """The chain is all there is."""
    lived.registry().delete(P)
    dossier, out = made(lived)
    assert dossier.files == ["accesses.csv", "history.json", "index.html"]
    assert "There is no record of you any more." in (out / "index.html").read_text()


def test_nothing_is_recorded_where_nothing_is_written(lived: Place) -> None:
    """A folder that is there, or has no parent, and somebody whom nobody knows."""
    before = len(rows_of(lived.objects))
    out = lived.folder.parent / "dossier"
    out.mkdir()
    with pytest.raises(SourceError, match="it exists already"):
        made(lived)
    with pytest.raises(SourceError, match="parent folder does not exist"):
        write_dossier(lived.store, P, out / "no" / "where", actor="ada")
    with pytest.raises(UnknownSubjectError):
        write_dossier(lived.store, "nobody", out / "new", actor="ada")
    assert len(rows_of(lived.objects)) == before
    assert list(out.iterdir()) == []
