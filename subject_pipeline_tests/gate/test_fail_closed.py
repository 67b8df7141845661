import datetime as dt
import shutil
import threading
from collections.abc import Callable
from typing import Any

import pytest
from deltalake import write_deltalake

from subject_pipeline.audit.log import AuditLog
from subject_pipeline.errors import DeniedError, PolicyError, StoreError, WithheldError
from subject_pipeline.gate import Reason, SubjectGate
from subject_pipeline.gate import cache as gate_cache
from subject_pipeline.gate.cache import Moment, read_clocks
from subject_pipeline.gate.policy_file import read_policy
from subject_pipeline.manifests.frames import to_manifest, to_rows
from subject_pipeline.manifests.manifest import SubjectManifest
from subject_pipeline.manifests.table import ManifestTable
from subject_pipeline_tests.gate.test_gate import record
from subject_pipeline_tests.helpers.audit_stores import LAYOUT, Place, failing
from subject_pipeline_tests.helpers.gated import GIVEN, POLICY, Gated

WHO, NUMBER = "W-1", 1
CHUNK = LAYOUT.chunk_of(WHO)


def _overwrite(folder: Place, pattern: str) -> None:
    found = list(folder.folder.glob(pattern))
    assert found
    for path in found:
        path.write_bytes(b"\x00" * 40)


def _rewrite(gated: Gated, **changes: Any) -> None:
    """What somebody does who can write the bucket: the table has another manifest, and no row says so."""
    table = ManifestTable(gated.place.store)
    snapshot = table.snapshot()
    assert snapshot is not None
    (row,) = snapshot.rows([CHUNK]).filter(candidate_id=WHO).iter_rows(named=True)
    document = to_manifest(row).as_json()
    snapshot.upsert(to_rows([SubjectManifest.parse({**document, **changes})], LAYOUT))


def _withdrawal_undone(gated: Gated) -> None:
    gated.withdraw(WHO)
    _rewrite(gated, consent=GIVEN["consent"])


def _classified_by_hand(gated: Gated) -> None:
    gated.put(WHO, vertical="unknown")
    gated.decide(WHO, "interaction")
    _rewrite(gated, vertical="general")


def _twice(gated: Gated) -> None:
    """A second row of the same person, which no writer of ours makes."""
    snapshot = ManifestTable(gated.place.store).snapshot()
    assert snapshot is not None
    mine = snapshot.rows([CHUNK]).filter(candidate_id=WHO)
    write_deltalake(str(gated.place.folder / "subjects"), mine.to_arrow(), mode="append")


CELLS: dict[str, tuple[Callable[[Gated], object], Reason]] = {
    "unknown subject": (lambda gated: gated.place.registry().delete(WHO), Reason.UNKNOWN_SUBJECT),
    "erased": (lambda gated: gated.erase(WHO), Reason.UNKNOWN_SUBJECT),
    "unknown vertical": (lambda gated: gated.put(WHO, vertical="unknown"), Reason.VERTICAL_NOT_ALLOWED),
    "another vertical": (
        lambda gated: gated.decide(WHO, "classified", vertical="healthcare"),
        Reason.VERTICAL_NOT_ALLOWED,
    ),
    "consent pending": (lambda gated: gated.put(WHO, consent={}), Reason.CONSENT_MISSING),
    "consent refused": (
        lambda gated: gated.put(WHO, consent={"general_pii": {"status": "refused"}}),
        Reason.CONSENT_MISSING,
    ),
    "withdrawn": (lambda gated: gated.withdraw(WHO), Reason.CONSENT_WITHDRAWN),
    "restricted": (lambda gated: gated.decide(WHO, "restricted"), Reason.RESTRICTED),
    "ordered to be erased": (lambda gated: gated.decide(WHO, "erasure_ordered"), Reason.ERASURE_ORDERED),
    "the table's log is damaged": (
        lambda gated: _overwrite(gated.place, "subjects/_delta_log/*.json"),
        Reason.UNREADABLE,
    ),
    "the manifests' file is damaged": (
        lambda gated: _overwrite(gated.place, f"subjects/chunk={CHUNK}/*.parquet"),
        Reason.UNREADABLE,
    ),
    "the manifests' file is gone": (
        lambda gated: [path.unlink() for path in gated.place.folder.glob(f"subjects/chunk={CHUNK}/*.parquet")],
        Reason.UNREADABLE,
    ),
    "a withdrawal that somebody undid in the table": (_withdrawal_undone, Reason.CONSENT_WITHDRAWN),
    "a manifest that the log does not explain": (_classified_by_hand, Reason.UNREADABLE),
    "two manifests of one person": (_twice, Reason.UNREADABLE),
    "a status that nobody knows": (lambda gated: gated.put(WHO, status="frozen"), Reason.UNREADABLE),
    "a manifest from the future": (
        lambda gated: gated.put(WHO, updated_at="2099-01-01T00:00:00.000000Z"),
        Reason.UNREADABLE,
    ),
}


@pytest.mark.parametrize(("breaking", "reason"), CELLS.values(), ids=CELLS)
def test_whoever_may_not_be_shown_is_not_asked_about(
    gated: Gated, breaking: Callable[[Gated], object], reason: Reason
) -> None:
    """Before the call: the tool is not called, and the denial is on record."""
    breaking(gated)
    with gated.opened() as gate, pytest.raises(DeniedError) as denied:
        gate.guard("read", _never, subjects=[WHO], purpose="scheduling")
    assert (denied.value.reasons, denied.value.recorded) == ({WHO: reason}, True)
    assert gated.results(WHO) == [reason]


@pytest.mark.long
@pytest.mark.parametrize(("breaking", "reason"), CELLS.values(), ids=CELLS)
@pytest.mark.parametrize("asked", [True, False], ids=["asked about", "named in the answer"])
def test_whoever_may_not_be_shown_any_more_is_not_shown(
    gated: Gated, breaking: Callable[[Gated], object], reason: Reason, asked: bool
) -> None:
    """After the call: it became so meanwhile, or the answer names them though nobody asked."""
    with gated.open(POLICY + "max_age: 0s\n") as gate:
        permit = gate.before("read", subjects=[WHO] if asked else [], purpose="scheduling")
        breaking(gated)
        with pytest.raises(WithheldError, match=reason):
            gate.after("read", record(NUMBER), permit=permit)
        assert gate.after("list", [record(NUMBER), record(2)], permit=_again(gate)) in ([record(2)], [])
    assert set(gated.results(WHO)) == {reason}


def _again(gate: SubjectGate) -> Any:
    return gate.before("list", purpose="scheduling")


def _never() -> Any:
    pytest.fail("the tool was called")


@pytest.mark.parametrize("purpose", ["marketing", None, "", "Scheduling"])
def test_an_unknown_purpose_denies_everybody(gated: Gated, purpose: str | None) -> None:
    """Nothing is read for it."""
    with gated.opened() as gate:
        gated.place.objects.around = failing("get", "catalog", StoreError("no"))
        with pytest.raises(DeniedError) as denied:
            gate.guard("read", _never, subjects=[WHO, "W-9"], purpose=purpose)
    assert denied.value.reasons == dict.fromkeys([WHO, "W-9"], "purpose_not_allowed")
    assert gated.results(WHO) == gated.results("W-9") == ["purpose_not_allowed"]


def test_a_policy_that_cannot_be_read_opens_no_gate(gated: Gated) -> None:
    """Damaged, gone, or saying what no policy can say."""
    for content in (b"\xff", b"purposes: {}", b"purposes: ["):
        gated.policy.write_bytes(content)
        with pytest.raises(PolicyError):
            SubjectGate.open(str(gated.place.folder), policy=gated.policy, key_ring=gated.place.ring.path)
    gated.policy.unlink()
    with pytest.raises(PolicyError):
        SubjectGate.open(str(gated.place.folder), policy=gated.policy, key_ring=gated.place.ring.path)


class Clocks:
    """Clocks that a test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monotonic = self.wall = 0.0
        monkeypatch.setattr(gate_cache.ManifestCache.__init__, "__defaults__", (self.read,))

    def read(self) -> Moment:
        """So many seconds later than it is."""
        now = read_clocks()
        return Moment(now.monotonic + self.monotonic, now.wall + self.wall)


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    """The clocks by which what is in memory becomes old."""
    return Clocks(monkeypatch)


BROKEN = {
    "the store is down": lambda place: setattr(place.objects, "around", _down),
    "the log is damaged": lambda place: _overwrite(place, f"audit/{CHUNK}/*.jsonl"),
}


def _down(_operation: str, _key: str, _run: Callable[[], Any]) -> Any:
    raise StoreError("the store does not answer")


AGED = {
    "a second later": ((1.0, 1.0), True),
    "later than max_age": ((5.1, 5.1), False),
    "the machine slept": ((0.1, 60.0), False),
    "the clock went back": ((1.0, -0.5), False),
}


@pytest.mark.parametrize(("passed", "is_allowed"), AGED.values(), ids=AGED)
def test_what_is_in_memory_counts_for_a_bounded_time(
    gated: Gated, clocks: Clocks, passed: tuple[float, float], is_allowed: bool
) -> None:
    """While the store is down: until it is too old, or its age cannot be known; nothing is released in any case."""
    with gated.open() as gate:
        gate.before("read", subjects=[WHO], purpose="scheduling")
        clocks.monotonic, clocks.wall = passed
        shutil.move(gated.place.folder, gated.policy.parent / "elsewhere")
        gated.place.objects.around = _down
        if is_allowed:
            permit = gate.before("read", subjects=[WHO], purpose="scheduling")
            assert permit.allowed == (WHO,)
            with pytest.raises(WithheldError):
                gate.after("read", record(NUMBER), permit=permit)
            return
        with pytest.raises(DeniedError) as denied:
            gate.before("read", subjects=[WHO], purpose="scheduling")
    assert (denied.value.reasons, denied.value.recorded) == ({WHO: "unreadable"}, False)
    assert "could not be recorded" in str(denied.value)


@pytest.mark.parametrize("breaking", BROKEN.values(), ids=BROKEN)
def test_a_store_that_cannot_be_used_denies_and_says_that_nothing_is_on_record(
    gated: Gated, breaking: Callable[[Place], object]
) -> None:
    """Nobody is asked about, nobody is shown."""
    gated.withdraw(WHO)  # so that there is a log
    gated.decide(WHO, "consent_given", scope="general_pii", version="2")
    with gated.open(POLICY + "max_age: 0s\n") as gate:
        permit = gate.before("read", subjects=[WHO], purpose="scheduling")
    breaking(gated.place)
    with gated.open(POLICY + "max_age: 0s\n") as gate:
        with pytest.raises(DeniedError) as denied:
            gate.guard("read", _never, subjects=[WHO], purpose="scheduling")
        with pytest.raises(WithheldError):
            gate.after("read", record(NUMBER), permit=permit)
        with pytest.raises(WithheldError):
            gate.after("read", {"status": "late"}, permit=permit)
    assert (denied.value.reasons, denied.value.recorded) == ({WHO: "unreadable"}, False)


def test_denials_that_cannot_be_recorded_allow_nobody(gated: Gated) -> None:
    """Though some may be shown."""
    gated.withdraw("W-2")
    with gated.open() as gate:
        gate.before("read", subjects=[WHO, "W-3"], purpose="scheduling")
        gated.place.objects.around = failing("create", "audit/", StoreError("full"))
        with pytest.raises(WithheldError, match="could not be recorded: full") as withheld:
            gate.before("read", subjects=[WHO, "W-2"], purpose="scheduling")
    assert not isinstance(withheld.value, DeniedError)


BACK = {"a little": (dt.timedelta(minutes=-4), None), "a lot": (dt.timedelta(hours=-1), Reason.UNREADABLE)}


@pytest.mark.long
@pytest.mark.parametrize(("ahead", "reason"), BACK.values(), ids=BACK)
def test_a_clock_behind_that_of_whoever_decided(gated: Gated, ahead: dt.timedelta, reason: Reason | None) -> None:
    """By as much as clocks differ, the row has the decision's time; by more, nobody can be judged by it."""
    gated.withdraw(WHO)
    gated.decide(WHO, "consent_given", scope="general_pii", version="2")
    gated.policy.write_text(POLICY)
    log = AuditLog(gated.place.store, clock=lambda: dt.datetime.now(dt.UTC) + ahead)
    with SubjectGate(log, read_policy(gated.policy), actor="assistant") as gate:
        if reason is not None:
            with pytest.raises(DeniedError) as denied:
                gate.before("read", subjects=[WHO], purpose="scheduling")
            assert denied.value.reasons == {WHO: reason}
            return
        gate.after("read", record(NUMBER), permit=gate.before("read", subjects=[WHO], purpose="scheduling"))
    (row,) = gated.rows(WHO)
    assert row["ts"] == gated.place.registry().get(WHO).as_json()["updated_at"]


@pytest.mark.long
@pytest.mark.parametrize("in_what", ["the table", "the log"])
def test_a_store_that_hangs_denies_in_time(gated: Gated, in_what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As does one that hangs while the denial is recorded."""
    go = threading.Event()
    if in_what == "the table":
        snapshot = ManifestTable.snapshot
        monkeypatch.setattr(ManifestTable, "snapshot", lambda table: go.wait(20) and snapshot(table))
    else:
        gated.withdraw(WHO)

        def around(operation: str, key: str, run: Callable[[], Any]) -> Any:
            if (operation, key.startswith("audit/")) == ("create", True):
                go.wait(20)
            return run()

        gated.place.objects.around = around
    try:
        with gated.open(POLICY + "timeout: 1s\n") as gate:
            with pytest.raises(DeniedError) as denied:
                gate.guard("read", _never, subjects=[WHO], purpose="scheduling")
            assert not denied.value.recorded
            assert denied.value.reasons == {WHO: "unreadable"}
            go.set()
    finally:
        go.set()
