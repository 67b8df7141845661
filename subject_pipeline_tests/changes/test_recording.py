"""What the registry records of a change, and what it refuses to record."""

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from subject_pipeline.anchoring.checkpointing import write_checkpoint
from subject_pipeline.changes.evidence import ManifestEvidence
from subject_pipeline.errors import ConflictError, ManifestError
from subject_pipeline.keys.rotation import rotate_ring
from subject_pipeline.manifests.commits import Commits
from subject_pipeline.registry.backfill import backfill
from subject_pipeline.registry.imports.importing import import_manifests
from subject_pipeline.registry.maintenance import compact
from subject_pipeline_tests.conftest import Declared
from subject_pipeline_tests.helpers.audit_stores import LAYOUT, Place, assert_sound, event, manifest, people
from subject_pipeline_tests.helpers.recorded import decisions_of, hash_of, registry_rows_of, replay, table_of

P, *OTHERS = people(0, 40)
FUTURE = "2099-01-01T00:00:00.000000Z"


def lines(place: Place, *documents: dict[str, Any]) -> Path:
    """A file to import."""
    path = place.folder.parent / "in.jsonl"
    path.write_text("".join(f"{json.dumps(one)}\n" for one in documents))
    return path


def imported(place: Place, *documents: dict[str, Any]) -> tuple[int, int, int, int]:
    """Import manifests: inserted, replaced, unchanged, failed."""
    done = import_manifests(place.store, lines(place, *documents), evidence=place.evidence())
    assert done.manifests == len(documents)
    return done.inserted, done.replaced, done.unchanged, done.failed


def document(candidate_id: str, **fields: Any) -> dict[str, Any]:
    """A manifest's JSON."""
    return manifest(candidate_id, **fields).as_json()


def test_a_row_holds_what_the_change_set(place: Place) -> None:
    """Fields that are as they were are left out, those that went are null; `recorded_at` is the `updated_at`."""
    place.registry().put(manifest(P, newer={"a": 1}, other="x"))
    assert registry_rows_of(place.objects) == [], "a first registration needs no row"
    place.registry().put(manifest(P, status="restricted", newer={"a": 2}))
    (row,) = registry_rows_of(place.objects)

    there = place.registry().get(P)
    assert row["manifest_sha256"] == hash_of(there.as_json())
    decision = row["decision"]
    assert decision["kind"] == "replaced"
    assert decision["recorded_at"] == there.as_json()["updated_at"]
    assert decision["changes"] == {
        "status": "restricted",
        "newer": {"a": 2},
        "other": None,
        "updated_at": decision["recorded_at"],
    }


@pytest.mark.parametrize("how", ["put", "import", "register"])
def test_whoever_comes_back_is_recorded_whole(place: Place, declared: Declared, how: str) -> None:
    """By every path, with a kind of its own and a time after the deletion's."""
    people_of_one = declared([P])
    backfill(place.store, people_of_one, evidence=place.evidence())
    place.registry().delete(P)
    if how == "put":
        assert place.registry().put(manifest(P)) is True
    elif how == "import":
        assert imported(place, document(P)) == (1, 0, 0, 0)
    else:
        assert backfill(place.store, people_of_one, evidence=place.evidence()).counts.inserted == 1

    gone, back = registry_rows_of(place.objects, P)
    assert (gone["decision"].keys(), back["decision"]["kind"]) == ({"kind", "recorded_at"}, "registered")
    assert back["decision"]["changes"] == table_of(place.store)[P]
    assert (
        back["decision"]["recorded_at"] == back["decision"]["changes"]["updated_at"] > gone["decision"]["recorded_at"]
    )
    assert_sound(place)


@pytest.mark.long
@pytest.mark.parametrize("how", ["put", "import", "register"])
def test_times_grow_although_the_clock_goes_back(place: Place, declared: Declared, how: str) -> None:
    """A microsecond after the last, anyone who had a clock that was ahead: of a change, a deletion and a return."""
    people_of_one = declared([P])

    def again() -> None:
        if how == "put":
            place.registry().put(manifest(P, vertical="general"))
        elif how == "import":
            imported(place, document(P, vertical="general"))
        else:
            backfill(place.store, people_of_one, evidence=place.evidence())

    place.registry().put(manifest(P, updated_at=FUTURE))
    if how != "register":
        again()
    place.registry().delete(P)
    again()
    times = [row["decision"]["recorded_at"] for row in registry_rows_of(place.objects, P)]
    first = 2 if how == "register" else 1
    assert times == [f"2099-01-01T00:00:00.00000{at}Z" for at in range(1, len(times) + 1)]
    assert len(times) == (2 if first == 2 else 3)
    assert table_of(place.store)[P]["updated_at"] == times[-1]
    assert_sound(place)


@pytest.mark.long
def test_the_end_of_time_stops_nobody(place: Place) -> None:
    """A manifest of the last moment that there is can be changed and deleted."""
    last = "9999-12-31T23:59:59.999999Z"
    place.registry().put(manifest(P, updated_at=last))
    place.registry().put(manifest(P, status="restricted"))
    assert imported(place, document(P, status="restricted", vertical="general")) == (0, 1, 0, 0)
    assert table_of(place.store)[P]["updated_at"] == last
    place.registry().delete(P)
    place.registry().put(manifest(P))
    assert_sound(place)


UNRECORDABLE = {
    "a fraction": ({"newer": 1.5}, "'newer' holds a number with a fraction"),
    "a fraction within": ({"newer": [{"x": 1e20}]}, "'newer' holds a number with a fraction"),
    "null": ({"newer": None}, "'newer' is null: leave it out"),
    "too large": ({"newer": 2**53}, "2\\^53"),
    "too long": ({"newer": "x" * (1 << 20)}, "1,048,576"),
}


@pytest.mark.long
@pytest.mark.parametrize(("fields", "words"), UNRECORDABLE.values(), ids=UNRECORDABLE)
def test_what_no_row_can_hold_is_refused_where_a_row_is_needed(
    place: Place, fields: dict[str, Any], words: str
) -> None:
    """In words, and nothing is written; a first registration holds it, and a change of anything else leaves it."""
    place.registry().put(manifest(P))
    with pytest.raises(ManifestError, match=words):
        place.registry().put(manifest(P, **fields))
    report = import_manifests(
        place.store, lines(place, document(P, **fields), document(OTHERS[0], **fields)), evidence=place.evidence()
    )
    assert (report.inserted, report.replaced, report.failed) == (1, 0, 1)
    assert words.replace("\\", "") in report.failures[0].reason
    assert registry_rows_of(place.objects) == []
    assert table_of(place.store)[OTHERS[0]]["newer"] == fields["newer"]

    other = table_of(place.store)[OTHERS[0]]
    assert imported(place, other | {"status": "restricted"}) == (0, 1, 0, 0)
    place.registry().put(manifest(OTHERS[0], vertical="general", **fields))
    assert ["newer" in row["decision"]["changes"] for row in registry_rows_of(place.objects)] == [False, False]
    assert_sound(place)
    place.registry().delete(OTHERS[0])
    with pytest.raises(ManifestError, match=words):
        place.registry().put(manifest(OTHERS[0], **fields))
    assert_sound(place)


@pytest.mark.parametrize(("before", "after"), [(1, True), (0, False), ([1], [True]), ({"a": 0}, {"a": False})])
def test_one_and_true_are_two_things(place: Place, before: Any, after: Any) -> None:
    """Python finds them equal; a replay would miss the change."""
    place.registry().put(manifest(P, newer=before))
    place.registry().put(manifest(P, newer=after))
    (row,) = registry_rows_of(place.objects)
    assert json.dumps(row["decision"]["changes"]["newer"]) == json.dumps(after)
    assert_sound(place)


def test_integers_of_a_newer_writer_survive_an_import_of_something_else(place: Place) -> None:
    """Beyond 64 bits too: the hash that is recorded is the table's."""
    imported(place, document(P, newer=2**70))
    assert imported(place, document(P, newer=2**70, status="restricted")) == (0, 1, 0, 0)
    assert table_of(place.store)[P]["newer"] == 2**70
    assert_sound(place)


def _conflicting(patch: pytest.MonkeyPatch, times: int, meanwhile: Callable[[], object] = lambda: None) -> list[int]:
    """The next commits to the table lose a race."""
    real, lost = Commits.settle, [0]

    def settle(self: Commits, *args: Any, **named: Any) -> None:
        if lost[0] < times:
            lost[0] += 1
            if lost[0] == 1:
                meanwhile()
            raise ConflictError("another writer won")
        real(self, *args, **named)

    patch.setattr(Commits, "settle", settle)
    return lost


@pytest.mark.long
def test_an_import_counts_exactly_although_its_commits_lose_races(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was recorded before the race counts as done, and is neither recorded nor counted again."""
    new, back, changed, same, float_, *_ = OTHERS
    assert imported(place, *map(document, (back, changed, same, float_))) == (4, 0, 0, 0)
    place.registry().delete(back)
    documents = [
        document(new),
        document(back),
        document(changed, status="restricted"),
        document(same),
        document(float_, newer=1.5),
        document(changed, status="erasure_ordered"),
    ]
    lost = _conflicting(monkeypatch, 3)
    assert imported(place, *documents) == (2, 1, 2, 1)
    assert lost == [3]
    monkeypatch.undo()
    assert [decisions_of(place.objects, one) for one in (new, back, changed, same, float_)] == [
        [], ["deleted", "registered"], ["replaced"], [], [],
    ]  # fmt: skip
    assert table_of(place.store)[changed]["status"] == "erasure_ordered"
    assert_sound(place)


@pytest.mark.long
def test_an_import_whose_second_segment_is_overtaken_counts_its_first(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of one chunk that take several segments: what the first has stands, and the rest is decided again."""
    monkeypatch.setattr("subject_pipeline.audit.group_commit.MAX_ROWS", 10)
    crowd = OTHERS[:30]
    for one in crowd:
        place.registry().put(manifest(one))
    late = crowd[15]
    real = ManifestEvidence.record
    waiting = [lambda: place.registry().put(manifest(late, vertical="healthcare"))]

    def record(self: ManifestEvidence, *args: Any, **options: Any) -> None:
        if waiting:
            waiting.pop()()
        real(self, *args, **options)

    monkeypatch.setattr(ManifestEvidence, "record", record)
    assert imported(place, *(document(one, status="restricted") for one in crowd)) == (0, 30, 0, 0)
    assert all(decisions_of(place.objects, one) == ["replaced"] * (1 + (one == late)) for one in crowd)
    assert {one["vertical"] for one in table_of(place.store).values()} == {"unknown"}
    assert_sound(place)


@pytest.mark.long
def test_an_import_that_loses_its_storage_key_after_recording_is_one_failure(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recorded as registered again, and then another id is there: failed, and nothing else."""
    slash = next(
        one for one in (f"C/{number}" for number in range(99)) if LAYOUT.chunk_of(one.replace("/", "_")) == "chunk-0"
    )
    place.registry().put(manifest(slash))
    place.registry().delete(slash)
    real = Commits.settle

    def other() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Commits, "settle", real)
            place.registry().put(manifest(slash.replace("/", "_")))

    _conflicting(monkeypatch, 1, other)
    assert imported(place, document(slash)) == (0, 0, 0, 1)
    assert table_of(place.store).keys() == {slash.replace("/", "_")}


@pytest.mark.long
def test_every_row_of_a_whole_story_can_be_replayed(place: Place, declared: Declared) -> None:
    """Registered, imported, put, deleted, back again, under rotated keys and between checkpoints and compactions."""
    everybody = [P, *OTHERS[:8], *people(1, 4), *people(2, 4)]
    source = declared(everybody)
    backfill(place.store, source, evidence=place.evidence())
    first = table_of(place.store)
    place.append(*(event(one, f"e-{one}") for one in everybody[::2]))
    imported(place, *(first[one] | {"vertical": "general", "newer": {"of": one, "n": 1}} for one in everybody[::3]))
    write_checkpoint(place.fresh_store())
    for one in everybody[:6]:
        place.registry().delete(one)
    rotate_ring(place.ring.path, b"r" * 32)
    place.registry().put(manifest(everybody[0], status="restricted"))
    assert backfill(place.store, source, evidence=place.evidence()).counts.inserted == 5
    imported(place, *(document(one, status="erasure_ordered") for one in everybody[1:4]))
    place.registry().put(place.registry().get(everybody[4]).model_copy(update={"status": "restricted"}))
    compact(place.store, place.evidence())
    write_checkpoint(place.fresh_store())
    imported(place, *(one | {"updated_at": FUTURE} for one in table_of(place.store).values()))
    place.registry().delete(everybody[7])
    imported(place, document("NEW-1", audit_log_path="elsewhere", audit_log_chain_root="ab" * 32))
    first["NEW-1"] = table_of(place.store)["NEW-1"]

    assert replay(place.objects, first) == table_of(place.store)
    assert len(registry_rows_of(place.objects)) >= 20
    assert_sound(place)


def test_a_change_says_when_by_the_writers_clock(place: Place) -> None:
    """The row's own time is when it was written, whatever the manifest says of itself."""
    place.registry().put(manifest(P))
    before = dt.datetime.now(dt.UTC)
    place.registry().put(manifest(P, status="restricted"))
    (row,) = registry_rows_of(place.objects)
    assert before <= dt.datetime.fromisoformat(row["ts"]) <= dt.datetime.now(dt.UTC)
    assert row["decision"]["recorded_at"] == row["decision"]["changes"]["updated_at"] < row["ts"]
