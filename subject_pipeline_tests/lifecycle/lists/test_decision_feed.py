import json
from pathlib import Path

import pytest

from subject_pipeline.decisions.decision import Kind
from subject_pipeline.errors import AuditLogError
from subject_pipeline.keys.ring_file import KeyRingFile
from subject_pipeline.lifecycle.lists.decision_feed import FEED_SCHEMA, FeedConditions, feed_frame, recorded_decisions
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline_tests.conftest import Prepared
from subject_pipeline_tests.helpers.lives import days_ago, life
from subject_pipeline_tests.helpers.recorded_lives import LivedStore


def _much_decided(folder: Path) -> None:
    found = LivedStore.in_folder(folder)
    found.put(*(life(f"W-{number}") for number in range(3)))
    found.decide(Kind.INTERACTION, "W-1", ts=days_ago(1))
    found.decide(Kind.CLASSIFIED, "W-0", vertical="general", reason="form 7")
    found.decide(Kind.CLASSIFIED, "W-1", vertical="healthcare", ts=days_ago(3))
    found.put(life("W-2", safe_views=["v"]))
    found.registry.delete("W-2")
    found.put(life("W-2"))
    found.decide(Kind.HOLD_PLACED, "W-2", hold_id="H")


@pytest.fixture
def lived(tmp_path: Path, ring: KeyRingFile, prepared: Prepared) -> LivedStore:
    """A store in which seven things were decided about three people of one chunk and of others."""
    prepared(_much_decided, tmp_path)
    return LivedStore.at(tmp_path / "store", ring, decided=4)


def feed(lived: LivedStore, **conditions: str) -> list[dict[str, object]]:
    """All decisions that meet conditions."""
    found = recorded_decisions(lived.store, lived.evidence, FeedConditions(**conditions))
    return [one for chunk in found for one in chunk]


@pytest.mark.long
def test_every_recorded_decision_once(lived: LivedStore) -> None:
    """Orders, and what the registry decides by itself; in each chunk in the order of recording."""
    chunks = list(recorded_decisions(lived.store, lived.evidence, FeedConditions()))

    assert sorted((one["candidate_id"], one["seq"], one["kind"]) for chunk in chunks for one in chunk) == [
        ("W-0", 0, "classified"),
        ("W-1", 0, "interaction"),
        ("W-1", 1, "classified"),
        ("W-2", 0, "replaced"),
        ("W-2", 1, "deleted"),
        ("W-2", 2, "registered"),
        ("W-2", 3, "hold_placed"),
    ]
    assert len(chunks) == 4
    for chunk in chunks:
        times = [one["recorded_at"] for one in chunk]
        assert times == sorted(times)


def test_a_decision_has_its_own_fields(lived: LivedStore) -> None:
    """The order, when it was recorded under which policies, and what it changed."""
    (found,) = feed(lived, subject="W-0")
    order = {name: found[name] for name in ("decision_id", "kind", "ts", "actor", "vertical", "reason")}
    assert order == {
        "decision_id": "d-1",
        "kind": "classified",
        "ts": days_ago(0),
        "actor": "dpo",
        "vertical": "general",
        "reason": "form 7",
    }
    changes = found["changes"]
    assert isinstance(changes, dict)
    assert changes["vertical"] == "general"
    assert found["policies_sha256"]


def test_conditions(lived: LivedStore) -> None:
    """Since goes by the time of recording, not by the decision's own, and includes it."""
    assert [one["candidate_id"] for one in feed(lived, kind="deleted")] == ["W-2"]
    late = feed(lived, subject="W-1", kind="classified")
    assert [one["ts"] for one in late] == [days_ago(3)]
    since = str(late[0]["recorded_at"])
    assert feed(lived, subject="W-1", since=since) == late
    assert feed(lived, subject="W-1", since=since[:-1] + "~") == []
    assert feed(lived, subject="nobody") == []


def test_columns(lived: LivedStore) -> None:
    """What has no column is not lost."""
    found = feed(lived)
    rows = feed_frame([*found, {"candidate_id": "x", "seq": 1, "kind": "linked", "dataset": {"name": "d"}}])

    assert rows.schema == FEED_SCHEMA
    assert rows["seq"].to_list() == [*(one["seq"] for one in found), 1]
    assert [json.loads(text) for text in rows["changes"].drop_nulls()] == [
        one["changes"] for one in found if "changes" in one
    ]
    assert rows["others"].to_list() == [None] * len(found) + ['{"dataset":{"name":"d"}}']
    assert feed_frame([]).schema == FEED_SCHEMA


def test_a_damaged_log_feeds_nothing(lived: LivedStore, ring: KeyRingFile) -> None:
    """Nobody downstream acts on the word of rows that no writer made."""
    local = lived.store.location.local_path
    assert local is not None
    for path in local.glob("audit/*/*.jsonl"):
        path.write_bytes(path.read_bytes().replace(b'"general"', b'"private"'))
    with pytest.raises(AuditLogError):
        feed(lived)


@pytest.mark.usefixtures("ring")
def test_a_store_that_has_no_log_has_no_decisions(store: SubjectStore) -> None:
    """And asking for them writes nothing."""
    assert feed(LivedStore(store)) == []
    assert store.layout() is None
