import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subject_pipeline.checkpoints.checkpoint import RosterEntry
from subject_pipeline.checkpoints.proofs import build_proof, check_proof
from subject_pipeline.errors import CheckpointError
from subject_pipeline_tests.helpers.proving import (
    CHECKPOINT,
    LOG_ID,
    PROOF,
    RENAMED,
    SEED,
    TAMPERINGS,
    VERIFIER,
    checkpoint_of,
    digest,
    places,
    verifier_of,
)


@given(st.lists(st.integers(1, 12), min_size=1, max_size=9), st.data())
def test_every_subject_of_a_checkpoint_can_be_proven(sizes: list[int], data: st.DataObject) -> None:
    """A proof of any subject in any chunk holds, goes through JSON unchanged, and gives the subject's entry."""
    checkpoint = checkpoint_of(*sizes)
    chunk = data.draw(st.integers(0, len(sizes) - 1))
    subject = data.draw(st.integers(0, sizes[chunk] - 1))
    proof = json.loads(json.dumps(checkpoint.proof(chunk, subject)))
    assert check_proof(proof, VERIFIER) == checkpoint.rosters[chunk][subject]


def test_a_proof_has_the_published_form() -> None:
    """A proof is self-contained JSON of these fields."""
    assert set(PROOF) == {"schema", "candidate_id", "seq", "mac", "note", "verifier", "chunk", "entry"}
    assert PROOF["schema"] == "subject_proof.v1"
    assert (PROOF["candidate_id"], PROOF["seq"], PROOF["mac"]) == ("CAND/2/4", 4, digest("mac 2 4"))
    for step, index, size, length in (("chunk", 2, 4, 2), ("entry", 4, 9, 4)):
        assert set(PROOF[step]) == {"leaf", "index", "size", "path"}
        assert (PROOF[step]["index"], PROOF[step]["size"], len(PROOF[step]["path"])) == (index, size, length)
    assert json.loads(PROOF["entry"]["leaf"])["candidate_id"] == "CAND/2/4"


def test_a_subject_without_a_chain_can_be_proven_to_have_none() -> None:
    """An entry without a chain is proven like any other."""
    entry = check_proof(CHECKPOINT.proof(0, 2), VERIFIER)
    assert (entry.seq, entry.mac) == (-1, "0" * 64)


@pytest.mark.parametrize("name", TAMPERINGS)
def test_a_tampered_proof_does_not_hold(name: str) -> None:
    """Whatever is changed, the error says what does not hold."""
    tamper, words = TAMPERINGS[name]
    proof = copy.deepcopy(PROOF)
    tamper(proof)
    with pytest.raises(CheckpointError, match=words):
        check_proof(proof, VERIFIER)


@pytest.mark.parametrize("field", ["index", "size"])
@pytest.mark.parametrize("step", ["chunk", "entry"])
def test_a_tree_is_no_larger_than_json_can_count(step: str, field: str) -> None:
    """2^53 - 1 is a number like any other, and wrong; from 2^53 on JSON's readers differ on what it is (RFC 7493)."""
    for number, counted in ((2**53 - 1, True), (2**53, False), (-(2**53), False)):
        proof = copy.deepcopy(PROOF)
        proof[step] |= {"index": number, "size": 2**53 - 1} if field == "index" else {"size": number}
        with pytest.raises(CheckpointError) as raised:
            check_proof(proof, VERIFIER)
        assert ("no larger than a tree can be" in str(raised.value)) != counted


def test_half_a_character_is_no_text() -> None:
    """JSON can hold what no text can."""
    for half in ("\ud800", "\udbff", "\udc00", "\udfff"):
        for text in ({"note": PROOF["note"] + half}, {"entry": {**PROOF["entry"], "leaf": half}}):
            with pytest.raises(CheckpointError, match="must be text"):
                check_proof(PROOF | text, VERIFIER)


@pytest.mark.parametrize("proof", [None, [], "text", 1, {}])
def test_what_is_no_proof_is_refused(proof: object) -> None:
    """Any JSON value that is no proof is our error."""
    with pytest.raises(CheckpointError, match="must be a JSON object"):
        check_proof(proof, VERIFIER)


def test_a_proof_of_another_key_does_not_hold_under_ours() -> None:
    """A proof that somebody else signed, complete in itself, does not hold under the key that is trusted."""
    theirs = build_proof(
        CHECKPOINT.note(bytes(32)),
        verifier_of(bytes(32)),
        CHECKPOINT.chunk_leaves,
        2,
        CHECKPOINT.roster_leaves(2),
        4,
    )
    assert check_proof(theirs, verifier_of(bytes(32))).candidate_id == "CAND/2/4"
    with pytest.raises(CheckpointError, match="names another key"):
        check_proof(theirs, VERIFIER)
    theirs["verifier"] = VERIFIER
    with pytest.raises(CheckpointError, match="is not signed by the key"):
        check_proof(theirs, VERIFIER)


def test_a_key_vouches_only_for_the_log_that_it_is_named_after() -> None:
    """One key may serve two logs; a note of one does not pass as the other's by a changed name on its signature."""
    with pytest.raises(CheckpointError, match=f"the note is of subject-pipeline/{LOG_ID}"):
        build_proof(
            CHECKPOINT.note(name=RENAMED),
            verifier_of(SEED, RENAMED),
            CHECKPOINT.chunk_leaves,
            2,
            CHECKPOINT.roster_leaves(2),
            4,
        )


def test_a_proof_that_would_not_hold_is_not_built() -> None:
    """Leaves that are not the note's, or an index that is not there, are an error at once."""
    leaves, roster = CHECKPOINT.chunk_leaves, CHECKPOINT.roster_leaves(2)
    for chunk_leaves, chunk, roster_leaves, subject in (
        (leaves[:-1], 2, roster, 4),
        (leaves, 1, roster, 4),
        (leaves, 2, roster[:-1], 4),
        (leaves, 4, roster, 4),
        (leaves, 2, roster, 9),
        (leaves, 2, roster, -1),
        (leaves, 2, [*roster[:4], b"\xff", *roster[5:]], 4),
    ):
        with pytest.raises(CheckpointError):
            build_proof(CHECKPOINT.note(), VERIFIER, chunk_leaves, chunk, roster_leaves, subject)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
)


@given(st.sampled_from(places(PROOF)), json_values | st.integers(0, 20))
def test_any_value_put_anywhere_makes_no_other_entry(place: tuple[Any, ...], value: Any) -> None:
    """A proof with any one value replaced is refused with our error, or still proves the same entry."""
    proof = copy.deepcopy(PROOF)
    target = proof
    for key in place[:-1]:
        target = target[key]
    target[place[-1]] = value
    try:
        entry = check_proof(proof, VERIFIER)
    except CheckpointError:
        return
    assert entry == CHECKPOINT.rosters[2][4]
    assert place[-1] in {"index", "size"} or proof == PROOF


@given(st.integers(0, 8), st.integers(0, 7))
def test_changing_an_entry_of_the_roster_breaks_every_proof_of_the_checkpoint(index: int, field: int) -> None:
    """The root covers every subject: another roster has another root."""
    roster = list(CHECKPOINT.rosters[2])
    old = roster[index]
    roster[index] = [
        RosterEntry(old.candidate_id + "x", old.storage_key, old.seq, old.mac, old.manifest_sha256),
        RosterEntry(old.candidate_id, old.storage_key + "x", old.seq, old.mac, old.manifest_sha256),
        RosterEntry(old.candidate_id, old.storage_key, old.seq + 1, digest("else"), old.manifest_sha256),
        RosterEntry(old.candidate_id, old.storage_key, old.seq, old.mac, digest("else")),
    ][field % 4]
    with pytest.raises(CheckpointError, match="not under"):
        build_proof(
            CHECKPOINT.note(),
            VERIFIER,
            CHECKPOINT.chunk_leaves,
            2,
            [entry.leaf() for entry in roster],
            4,
        )
