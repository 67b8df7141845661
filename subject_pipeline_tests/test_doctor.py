import datetime as dt
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from subject_pipeline import doctor
from subject_pipeline.anchoring.checkpointing import write_checkpoint
from subject_pipeline.doctor import Finding, diagnose
from subject_pipeline.errors import StoreError
from subject_pipeline.keys.ring import KeyRing
from subject_pipeline.keys.ring_file import KeyRingFile, create_ring
from subject_pipeline.manifests.frames import to_rows
from subject_pipeline.manifests.table import ManifestTable
from subject_pipeline.registry.backfill import backfill
from subject_pipeline.store.datasets import DatasetDeclaration
from subject_pipeline.store.layout import PROBES
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline_tests.helpers.audit_stores import HookedLocal, failing, manifest, people, with_objects

NOW = dt.datetime(2026, 6, 30, 12, tzinfo=dt.UTC)


@pytest.fixture
def ring(tmp_path: Path) -> KeyRingFile:
    """A key ring."""
    create_ring(tmp_path / "ring.json", KeyRing.new(b"k" * 32, b"s" * 32))
    return KeyRingFile(tmp_path / "ring.json")


@pytest.fixture
def store(tmp_path: Path) -> SubjectStore:
    """A store with a registered dataset of 50 people."""
    pl.DataFrame({"id": range(50)}).write_parquet(tmp_path / "people.parquet")
    made = SubjectStore.at(str(tmp_path / "store"), wanted_chunks=4)
    people = DatasetDeclaration(name="people", source=str(tmp_path / "people.parquet"), key_column="id")
    made.register(people)
    backfill(made, people, limit=None)
    return made


def levels(findings: list[Finding]) -> dict[str, str]:
    """Each examination's level."""
    return {one.name: one.level for one in findings}


def test_a_sound_store_has_nothing_wrong_and_keeps_no_probe(keyed_store: SubjectStore) -> None:
    """Every examination is ok, and what was written to find that out is gone."""
    write_checkpoint(keyed_store)
    before = {item.key for item in keyed_store.objects.list("")}

    found = diagnose(keyed_store)

    assert set(levels(found).values()) == {"ok"}, found
    assert list(levels(found)) == [
        *("access", "writing", "conditional writes", "clock", "layout", "key ring", "checkpoint", "table", "inbox"),
        "source of people",
    ]
    assert {item.key for item in keyed_store.objects.list("")} == before


def test_read_only_writes_nothing(keyed_store: SubjectStore) -> None:
    """Without probes nothing is created, replaced or deleted."""
    folder = keyed_store.location.local_path
    assert folder is not None
    objects = HookedLocal(folder)
    found = levels(diagnose(with_objects(keyed_store, objects), read_only=True))
    assert found["writing"] == found["conditional writes"] == found["clock"] == "skipped"
    assert {operation for operation, _ in objects.calls} <= {"get", "list"}


def test_a_store_without_conditional_writes_is_found_out(keyed_store: SubjectStore) -> None:
    """A create that overwrites is a problem, whatever else is right."""

    class Overwriting(HookedLocal):
        def create(self, key: str, data: bytes) -> bool:
            self.replace(key, data)
            return True

    folder = keyed_store.location.local_path
    assert folder is not None
    found = {one.name: one for one in diagnose(with_objects(keyed_store, Overwriting(folder)))}
    assert found["conditional writes"].level == "problem"
    assert "overwrite" in found["conditional writes"].detail
    assert found["writing"].level == "ok"


@pytest.mark.parametrize("hours", [-3, 3])
def test_a_clock_that_is_wrong_is_found_out(keyed_store: SubjectStore, hours: int) -> None:
    """A machine hours ahead of its store, or behind it, is told by how much."""
    wrong = dt.timedelta(hours=hours)
    found = {one.name: one for one in diagnose(keyed_store, clock=lambda: dt.datetime.now(dt.UTC) + wrong)}
    assert found["clock"].level == "problem"
    assert "10800 s" in found["clock"].detail or "10799 s" in found["clock"].detail


def _no_ring(_: Path) -> KeyRingFile:
    return KeyRingFile(None)


def _lost_ring(folder: Path) -> KeyRingFile:
    return KeyRingFile(folder / "nowhere.json")


def _other_ring(folder: Path) -> KeyRingFile:
    create_ring(folder / "other.json", KeyRing.new(b"o" * 32, b"o" * 32))
    return KeyRingFile(folder / "other.json")


@pytest.mark.parametrize(
    ("made", "key_ring", "checkpoint"),
    [(_no_ring, "warning", "skipped"), (_lost_ring, "problem", "skipped"), (_other_ring, "ok", "problem")],
)
def test_a_ring_that_does_not_fit_is_found_out(
    keyed_store: SubjectStore,
    tmp_path: Path,
    made: Callable[[Path], KeyRingFile],
    key_ring: str,
    checkpoint: str,
) -> None:
    """No ring is a warning, one that is not there a problem, and so is one that did not sign the last checkpoint."""
    write_checkpoint(keyed_store)
    found = levels(diagnose(keyed_store.with_ring(made(tmp_path))))
    assert (found["key ring"], found["checkpoint"]) == (key_ring, checkpoint)


def test_an_old_checkpoint_and_a_lost_source_are_to_be_looked_at(keyed_store: SubjectStore) -> None:
    """Both warn and name what to do."""
    write_checkpoint(keyed_store, clock=lambda: dt.datetime.now(dt.UTC) - dt.timedelta(days=3))
    Path(keyed_store.catalog.datasets()[0].source).unlink()
    found = {one.name: one for one in diagnose(keyed_store)}
    assert (found["checkpoint"].level, found["source of people"].level) == ("warning", "warning")
    assert "3.0 days old" in found["checkpoint"].detail
    assert found["checkpoint"].mend
    assert found["source of people"].mend


def test_a_contradicting_chunk_count_is_a_problem(keyed_store: SubjectStore) -> None:
    """Both numbers are named, and the other examinations go on."""
    found = {one.name: one for one in diagnose(replace(keyed_store, wanted_chunks=7))}
    assert found["layout"].level == "problem"
    assert "7" in found["layout"].detail
    assert "4" in found["layout"].detail
    assert found["table"].level == "ok"


@pytest.mark.parametrize(
    ("operation", "part", "broken"),
    [("list", "catalog/", "access"), ("create", PROBES, "writing"), ("list", "inbox/", "inbox")],
)
def test_a_store_that_refuses_is_found_out_without_an_error(
    keyed_store: SubjectStore, operation: str, part: str, broken: str
) -> None:
    """What the store refuses is told where it happened; nothing is raised."""
    folder = keyed_store.location.local_path
    assert folder is not None
    objects = HookedLocal(folder)
    objects.around = failing(operation, part, StoreError("the store says no"))
    found = {one.name: one for one in diagnose(with_objects(keyed_store, objects))}
    assert found[broken].level == "problem"
    assert "the store says no" in found[broken].detail


def test_a_writer_that_may_not_delete_only_warns(keyed_store: SubjectStore) -> None:
    """That is what an append-only credential looks like."""
    folder = keyed_store.location.local_path
    assert folder is not None
    objects: Any = HookedLocal(folder)
    objects.around = failing("delete", PROBES, StoreError("denied"))
    found = levels(diagnose(with_objects(keyed_store, objects)))
    assert (found["writing"], found["conditional writes"]) == ("warning", "ok")


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ({"name": ["A"]}, "no column named 'id'"),
        ({"id": [1.5]}, "unsupported key column type"),
        ({"id": [[1]]}, "unsupported key column type"),
    ],
)
def test_a_key_column_that_cannot_form_ids_is_a_problem(
    keyed_store: SubjectStore, rows: dict[str, list[Any]], words: str
) -> None:
    """The source is opened: a column that is not there, or of a type that forms no ids, is found before the run."""
    pl.DataFrame(rows).write_parquet(keyed_store.catalog.datasets()[0].source)
    (found,) = [one for one in diagnose(keyed_store) if one.name == "source of people"]
    assert found.level == "problem"
    assert words in found.detail
    assert "key column" in found.mend


def test_a_source_that_is_fine_says_its_rows_and_key_column(keyed_store: SubjectStore) -> None:
    """What was looked at is said."""
    (found,) = [one for one in diagnose(keyed_store) if one.name == "source of people"]
    assert "50 rows" in found.detail
    assert "key column 'id' can form ids" in found.detail


def test_one_bad_source_stops_no_other(keyed_store: SubjectStore, tmp_path: Path) -> None:
    """A damaged declaration, a damaged file and a foreign object are findings, and the next source is looked at."""
    (tmp_path / "bad.parquet").write_bytes(b"no parquet")
    keyed_store.register(DatasetDeclaration(name="bad", source=str(tmp_path / "bad.parquet"), key_column="id"))
    keyed_store.objects.replace("catalog/datasets/broken.json", b"{")
    keyed_store.objects.replace("catalog/datasets/no name.json", b"{}")
    found = levels(diagnose(keyed_store))
    assert [found[f"source of {name}"] for name in ("bad", "broken", "no name", "people")] == [*["problem"] * 3, "ok"]


class _Panic(BaseException):
    """What a library's panic in Rust looks like."""


@pytest.mark.parametrize("error", [ValueError("odd http://u:not-shown@h\nmore"), _Panic("a panic"), MemoryError()])
@pytest.mark.parametrize(
    ("where", "name"),
    [
        ("_access", "access"),
        ("_probes", "writing"),
        ("_layout", "layout"),
        ("_key_ring", "key ring"),
        ("_checkpoint", "checkpoint"),
        ("_table", "table"),
        ("_inbox", "inbox"),
        ("_source", "source of people"),
    ],
)
def test_whatever_is_raised_is_a_finding(
    keyed_store: SubjectStore,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    name: str,
    error: BaseException,
) -> None:
    """An examination that fails in a way that nobody thought of is a problem of its own, and the others go on."""

    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(doctor, where, fails)
    found = {one.name: one for one in diagnose(keyed_store)}
    assert found[name].level == "problem"
    assert type(error).__name__ in found[name].detail
    assert "not-shown" not in found[name].detail
    assert where == "_access" or len(found) >= 8


def test_a_table_of_many_small_files_is_a_warning_that_counts_chunks(
    keyed_store: SubjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunks are counted, not the commits that compact them."""
    monkeypatch.setattr(doctor, "_CROWDED", 1)
    layout = keyed_store.layout_or_create().chunks
    table = ManifestTable(keyed_store)
    for chunk in layout.names[:2]:
        for candidate_id in people(chunk, 2):
            table.snapshot_or_create().insert(to_rows([manifest(candidate_id)], layout))
    found = {one.name: one for one in doctor.diagnose(keyed_store)}
    assert found["table"].level == "warning"
    assert "; 2 chunks have more than 1 files" in found["table"].detail


@pytest.mark.parametrize(
    ("said", "level", "word"),
    [
        (None, "warning", "cannot be read"),
        ("telemetry: {enabled: false}", "warning", "no limit"),
        ("concurrency: {pools: {default_limit: 1}}", "warning", "back from a run that died"),
        (
            "concurrency: {pools: {default_limit: 1}}\nrun_monitoring: {free_slots_after_run_end_seconds: 60}",
            "ok",
            "limit of 1",
        ),
    ],
)
def test_an_instance_that_gives_pools_no_limit_is_named(
    keyed_store: SubjectStore, tmp_path: Path, said: str | None, level: str, word: str
) -> None:
    """The limit is the instance's own setting, and without it nothing keeps two verifications apart."""
    if said is not None:
        (tmp_path / "dagster.yaml").write_text(said, encoding="utf-8")
    (found,) = [one for one in diagnose(keyed_store, dagster_home=tmp_path) if one.name == "dagster"]
    assert found.level == level
    assert word in found.detail
    assert bool(found.mend) == (level == "warning")


def test_this_projects_instances_give_pools_a_limit(keyed_store: SubjectStore, tmp_path: Path) -> None:
    """That of `make dev`, on Postgres, and with Celery."""
    for number, name in enumerate(("dagster.yaml", "deploy/dagster.postgres.yaml", "deploy/celery/dagster.yaml")):
        home = tmp_path / str(number)
        home.mkdir()
        shutil.copy(Path(__file__).resolve().parents[1] / name, home / "dagster.yaml")
        assert levels(diagnose(keyed_store, dagster_home=home))["dagster"] == "ok", name
