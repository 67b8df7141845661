import datetime as dt
from collections import Counter
from pathlib import Path

import polars as pl
import pytest

from subject_pipeline.candidates import source_keys, staged_parts
from subject_pipeline.errors import ConfigurationError, OutcomeUnknownError, SourceError, StoreError
from subject_pipeline.manifests.snapshot import Snapshot
from subject_pipeline.manifests.table import ManifestTable
from subject_pipeline.registry.backfill import BackfillReport, Watcher, backfill, count_subjects
from subject_pipeline.registry.subjects import SubjectRegistry
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline_tests.conftest import KEY_COLUMN, Declared, ManyGroups, listing


def _rows(store: SubjectStore) -> pl.DataFrame:
    snapshot = ManifestTable(store).snapshot()
    assert snapshot is not None
    return snapshot.rows()


def _manifest(store: SubjectStore, candidate_id: str) -> dict[str, object]:
    return SubjectRegistry(store).get(candidate_id).as_json()


def test_counts_what_it_did(store: SubjectStore, declared: Declared) -> None:
    """A first run inserts every candidate and counts all it read."""
    report = backfill(store, declared(["A", "B", "C"]))

    assert (report.rows_scanned, report.source_rows, report.subjects_total) == (3, 3, 3)
    assert (report.counts.attempted, report.counts.inserted, report.counts.skipped) == (3, 3, 0)
    assert (report.counts.failed, report.counts.duplicates, report.failures) == (0, 0, [])
    assert (report.sample, report.forecast, report.dry_run) == (("A", "B", "C"), None, False)
    assert report.elapsed_s > 0
    assert sorted(_rows(store)["candidate_id"]) == ["A", "B", "C"]


def test_a_second_run_inserts_nothing(store: SubjectStore, declared: Declared) -> None:
    """A re-run skips everybody and leaves every byte of the table as it was."""
    people = declared(range(50))
    backfill(store, people, limit=None)
    table = Path(store.location.child("subjects"))
    before = listing(table)

    again = backfill(store, people, limit=None)

    assert (again.counts.inserted, again.counts.skipped, again.counts.failed) == (0, 50, 0)
    assert again.subjects_total == 50
    assert listing(table) == before


def test_reads_a_thousand_rows_unless_told_otherwise(store: SubjectStore, declared: Declared) -> None:
    """Without a limit given, a run reads 1,000 rows of a longer source."""
    report = backfill(store, declared(range(1_001)))

    assert (report.rows_scanned, report.source_rows, report.counts.inserted) == (1_000, 1_001, 1_000)


def test_a_limited_run_then_all(store: SubjectStore, declared: Declared) -> None:
    """A limit reads the first rows of the source; reading all later adds only the others."""
    people = declared([f"P{number:02}" for number in range(30)])

    first = backfill(store, people, limit=10)
    ids = sorted(_rows(store)["candidate_id"])
    rest = backfill(store, people, limit=None)

    assert (first.rows_scanned, first.source_rows, first.counts.inserted) == (10, 30, 10)
    assert ids == [f"P{number:02}" for number in range(10)]
    assert (rest.counts.inserted, rest.counts.skipped, rest.subjects_total) == (20, 10, 30)


def test_a_repeated_row_is_attempted_once(store: SubjectStore, declared: Declared) -> None:
    """Repeated source rows count as duplicates, and their candidate is attempted once."""
    people = declared(["A", "B", "A", "A", "C", "B"])

    first = backfill(store, people)
    again = backfill(store, people)

    assert (first.rows_scanned, first.counts.attempted, first.counts.inserted) == (6, 3, 3)
    assert (first.counts.duplicates, again.counts.duplicates) == (3, 3)
    assert (again.counts.attempted, again.counts.skipped) == (3, 3)


def test_bad_candidates_do_not_stop_the_others(store: SubjectStore, declared: Declared) -> None:
    """An empty key and a storage key over 200 bytes are refused, each with its reason and row; all others are done."""
    too_long, fits = "L" * 201, "F" * 200

    report = backfill(store, declared(["A", "", too_long, fits, "B"]))

    assert (report.counts.inserted, report.counts.failed, report.counts.attempted) == (3, 2, 5)
    assert sorted(_rows(store)["candidate_id"]) == ["A", "B", fits]
    reasons = {failure.candidate_id: failure.reason for failure in report.failures}
    assert set(reasons) == {"", too_long}
    assert "empty key" in reasons[""]
    assert "row 1" in reasons[""]
    assert "201 bytes" in reasons[too_long]
    assert "at most 200" in reasons[too_long]


def test_an_empty_key_is_refused_even_with_a_prefix(store: SubjectStore, declared: Declared) -> None:
    """A prefix alone is nobody's id."""
    report = backfill(store, declared(["", "1"], candidate_id_prefix="WORKER-"))

    assert [(failure.candidate_id, failure.kind) for failure in report.failures] == [("WORKER-", "refused")]
    assert _rows(store)["candidate_id"].to_list() == ["WORKER-1"]


def test_the_prefix_counts_towards_the_length_of_the_storage_key(store: SubjectStore, declared: Declared) -> None:
    """200 bytes are allowed with the prefix; an id of many bytes a character is measured by its storage key."""
    report = backfill(store, declared(["K" * 195, "K" * 196, "ß" * 195], candidate_id_prefix="PRE--"))

    assert (report.counts.inserted, report.counts.failed) == (2, 1)
    assert [failure.candidate_id for failure in report.failures] == ["PRE--" + "K" * 196]


def test_the_prefix_is_removed_once(store: SubjectStore, declared: Declared) -> None:
    """`key_value` is the id without one prefix, so WORKER-WORKER-1 keeps one."""
    backfill(store, declared(["WORKER-1", "1"], candidate_id_prefix="WORKER-"))

    assert _manifest(store, "WORKER-WORKER-1")["datasets"] == [
        {"name": "people", "key_column": KEY_COLUMN, "key_value": "WORKER-1"}
    ]
    assert _manifest(store, "WORKER-1")["datasets"] == [{"name": "people", "key_column": KEY_COLUMN, "key_value": "1"}]


def test_a_collision_within_one_source(store: SubjectStore, declared: Declared) -> None:
    """Of two ids with one storage key the first in the source is registered; the second fails with both named."""
    report = backfill(store, declared(["X", "CAND_1", "CAND/1", "CAND/1"]))

    assert (report.counts.inserted, report.counts.skipped, report.counts.failed) == (2, 0, 1)
    assert report.counts.duplicates == 1
    (failure,) = report.failures
    assert (failure.candidate_id, failure.kind) == ("CAND/1", "collision")
    assert "'CAND/1'" in failure.reason
    assert "'CAND_1'" in failure.reason
    assert sorted(_rows(store)["candidate_id"]) == ["CAND_1", "X"]


def test_a_collision_with_what_is_stored(store: SubjectStore, declared: Declared) -> None:
    """The stored subject survives unchanged, anyone who comes first in a later source; a re-run fails again."""
    backfill(store, declared(["CAND/1"], "first"))
    before = _rows(store)
    later = declared(["CAND_1", "CAND.1", "CAND/1"], "later")

    for _ in range(2):
        report = backfill(store, later)

        assert (report.counts.inserted, report.counts.skipped, report.counts.failed) == (0, 1, 2)
        assert {failure.candidate_id for failure in report.failures} == {"CAND_1", "CAND.1"}
        assert all("'CAND/1'" in failure.reason for failure in report.failures)
        assert _rows(store).equals(before)


def test_the_defaults_of_a_new_manifest(store: SubjectStore, declared: Declared) -> None:
    """Nothing is inferred: consent is pending, the vertical unknown, the retention four years; one now for all."""
    before = dt.datetime.now(dt.UTC)
    backfill(store, declared(["A", "B"], safe_views=("v1", "v2")))
    after = dt.datetime.now(dt.UTC)

    manifest = SubjectRegistry(store).get("A")
    layout = store.layout()
    assert layout is not None
    now = manifest.created_at
    assert before <= now <= after
    assert manifest.as_json() == {
        "schema": "subject_manifest.v1",
        "candidate_id": "A",
        "created_at": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "updated_at": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "status": "active",
        "vertical": "unknown",
        "consent": {
            "general_pii": {
                "status": "pending_backfill_review",
                "version": "",
                "given_at": None,
                "withdrawn_at": None,
            },
            "biometric": {"status": "never_collected", "retention_until": None},
        },
        "retention": {
            "general_pii_until": (now + dt.timedelta(days=365 * 4)).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "policy": "4_year_default",
        },
        "datasets": [{"name": "people", "key_column": KEY_COLUMN, "key_value": "A"}],
        "safe_views": ["v1", "v2"],
        "audit_log_path": f"audit/{layout.chunks.chunk_of('A')}",
        "audit_log_chain_root": "",
    }


@pytest.mark.long
def test_one_run_has_one_now(store: SubjectStore, declared: Declared, many_groups: ManyGroups) -> None:
    """Every manifest of a run carries the same time, over all its chunk groups."""
    many_groups(10)
    backfill(store, declared(range(60)), limit=None)

    rows = _rows(store)
    assert rows["created_at"].n_unique() == rows["updated_at"].n_unique() == 1


def test_a_dry_run_on_a_store_that_does_not_exist_creates_nothing(
    store: SubjectStore, declared: Declared, tmp_path: Path
) -> None:
    """A dry run reads, counts and shows five ids, and not even the store's folder comes to be."""
    people = declared([f"P{number}" for number in range(9)])
    before = listing(tmp_path)

    report = backfill(store, people, dry_run=True)

    assert listing(tmp_path) == before
    assert not (tmp_path / "store").exists()
    assert (report.rows_scanned, report.source_rows, report.dry_run) == (9, 9, True)
    assert report.sample == ("P0", "P1", "P2", "P3", "P4")
    assert (report.counts.inserted, report.counts.skipped, report.counts.attempted) == (0, 0, 0)
    assert report.forecast is not None
    assert (report.forecast.inserted, report.forecast.skipped) == (9, 0)
    assert report.subjects_total == 0


def test_a_dry_run_on_a_used_store_changes_nothing(store: SubjectStore, declared: Declared, tmp_path: Path) -> None:
    """A dry run says what a run would do now, bad candidates among it, and leaves every byte alone."""
    backfill(store, declared(["A", "CAND/1"], "first"))
    people = declared(["A", "B", "B", "CAND_1", ""])
    before = listing(tmp_path)

    report = backfill(store, people, dry_run=True)

    assert listing(tmp_path) == before
    assert report.forecast is not None
    assert (report.forecast.inserted, report.forecast.skipped, report.forecast.failed) == (1, 1, 2)
    assert (report.counts.inserted, report.counts.failed, report.counts.duplicates) == (0, 2, 1)
    assert {failure.candidate_id for failure in report.failures} == {"CAND_1", ""}
    assert report.subjects_total == 2


@pytest.mark.long
def test_a_dry_run_foretells_the_run(store: SubjectStore, declared: Declared, many_groups: ManyGroups) -> None:
    """What a dry run forecasts is what the run then counts, over several chunk groups."""
    many_groups(10)
    backfill(store, declared(range(0, 40, 2), "first"), limit=None)
    people = declared([str(number) for number in range(40)] + ["1", "", "x/1", "x_1"])

    forecast = backfill(store, people, limit=None, dry_run=True).forecast
    done = backfill(store, people, limit=None).counts

    assert forecast == done
    assert (done.inserted, done.skipped, done.failed, done.duplicates) == (21, 20, 2, 1)


def test_a_null_key_fails_before_anything_is_written(
    store: SubjectStore, declared: Declared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A null key is named with its row; no manifest is written, and parts staged before it was met are gone."""
    monkeypatch.setattr(source_keys, "BATCH_ROWS", 10)
    monkeypatch.setattr(staged_parts, "_BUFFERED_ROWS", 10)
    written: list[str] = []
    replace = type(store.objects).replace
    monkeypatch.setattr(
        type(store.objects),
        "replace",
        lambda self, key, data: (written.append(key), replace(self, key, data))[1],
    )

    with pytest.raises(SourceError, match=rf"null key in column '{KEY_COLUMN}' at row 60 "):
        backfill(store, declared([*range(60), None, *range(61, 99)]), limit=None)

    assert any(key.startswith("staging/") for key in written)
    assert count_subjects(store) == 0
    assert not (tmp_path / "store/subjects").exists()
    assert not (tmp_path / "store/staging").exists()


def test_a_null_key_beyond_the_limit_is_not_read(store: SubjectStore, declared: Declared) -> None:
    """Only the rows within the limit are read."""
    assert backfill(store, declared(["A", "B", None]), limit=2).counts.inserted == 2


def test_nothing_stays_staged(store: SubjectStore, declared: Declared, tmp_path: Path) -> None:
    """What a backfill staged for itself is gone when it is done."""
    backfill(store, declared(range(20)))

    assert list(store.objects.list("staging/")) == []
    assert not (tmp_path / "store/staging").exists()
    assert list((tmp_path / "store/.staging").iterdir()) == []


@pytest.mark.long
def test_a_chunk_group_that_the_store_refuses_does_not_stop_the_others(
    store: SubjectStore, declared: Declared, many_groups: ManyGroups, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit that fails makes its candidates failed, with the store's reason; all other groups are registered."""
    many_groups(20)
    people = declared(range(80))
    insert = Snapshot.insert

    def refusing_some(snapshot: Snapshot, rows: pl.DataFrame) -> None:
        if "chunk-00" in rows["chunk"].to_list():
            raise StoreError("the disk is full")
        insert(snapshot, rows)

    monkeypatch.setattr(Snapshot, "insert", refusing_some)
    report = backfill(store, people, limit=None)
    monkeypatch.undo()

    counts = report.counts
    assert (counts.attempted, counts.skipped) == (80, 0)
    assert counts.failed > 0
    assert counts.inserted > counts.failed
    assert report.subjects_total == counts.inserted == _rows(store).height
    assert len(report.failures) == counts.failed
    assert {failure.kind for failure in report.failures} == {"not_written"}
    assert all("the disk is full" in failure.reason for failure in report.failures)
    failed = {failure.candidate_id for failure in report.failures}
    assert failed.isdisjoint(_rows(store)["candidate_id"].to_list())
    assert list(store.objects.list("staging/")) == []

    again = backfill(store, people, limit=None).counts
    assert (again.inserted, again.skipped, again.failed) == (counts.failed, counts.inserted, 0)


def test_a_commit_that_landed_is_not_called_unwritten(
    store: SubjectStore, declared: Declared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where reading back fails after a commit, nobody is told that the candidates were not written."""
    read = ManifestTable.read
    calls = 0

    def failing_once(table: ManifestTable, *args: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise StoreError("the store is slow")
        return read(table, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(ManifestTable, "read", failing_once)
    report = backfill(store, declared(["A", "B"]))

    assert _rows(store).height == 2
    assert not any("not written" in failure.reason for failure in report.failures)


def test_an_unknown_outcome_is_not_called_unwritten(
    store: SubjectStore, declared: Declared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit of which nobody knows whether it landed is reported as that."""
    insert = Snapshot.insert

    def lost(snapshot: Snapshot, rows: pl.DataFrame) -> None:
        insert(snapshot, rows)
        raise OutcomeUnknownError("cannot tell whether a commit to the manifests landed")

    monkeypatch.setattr(Snapshot, "insert", lost)
    report = backfill(store, declared(["A", "B"]))

    assert (report.counts.inserted, report.counts.failed) == (0, 2)
    assert all("cannot tell" in failure.reason for failure in report.failures)
    assert not any("not written" in failure.reason for failure in report.failures)


def test_an_interruption_keeps_what_is_done_and_a_re_run_completes(
    store: SubjectStore, declared: Declared, many_groups: ManyGroups
) -> None:
    """An interrupted run tells what it registered, leaves nothing staged, and a second run registers the rest."""
    many_groups(5)
    people = declared(range(100))
    report = BackfillReport(dry_run=False)

    def interrupt(done: int, _total: int) -> None:
        if done >= 30:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        backfill(store, people, limit=None, watcher=Watcher(registering=interrupt), report=report)

    assert 30 <= report.counts.inserted < 100
    assert report.counts.inserted == _rows(store).height
    assert report.rows_scanned == 100
    assert report.elapsed_s > 0
    assert list(store.objects.list("staging/")) == []

    again = backfill(store, people, limit=None).counts
    assert (again.inserted, again.skipped) == (100 - report.counts.inserted, report.counts.inserted)
    assert Counter(_rows(store)["storage_key"].to_list()).most_common(1)[0][1] == 1


def test_an_interruption_while_staging_leaves_nothing(
    store: SubjectStore, declared: Declared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted while it reads the source, a run leaves no manifest and nothing staged."""
    monkeypatch.setattr(source_keys, "BATCH_ROWS", 10)
    monkeypatch.setattr(staged_parts, "_BUFFERED_ROWS", 10)

    def interrupt(done: int, _total: int) -> None:
        if done >= 30:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        backfill(store, declared(range(100)), limit=None, watcher=Watcher(staging=interrupt))

    assert not (tmp_path / "store/subjects").exists()
    assert not (tmp_path / "store/staging").exists()


def test_progress_ends_at_the_rows_read(store: SubjectStore, declared: Declared, many_groups: ManyGroups) -> None:
    """Both stages end at the number of rows read, repeated and refused ones counted."""
    many_groups(10)
    told: dict[str, list[tuple[int, int]]] = {"staging": [], "registering": []}
    watcher = Watcher(
        staging=lambda done, total: told["staging"].append((done, total)),
        registering=lambda done, total: told["registering"].append((done, total)),
    )

    backfill(store, declared([*map(str, range(40)), "1", "1", ""]), limit=None, watcher=watcher)

    assert told["staging"][-1] == told["registering"][-1] == (43, 43)
    assert told["registering"] == sorted(told["registering"])
    assert len(told["registering"]) > 1


def test_a_subject_of_another_dataset_is_skipped(store: SubjectStore, declared: Declared) -> None:
    """A second dataset with the same people registers nobody again and leaves their manifests alone."""
    backfill(store, declared(["A", "B"], "first"))
    before = _rows(store)

    report = backfill(store, declared(["B", "A", "C"], "second"))

    assert (report.counts.inserted, report.counts.skipped) == (1, 2)
    assert _rows(store).filter(pl.col("candidate_id") != "C").sort("storage_key").equals(before.sort("storage_key"))


@pytest.mark.long
@pytest.mark.parametrize("count", [1, 1024])
def test_any_number_of_chunks(tmp_path: Path, declared: Declared, count: int) -> None:
    """A store of one chunk and one of a thousand hold the same subjects, each in its own chunk."""
    store = SubjectStore.at(str(tmp_path / "store"), wanted_chunks=count)
    people = declared(range(300))

    first = backfill(store, people, limit=None).counts
    again = backfill(store, people, limit=None).counts

    assert (first.inserted, again.inserted, again.skipped) == (300, 0, 300)
    layout = store.layout()
    assert layout is not None
    assert layout.chunk_count == count
    assert all(
        layout.chunks.chunk_of(key) == chunk for key, chunk in _rows(store).select("storage_key", "chunk").rows()
    )


def test_a_contradicting_chunk_count_is_refused(store: SubjectStore, declared: Declared, tmp_path: Path) -> None:
    """The chunk count is fixed at first use: another one is refused with both numbers, whether dry or not."""
    people = declared(["A"])
    backfill(store, people)
    other = SubjectStore.at(str(tmp_path / "store"), wanted_chunks=8)

    for dry_run in (False, True):
        with pytest.raises(ConfigurationError, match=r"\b8\b.*\b64\b"):
            backfill(other, people, dry_run=dry_run)


def test_a_source_that_was_reordered_moves_nobody(store: SubjectStore, declared: Declared) -> None:
    """Chunks do not depend on the row order."""
    backfill(store, declared(range(50)), limit=None)

    report = backfill(store, declared(range(60, -1, -1)), limit=None)

    assert (report.counts.inserted, report.counts.skipped) == (11, 50)


def test_integers_and_text_form_the_same_ids(store: SubjectStore, declared: Declared) -> None:
    """Negative and huge integers are ids as they are written."""
    keys = [-1, 0, 2**63 - 1, -(2**63)]
    backfill(store, declared(keys))

    report = backfill(store, declared([str(key) for key in keys], "texts"))

    assert (report.counts.inserted, report.counts.skipped) == (0, 4)


def test_a_source_without_rows_is_no_error(store: SubjectStore, declared: Declared) -> None:
    """An empty source registers nobody and is done."""
    report = backfill(store, declared([]))

    assert (report.rows_scanned, report.counts.attempted, report.subjects_total) == (0, 0, 0)
    assert report.sample == ()


def test_a_compaction_that_fails_does_not_undo_a_backfill(
    store: SubjectStore, declared: Declared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was registered is told as registered, though small files could not be merged afterwards."""

    def crowded(_self: Snapshot, _more_than: int = 0) -> list[list[str]]:
        raise StoreError("503")

    monkeypatch.setattr(Snapshot, "crowded", crowded)
    dataset = declared(["W-1", "W-2"])
    store.register(dataset)
    assert backfill(store, dataset, limit=None).counts.inserted == 2
