import datetime as dt
import json
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from subject_pipeline.anchoring.checkpointing import write_checkpoint
from subject_pipeline.anchoring.proving import prove
from subject_pipeline.audit.log import AuditLog
from subject_pipeline.audit.reading import show
from subject_pipeline.changes.evidence import ManifestEvidence
from subject_pipeline.checkpoints.proofs import ABSENCE, check_proof
from subject_pipeline.checkpoints.signed_notes import verifier_line
from subject_pipeline.checkpoints.tree.head import origin
from subject_pipeline.errors import (
    CheckpointError,
    ConflictError,
    IncompleteError,
    KeyRingError,
    StoreError,
    UnknownSubjectError,
)
from subject_pipeline.ingestion.rebuilding import rebuild
from subject_pipeline.keys.marks import marks_path
from subject_pipeline.keys.ring import KeyRing
from subject_pipeline.keys.ring_file import KeyRingFile, create_ring, replace_ring
from subject_pipeline.manifests.commits import Commits
from subject_pipeline.objects.local import LocalObjects
from subject_pipeline.registry.backfill import backfill
from subject_pipeline.registry.imports.importing import import_manifests
from subject_pipeline.registry.maintenance import compact
from subject_pipeline.registry.subjects import SubjectRegistry
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline.verification.by_processes import verify_by_processes
from subject_pipeline.verification.public_keys import PublicKeys
from subject_pipeline.verification.whole_store import verify
from subject_pipeline_tests.conftest import Declared, Prepared
from subject_pipeline_tests.helpers.audit_samples import canonical, leaf_of
from subject_pipeline_tests.helpers.tampering import (
    MODES as ALL_MODES,
)
from subject_pipeline_tests.helpers.tampering import (
    RING,
    SUBJECTS,
    TAMPERINGS,
    Auditee,
    Traces,
    change_a_row,
    drop_a_log,
    drop_the_tail,
    edit_a_manifest,
    edit_the_note,
    eight_subjects,
    event,
    found,
    manifest,
    traces,
)

MODES = pytest.mark.parametrize("incremental", [False, True], ids=["full", "incremental"])


@pytest.fixture
def auditee(tmp_path: Path, prepared: Prepared) -> Auditee:
    """Eight subjects with three rows each, one of them changed by the registry; anchored, then written on."""
    prepared(eight_subjects, tmp_path)
    return Auditee(tmp_path)


@MODES
def test_a_sound_store_is_sound(auditee: Auditee, incremental: bool) -> None:
    """Nothing is found, everything is counted, and the checkpoint is named."""
    report = auditee.verify(incremental=incremental)
    assert report.sound, found(report)
    assert report.intact == report.chains
    assert report.checkpoint is not None
    assert report.subjects == len(SUBJECTS)
    if not incremental:
        assert (report.chains, report.rows) == (len(SUBJECTS), 3 * len(SUBJECTS) + 2)


@pytest.mark.parametrize("mode", ALL_MODES)
@pytest.mark.parametrize("tampering", TAMPERINGS, ids=lambda one: one.__name__)
def test_tampering_is_found_and_named(auditee: Auditee, tampering: Callable[[Auditee], Traces], mode: str) -> None:
    """Each kind of tampering is found with its kind, and chains of other chunks are not accused.

    Anyone who has no keys finds it too: the one kind that is another is a row's text, found by the link to it. In
    parts, as several processes verify, the same is found.
    """
    expected = traces(tampering, auditee, mode)
    report = auditee.verify_as(mode)
    assert expected <= found(report)
    assert not report.sound
    if mode != "incremental":
        public = PublicKeys.of([auditee.line]) if mode == "public" else None
        store = SubjectStore.at(str(auditee.root), ring=KeyRingFile(auditee.ring.path))
        in_parts = verify_by_processes(store, public=public, processes=1)
        assert replace(in_parts, elapsed_s=0) == replace(report, elapsed_s=0)
    touched = {auditee.chunk(who) for who, _ in expected if who in SUBJECTS} | {who for who, _ in expected}
    assert {auditee.chunk(str(one.subject)) for one in report.broken_chains} <= touched


@pytest.mark.long
@pytest.mark.parametrize("tampering", [change_a_row, drop_the_tail, drop_a_log, edit_a_manifest, edit_the_note])
def test_nothing_red_turns_green(auditee: Auditee, tampering: Callable[[Auditee], Traces]) -> None:
    """However many checkpoints are asked for, what was found stays found."""
    expected = tampering(auditee)
    for _ in range(3):
        auditee.checkpoint()
    for incremental in (False, True):
        assert expected <= found(auditee.verify(incremental=incremental))


@pytest.mark.long
def test_a_change_vouches_for_the_manifest_that_it_found(auditee: Auditee) -> None:
    """A limit that the threat model states: found before the next change of the manifest, and not after it."""
    assert edit_a_manifest(auditee) <= found(auditee.verify())
    edited = auditee.registry.get("P-3")
    auditee.registry.put(edited.model_copy(update={"safe_views": ("workers_public",)}))
    assert auditee.verify().sound
    assert auditee.registry.get("P-3").status == "forgotten"


def test_a_damaged_roster_breaks_its_chunk_and_rows_are_still_judged(auditee: Auditee) -> None:
    """A roster that is gone is told for its chunk, whose rows are judged on their own."""
    chunk = auditee.chunk("P-3")
    (path,) = (auditee.root / "checkpoints" / "rosters" / chunk).iterdir()
    path.unlink()
    report = auditee.verify()
    assert found(report) == {(chunk, "bad_checkpoint")}
    assert report.intact == report.chains == len(SUBJECTS)
    auditee.append("P-3", "e-next")
    signed = auditee.checkpoint()
    assert signed.written is not None
    assert signed.carried == [chunk]
    assert signed.written.statement.carried == {chunk: 0}
    assert found(auditee.verify()) == {(chunk, "bad_checkpoint")}


def test_a_note_kept_elsewhere_finds_a_rollback(auditee: Auditee) -> None:
    """A store rolled back together with its checkpoints lacks a note that somebody kept."""
    shutil.copytree(auditee.root, auditee.folder / "earlier")
    written = auditee.checkpoint().written
    assert written is not None
    assert auditee.verify(known_notes=[written.note]).sound
    shutil.rmtree(auditee.root)
    shutil.copytree(auditee.folder / "earlier", auditee.root)
    create_ring(auditee.folder / "copy.json", RING.writer_copy())
    copy = KeyRingFile(auditee.folder / "copy.json")
    assert verify(auditee.store.with_ring(copy)).sound, "nothing in the store itself tells it"
    assert found(verify(auditee.store.with_ring(copy), known_notes=[written.note])) == {("store", "bad_checkpoint")}
    marks_path(auditee.folder / "ring.json").unlink()  # which would tell it too
    assert found(auditee.verify(known_notes=[written.note])) == {("store", "bad_checkpoint")}
    assert auditee.checkpoint(known_notes=[written.note]).written is None


def _update(auditee: Auditee) -> None:
    auditee.registry.put(manifest("P-4", status="moved"))


def _delete(auditee: Auditee) -> None:
    auditee.registry.delete("P-4")


def _delete_and_register_again(auditee: Auditee) -> None:
    auditee.registry.delete("P-4")
    auditee.registry.put(manifest("P-4", status="back"))


def _delete_and_put_back_the_same(auditee: Auditee) -> None:
    auditee.registry.delete("P-4")
    auditee.registry.put(manifest("P-4"))
    auditee.registry.delete("P-4")


def _import(auditee: Auditee) -> None:
    path = auditee.folder / "manifests.jsonl"
    path.write_text(
        manifest("P-4", status="restricted").to_json() + "\n" + manifest("P-new").to_json(), encoding="utf-8"
    )
    evidence = ManifestEvidence(auditee.store, "test")
    report = import_manifests(auditee.store, path, evidence=evidence)
    assert (report.inserted, report.replaced) == (1, 1)


def _compact(auditee: Auditee) -> None:
    compact(auditee.store)


def _rotate(auditee: Auditee) -> None:
    replace_ring(auditee.folder / "ring.json", RING.rotated(b"n" * 32))
    auditee.ring.reload()
    auditee.append("P-4", "e-rotated")


def _rebuild(auditee: Auditee) -> None:
    rebuild(auditee.store)
    auditee.append("P-4", "e-rebuilt")


HONEST = [_update, _delete, _delete_and_register_again, _delete_and_put_back_the_same, _import, _compact, _rotate,
          _rebuild]  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("operation", HONEST, ids=lambda one: one.__name__.strip("_"))
def test_no_honest_operation_raises_an_alarm(auditee: Auditee, operation: Callable[[Auditee], None]) -> None:
    """Before and after the next checkpoint, in full and incrementally, nothing is found."""
    operation(auditee)
    for _ in range(2):
        for incremental in (True, False):
            report = auditee.verify(incremental=incremental)
            assert report.sound, found(report)
        assert auditee.checkpoint().verification.sound


@pytest.mark.long
def test_a_subject_registered_again_by_a_backfill_is_announced(auditee: Auditee, declared: Declared) -> None:
    """After a deletion a backfill announces who comes back, with their manifest; a second deletion likewise."""
    dataset = declared(["4", "new"], candidate_id_prefix="P-")
    auditee.store.register(dataset)
    auditee.registry.delete("P-4")
    assert backfill(auditee.store, dataset, limit=None, evidence=auditee.evidence()).counts.inserted == 2
    assert auditee.verify().sound
    assert auditee.checkpoint().verification.sound
    auditee.registry.delete("P-4")
    for incremental in (True, False):
        assert auditee.verify(incremental=incremental).sound
    actions = [row["row"]["action"] for row in show(auditee.store, "P-4")]
    assert actions[-3:] == ["manifest_deleted", "manifest_updated", "manifest_deleted"]
    assert "P-new" not in auditee.log.chunk_state(auditee.chunk("P-new")).chains(["P-new"]), "a first one needs no row"


@pytest.mark.long
@pytest.mark.parametrize("operation", [_update, _delete])
def test_an_operation_killed_between_its_steps_is_unapplied_until_it_is_run_again(
    auditee: Auditee, operation: Callable[[Auditee], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recorded and not done is told as such, survives a checkpoint, and is settled by running it again."""

    def killed(*_: object) -> None:
        raise StoreError("killed here")

    with monkeypatch.context() as patch:
        patch.setattr(Commits, "settle", killed)
        with pytest.raises(IncompleteError, match=r"run it again to complete it.*killed here"):
            operation(auditee)
    for incremental in (False, True):
        young = auditee.verify(incremental=incremental)
        assert (young.sound, [one.candidate_id for one in young.pending]) == (True, ["P-4"])
        assert found(auditee.verify(incremental=incremental, clock=_later)) == {("P-4", "unapplied")}
    signed = auditee.checkpoint()
    assert (signed.carried, signed.pending) == ([], [auditee.chunk("P-4")])
    assert auditee.checkpoint(clock=_later).carried == [auditee.chunk("P-4")]
    before = len(show(auditee.store, "P-4"))
    operation(auditee)
    again = int(operation is not _delete)  # a put is decided again, on what was recorded; a deletion was recorded
    assert len(show(auditee.store, "P-4")) == before + again
    for incremental in (False, True):
        assert auditee.verify(incremental=incremental).sound
    assert auditee.checkpoint(clock=_later).verification.sound


def _later() -> dt.datetime:
    """Longer after now than an announcement counts as just made."""
    return dt.datetime.now(dt.UTC) + dt.timedelta(minutes=6)


@pytest.mark.long
def test_two_updates_that_cross_agree_with_the_log(auditee: Auditee) -> None:
    """Whichever wins, the manifest is the one that the last row announces."""

    def update(status: str) -> None:
        for number in range(5):
            auditee.registry.put(manifest("P-4", status=f"{status}-{number}"))

    threads = [threading.Thread(target=update, args=[status]) for status in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for incremental in (False, True):
        report = auditee.verify(incremental=incremental)
        assert report.sound, found(report)


@pytest.mark.long
@pytest.mark.parametrize("rounds", [4, pytest.param(16, marks=pytest.mark.real)])
def test_verifications_beside_writers_raise_no_alarm(auditee: Auditee, rounds: int) -> None:  # noqa: C901 - it does much at once
    """Appends, updates, deletions, compactions and checkpoints go on while full and incremental verifications run."""
    stop = threading.Event()
    failures: list[BaseException] = []

    def work(act: Callable[[int], None]) -> None:
        number = 0
        while not stop.is_set():
            try:
                act(number)
            except ConflictError:
                pass
            except BaseException as error:  # noqa: BLE001 - told below
                failures.append(error)
                return
            number += 1

    def changes(number: int) -> None:
        auditee.registry.put(manifest("P-5", status=f"s-{number}"))
        auditee.registry.put(manifest("P-6"))
        auditee.registry.delete("P-6")

    def upkeep(number: int) -> None:
        auditee.checkpoint()
        if number % 3 == 0:
            compact(auditee.store)

    acts: list[Callable[[int], None]] = [
        lambda number: auditee.append("P-7", f"beside-{number}"),
        changes,
        upkeep,
    ]
    threads = [threading.Thread(target=work, args=[act]) for act in acts]
    for thread in threads:
        thread.start()
    try:
        for number in range(rounds):
            report = auditee.verify(incremental=bool(number % 2))
            assert report.sound, found(report)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failures
    assert auditee.verify().sound


class _Failing(LocalObjects):
    """A store that fails to read what a test says."""

    broken = ""

    def get(self, key: str, *, limit: int | None = None) -> bytes | None:
        if self.broken and key.startswith(self.broken):
            raise StoreError(f"cannot read {key}: no answer")
        return super().get(key, limit=limit)


def test_what_the_store_does_not_give_is_unreadable_and_not_tampered(auditee: Auditee) -> None:
    """A segment that cannot be read makes its log's chains unreadable, accuses nobody, and is no proof of soundness."""
    auditee.append("P-3", "e-last")
    objects = _Failing(auditee.root)
    objects.broken = str(auditee.last_segment("P-3").relative_to(auditee.root))
    object.__setattr__(auditee.store, "objects", objects)
    report = auditee.verify()
    chunk = auditee.chunk("P-3")
    assert found(report) == {(chunk, "unreadable")}
    assert report.unreadable == sum(auditee.chunk(one) == chunk for one in SUBJECTS)
    assert not report.sound
    assert chunk in auditee.checkpoint().carried


def test_an_incremental_verification_reads_nothing_unchanged(auditee: Auditee) -> None:
    """After a checkpoint no segment and no roster is read again."""
    auditee.checkpoint()
    read: list[str] = []

    class Counting(LocalObjects):
        def get(self, key: str, *, limit: int | None = None) -> bytes | None:
            read.append(key)
            return super().get(key, limit=limit)

    object.__setattr__(auditee.store, "objects", Counting(auditee.root))
    report = auditee.verify(incremental=True)
    assert report.sound
    assert report.rows == 0
    assert not [key for key in read if key.startswith("audit/") or "rosters/" in key]


def test_notes_stay_and_old_rosters_go_after_a_day(auditee: Auditee) -> None:
    """All notes and statements are kept, and the rosters and leaves of the last two checkpoints."""
    below = auditee.root / "checkpoints"
    for number in range(3):
        auditee.append("P-3", f"e-again-{number}")
        auditee.checkpoint()
    rosters = below / "rosters" / auditee.chunk("P-3")
    assert (len(list(rosters.iterdir())), len(list((below / "leaves").iterdir()))) == (4, 4)
    auditee.append("P-3", "e-last")
    tomorrow = dt.datetime.now(dt.UTC) + dt.timedelta(days=1, minutes=1)
    auditee.checkpoint(clock=lambda: tomorrow)
    assert (len(list(rosters.iterdir())), len(list((below / "leaves").iterdir()))) == (2, 2)
    assert len(list(below.glob("*/note"))) == len(list(below.glob("*/*/checkpoint.json"))) == 5
    for incremental in (False, True):
        assert auditee.verify(incremental=incremental).sound


def test_two_checkpoints_at_once_are_two_in_a_row(auditee: Auditee) -> None:
    """Both end; numbers are dense, and every note links to the one before."""
    threads = [threading.Thread(target=auditee.checkpoint) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    report = auditee.verify()
    assert report.sound
    assert report.checkpoint is not None
    assert report.checkpoint.number == 2


def test_a_checkpoint_killed_before_its_note_stands_in_nobodys_way(
    auditee: Auditee, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rosters without a note are no checkpoint; the next one takes the number."""
    create = LocalObjects.create

    def killed(self: LocalObjects, key: str, data: bytes) -> bool:
        if key.endswith("/note"):
            raise StoreError("killed here")
        return create(self, key, data)

    with monkeypatch.context() as patch:
        patch.setattr(LocalObjects, "create", killed)
        with pytest.raises(StoreError, match="killed here"):
            auditee.checkpoint()
    assert auditee.verify().sound
    written = auditee.checkpoint().written
    assert written is not None
    assert written.number == 1


def test_a_writers_copy_verifies_and_does_not_sign(auditee: Auditee, tmp_path: Path) -> None:
    """Without the private signing key a checkpoint is refused; appending and verifying go on."""
    create_ring(tmp_path / "copy.json", RING.writer_copy())
    copy = KeyRingFile(tmp_path / "copy.json")
    AuditLog(auditee.store.with_ring(copy)).append([event("P-1", "by-copy")])
    assert verify(auditee.store.with_ring(copy)).sound
    with pytest.raises(KeyRingError, match="writer's copy"):
        write_checkpoint(auditee.store.with_ring(copy))


def test_a_lost_key_is_unknown_and_nobody_is_accused_of_tampering(auditee: Auditee, tmp_path: Path) -> None:
    """With another ring every chain has an unknown key, not a bad MAC."""
    create_ring(tmp_path / "other.json", KeyRing.new(b"o" * 32, b"s" * 32))
    report = verify(auditee.store.with_ring(KeyRingFile(tmp_path / "other.json")))
    assert {one.kind for one in report.broken_chains} == {"unknown_key"}
    assert report.broken == len(SUBJECTS)


def test_some_subjects_can_be_verified_alone(auditee: Auditee) -> None:
    """Only their chains are reported; somebody nobody knows is told as such."""
    change_a_row(auditee)
    assert {one.candidate_id for one in auditee.verify(candidate_ids=["P-3"]).broken_chains} == {"P-3"}
    other = auditee.verify(candidate_ids=["P-2", "P-nobody"])
    assert other.chains == 1
    assert other.unknown == ["P-nobody"]


def test_rows_of_people_without_a_manifest_are_told(auditee: Auditee) -> None:
    """They are no problem of the log; somebody whom the registry deleted is not among them."""
    auditee.append("P-stranger", "e-1")
    auditee.registry.delete("P-4")
    report = auditee.verify()
    assert report.sound
    assert report.unregistered == ["P-stranger"]


def test_a_proof_holds_for_who_is_in_the_checkpoint_and_nobody_else(auditee: Auditee) -> None:
    """The proof's entry is the chain's head as anchored."""
    made = prove(auditee.store, "P-2")
    assert RING.signing is not None
    line = verifier_line(origin(auditee.log.layout.log_id), RING.signing.public)
    proven = check_proof(json.loads(json.dumps(made.proof)), line)
    assert proven.entry is not None
    assert (proven.entry.seq, proven.entry.state, proven.state_of) == (2, "present", 0)
    absent = prove(auditee.store, "P-nobody", ABSENCE)
    assert check_proof(json.loads(json.dumps(absent.proof)), line).entry is None
    with pytest.raises(CheckpointError, match="a head proof shows the state"):
        prove(auditee.store, "P-2", ABSENCE)
    with pytest.raises(UnknownSubjectError):
        prove(auditee.store, "P-nobody")


def test_a_change_without_the_ring_is_refused_once_there_is_a_log(auditee: Auditee) -> None:
    """Neither put nor delete nor import changes a manifest unannounced."""
    registry = SubjectRegistry(auditee.store.without_ring())
    with pytest.raises(KeyRingError, match="SUBJECT_KEY_RING"):
        registry.delete("P-1")
    with pytest.raises(KeyRingError, match="SUBJECT_KEY_RING"):
        registry.put(manifest("P-1"))
    assert auditee.verify().sound


def test_the_registry_notes_row_zero_in_the_manifest(auditee: Auditee) -> None:
    """`audit_log_chain_root` is row 0's leaf hash as known when the manifest was last written."""
    (first, *_) = show(auditee.store, "P-1")
    assert auditee.registry.get("P-1").audit_log_chain_root == leaf_of(canonical(first["row"]))
    assert pl.DataFrame(show(auditee.store, "P-1")).height == 4
