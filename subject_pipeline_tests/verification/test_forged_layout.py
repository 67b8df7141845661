"""Anyone who can write `catalog/layout.json` and has no key: the layout is accused, and nothing is written by it."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from subject_pipeline.anchoring.checkpointing import write_checkpoint
from subject_pipeline.anchoring.last_checkpoint import stored_checkpoint
from subject_pipeline.anchoring.proving import prove
from subject_pipeline.changes.evidence import ManifestEvidence
from subject_pipeline.checkpoints.signed_layout import first_statement, open_audit_log
from subject_pipeline.errors import CheckpointError
from subject_pipeline.formats.leaves import leaf_hash
from subject_pipeline.keys.ring_file import KeyRingFile
from subject_pipeline.keys.rotation import rotate_signing_key
from subject_pipeline.registry.subjects import SubjectRegistry
from subject_pipeline.store.layout import LAYOUT_KEY, checkpoint_key, note_key
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline_tests.conftest import Prepared
from subject_pipeline_tests.helpers.tampering import MODES, SUBJECTS, Auditee, eight_subjects, event, found, manifest

KEYED = [mode for mode in MODES if mode != "public"]


@pytest.fixture
def auditee(tmp_path: Path, prepared: Prepared) -> Auditee:
    """Eight subjects, anchored, then written on."""
    prepared(eight_subjects, tmp_path)
    return Auditee(tmp_path)


def _another_count(auditee: Auditee) -> None:
    _edit(auditee, chunk_count=8)


def _another_log(auditee: Auditee) -> None:
    _edit(auditee, log_id="e" * 32)


def _edit(auditee: Auditee, **changes: object) -> None:
    path = auditee.root / LAYOUT_KEY
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}), encoding="utf-8")


FORGED = pytest.mark.parametrize("forge", [_another_count, _another_log])


@FORGED
@pytest.mark.parametrize("mode", MODES)
def test_a_forged_layout_is_the_one_thing_that_is_found(
    auditee: Auditee, forge: Callable[[Auditee], None], mode: str
) -> None:
    """By both numbers and both logs; no chain, log or manifest is accused, and what can be verified is."""
    forge(auditee)
    report = auditee.verify_as(mode)
    assert found(report) == {("store", "bad_checkpoint")}
    (one,) = report.broken_logs
    assert LAYOUT_KEY in one.detail
    assert auditee.log_id in one.detail
    if forge is _another_count and mode != "public":
        assert re.search(r"says 8 chunks .* first checkpoint 4 ", one.detail)
    if forge is _another_count and mode != "incremental":
        assert (report.intact, report.subjects) == (len(SUBJECTS), len(SUBJECTS))


@FORGED
def test_no_row_is_led_astray_by_a_forged_layout(auditee: Auditee, forge: Callable[[Auditee], None]) -> None:
    """Neither an access nor a change of a manifest is written by it, and no checkpoint signs it."""
    before = sorted(auditee.root.rglob("*"))
    forge(auditee)
    store = SubjectStore.at(str(auditee.root), ring=KeyRingFile(auditee.ring.path))
    with pytest.raises(CheckpointError, match=r"catalog/layout.json says .* which is signed: restore"):
        open_audit_log(store).append([event("P-3", "e-later")])
    registry = SubjectRegistry(store, ManifestEvidence(store, "test"))
    with pytest.raises(CheckpointError, match="nothing is read or written by this layout"):
        registry.put(manifest("P-new"))
    with pytest.raises(CheckpointError, match="nothing is read or written by this layout"):
        registry.delete("P-3")
    with pytest.raises(CheckpointError, match=r"catalog/layout.json says"):
        stored_checkpoint(store)
    with pytest.raises(CheckpointError, match=r"catalog/layout.json says"):
        prove(store, "P-3")
    assert sorted(auditee.root.rglob("*")) == before


def test_a_signer_signs_nothing_over_a_forged_layout(auditee: Auditee) -> None:
    """It reports a wrong count, and refuses a log of which it is not known whose it is."""
    _another_count(auditee)
    store = SubjectStore.at(str(auditee.root), ring=KeyRingFile(auditee.ring.path))
    report = write_checkpoint(store)
    assert (report.written, found(report.verification)) == (None, {("store", "bad_checkpoint")})
    _edit(auditee, chunk_count=4)
    assert write_checkpoint(store).written is not None
    _another_log(auditee)
    with pytest.raises(CheckpointError, match=r"catalog/layout.json says"):
        write_checkpoint(store)


@pytest.mark.parametrize("mode", MODES)
def test_a_checkpoint_that_is_not_signed_says_no_chunk_count(auditee: Auditee, mode: str) -> None:
    """One with another count in place of the signed one accuses itself, and no chain."""
    report = auditee.verify_as("public")
    assert report.checkpoint is not None
    text = replace(report.checkpoint.statement, chunks=8).text()
    shutil.rmtree((auditee.root / checkpoint_key(0, report.checkpoint.hashes[-1].hex())).parent)
    path = auditee.root / checkpoint_key(0, leaf_hash(text).hex())
    path.parent.mkdir()
    path.write_bytes(text)
    assert found(auditee.verify_as(mode)) == {("store", "bad_checkpoint")}


@pytest.mark.parametrize("wrong", [None, b"", b"\xff\n", b"forged\n\n\n", "other bytes in the note"])
def test_a_first_checkpoint_that_is_not_signed_stops_no_append(auditee: Auditee, wrong: bytes | str | None) -> None:
    """What nobody has signed is no reason to refuse."""
    path = auditee.root / note_key(0)
    if wrong is None:
        path.unlink()
    else:
        path.write_bytes(wrong if isinstance(wrong, bytes) else path.read_bytes().replace(b"\n1\n", b"\n2\n"))
    assert first_statement(auditee.store.objects, auditee.ring.ring()) is None
    assert open_audit_log(auditee.store).append([event("P-3", "e-later")])[0].new


def test_the_first_checkpoint_is_known_after_the_signing_key_was_changed(auditee: Auditee) -> None:
    """To a writer's copy too: a ring keeps every public key."""
    rotate_signing_key(auditee.ring.path, b"n" * 32)
    auditee.ring.reload()
    auditee.checkpoint()
    copy = auditee.ring.ring().writer_copy()
    stated = first_statement(auditee.store.objects, copy)
    assert stated is not None
    assert (stated.number, stated.chunks, stated.log_id) == (0, 4, auditee.log_id)
