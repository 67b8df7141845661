"""The manifests' table as anyone can make it who may write to the bucket, without a key: each trick is found and named.

A writer of Delta's log needs no library of ours: here each trick is one commit, written by hand or with delta-rs.
"""

import datetime as dt
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import DeltaTable, write_deltalake

from subject_pipeline.anchoring.checkpointing import write_checkpoint
from subject_pipeline.errors import AmbiguousSubjectError, KeyRingError
from subject_pipeline.keys.ring import KeyRing
from subject_pipeline.keys.ring_file import KeyRingFile, create_ring
from subject_pipeline.manifests.table import ManifestTable
from subject_pipeline.registry.backfill import backfill
from subject_pipeline.registry.exporting import export
from subject_pipeline.registry.imports.importing import import_manifests
from subject_pipeline.registry.maintenance import compact
from subject_pipeline.reports.collecting import collect_numbers
from subject_pipeline.verification.whole_store import Verification, verify
from subject_pipeline_tests.conftest import Declared, Prepared
from subject_pipeline_tests.helpers.audit_stores import LAYOUT, Place, event, found_by, manifest, people, place_in

MODES = pytest.mark.parametrize("incremental", [False, True], ids=["full", "incremental"])
VICTIM, OTHER = people(0, 1)[0], people(1, 1)[0]
HOME, FOREIGN = LAYOUT.names[0], LAYOUT.names[1]
FORGED = {"status": "forged"}


def _registered(folder: Path) -> None:
    place = place_in(folder)
    for chunk in LAYOUT.names:
        for one in people(chunk, 2):
            place.registry().put(manifest(one))
    place.append(event(VICTIM, "e-1"), event(OTHER, "e-2"))
    assert write_checkpoint(place.store).verification.sound


@pytest.fixture
def place(tmp_path: Path, prepared: Prepared) -> Place:
    """Registered people in every chunk, with rows, anchored."""
    prepared(_registered, tmp_path)
    return place_in(tmp_path)


def _table(place: Place) -> DeltaTable:
    return DeltaTable(str(place.folder / "subjects"))


def _row(place: Place, of: str, /, **changes: Any) -> pl.DataFrame:
    rows = ManifestTable(place.store).read(lambda snapshot: snapshot.rows(), pl.DataFrame())
    return rows.filter(pl.col("candidate_id") == of).with_columns(
        **{name: pl.lit(value, rows.schema[name]) for name, value in changes.items()}
    )


def _append(place: Place, rows: pl.DataFrame) -> None:
    write_deltalake(_table(place), rows.to_arrow(), mode="append")


def _actions(place: Place) -> list[dict[str, Any]]:
    """Every action of the log, in order."""
    log = sorted((place.folder / "subjects" / "_delta_log").glob("*.json"))
    return [json.loads(line) for path in log for line in path.read_text(encoding="utf-8").splitlines()]


def _commit(place: Place, *actions: dict[str, Any]) -> None:
    version = _table(place).version() + 1
    path = place.folder / "subjects" / "_delta_log" / f"{version:020d}.json"
    path.write_text("".join(json.dumps(action) + "\n" for action in actions), encoding="utf-8")


def _live(place: Place, chunk: str) -> list[str]:
    return [path for path in _table(place).file_uris() if f"chunk={chunk}/" in path]


def _added(place: Place, chunk: str) -> dict[str, Any]:
    """The add action of a chunk's last live file."""
    live = {Path(path).name for path in _live(place, chunk)}
    return next(
        action["add"]
        for action in reversed(_actions(place))
        if "add" in action and Path(action["add"]["path"]).name in live
    )


def _removal(add: dict[str, Any]) -> dict[str, Any]:
    return {"remove": {"path": add["path"], "dataChange": True, "deletionTimestamp": 0}}


def _a_second_row(place: Place) -> set[tuple[str | None, str]]:
    _append(place, _row(place, VICTIM, **FORGED))
    return {(VICTIM, "duplicate")}


def _a_twin_in_the_rewritten_file(place: Place) -> set[tuple[str | None, str]]:
    rows = ManifestTable(place.store).read(lambda snapshot: snapshot.rows([HOME]), pl.DataFrame())
    add = _added(place, HOME)
    name = f"chunk={HOME}/part-forged.parquet"
    twins = pl.concat([rows, _row(place, VICTIM, **FORGED)]).drop("chunk")
    twins.write_parquet(place.folder / "subjects" / name)
    size = (place.folder / "subjects" / name).stat().st_size
    gone = [
        _removal({"path": Path(path).relative_to(place.folder / "subjects").as_posix()}) for path in _live(place, HOME)
    ]
    _commit(place, *gone, {"add": {**add, "path": name, "size": size, "stats": None}})
    return {(VICTIM, "duplicate")}


def _a_path_and_a_value_that_differ(place: Place) -> set[tuple[str | None, str]]:
    name = f"chunk={FOREIGN}/part-forged.parquet"
    _row(place, VICTIM, **FORGED).drop("chunk").write_parquet(place.folder / "subjects" / name)
    size = (place.folder / "subjects" / name).stat().st_size
    _commit(place, {"add": {**_added(place, HOME), "path": name, "size": size, "stats": None}})
    return {(VICTIM, "misplaced")}


def _a_file_outside(place: Place) -> set[tuple[str | None, str]]:
    (place.folder / "inbox").mkdir()
    path = place.folder / "inbox" / "part-forged.parquet"
    _row(place, VICTIM, **FORGED).drop("chunk").write_parquet(path)
    add = {**_added(place, HOME), "path": "../inbox/part-forged.parquet", "size": path.stat().st_size, "stats": None}
    _commit(place, {"add": add})
    return {(None, "misplaced")}


def _a_file_of_no_chunk(place: Place) -> set[tuple[str | None, str]]:
    add = _added(place, HOME)
    _commit(place, {"add": {**add, "path": "part-forged.parquet", "partitionValues": {"chunk": "chunk-zz"}}})
    return {(None, "misplaced")}


def _a_link(place: Place) -> set[tuple[str | None, str]]:
    path = Path(_live(place, HOME)[-1])
    elsewhere = place.folder.parent / path.name
    shutil.move(path, elsewhere)
    path.symlink_to(elsewhere)
    return {(None, "misplaced")}


def _another_storage_key(place: Place) -> set[tuple[str | None, str]]:
    _table(place).update(updates={"storage_key": "'elsewhere'"}, predicate=f"candidate_id = '{VICTIM}'")
    return {(VICTIM, "misplaced")}


def _a_copy_in_a_foreign_chunk(place: Place) -> set[tuple[str | None, str]]:
    _append(place, _row(place, VICTIM, chunk=FOREIGN, **FORGED))
    return {(VICTIM, "misplaced")}


def _an_empty_id(place: Place) -> set[tuple[str | None, str]]:
    _append(place, _row(place, VICTIM, candidate_id="", storage_key=""))
    return {("", "misplaced")}


def _a_null_id(place: Place) -> set[tuple[str | None, str]]:
    _append(place, _row(place, VICTIM, candidate_id=None, storage_key="nobody"))
    return {(None, "misplaced")}


def _a_long_id(place: Place) -> set[tuple[str | None, str]]:
    name = "L" * 300
    _append(place, _row(place, VICTIM, candidate_id=name, storage_key=name, chunk=LAYOUT.chunk_of(name)))
    return {(name, "misplaced")}


TRICKS = [
    _a_second_row, _a_twin_in_the_rewritten_file, _a_path_and_a_value_that_differ, _a_file_outside, _a_file_of_no_chunk,
    _a_link, _another_storage_key, _a_copy_in_a_foreign_chunk, _an_empty_id, _a_null_id, _a_long_id,
]  # fmt: skip
ABOUT_OTHERS = {_an_empty_id, _a_long_id}
EVERY = pytest.mark.parametrize("trick", TRICKS, ids=lambda one: one.__name__.strip("_"))
Trick = Callable[[Place], set[tuple[str | None, str]]]


def _manifests(report: Verification) -> set[tuple[str | None, str]]:
    return {(one.candidate_id, one.kind) for one in report.broken_manifests}


@EVERY
def test_a_row_that_no_honest_writer_makes_is_found_named_and_never_signed(place: Place, trick: Trick) -> None:
    """Full, incremental and per-id verification name it; checkpoints can still be written, and carry its chunk."""
    expected = trick(place)
    for incremental in (False, True):
        report = place.verify(incremental=incremental)
        assert expected <= _manifests(report)
        assert not report.sound
        if trick not in ABOUT_OTHERS:
            assert not place.verify(incremental=incremental, candidate_ids=[VICTIM]).sound
    for _ in range(2):
        done = write_checkpoint(place.store)
        assert done.written is not None, "one bad row must not end all checkpoints"
        assert done.carried
        assert expected <= _manifests(done.verification)
    for incremental in (False, True):
        assert expected <= _manifests(place.verify(incremental=incremental)), "nothing red turns green"


@pytest.mark.parametrize(
    "trick",
    [_a_second_row, _a_twin_in_the_rewritten_file, _a_file_outside, _a_link, _another_storage_key],
    ids=lambda one: one.__name__.strip("_"),
)
def test_whoever_the_table_cannot_tell_is_refused_in_words(place: Place, trick: Trick, tmp_path: Path) -> None:
    """Neither get nor put, delete, import, export, report or count picks a row; nothing is written."""
    trick(place)
    version = _table(place).version()
    path = tmp_path / "manifests.jsonl"
    for act in (
        lambda: place.registry().get(VICTIM),
        lambda: place.registry().put(manifest(VICTIM)),
        lambda: place.registry().delete(VICTIM),
        lambda: export(place.store, path),
        lambda: collect_numbers(place.store, pending_days=30),
    ):
        with pytest.raises(AmbiguousSubjectError, match="audit verify"):
            act()
    assert not path.exists()
    assert _table(place).version() == version


@pytest.mark.long
@pytest.mark.parametrize("trick", [_a_second_row, _another_storage_key], ids=lambda one: one.__name__.strip("_"))
def test_an_ambiguous_person_is_neither_registered_nor_replaced(
    place: Place, trick: Trick, declared: Declared, tmp_path: Path
) -> None:
    """A backfill and an import name them, and do everybody else's work; nobody is in the table once more."""
    trick(place)
    before = _table(place).to_pyarrow_table().num_rows
    dataset = declared([VICTIM, "W-new"])
    place.store.register(dataset)
    done = backfill(place.store, dataset, limit=None, evidence=place.evidence())
    assert (done.counts.inserted, done.counts.failed) == (1, 1)
    assert done.failures[0].candidate_id == VICTIM

    path = tmp_path / "manifests.jsonl"
    path.write_text(f"{manifest(VICTIM).to_json()}\n{manifest('W-newer').to_json()}\n", encoding="utf-8")
    imported = import_manifests(place.store, path, evidence=place.evidence())
    assert (imported.inserted, imported.failed) == (1, 1)
    assert imported.failures[0].candidate_id == VICTIM
    assert _table(place).to_pyarrow_table().num_rows == before + 2


def test_a_compaction_takes_over_nothing_from_outside(place: Place) -> None:
    """A file that is none of the table's is neither rewritten into it nor removed."""
    _a_file_outside(place)
    with pytest.raises(AmbiguousSubjectError):
        compact(place.store)
    assert (place.folder / "inbox" / "part-forged.parquet").exists()


@pytest.mark.parametrize("records", [0, 1_000_000])
def test_the_count_is_that_of_the_files_whatever_the_log_says(place: Place, records: int) -> None:
    """Statistics of Delta's log that lie change neither the count nor what is verified."""
    adds = [_added(place, chunk) for chunk in LAYOUT.names]
    _commit(place, *({"add": {**add, "stats": json.dumps({"numRecords": records})}} for add in adds))
    assert place.registry().count() == 2 * len(LAYOUT.names)
    assert place.verify().subjects == 2 * len(LAYOUT.names)


@pytest.mark.parametrize(
    "configuration", [{"delta.columnMapping.mode": "name"}, {"delta.enableDeletionVectors": "true"}]
)
def test_a_table_that_shows_other_rows_than_its_files_hold_is_unreadable(
    place: Place, configuration: dict[str, str]
) -> None:
    """With column mapping or deletion vectors switched on nothing is called sound."""
    metadata = next(action["metaData"] for action in _actions(place) if "metaData" in action)
    _commit(place, {"metaData": {**metadata, "configuration": {**metadata["configuration"], **configuration}}})
    for incremental in (False, True):
        report = place.verify(incremental=incremental)
        assert not report.sound
        assert {kind for _, kind in found_by(report)["logs"]} == {"unreadable"}


def _restored(place: Place, act: Callable[[], object]) -> None:
    """Do something, then put `subjects/` back as it was before it."""
    before = place.folder.parent / "before"
    shutil.copytree(place.folder / "subjects", before)
    act()
    shutil.rmtree(place.folder / "subjects")
    shutil.copytree(before, place.folder / "subjects")


@MODES
@pytest.mark.parametrize("anchored", [False, True], ids=["before a checkpoint", "after one"])
def test_an_erased_person_does_not_come_back_unseen(place: Place, incremental: bool, anchored: bool) -> None:
    """A table restored from before a deletion is red, anyone who signed a checkpoint in between."""

    def erase() -> None:
        place.registry().delete(VICTIM)
        if anchored:
            assert write_checkpoint(place.store).verification.sound

    _restored(place, erase)
    later = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=6)
    for _ in range(2):
        report = place.verify(incremental=incremental, clock=lambda: later)
        assert _manifests(report) == {(VICTIM, "resurrected" if anchored else "unapplied")}
        write_checkpoint(place.store, clock=lambda: later)


def test_who_was_deleted_needs_the_ring_to_be_registered_again(place: Place, declared: Declared) -> None:
    """In a store with a log a registration without a key ring is refused before anything is written."""
    dataset = declared([VICTIM])
    place.store.register(dataset)
    with pytest.raises(KeyRingError, match="SUBJECT_KEY_RING"):
        backfill(place.store.without_ring(), dataset, limit=None)
    assert not list(place.store.objects.list("staging/"))


def test_a_strange_ring_is_one_sentence(place: Place, tmp_path: Path) -> None:
    """A ring that knows none of the store's keys, and whose signer verifies no note, is refused as such."""
    create_ring(tmp_path / "strange.json", KeyRing.new(b"x" * 32, b"y" * 32))
    strange = KeyRingFile(tmp_path / "strange.json")
    for act in (
        lambda: verify(place.store.with_ring(strange)),
        lambda: write_checkpoint(place.store.with_ring(strange)),
    ):
        with pytest.raises(KeyRingError, match="not this store's"):
            act()
