import ast
import copy
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import xxhash
from cryptography.exceptions import InvalidSignature
from hypothesis import given
from hypothesis import strategies as st

from subject_pipeline.checkpoints.proofs import ABSENCE, HEAD, check_proof
from subject_pipeline.checkpoints.signed_notes import sign_note
from subject_pipeline.errors import CheckpointError
from subject_pipeline_tests.helpers.proving import (
    ABSENCE_TAMPERINGS,
    ABSENT,
    AFTER_ALL,
    BEFORE_ALL,
    CARRIED,
    CHECKPOINT,
    CHUNK,
    HISTORY_OF_NONE,
    HISTORY_PROOF,
    HISTORY_TAMPERINGS,
    LOG_ID,
    NOBODY,
    PROOF,
    RENAMED,
    SEED,
    STATES,
    SUBJECT,
    TAMPERINGS,
    VERIFIER,
    digest,
    history_of,
    ids,
    places,
    verifier_of,
)

SCRIPT = Path(__file__).parents[2] / "docs" / "verify_proof.py"


def _run(*arguments: str) -> tuple[int, str, str]:
    done = subprocess.run([sys.executable, "-I", SCRIPT, *arguments], capture_output=True, check=False, timeout=60)
    out, err = done.stdout.decode("ascii"), done.stderr.decode("ascii")
    assert "Traceback" not in out + err
    return done.returncode, out, err


def _written(folder: Path, proof: object) -> str:
    path = folder / "proof.json"
    path.write_text(json.dumps(proof), encoding="utf-8")
    return str(path)


def _as_module(path: Path) -> ModuleType:
    module = ModuleType(path.stem)
    exec(compile(path.read_text(encoding="utf-8"), path, "exec"), module.__dict__)  # noqa: S102 - it is no package
    return module


LOG_MODULE = _as_module(SCRIPT.with_name("verify_log.py"))
MODULE = _as_module(SCRIPT)


@pytest.fixture(autouse=True, scope="module")
def _beside_it() -> Iterator[None]:
    """verify_log.py, which a history needs beside this script."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "verify_log", LOG_MODULE)
        yield


REFUSED = (InvalidSignature, *MODULE.MALFORMED)


def test_a_proof_holds_under_the_key_that_was_obtained_elsewhere(tmp_path: Path) -> None:
    """A proof that holds says in plain words what it proves, and exits 0."""
    status, out, _ = _run(_written(tmp_path, PROOF), VERIFIER)
    assert status == 0
    assert out.startswith(f"HOLDS: checkpoint 6 of subject-pipeline/{LOG_ID}, made at 2026-06-30T12:00:00.000000Z")
    assert f"as of checkpoint 6, subject {json.dumps(SUBJECT)} in {CHUNK} had\n" in out
    assert f"1 rows in its audit chain, the last with the hash {digest(f'row {SUBJECT}')}" in out
    assert f"a manifest with the SHA-256 {digest(f'manifest {SUBJECT}')}" in out
    assert "the signer's word" in out


def test_an_absence_holds_likewise(tmp_path: Path) -> None:
    """It says of whom, and among how many."""
    status, out, _ = _run(_written(tmp_path, ABSENT), VERIFIER)
    assert status == 0
    assert f"subject {json.dumps(ABSENT['candidate_id'])} in {CHUNK} has no entry among its 9 subjects." in out


@pytest.mark.parametrize("number", range(5), ids=STATES)
def test_every_state_is_put_in_words(number: int) -> None:
    """What there is not is said too."""
    said = MODULE.check(CHECKPOINT.proof(ids(CHUNK)[number]), VERIFIER)
    state = STATES[number]
    assert ("no audit chain, and" in said) == (state == "no chain")
    assert ("no manifest" in said) == (state not in {"present", "no chain"})
    assert (f"no manifest ({state})" in said) == (state in {"absent", "deleted", "erased"})


@pytest.mark.parametrize("candidate_id", [BEFORE_ALL, AFTER_ALL, NOBODY], ids=["first", "last", "empty"])
def test_absence_is_shown_at_both_ends_and_of_an_empty_roster(candidate_id: str) -> None:
    """One neighbour, or none."""
    assert "has no entry among" in MODULE.check(CHECKPOINT.proof(candidate_id, ABSENCE), VERIFIER)


def test_a_carried_chunk_is_shown_as_of_its_own_checkpoint() -> None:
    """And never as current."""
    for proof in (CHECKPOINT.proof(ids(CARRIED)[0]), CHECKPOINT.proof(ids(CARRIED)[50], ABSENCE)):
        assert "checkpoint 6 of" in MODULE.check(proof, VERIFIER)
        assert "as of checkpoint 2, subject" in MODULE.check(proof, VERIFIER)


@pytest.mark.parametrize("name", TAMPERINGS)
def test_a_tampered_proof_does_not_hold(tmp_path: Path, name: str) -> None:
    """Every tampering that the project refuses is refused."""
    proof = copy.deepcopy(PROOF)
    TAMPERINGS[name][0](proof)
    with pytest.raises(REFUSED):
        MODULE.check(proof, VERIFIER)


@pytest.mark.parametrize("name", ABSENCE_TAMPERINGS)
def test_a_tampered_absence_does_not_hold(name: str) -> None:
    """The same of the other kind."""
    proof = copy.deepcopy(ABSENT)
    ABSENCE_TAMPERINGS[name][0](proof)
    with pytest.raises(REFUSED):
        MODULE.check(proof, VERIFIER)


def test_a_history_says_that_all_rows_are_in_the_proof(tmp_path: Path) -> None:
    """By the script alone, like any other proof."""
    status, out, _ = _run(_written(tmp_path, HISTORY_PROOF), VERIFIER)
    assert status == 0
    assert "had\n  4 rows in its audit chain" in out
    assert "its whole history is in the proof" in out


def test_histories_of_any_id_hold_and_so_does_one_of_no_row() -> None:
    """Somebody without a chain has an empty history."""
    for proof in (HISTORY_OF_NONE, history_of("Žofie 😀/\u2028", 2)):
        assert "whole history" in MODULE.check(proof, VERIFIER)
    with pytest.raises(ValueError, match=r"not the history that is signed|another subject's"):
        MODULE.check(HISTORY_OF_NONE | {"rows": HISTORY_PROOF["rows"][:1]}, VERIFIER)


@pytest.mark.parametrize("name", HISTORY_TAMPERINGS)
def test_a_tampered_history_does_not_hold(name: str) -> None:
    """Every tampering that the project refuses is refused."""
    proof = copy.deepcopy(HISTORY_PROOF)
    HISTORY_TAMPERINGS[name][0](proof)
    with pytest.raises(REFUSED):
        MODULE.check(proof, VERIFIER)


def test_what_does_not_hold_is_named(tmp_path: Path) -> None:
    """Exit status 1, and in words what it is."""
    proof = copy.deepcopy(PROOF)
    proof["entry"]["path"].pop()
    status, out, _ = _run(_written(tmp_path, proof), VERIFIER)
    assert (status, out) == (1, "DOES NOT HOLD: a path is too short for its index and size\n")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no JSON",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b'{"schema":"subject_proof.v2","kind":["head"]}',
        b"1" * 5000,
        json.dumps(PROOF).encode()[:-1],
        json.dumps(PROOF).encode()[:-1] + b',"kind":"head"}',
        json.dumps(PROOF).encode("utf-16"),
    ],
    ids=lambda data: data[:12],
)
def test_what_is_no_proof_does_not_hold(tmp_path: Path, data: bytes) -> None:
    """A malformed file exits 1 without a traceback; so does one that has a name twice."""
    path = tmp_path / "proof.json"
    path.write_bytes(data)
    status, out, _ = _run(str(path), VERIFIER)
    assert (status, out[:14]) == (1, "DOES NOT HOLD:")


@pytest.mark.parametrize("key", ["", "no key", VERIFIER[:-4], VERIFIER.replace("subject", "object"), "a+b+c", "++"])
def test_a_wrong_key_exits_2(tmp_path: Path, key: str) -> None:
    """A key that is none is the caller's mistake, not the proof's."""
    status, out, err = _run(_written(tmp_path, PROOF), key)
    assert (status, out) == (2, "")
    assert "usage:" in err


@pytest.mark.long
def test_a_wrong_call_exits_2(tmp_path: Path) -> None:
    """No key, no file, a file that is not there, a folder, or too many arguments: exit 2 with the usage."""
    proof = _written(tmp_path, PROOF)
    for arguments in ([], [proof], [str(tmp_path / "none.json"), VERIFIER], [str(tmp_path), VERIFIER], [proof] * 3):
        status, out, err = _run(*arguments)
        assert (status, out) == (2, "")
        assert "usage:" in err


def test_the_proof_of_another_key_does_not_hold() -> None:
    """A proof complete in itself, but signed by somebody else, or of another log by the same key."""
    theirs, _ = CHECKPOINT.signed(CHUNK, CHECKPOINT.note(bytes(32))).proof(SUBJECT, HEAD, verifier_of(bytes(32)))
    assert MODULE.check(theirs, verifier_of(bytes(32)))
    with pytest.raises(ValueError, match="is not signed by the key"):
        MODULE.check(theirs, VERIFIER)
    with pytest.raises(ValueError, match=f"the note is of subject-pipeline/{LOG_ID}"):
        MODULE.check(PROOF | {"note": CHECKPOINT.note(name=RENAMED)}, verifier_of(SEED, RENAMED))


def test_a_signature_of_a_witness_beside_ours_does_no_harm() -> None:
    """Signature lines of other keys are ignored."""
    witness = sign_note("x\n", "witness.example/w", bytes(32))[3:]
    proof = copy.deepcopy(PROOF) | {"note": PROOF["note"] + witness}
    assert check_proof(proof, VERIFIER) == check_proof(PROOF, VERIFIER)
    assert MODULE.check(proof, VERIFIER) == MODULE.check(PROOF, VERIFIER)


def test_words_from_a_proof_do_not_reach_the_terminal_raw(tmp_path: Path) -> None:
    """Control characters in an id are escaped."""
    proof = CHECKPOINT.proof(NOBODY, ABSENCE)
    wild = next(one for one in (f"\x1b[2J\u202e\n{at}" for at in range(1000)) if _chunk(one) == _chunk(NOBODY))
    status, out, _ = _run(_written(tmp_path, proof | {"candidate_id": wild}), VERIFIER)
    assert status == 0
    assert out.replace("\n", "").isprintable()


def _chunk(candidate_id: str) -> int:
    return int(MODULE.xxh64(MODULE.re.sub("[^A-Za-z0-9_-]", "_", candidate_id).encode()) % 5)


def test_the_hash_of_storage_keys_is_xxh64() -> None:
    """Of every length up to some blocks."""
    for length in range(140):
        data = os.urandom(length)
        assert MODULE.xxh64(data) == xxhash.xxh64_intdigest(data, 0)


values = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.lists(st.integers(), max_size=2)
)


@pytest.mark.parametrize("sound", [PROOF, ABSENT, HISTORY_PROOF], ids=["head", "absence", "history"])
@given(data=st.data())
def test_script_and_project_judge_alike(sound: dict[str, Any], data: st.DataObject) -> None:
    """What holds for one holds for the other, whatever is put anywhere, as a value or into a text."""
    proof = copy.deepcopy(sound)
    place = data.draw(st.sampled_from(places(proof)))
    target = proof
    for key in place[:-1]:
        target = target[key]
    old = target[place[-1]]
    if isinstance(old, str) and data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(old)))
        target[place[-1]] = old[:at] + data.draw(st.text(max_size=2)) + old[at + data.draw(st.integers(0, 1)) :]
    else:
        target[place[-1]] = data.draw(values)
    try:
        said = MODULE.check(proof, VERIFIER)
    except REFUSED:
        said = None
    try:
        check_proof(proof, VERIFIER)
        holds = True
    except CheckpointError:
        holds = False
    assert holds == (said is not None)


@pytest.mark.parametrize(
    ("name", "others"),
    [
        ("verify_proof.py", {"cryptography"}),
        ("verify_log.py", set()),
        ("verify_checkpoint.py", {"cryptography", "verify_log", "verify_proof"}),
    ],
)
def test_the_scripts_stand_alone(name: str, others: set[str]) -> None:
    """They import the standard library, two of them `cryptography`, each other, and nothing of this project."""
    imported = set()
    for node in ast.walk(ast.parse((SCRIPT.parent / name).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module).partition(".")[0])
    assert imported - set(sys.stdlib_module_names) == others


def test_the_proof_script_is_short_enough_to_read() -> None:
    """Anyone who relies on it should read it; 250 lines are the aim, histories took it a little beyond."""
    assert len(SCRIPT.read_text(encoding="utf-8").splitlines()) < 270
