import contextlib
import hashlib
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
from subject_pipeline.checkpoints.leaves import parse_leaves
from subject_pipeline.checkpoints.rosters import Roster
from subject_pipeline.checkpoints.signed_notes import verifier_line
from subject_pipeline.checkpoints.tree.head import origin
from subject_pipeline.errors import CheckpointError
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
ROSTER = "0fdb115cebe8cdecfb7fbb786de1b0e4cd47de7f1e5f885ad52e59c5532bd39f"
LEAVES = "0990549bfe1bf8fd5d0afa2a74a4386893e13ffefb49cfda7f77ce6c971c5384"


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
    assert write_checkpoint(auditee.store, retire=RING.active).written is not None
    rotate_signing_key(auditee.ring.path, b"t" * 32)
    auditee.ring.reload()
    for _ in range(2):
        assert auditee.checkpoint().written is not None
    stray = auditee.segment("P-3").parent / "stray"
    stray.write_text("x", encoding="utf-8")
    assert auditee.checkpoint().carried == [auditee.chunk("P-3")]
    stray.unlink()
    auditee.registry.put(manifest("P-1", status="moved"))


@pytest.mark.long
def test_a_store_with_a_past_holds_by_the_older_and_the_newer_line(auditee: Auditee, check: Check) -> None:
    """Rotations, a retired key, a deletion, a carried chunk, rows beyond the checkpoint; with its manifests too."""
    _much_happened(auditee)
    new = verifier_line(origin(auditee.log_id), SigningKey.of_seed(b"t" * 32).public)
    for line in (auditee.line, new):
        status, out = check(auditee, "--export", _export(auditee), line=line)
        assert status == 0, out
        assert "1 chunks as of earlier ones" in out
        assert "everything holds" in out


@pytest.mark.long
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
    """What rosters and later rows say of them, anyone who is there twice or no more."""
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


MALFORMED_ENTRIES: dict[str, Callable[[bytes], bytes]] = {
    "no blind": lambda line: line.replace(b'"blind":"Y8et3BImI9P-gniFT0rUOQ",', b""),
    "a blind of other bytes": lambda line: line.replace(b"rUOQ", b"rUOR"),
    "a field more": lambda line: line.replace(b'"state":"absent"', b'"state":"absent","trust":1'),
    "a field twice": lambda line: line.replace(b'"seq":0', b'"seq":0,"seq":0'),
    "fields in another order": lambda line: line.replace(b'"seq":0,"state":"absent"', b'"state":"absent","seq":0'),
    "a space": lambda line: line.replace(b'"seq":0', b'"seq": 0'),
    "seq is a float": lambda line: line.replace(b'"seq":0', b'"seq":0.0'),
    "seq is true": lambda line: line.replace(b'"seq":0', b'"seq":true'),
    "seq is text": lambda line: line.replace(b'"seq":0', b'"seq":"0"'),
    "seq below -1": lambda line: line.replace(b'"seq":0', b'"seq":-2'),
    "seq in Arabic digits": lambda line: line.replace(b'"seq":0', b'"seq":\xd9\xa0'),
    "no row, and its hash": lambda line: line.replace(b'"seq":0', b'"seq":-1'),
    "an unknown state": lambda line: line.replace(b'"absent"', b'"forgotten"'),
    "present without a manifest": lambda line: line.replace(b'"absent"', b'"present"'),
    "absent with a manifest": lambda line: line.replace(
        b'"manifest_sha256":""', b'"manifest_sha256":"%b"' % (b"a" * 64)
    ),
    "a hash in capitals": lambda line: line.replace(b"cbae75bc", b"CBAE75BC"),
    "id_sha256 in capitals": lambda line: line.replace(b"82aaf806", b"82AAF806"),
    "no UTF-8": lambda line: line.replace(b'"absent"', b'"absent\xff"'),
    "no object": lambda _: b"[]",
    "an empty line": lambda _: b"",
    "a carriage return": lambda line: line + b"\r",
    "the next subject again": lambda line: line.replace(b"82aaf806", b"f2aaf806"),
}
"""Edits of the first line of the vectors' roster, by what they make of it."""


def _roster_root(script: ModuleType, lines: list[bytes]) -> str:
    """The root that a signer's program without any rules would sign over these lines."""
    hashes = []
    for line in lines:
        entry, _, id_hash = line.removeprefix(b'{"entry":').removesuffix(b'"}').rpartition(b',"id_sha256":"')
        digest = hashlib.sha256(entry).hexdigest().encode()
        hashes.append(script.leaf(b'{"entry_sha256":"%b","id_sha256":"%b"}' % (digest, id_hash)))
    root: str = script.root(hashes)
    return root


@pytest.mark.parametrize("edit", [None, *MALFORMED_ENTRIES.values()], ids=["as it is", *MALFORMED_ENTRIES])
def test_a_signed_root_excuses_no_malformed_roster(
    script: ModuleType, tmp_path: Path, edit: Callable[[bytes], bytes] | None
) -> None:
    """A signer may sign anything: script and project refuse a roster whose root is signed and whose form is none."""
    stored = DOCS / "vectors/store/checkpoints/rosters/chunk-0" / ROSTER
    lines = stored.read_bytes().splitlines()
    if edit is not None:
        was, lines[0] = lines[0], edit(lines[0])
        assert lines[0] != was, "the edit has no effect"
    root = _roster_root(script, lines)
    at = {"chunk": "chunk-0", "subjects": len(lines), "roster_root": root}
    path = tmp_path / "checkpoints/rosters/chunk-0" / root
    path.parent.mkdir(parents=True)
    path.write_bytes(b"\n".join(lines) + b"\n")
    refused = contextlib.nullcontext() if edit is None else pytest.raises(script.FOUND)
    with refused:
        assert len(script.roster(tmp_path, at)) == len(lines)
    refused = contextlib.nullcontext() if edit is None else pytest.raises(CheckpointError)
    with refused:
        assert len(Roster.parse(path.read_bytes(), subjects=len(lines), root=root).entries) == len(lines)


MALFORMED_LEAVES: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "a chunk fewer": lambda lines: lines[:-1],
    "a chunk twice": lambda lines: [lines[0], lines[0], *lines[2:]],
    "another order": lambda lines: lines[::-1],
    "a field more": lambda lines: [lines[0].replace(b'"subjects"', b'"size":1,"subjects"'), *lines[1:]],
    "subjects is a float": lambda lines: [lines[0].replace(b'"subjects":4', b'"subjects":4.0'), *lines[1:]],
    "subjects is negative": lambda lines: [lines[0].replace(b'"subjects":4', b'"subjects":-4'), *lines[1:]],
    "nobody, and a roster": lambda lines: [lines[0].replace(b'"subjects":4', b'"subjects":0'), *lines[1:]],
    "no log, and its hash": lambda lines: [lines[0].replace(b'"segment":4', b'"segment":-1'), *lines[1:]],
    "a path for a root": lambda lines: [lines[0].replace(b'"roster_root":"', b'"roster_root":"../'), *lines[1:]],
}


@pytest.mark.parametrize("edit", [None, *MALFORMED_LEAVES.values()], ids=["as they are", *MALFORMED_LEAVES])
def test_a_signed_root_excuses_no_malformed_leaves(
    script: ModuleType, tmp_path: Path, edit: Callable[[list[bytes]], list[bytes]] | None
) -> None:
    """Nor leaves: every chunk once, in order, each as one can be."""
    lines = (DOCS / "vectors/store/checkpoints/leaves" / LEAVES).read_bytes().splitlines()
    if edit is not None:
        was, lines = lines, edit(lines)
        assert lines != was, "the edit has no effect"
    root = script.root([script.leaf(line) for line in lines])
    names = [f"chunk-{index}" for index in range(4)]
    path = tmp_path / "checkpoints/leaves" / root
    path.parent.mkdir(parents=True)
    path.write_bytes(b"\n".join(lines) + b"\n")
    at = script.Checkpoint(0, "", len(names), root, {}, 1, [], {})
    refused = contextlib.nullcontext() if edit is None else pytest.raises(script.FOUND)
    with refused:
        assert len(script.leaves(tmp_path, at)) == len(names)
    refused = contextlib.nullcontext() if edit is None else pytest.raises(CheckpointError)
    with refused:
        assert len(parse_leaves(path.read_bytes(), names=names, root=root)) == len(names)


def test_it_is_short_enough_to_read() -> None:
    """Anyone who relies on it should read it; 300 lines are the aim."""
    assert len((DOCS / "verify_checkpoint.py").read_text(encoding="utf-8").splitlines()) < 320
