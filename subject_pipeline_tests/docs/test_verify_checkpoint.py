import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from subject_pipeline.anchoring.checkpointing import write_checkpoint
from subject_pipeline.checkpoints.signed_notes import verifier_line
from subject_pipeline.checkpoints.tree_head import origin
from subject_pipeline.keys.ring import SigningKey
from subject_pipeline.keys.ring_file import replace_ring
from subject_pipeline.keys.rotation import rotate_signing_key
from subject_pipeline.registry.exporting import export
from subject_pipeline_tests.conftest import Prepared
from subject_pipeline_tests.helpers.tampering import (
    RING,
    TAMPERINGS,
    Auditee,
    Traces,
    another_chunk_count_in_the_layout,
    another_log_id_in_the_layout,
    edit_a_manifest,
    edit_an_announced_manifest,
    eight_subjects,
    manifest,
    remove_a_manifest,
    traces,
)

DOCS = Path(__file__).parents[2] / "docs"
NOT_IN_A_COPY = {edit_a_manifest, edit_an_announced_manifest, remove_a_manifest, another_log_id_in_the_layout,
                 another_chunk_count_in_the_layout}  # fmt: skip
"""What the script does not read: the table, and a layout that it has no need of."""


def _load(patch: pytest.MonkeyPatch) -> ModuleType:
    for name in ("verify_log", "verify_proof", "verify_checkpoint"):
        path, module = DOCS / f"{name}.py", ModuleType(name)
        patch.setitem(sys.modules, name, module)
        exec(compile(path.read_text(encoding="utf-8"), path, "exec"), module.__dict__)  # noqa: S102 - it is no package
    return module


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    """The script with the two that it needs beside it."""
    with pytest.MonkeyPatch.context() as patch:
        yield _load(patch)


Check = Callable[..., tuple[int, str]]


@pytest.fixture
def check(script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Check:
    """Runs the script in this process: exit status and what it printed."""

    def run(auditee: Auditee, *more: object, line: str = "") -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["x", str(auditee.root), line or auditee.line, *map(str, more)])
        try:
            status = script.main()
        except SystemExit as left:
            status = left.code
        told = capsys.readouterr()
        assert (told.out + told.err).isascii()
        return status, told.out + told.err

    return run


@pytest.fixture
def auditee(tmp_path: Path, prepared: Prepared) -> Auditee:
    """Eight subjects, anchored, then written on."""
    prepared(eight_subjects, tmp_path)
    return Auditee(tmp_path)


def _export(auditee: Auditee) -> Path:
    path = auditee.folder / "manifests.jsonl"
    path.unlink(missing_ok=True)
    export(auditee.store, path)
    return path


def _much_happened(auditee: Auditee) -> None:
    """A rotated and a retired key, a rotated signing key, a deletion, and a chunk that is carried."""
    auditee.registry.delete("P-4")
    replace_ring(auditee.ring.path, RING.rotated(b"n" * 32))
    auditee.ring.reload()
    auditee.append("P-5", "e-rotated")
    assert write_checkpoint(auditee.store, auditee.ring, retire=RING.active).written is not None
    rotate_signing_key(auditee.ring.path, b"t" * 32)
    auditee.ring.reload()
    for _ in range(2):
        assert auditee.checkpoint().written is not None
    stray = auditee.segment("P-3").parent / "stray"
    stray.write_text("x", encoding="utf-8")
    assert auditee.checkpoint().carried == [auditee.chunk("P-3")]
    stray.unlink()
    auditee.registry.put(manifest("P-1", status="moved"))


def test_a_store_with_a_past_holds_by_the_older_and_the_newer_line(auditee: Auditee, check: Check) -> None:
    """Rotations, a retired key, a deletion, a carried chunk, rows beyond the checkpoint; with its manifests too."""
    _much_happened(auditee)
    new = verifier_line(origin(auditee.log_id), SigningKey.of_seed(b"t" * 32).public)
    for line in (auditee.line, new):
        status, out = check(auditee, "--export", _export(auditee), line=line)
        assert status == 0, out
        assert "1 chunks as of earlier ones" in out
        assert "everything holds" in out


def test_it_runs_as_it_is_given(auditee: Auditee) -> None:
    """As a program of its own."""
    for line, status in ((auditee.line, 0), ("no line", 2), (auditee.line.replace(auditee.log_id, "f" * 32), 2)):
        command: list[str | Path] = [sys.executable, DOCS / "verify_checkpoint.py", auditee.root, line]
        done = subprocess.run(command, capture_output=True, check=False, timeout=60, text=True)
        assert (done.returncode, "Traceback" in done.stderr) == (status, False), done.stderr


@pytest.mark.parametrize(
    "tampering", [one for one in TAMPERINGS if one not in NOT_IN_A_COPY], ids=lambda one: one.__name__
)
def test_what_public_verification_finds_the_script_finds(
    auditee: Auditee, check: Check, tampering: Callable[[Auditee], Traces]
) -> None:
    """Every tampering of the table that a copy of log and checkpoints shows; exit 1, and it is said where."""
    expected = traces(tampering, auditee, "public")
    assert expected
    status, out = check(auditee)
    assert status == 1, out
    where = {auditee.chunk(who) if who.startswith("P-") else who for who, _ in expected}
    assert "bad_checkpoint" in out or any(who in out for who in where), out
    assert "NOT intact" in out


def test_a_stranger_is_told_that_nothing_is_signed_by_the_key(auditee: Auditee, check: Check) -> None:
    """Exit 2, for another key of this log, for one of another, and where there are no notes."""
    stranger = SigningKey.of_seed(b"o" * 32).public
    for log_id in (auditee.log_id, "f" * 32):
        status, out = check(auditee, line=verifier_line(origin(log_id), stranger))
        assert (status, "nothing here is signed by this key" in out) == (2, True)
    shutil.rmtree(auditee.root / "checkpoints")
    assert check(auditee)[0] == 2


def test_what_cannot_be_read_is_no_verdict(auditee: Auditee, check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 2 if the disk fails, for any object."""
    real = Path.read_bytes

    def read_bytes(path: Path) -> bytes:
        if failing in str(path):
            raise PermissionError("no")
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    for failing in ("/note", "/checkpoint.json", "/leaves/", "/rosters/", "/audit/"):
        status, out = check(auditee)
        assert (status, "unreadable: PermissionError" in out) == (2, True), failing


def _edited(lines: list[str]) -> list[str]:
    found = []
    for line in lines:
        value: dict[str, Any] = json.loads(line)
        if value["candidate_id"] == "P-3":
            value["status"] = "forgotten"
        found.append(json.dumps(value))
    return found


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (_edited, "'P-3': changed"),
        (lambda lines: [line for line in lines if '"P-3"' not in line], "missing"),
        (lambda lines: [*lines, next(line for line in lines if '"P-3"' in line)], "'P-3': duplicate"),
        (lambda lines: [*lines, manifest("P-4").to_json()], "'P-4': resurrected"),
    ],
    ids=["changed", "missing", "duplicate", "resurrected"],
)
def test_exported_manifests_are_compared(
    auditee: Auditee, check: Check, edit: Callable[[list[str]], list[str]], words: str
) -> None:
    """What rosters and later rows say of them, whoever is there twice or no more."""
    auditee.registry.delete("P-4")
    auditee.checkpoint()
    path = _export(auditee)
    assert check(auditee, "--export", path)[0] == 0
    path.write_text("\n".join(edit(path.read_text(encoding="utf-8").splitlines())) + "\n", encoding="utf-8")
    status, out = check(auditee, "--export", path)
    assert (status, words in out) == (1, True), out


def test_manifests_that_nothing_anchors_are_no_problem(auditee: Auditee, check: Check) -> None:
    """Nobody can know somebody who was registered without a row since; a change with a row is known."""
    auditee.registry.put(manifest("P-first"))
    auditee.registry.put(manifest("P-3", status="moved"))
    path = _export(auditee)
    assert check(auditee, "--export", path)[0] == 0
    path.write_text("".join(_edited(path.read_text(encoding="utf-8").splitlines())[:0]), encoding="utf-8")
    assert check(auditee, "--export", path)[0] == 1


def test_it_is_short_enough_to_read() -> None:
    """Anyone who relies on it should read it; 300 lines are the aim."""
    assert len((DOCS / "verify_checkpoint.py").read_text(encoding="utf-8").splitlines()) < 320
