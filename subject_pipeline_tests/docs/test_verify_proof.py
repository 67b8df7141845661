import ast
import copy
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from hypothesis import given
from hypothesis import strategies as st

from subject_pipeline.checkpoints.checkpoint import ChunkLeaf, RosterEntry
from subject_pipeline.checkpoints.merkle import root
from subject_pipeline.checkpoints.proofs import check_proof
from subject_pipeline.checkpoints.signed_notes import sign_note
from subject_pipeline.errors import CheckpointError
from subject_pipeline_tests.helpers.proving import (
    CHECKPOINT,
    LOG_ID,
    PROOF,
    RENAMED,
    SEED,
    TAMPERINGS,
    VERIFIER,
    digest,
    places,
    verifier_of,
)

SCRIPT = Path(__file__).parents[2] / "docs" / "verify_proof.py"
# Spellings of the same proof: the script looks at what is proven, the project also at how it is written.
LENIENT = {"something more stated", "a seq stated as a float", "a path in capitals"}


def _run(*arguments: str) -> tuple[int, str, str]:
    done = subprocess.run([sys.executable, "-I", SCRIPT, *arguments], capture_output=True, check=False, timeout=60)
    out, err = done.stdout.decode("ascii"), done.stderr.decode("ascii")
    assert "Traceback" not in out + err
    return done.returncode, out, err


def _written(folder: Path, proof: object) -> str:
    path = folder / "proof.json"
    path.write_text(json.dumps(proof), encoding="utf-8")
    return str(path)


def test_a_proof_holds_under_the_key_that_was_obtained_elsewhere(tmp_path: Path) -> None:
    """A proof that holds says in plain words what it proves, and exits 0."""
    status, out, _ = _run(_written(tmp_path, PROOF), VERIFIER)
    assert status == 0
    assert out.startswith(f"HOLDS: checkpoint 5 of subject-pipeline/{LOG_ID}, made at 2026-06-30T12:00:00.000000Z")
    assert "subject \"CAND/2/4\" in 'chunk-2' had\n" in out
    assert f"an audit chain of 5 rows, the last (seq 4) with the MAC {digest('mac 2 4')}" in out
    assert f"a manifest with the SHA-256 {digest('manifest')}" in out
    assert "NOT CHECKED" not in out


def test_without_a_key_it_says_that_the_key_must_be_compared(tmp_path: Path) -> None:
    """A proof checked with its own key holds, with the key to compare and a warning."""
    status, out, _ = _run(_written(tmp_path, PROOF))
    assert status == 0
    assert "NOT CHECKED: whose key this is. Compare it with one obtained elsewhere:" in out
    assert VERIFIER in out


@pytest.mark.parametrize(("chunk", "subject", "words"), [(0, 2, "no audit chain, and"), (2, 3, "no manifest.")])
def test_what_a_subject_does_not_have_is_said_too(tmp_path: Path, chunk: int, subject: int, words: str) -> None:
    """An entry without a chain or without a manifest is put in words."""
    status, out, _ = _run(_written(tmp_path, CHECKPOINT.proof(chunk, subject)), VERIFIER)
    assert (status, words in out) == (0, True)


@pytest.mark.parametrize("name", TAMPERINGS)
def test_a_tampered_proof_does_not_hold(tmp_path: Path, name: str) -> None:
    """Every tampering exits 1 with what does not hold; another spelling of the same proof proves the same."""
    proof = copy.deepcopy(PROOF)
    TAMPERINGS[name][0](proof)
    status, out, _ = _run(_written(tmp_path, proof), VERIFIER)
    if name in LENIENT:
        assert (status, out) == _run(_written(tmp_path, PROOF), VERIFIER)[:2]
    else:
        assert (status, out[:14]) == (1, "DOES NOT HOLD:")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no JSON",
        b"\xff\xfe",
        b"null",
        b"[]",
        b'"text"',
        b"{}",
        b"[" * 100_000,
        b'{"schema":"subject_proof.v1"}',
        b'{"schema":"subject_proof.v1","verifier":1}',
        b'{"schema":"subject_proof.v1","verifier":"\\ud800+x+y"}',
        b"1" * 5000,
        json.dumps(PROOF).encode()[:-1],
        json.dumps(PROOF).encode("utf-16"),
    ],
    ids=lambda data: data[:12],
)
def test_what_is_no_proof_does_not_hold(tmp_path: Path, data: bytes) -> None:
    """A malformed file exits 1 without a traceback, with or without a key."""
    path = tmp_path / "proof.json"
    path.write_bytes(data)
    for arguments in ([], [VERIFIER]):
        status, out, _ = _run(str(path), *arguments)
        assert (status, out[:14]) == (1, "DOES NOT HOLD:")


@pytest.mark.parametrize("key", ["", "no key", VERIFIER[:-4], VERIFIER.replace("subject", "object"), "a+b+c", "++"])
def test_a_wrong_call_exits_2(tmp_path: Path, key: str) -> None:
    """A key that is none is the caller's mistake, not the proof's."""
    status, out, err = _run(_written(tmp_path, PROOF), key)
    assert (status, out) == (2, "")
    assert "usage:" in err


def test_a_call_without_a_file_exits_2(tmp_path: Path) -> None:
    """No file, a file that is not there, a folder, or too many arguments: exit 2 with the usage."""
    for arguments in ([], [str(tmp_path / "none.json")], [str(tmp_path)], [_written(tmp_path, PROOF), VERIFIER, "x"]):
        status, out, err = _run(*arguments)
        assert (status, out) == (2, "")
        assert "usage:" in err


def test_the_proof_of_another_key_does_not_hold(tmp_path: Path) -> None:
    """A proof complete in itself, but signed by somebody else, holds only as far as its own key goes."""
    theirs = copy.deepcopy(PROOF) | {"note": CHECKPOINT.note(bytes(32)), "verifier": verifier_of(bytes(32))}
    path = _written(tmp_path, theirs)
    assert _run(path)[0] == 0
    assert _run(path, verifier_of(bytes(32)))[0] == 0
    status, out, _ = _run(path, VERIFIER)
    assert status == 1
    assert "made for another key" in out
    theirs["verifier"] = VERIFIER
    status, out, _ = _run(_written(tmp_path, theirs), VERIFIER)
    assert status == 1
    assert "is not signed by the key" in out


def test_a_note_of_another_log_does_not_pass_under_a_changed_name(tmp_path: Path) -> None:
    """The note's origin must be what the key is named after."""
    proof = copy.deepcopy(PROOF) | {"note": CHECKPOINT.note(name=RENAMED), "verifier": verifier_of(SEED, RENAMED)}
    status, out, _ = _run(_written(tmp_path, proof))
    assert status == 1
    assert f"the note is of subject-pipeline/{LOG_ID}" in out


def test_a_signature_of_a_witness_beside_ours_does_no_harm(tmp_path: Path) -> None:
    """Signature lines of other keys are ignored."""
    witness = sign_note("x\n", "witness.example/w", bytes(32))[3:]
    proof = copy.deepcopy(PROOF) | {"note": PROOF["note"] + witness}
    assert check_proof(proof, VERIFIER) == check_proof(PROOF, VERIFIER)
    assert _run(_written(tmp_path, proof), VERIFIER)[0] == 0


@pytest.mark.parametrize(
    "entry",
    [
        {"seq": "4"},
        {"seq": None},
        {"mac": "\x1b[2J"},
        {"mac": 7},
        {"manifest_sha256": "\x1b[2J"},
        {"candidate_id": "\x1b[2J\u202e\n"},
    ],
    ids=str,
)
def test_words_of_a_signer_nobody_trusts_do_not_reach_the_terminal_raw(tmp_path: Path, entry: dict[str, Any]) -> None:
    """Whoever makes a key can sign anything: it is refused or escaped, and never a traceback."""
    fields: dict[str, Any] = {"candidate_id": "a", "storage_key": "a", "seq": 1, "mac": "ab" * 32}
    fields |= {"manifest_sha256": "", **entry}
    leaf = json.dumps(fields)
    chunk = ChunkLeaf("\x1b[2J", root([leaf.encode()]).hex(), 0, digest("a"), digest("a"), digest("a")).leaf().decode()
    text = f"subject-pipeline/{LOG_ID}\n0\n{root([chunk.encode()]).hex()}\n2026-06-30T12:00:00.000000Z\n{'0' * 64}\n"
    proof = {
        "schema": "subject_proof.v1",
        **{name: fields[name] for name in ("candidate_id", "seq", "mac")},
        "note": sign_note(text, f"subject-pipeline/{LOG_ID}", SEED),
        "verifier": VERIFIER,
        "chunk": {"leaf": chunk, "index": 0, "size": 1, "path": []},
        "entry": {"leaf": leaf, "index": 0, "size": 1, "path": []},
    }
    status, out, _ = _run(_written(tmp_path, proof), VERIFIER)
    assert status == (0 if "candidate_id" in entry else 1)
    assert out.replace("\n", "").isprintable()


def _as_module(path: Path) -> ModuleType:
    module = ModuleType(path.stem)
    exec(compile(path.read_text(encoding="utf-8"), path, "exec"), module.__dict__)  # noqa: S102 - it is no package
    return module


MODULE = _as_module(SCRIPT)
SAYS = MODULE.check(PROOF, VERIFIER)


@given(
    st.sampled_from(places(PROOF)),
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.lists(st.integers(), max_size=2),
)
def test_script_and_project_judge_alike(place: tuple[Any, ...], value: Any) -> None:
    """What holds for the project holds for the script, and what holds for the script proves nothing else."""
    proof = copy.deepcopy(PROOF)
    target = proof
    for key in place[:-1]:
        target = target[key]
    target[place[-1]] = value
    try:
        said = MODULE.check(proof, VERIFIER)
    except (InvalidSignature, *MODULE.MALFORMED):
        said = None
    assert said in {None, SAYS}
    try:
        entry: RosterEntry | None = check_proof(proof, VERIFIER)
    except CheckpointError:
        entry = None
    assert entry is None or said == SAYS


@pytest.mark.parametrize(("name", "others"), [("verify_proof.py", {"cryptography"}), ("verify_log.py", set())])
def test_the_scripts_stand_alone(name: str, others: set[str]) -> None:
    """They import the standard library, one of them `cryptography`, and nothing of this project."""
    imported = set()
    for node in ast.walk(ast.parse((SCRIPT.parent / name).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module).partition(".")[0])
    assert imported - set(sys.stdlib_module_names) == others


def test_the_proof_script_is_short_enough_to_read() -> None:
    """It stays under 120 lines: whoever relies on it should read it."""
    assert len(SCRIPT.read_text(encoding="utf-8").splitlines()) < 120
