import contextlib
import datetime as dt
import json
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, QueryBuilder
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.table import TableMerger
from polars.testing import assert_frame_equal

from subject_pipeline.errors import ConflictError, OutcomeUnknownError, StoreError
from subject_pipeline.manifests import snapshot as module
from subject_pipeline.manifests.frames import TABLE_SCHEMA, to_rows
from subject_pipeline.manifests.manifest import DatasetReference, SubjectManifest, new_manifest
from subject_pipeline.manifests.rows import STORED_IDS_SCHEMA
from subject_pipeline.manifests.snapshot import CROWDED, Snapshot
from subject_pipeline.manifests.table import ManifestTable
from subject_pipeline.objects.local import LocalObjects
from subject_pipeline.store.chunks import ChunkLayout
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline_tests.conftest import table_at

LAYOUT = ChunkLayout(4)
NOW = dt.datetime(2026, 1, 2, 3, 4, 5, 678901, dt.UTC)
Execute = Callable[[TableMerger], Any]


def _manifest(candidate: str, **changes: Any) -> SubjectManifest:
    manifest = new_manifest(
        candidate_id=candidate,
        dataset=DatasetReference(name="workers", key_column="worker_id", key_value=candidate),
        safe_views=("public",),
        chunk="chunk-0",
        now=NOW,
    )
    return SubjectManifest.parse(manifest.as_json() | changes)


def _rows(*candidates: str, **changes: Any) -> pl.DataFrame:
    return to_rows((_manifest(candidate, **changes) for candidate in candidates), LAYOUT)


def _insert(table: ManifestTable, *candidates: str) -> None:
    """Insert anyone who is not there yet, as a caller must who inserts."""
    snapshot = table.snapshot_or_create()
    there = set(snapshot.stored_ids(list(LAYOUT.names))["candidate_id"])
    if new := [candidate for candidate in candidates if candidate not in there]:
        snapshot.insert(_rows(*new))


def _delete(table: ManifestTable, *candidates: str) -> None:
    _open(table).delete(_rows(*candidates).select("chunk", "storage_key", "candidate_id"))


def _open(table: ManifestTable) -> Snapshot:
    snapshot = table.snapshot()
    assert snapshot is not None
    return snapshot


def _ids(table: ManifestTable) -> list[str]:
    return table.read(lambda snapshot: snapshot.rows()["candidate_id"].sort().to_list(), [])


def _in_chunk(chunk: str, count: int, prefix: str = "W") -> list[str]:
    found = (f"{prefix}-{number}" for number in range(10_000))
    return [candidate for candidate in found if LAYOUT.chunk_of(candidate) == chunk][:count]


def _holding(root: Path, candidate: str) -> list[str]:
    """The files below a folder that hold an id: in their bytes, or in a parquet column or its statistics."""
    wanted = candidate.encode()
    holding = []
    for path in (path for path in root.rglob("*") if path.is_file()):
        texts = [path.read_bytes()]
        if path.suffix == ".parquet":
            texts += [str(pq.read_table(path).to_pylist()).encode(), str(pq.read_metadata(path).to_dict()).encode()]
        if any(wanted in text for text in texts):
            holding.append(path.relative_to(root).as_posix())
    return holding


def _until_it_lands(write: Callable[[], None]) -> None:
    for _ in range(20):
        try:
            return write()
        except ConflictError:
            continue
    pytest.fail("lost twenty races")


def _patch_commits(monkeypatch: pytest.MonkeyPatch, around: Callable[[Callable[[], Any]], Any]) -> None:
    """Let something be done around every commit, of a merge or of an insertion."""
    execute, append = TableMerger.execute, DeltaTable.create_write_transaction
    monkeypatch.setattr(TableMerger, "execute", lambda merge: around(lambda: execute(merge)))
    monkeypatch.setattr(
        DeltaTable, "create_write_transaction", lambda *args, **named: around(lambda: append(*args, **named))
    )


def _landed_then(error: Exception) -> Callable[[Callable[[], Any]], Any]:
    def around(commit: Callable[[], Any]) -> None:
        commit()
        raise error

    return around


def test_an_unused_store_has_no_table(table: ManifestTable, root: Path) -> None:
    """Looking creates nothing, and reading gives the answer for an unused store."""
    assert table.snapshot() is None
    assert table.read(lambda snapshot: snapshot.count(), 0) == 0
    assert table.tidy() == 0
    assert [path.name for path in root.iterdir() if path.name != ".staging"] == ["catalog"]


def test_a_folder_that_a_killed_creator_left_is_no_table(table: ManifestTable, root: Path) -> None:
    """An empty log folder is an unused store, and the table is created there."""
    (root / "subjects" / "_delta_log").mkdir(parents=True)
    assert table.snapshot() is None
    assert table.snapshot_or_create().count() == 0


def test_the_table_is_created_once(table: ManifestTable, root: Path) -> None:
    """The first use creates an empty table partitioned by chunk, with statistics off for ids; later ones find it."""
    first, second = table.snapshot_or_create(), table.snapshot_or_create()
    assert (first.version, second.version) == (0, 0)
    assert first.rows().schema == TABLE_SCHEMA
    assert first.stored_ids(list(LAYOUT.names)).schema == STORED_IDS_SCHEMA
    metadata = DeltaTable(str(root / "subjects")).metadata()
    assert metadata.partition_columns == ["chunk"]
    columns = metadata.configuration["delta.dataSkippingStatsColumns"].split(",")
    assert not {"candidate_id", "storage_key", "datasets"} & set(columns)


def test_of_racing_first_uses_no_row_is_lost(table: ManifestTable, root: Path) -> None:
    """Six first uses at once share one table: each, told of a conflict or not, can insert, and every row stays."""
    start = threading.Barrier(6)

    def first_use(number: int) -> None:
        start.wait()
        _until_it_lands(lambda: table.snapshot_or_create().insert(_rows(f"W-{number}")))

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(first_use, range(6)))
    assert _ids(table) == [f"W-{number}" for number in range(6)]
    assert DeltaTable(str(root / "subjects")).metadata().partition_columns == ["chunk"]


def test_inserted_manifests_are_read_back(table: ManifestTable) -> None:
    """Rows come back as they were inserted, of all chunks, of some, of some columns and filtered."""
    rows = _rows(*(f"W-{number}" for number in range(40)))
    table.snapshot_or_create().insert(rows)
    snapshot = _open(table)
    assert snapshot.count() == 40
    assert snapshot.rows().sort("candidate_id").equals(rows.sort("candidate_id"))
    some = rows.filter(pl.col("chunk").is_in(["chunk-1", "chunk-3"]))
    ids = snapshot.stored_ids(["chunk-1", "chunk-3"])
    wanted = some.with_columns(problem=pl.lit(None, pl.String)).select(STORED_IDS_SCHEMA.names())
    assert ids.sort("storage_key").equals(wanted.sort("storage_key"))
    assert snapshot.rows(None, ["status"], pl.col("candidate_id") == "W-7").to_dicts() == [{"status": "active"}]
    assert snapshot.rows([]).is_empty()


def test_unknown_fields_survive_the_table(table: ManifestTable) -> None:
    """The extra column is stored like any other."""
    rows = _rows("W-1", newer={"é": [1, None]})
    table.snapshot_or_create().insert(rows)
    assert _open(table).rows().equals(rows)


@pytest.mark.parametrize("name", ["with space", "é", "a#b", "a+b=c"])
def test_a_store_may_lie_in_any_folder(tmp_path: Path, name: str) -> None:
    """A store whose folder's name needs escapes in a URL is written, synced and read like any other."""
    table = table_at(tmp_path / name)
    _insert(table, "W-1")
    _insert(table, "W-2")
    assert _ids(table) == ["W-1", "W-2"]
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_commits_between_are_read_before_the_same_files_are_offered_again(table: ManifestTable, root: Path) -> None:
    """An insertion that is overtaken in other chunks lands with the files that it wrote first, and writes no others."""
    table.snapshot_or_create()
    old = _open(table)
    for person in _in_chunk("chunk-0", 5):
        _insert(table, person)
    old.insert(_rows(*_in_chunk("chunk-3", 3)))
    assert len(_ids(table)) == 8
    assert len(list((root / "subjects/chunk=chunk-3").iterdir())) == 1


def test_changes_of_many_other_chunks_are_no_conflict(tmp_path: Path) -> None:
    """Upserts, deletions and compactions of different chunks land side by side, however many they name; of one, not."""
    layout = ChunkLayout(64)
    store = SubjectStore.at(str(tmp_path), wanted_chunks=layout.count)
    store.layout_or_create()
    table = ManifestTable(store)
    rows = to_rows((_manifest(f"W-{number}") for number in range(600)), layout)
    table.snapshot_or_create().insert(rows)
    low, high = (rows.filter(pl.col("chunk").is_in(names)) for names in (layout.names[:32], layout.names[32:]))
    assert low["chunk"].n_unique() == high["chunk"].n_unique() == 32
    changes: list[Callable[[Snapshot], object]] = [
        lambda snapshot: snapshot.upsert(high.with_columns(status=pl.lit("restricted"))),
        lambda snapshot: snapshot.compact(layout.names[32:]),
        lambda snapshot: snapshot.delete(high.select("chunk", "storage_key", "candidate_id")),
    ]
    one = low.filter(pl.col("chunk") == layout.names[16])
    for change in changes:
        first, second = _open(table), _open(table)
        first.upsert(pl.concat([high.head(1), one]))
        with pytest.raises(ConflictError):
            second.upsert(low)  # among others of the one that the first has changed
        first, second = _open(table), _open(table)
        first.upsert(low)
        change(second)
    assert _open(table).rows().sort("candidate_id").equals(low.sort("candidate_id"))


def test_a_lost_race_leaves_no_file(table: ManifestTable, root: Path) -> None:
    """The files of an insertion that another writer of its chunks overtook are removed: no version will name them."""
    table.snapshot_or_create()
    first, second = _open(table), _open(table)
    people = _in_chunk("chunk-3", 2)
    first.insert(_rows(people[0]))
    with pytest.raises(ConflictError):
        second.insert(_rows(people[1]))
    assert len(list((root / "subjects/chunk=chunk-3").iterdir())) == 1


def test_a_commit_that_changes_the_table_itself_is_a_conflict(table: ManifestTable, root: Path) -> None:
    """What was decided before the table's properties were changed is decided again."""
    table.snapshot_or_create()
    old = _open(table)
    DeltaTable(str(root / "subjects")).alter.set_table_properties({"delta.logRetentionDuration": "interval 31 days"})
    with pytest.raises(ConflictError):
        old.insert(_rows("W-1"))
    _insert(table, "W-1")
    assert _ids(table) == ["W-1"]


def test_inserted_files_are_read_by_others(table: ManifestTable, root: Path) -> None:
    """The files of an insertion are what delta-rs, DataFusion and pyarrow read, and hold no statistics of ids."""
    rows = _rows(*(f"W-{number}" for number in range(20)), newer={"é": [1, None]})
    table.snapshot_or_create().insert(rows)
    other = DeltaTable(str(root / "subjects"))
    by_name = pl.DataFrame(QueryBuilder().register("people", other).execute("select * from people").read_all())
    assert_frame_equal(by_name.select(rows.columns).sort("candidate_id"), rows.sort("candidate_id"))
    for path in (root / "subjects").glob("chunk=*/*.parquet"):
        group = pq.read_metadata(path).row_group(0)
        assert not any(group.column(at).is_stats_set for at in range(group.num_columns))
        assert pq.read_table(path).num_rows > 0
    assert sorted(other.get_add_actions(flatten=True)["num_records"].to_pylist()) == sorted(
        rows.group_by("chunk").len()["len"].to_list()
    )


def test_of_two_inserts_decided_on_one_version_the_second_is_told(table: ManifestTable) -> None:
    """A writer whose version is overtaken in its chunks gets a conflict, wrote nothing, and every row is there once."""
    table.snapshot_or_create()
    first, second = _open(table), _open(table)
    first.insert(_rows("W-1", "W-2"))
    with pytest.raises(ConflictError, match="another writer won"):
        second.insert(_rows("W-1", "W-2", "W-3"))
    assert _ids(table) == ["W-1", "W-2"]
    _insert(table, "W-1", "W-2", "W-3")
    assert _ids(table) == ["W-1", "W-2", "W-3"]


def test_writers_of_different_chunks_do_not_conflict(table: ManifestTable) -> None:
    """Two inserts decided on one version both land where their chunks differ."""
    table.snapshot_or_create()
    first, second = _open(table), _open(table)
    one, other = _in_chunk("chunk-0", 3), _in_chunk("chunk-3", 3)
    first.insert(_rows(*one))
    second.insert(_rows(*other))
    assert _ids(table) == sorted([*one, *other])


def test_racing_inserts_of_the_same_rows_leave_each_once(table: ManifestTable) -> None:
    """Four threads that insert the same rows until they succeed leave every row once."""
    table.snapshot_or_create()
    wanted = [f"W-{number}" for number in range(20)]
    start = threading.Barrier(4)

    def insert(_: int) -> None:
        start.wait()
        _until_it_lands(lambda: _insert(table, *wanted))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(insert, range(4)))
    assert _ids(table) == sorted(wanted)


def test_an_upsert_inserts_and_replaces(table: ManifestTable) -> None:
    """What is new is inserted, what carries the same id is replaced, and what is not named stays."""
    _insert(table, "W-1", "W-2")
    _open(table).upsert(_rows("W-2", "W-3", status="inactive", newer=1))
    found = {row["candidate_id"]: (row["status"], row["extra"]) for row in _open(table).rows().iter_rows(named=True)}
    assert found == {
        "W-1": ("active", None),
        "W-2": ("inactive", '{"newer":1}'),
        "W-3": ("inactive", '{"newer":1}'),
    }


def test_an_upsert_never_takes_anothers_storage_key(table: ManifestTable) -> None:
    """A row whose storage key belongs to another id changes nothing."""
    _insert(table, "CAND/1")
    _open(table).upsert(_rows("CAND_1", status="inactive"))
    assert _open(table).rows(None, ["candidate_id", "status"]).rows() == [("CAND/1", "active")]


def test_a_delete_compares_the_id_itself(table: ManifestTable) -> None:
    """Deleting `CAND_1` leaves `CAND/1` alone, and deleting what is not there is no error."""
    _insert(table, "CAND/1", "W-1")
    _delete(table, "CAND_1", "W-2")
    assert _ids(table) == ["CAND/1", "W-1"]
    _delete(table, "CAND/1")
    assert _ids(table) == ["W-1"]


@pytest.mark.long
@pytest.mark.parametrize("candidate", ["ERASED-ME-4711", "ERASED/Zoë'\"; --"])
def test_an_erased_id_is_in_no_file(table: ManifestTable, root: Path, candidate: str) -> None:
    """After delete, compaction and vacuum no file of the table holds the id, nor its storage key."""
    others = [f"W-{number}" for number in range(30)]
    _insert(table, *others[:10])
    _insert(table, candidate, *others[10:20])
    _open(table).upsert(_rows(candidate, status="inactive"))
    _insert(table, *others[20:])
    key = _rows(candidate)["storage_key"][0]
    assert _holding(root / "subjects", key)
    _delete(table, candidate)
    _open(table).compact(list(LAYOUT.names))
    _open(table).vacuum()
    for text in (candidate, key):
        assert _holding(root, text) == []
    assert _ids(table) == sorted(others)
    _insert(table, candidate)
    assert candidate in _ids(table)


@pytest.mark.long
def test_no_id_ever_enters_the_log(table: ManifestTable, root: Path) -> None:
    """Inserting, replacing, deleting, compacting and checkpointing write no id into Delta's log, before any vacuum."""
    people = [f"PERSON-{number}" for number in range(12)]
    for person in people:
        _insert(table, person)
    _open(table).upsert(_rows(*people[:4], status="inactive"))
    _delete(table, *people[4:6])
    _open(table).compact(list(LAYOUT.names))
    DeltaTable(str(root / "subjects")).create_checkpoint()
    log = root / "subjects" / "_delta_log"
    assert len(list(log.iterdir())) > 15
    assert _holding(log, "PERSON-") == []
    assert _holding(root / "subjects", "PERSON-4") != []


def test_a_vacuum_keeps_the_present(table: ManifestTable, root: Path) -> None:
    """A vacuum removes what only older versions need, and nothing of this one."""
    for number in range(4):
        _insert(table, f"W-{number}")
    _open(table).compact(list(LAYOUT.names))
    before = len(list((root / "subjects").rglob("*.parquet")))
    _open(table).vacuum()
    files = list((root / "subjects").glob("chunk=*/*.parquet"))
    assert len(files) < before
    assert _ids(table) == [f"W-{number}" for number in range(4)]
    assert _open(table).count() == 4


def test_a_reader_whose_files_were_vacuumed_is_told(table: ManifestTable) -> None:
    """A version whose files are gone is a conflict, not an empty or a broken table."""
    _insert(table, *_in_chunk("chunk-0", 3))
    old = _open(table)
    _delete(table, _in_chunk("chunk-0", 1)[0])
    _open(table).vacuum()
    with pytest.raises(ConflictError, match="a file is gone"):
        old.rows()
    with pytest.raises(ConflictError, match="a file is gone"):
        old.stored_ids(["chunk-0"])


def test_a_vacuum_under_a_reader_means_to_read_again(table: ManifestTable) -> None:
    """`read` opens the table again when the files of its version are gone, and gives the present answer."""
    people = _in_chunk("chunk-0", 3)
    _insert(table, *people)
    versions: list[int] = []

    def reading(snapshot: Snapshot) -> list[str]:
        versions.append(snapshot.version)
        if len(versions) == 1:
            _delete(table, people[0])
            _open(table).vacuum()
        return snapshot.rows()["candidate_id"].to_list()

    assert sorted(table.read(reading, list[str]())) == people[1:]
    assert len(versions) == 2
    assert versions[0] < versions[1]


def test_a_reader_that_never_wins_gives_up(table: ManifestTable) -> None:
    """After a bounded number of attempts the conflict is told."""
    table.snapshot_or_create()
    calls: list[int] = []

    def reading(snapshot: Snapshot) -> None:
        calls.append(snapshot.version)
        raise ConflictError("again")

    with pytest.raises(ConflictError, match="again"):
        table.read(reading, None)
    assert 1 < len(calls) < 10


@pytest.mark.parametrize(
    "error", [CommitFailedError("lost"), DeltaError("timeout"), OSError("connection reset")], ids=str
)
def test_a_lost_acknowledgement_is_a_success(
    table: ManifestTable, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """A commit that landed and then failed counts as done, and a run again makes no second copy."""
    snapshot = table.snapshot_or_create()
    _patch_commits(monkeypatch, _landed_then(error))
    snapshot.insert(_rows("W-1", "W-2"))
    assert _ids(table) == ["W-1", "W-2"]
    _open(table).upsert(_rows("W-1", status="inactive"))
    _delete(table, "W-2")
    monkeypatch.undo()
    _insert(table, "W-1")
    assert _open(table).rows(None, ["candidate_id", "status"]).rows() == [("W-1", "inactive")]


def test_a_lost_acknowledgement_is_found_behind_other_commits(
    table: ManifestTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our commit is recognised by its own id, also where others committed before and after it."""
    one, other = _in_chunk("chunk-0", 2), _in_chunk("chunk-1", 2)
    snapshot = table.snapshot_or_create()
    _insert(table, other[0])

    def around(commit: Callable[[], Any]) -> None:
        commit()
        monkeypatch.undo()
        _insert(table, other[1])
        raise DeltaError("timeout")

    _patch_commits(monkeypatch, around)
    snapshot.insert(_rows(*one))
    assert _ids(table) == sorted([*one, *other])


def test_anothers_commit_is_not_taken_for_ones_own(table: ManifestTable, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit that failed is a failure, even if another writer committed the same rows meanwhile."""
    snapshot = table.snapshot_or_create()
    _insert(table, "W-1")

    def around(_: Callable[[], Any]) -> None:
        raise DeltaError("timeout")

    _patch_commits(monkeypatch, around)
    with pytest.raises(StoreError, match="cannot commit to the manifests: timeout") as raised:
        snapshot.insert(_rows("W-1"))
    assert not isinstance(raised.value, OutcomeUnknownError)
    assert _ids(table) == ["W-1"]


def test_a_commit_that_cannot_be_settled_stays_unknown(
    table: ManifestTable, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the commit fails and the log cannot be read, neither success nor failure is claimed."""
    table_at(root)
    objects = LocalObjects(root)
    snapshot = ManifestTable(replace(SubjectStore.at(str(root)), objects=objects)).snapshot_or_create()

    def fail(_: str) -> bytes:
        raise StoreError("the store does not answer")

    monkeypatch.setattr(objects, "get", fail)
    _patch_commits(monkeypatch, _landed_then(DeltaError("timeout")))
    with pytest.raises(OutcomeUnknownError, match=r"cannot tell whether .*timeout.*does not answer"):
        snapshot.insert(_rows("W-1"))
    monkeypatch.undo()
    _insert(table, "W-1")
    assert _ids(table) == ["W-1"]


def test_what_a_commit_added_is_synced_before_it_is_reported(
    table: ManifestTable, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The data files, the log entry and their folders are flushed to disk, as delta-rs does not do it."""
    snapshot = table.snapshot_or_create()
    synced: set[Path] = set()
    module = "subject_pipeline.manifests.commits"

    def sync_folders(folders: Iterable[Path]) -> None:
        synced.update(folders)

    monkeypatch.setattr(f"{module}.sync_file", synced.add)
    monkeypatch.setattr(f"{module}.sync_folders", sync_folders)
    snapshot.insert(_rows("W-1", "W-2", "W-3", "W-4", "W-5"))
    subjects = root / "subjects"
    files = set(subjects.glob("chunk=*/*.parquet"))
    assert len(files) > 1
    log = subjects / "_delta_log"
    assert files | {log / f"{1:020d}.json", log, subjects} | {file.parent for file in files} <= synced


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), FileNotFoundError(2, "No such file")], ids=str)
def test_a_commit_that_landed_but_could_not_be_synced_stays_unknown(
    table: ManifestTable, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    """A commit that is in the table is never told as one that wrote nothing, whatever the disk says afterwards."""
    snapshot = table.snapshot_or_create()

    def sync_file(_: Path) -> None:
        raise error

    monkeypatch.setattr("subject_pipeline.manifests.commits.sync_file", sync_file)
    with pytest.raises(OutcomeUnknownError):
        snapshot.insert(_rows("W-1"))
    assert _ids(table) == ["W-1"]


@pytest.mark.long
def test_a_chunk_is_crowded_past_a_handful_of_files(table: ManifestTable) -> None:
    """Chunks with more files than a handful are named, sorted; those with fewer are not."""
    assert table.snapshot_or_create().crowded() == []
    people = _in_chunk("chunk-2", CROWDED + 1)
    for person in people[:-1]:
        _insert(table, person)
    assert _open(table).crowded() == []
    _insert(table, people[-1], *_in_chunk("chunk-1", 1))
    assert _open(table).crowded() == [["chunk-2"]]
    assert _open(table).crowded(0) == [["chunk-1", "chunk-2"]]


@pytest.mark.long
def test_tidying_compacts_crowded_chunks_alone(table: ManifestTable) -> None:
    """Tidying leaves one file in a crowded chunk, all rows in place, and does nothing the second time."""
    people = _in_chunk("chunk-2", CROWDED + 2)
    for person in people:
        _insert(table, person)
    _insert(table, *_in_chunk("chunk-1", 1))
    version = _open(table).version
    assert table.tidy(["chunk-0", "chunk-1"]) == 0
    assert _open(table).version == version
    assert table.tidy(["chunk-2"]) == CROWDED + 2
    assert _open(table).crowded(1) == []
    assert _ids(table) == sorted([*people, *_in_chunk("chunk-1", 1)])
    assert table.tidy() == 0


def test_tidying_gives_way_to_a_writer(table: ManifestTable, monkeypatch: pytest.MonkeyPatch) -> None:
    """A compaction that loses against a writer is left for the next time."""
    table.snapshot_or_create()

    def lose(_: Snapshot, __: list[str]) -> int:
        raise ConflictError("another writer won")

    monkeypatch.setattr(Snapshot, "compact", lose)
    assert table.tidy() == 0


def test_compacting_nothing_commits_nothing(table: ManifestTable) -> None:
    """Without chunks there is no commit."""
    _insert(table, "W-1")
    version = _open(table).version
    assert _open(table).compact([]) == 0
    assert _open(table).version == version


def test_a_compaction_decided_on_an_old_version_loses_nothing(table: ManifestTable) -> None:
    """A compaction that is overtaken by inserts and deletes in its chunk gives way, or keeps all that they did."""
    people = _in_chunk("chunk-2", 6)
    for person in people[:4]:
        _insert(table, person)
    old = _open(table)
    _insert(table, people[4])
    _delete(table, people[0])
    with contextlib.suppress(ConflictError):
        old.compact(["chunk-2"])
    assert _ids(table) == sorted(people[1:5])


WRITES: dict[str, Callable[[Snapshot], object]] = {
    "insert": lambda snapshot: snapshot.insert(_rows(_in_chunk("chunk-2", 9)[8])),
    "replace": lambda snapshot: snapshot.upsert(_rows(_in_chunk("chunk-2", 2)[1], status="inactive")),
    "delete": lambda snapshot: snapshot.delete(
        _rows(_in_chunk("chunk-2", 1)[0]).select("chunk", "storage_key", "candidate_id")
    ),
    "compact": lambda snapshot: snapshot.compact(["chunk-2"]),
}


@pytest.mark.long
@pytest.mark.parametrize("second", WRITES)
@pytest.mark.parametrize("first", WRITES)
def test_of_two_writes_decided_on_one_version_one_gives_way(table: ManifestTable, first: str, second: str) -> None:
    """Nobody is there twice and nothing that was committed is lost: two OPTIMIZE commits of delta-rs double a chunk."""
    for person in _in_chunk("chunk-2", 3):
        _insert(table, person)
    one, other = _open(table), _open(table)
    WRITES[first](one)
    after = _open(table).rows().sort("candidate_id")
    try:
        WRITES[second](other)
    except ConflictError:
        assert_frame_equal(_open(table).rows().sort("candidate_id"), after)
    else:
        assert (first, second) == ("insert", "compact"), "what only adds files needs nobody to give way"
    _open(table).compact(["chunk-2"])
    assert_frame_equal(_open(table).rows().sort("candidate_id"), after)


@pytest.mark.long
def test_a_compaction_goes_on_in_groups(table: ManifestTable, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks with few rows share a commit, one with many has its own; every row stays, as it was."""
    monkeypatch.setattr(module, "_REWRITTEN_ROWS", 4)
    for chunk, count in (("chunk-0", 2), ("chunk-1", 2), ("chunk-2", 9), ("chunk-3", 3)):
        for person in _in_chunk(chunk, count):
            _insert(table, person)
    before = _open(table).rows().sort("candidate_id")
    assert _open(table).crowded(1) == [["chunk-0", "chunk-1"], ["chunk-2"], ["chunk-3"]]
    version = _open(table).version
    assert table.compact(more_than=1) == 16
    assert _open(table).version == version + 3
    assert_frame_equal(_open(table).rows().sort("candidate_id"), before)
    assert table.compact(more_than=1) == 0
    assert _open(table).version == version + 3


@pytest.mark.parametrize("claimed", [0, -5, 1 << 40])
def test_statistics_that_lie_stop_no_compaction(
    table: ManifestTable, monkeypatch: pytest.MonkeyPatch, claimed: int
) -> None:
    """Whatever Delta's log says of a file's rows, every chunk is in a group."""
    for person in (*_in_chunk("chunk-1", 2), *_in_chunk("chunk-2", 2)):
        _insert(table, person)
    files = [replace(file, claimed=claimed) for file in _open(table).files()]
    monkeypatch.setattr(Snapshot, "files", lambda _: files)
    assert [chunk for group in _open(table).crowded(1) for chunk in group] == ["chunk-1", "chunk-2"]


def test_every_commit_carries_an_id_of_its_own(table: ManifestTable, root: Path) -> None:
    """Commits are told apart by a random id, so that a lost acknowledgement can be settled."""
    _insert(table, "W-1")
    _insert(table, "W-2")
    _open(table).compact([LAYOUT.chunk_of("W-1")])
    log = root / "subjects" / "_delta_log"
    actions = [json.loads(line) for path in sorted(log.glob("*.json")) for line in path.read_text().splitlines()]
    ids = [action["commitInfo"].get("operationId") for action in actions if "commitInfo" in action][1:]
    assert all(ids)
    assert len(set(ids)) == len(ids) >= 2


@pytest.mark.parametrize("damage", ["log", "data"])
def test_a_damaged_table_is_our_own_error(table: ManifestTable, root: Path, damage: str) -> None:
    """What Delta cannot read is our own error that says what was being done."""
    _insert(table, "W-1")
    if damage == "log":
        (root / "subjects" / "_delta_log" / f"{1:020d}.json").write_text("{ not json")
    else:
        for path in (root / "subjects").glob("chunk=*/*.parquet"):
            path.write_bytes(b"PAR1" + b"\xff" * (path.stat().st_size - 8) + b"PAR1")
    with pytest.raises(StoreError, match=r"cannot (open|read) the manifests"):
        _open(table).rows()


def test_a_store_that_cannot_be_written_is_our_own_error(root: Path) -> None:
    """A file where the store should be is told as such."""
    root.write_text("mine")
    with pytest.raises(StoreError, match="cannot create the manifests' table"):
        ManifestTable(SubjectStore.at(str(root))).snapshot_or_create()
