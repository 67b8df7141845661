import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subject_pipeline.checkpoints.proofs import ABSENCE, HEAD, check_proof
from subject_pipeline.errors import CheckpointError
from subject_pipeline_tests.helpers.proving import (
    ABSENCE_TAMPERINGS,
    ABSENT,
    AFTER_ALL,
    BEFORE_ALL,
    BETWEEN,
    CARRIED,
    CHECKPOINT,
    CHUNK,
    EMPTY,
    HISTORY_OF_NONE,
    HISTORY_PROOF,
    HISTORY_TAMPERINGS,
    LAYOUT,
    LOG_ID,
    NEVER,
    NOBODY,
    NUMBER,
    PROOF,
    RENAMED,
    SEED,
    SUBJECT,
    TAMPERINGS,
    VERIFIER,
    chain_of,
    checkpoint_of,
    chunk_of,
    history_of,
    ids,
    places,
    verifier_of,
)


@given(st.lists(st.integers(0, 12), min_size=4, max_size=4), st.data())
def test_of_every_id_either_the_head_or_the_absence_can_be_proven(sizes: list[int], data: st.DataObject) -> None:
    """A proof of anybody in any chunk holds, and gives the entry or that there is none; the other kind is refused."""
    checkpoint = checkpoint_of(*sizes)
    chunk = data.draw(st.sampled_from(LAYOUT.names[:4]))
    candidate_id = data.draw(st.sampled_from(ids(chunk)[:30]))
    entry = checkpoint.subjects.get(candidate_id)
    proof = checkpoint.proof(candidate_id, ABSENCE if entry is None else HEAD)
    proven = check_proof(proof, VERIFIER)
    assert (proven.entry, proven.statement) == (entry, checkpoint.statement)
    assert proven.state_of == (2 if chunk == CARRIED else NUMBER)
    with pytest.raises((CheckpointError, KeyError)):
        checkpoint.proof(candidate_id, HEAD if entry is None else ABSENCE)


def test_a_proof_has_the_published_form() -> None:
    """A proof is self-contained JSON of these fields, and has no key to trust."""
    common = {"schema", "kind", "candidate_id", "note", "checkpoint", "checkpoint_path", "chunk"}
    assert set(PROOF) == common | {"entry"}
    assert set(ABSENT) == common | {"before", "after"}
    assert (PROOF["schema"], PROOF["kind"], ABSENT["kind"]) == ("subject_proof.v2", "head", "absence")
    assert set(PROOF["chunk"]) == {"leaf", "path"}
    assert set(PROOF["entry"]) == {"leaf", "text", "index", "path"}
    assert set(ABSENT["before"]) == set(ABSENT["after"]) == {"leaf", "index", "path"}
    assert VERIFIER not in json.dumps(PROOF["note"])


def test_an_absence_names_no_stranger() -> None:
    """Neighbours are hashes of ids and of blinded entries, and nothing else."""
    text = json.dumps(ABSENT)
    for one, entry in CHECKPOINT.subjects.items():
        assert json.dumps(one)[1:-1] not in text
        assert entry.blind not in text
        assert entry.row_sha256 not in text or entry.seq < 0


@pytest.mark.parametrize(
    ("candidate_id", "before", "after"),
    [(BETWEEN, True, True), (BEFORE_ALL, False, True), (AFTER_ALL, True, False), (NOBODY, False, False)],
    ids=["between two", "before the first", "after the last", "of an empty roster"],
)
def test_absence_has_the_neighbours_that_there_are(candidate_id: str, before: bool, after: bool) -> None:
    """Two of them, or one at either end, or none where the roster is empty."""
    proof = CHECKPOINT.proof(candidate_id, ABSENCE)
    assert (proof["before"] is not None, proof["after"] is not None) == (before, after)
    assert check_proof(proof, VERIFIER).entry is None


def test_a_carried_chunk_is_never_shown_as_current() -> None:
    """What is proven is the state of the checkpoint that still stands for it; of a chunk never anchored, nothing."""
    assert check_proof(CHECKPOINT.proof(ids(CARRIED)[0]), VERIFIER).state_of == 2
    assert check_proof(CHECKPOINT.proof(ids(CARRIED)[50], ABSENCE), VERIFIER).state_of == 2
    with pytest.raises(CheckpointError, match="no state of this chunk was ever signed"):
        CHECKPOINT.proof(ids(NEVER)[0], ABSENCE)


@pytest.mark.parametrize("name", TAMPERINGS)
def test_a_tampered_proof_does_not_hold(name: str) -> None:
    """Whatever is changed, the error says what does not hold."""
    tamper, words = TAMPERINGS[name]
    proof = copy.deepcopy(PROOF)
    tamper(proof)
    with pytest.raises(CheckpointError, match=words):
        check_proof(proof, VERIFIER)


@pytest.mark.parametrize("name", ABSENCE_TAMPERINGS)
def test_a_tampered_absence_does_not_hold(name: str) -> None:
    """Above all: nobody who is there, and nobody who may be between what is shown."""
    tamper, words = ABSENCE_TAMPERINGS[name]
    proof = copy.deepcopy(ABSENT)
    tamper(proof)
    with pytest.raises(CheckpointError, match=words):
        check_proof(proof, VERIFIER)


def test_a_history_is_the_whole_chain() -> None:
    """Every row from the first to the one that the entry names, of ids in any letters; of nobody's chain, none."""
    for candidate_id, length in ((SUBJECT, 4), (ids(CHUNK)[1], 1), ("Žofie 😀/\u2028", 2)):
        proof = history_of(candidate_id, length)
        assert proof["rows"] == [one.decode() for one in chain_of(candidate_id, length)]
        proven = check_proof(proof, VERIFIER)
        assert proven.entry is not None
        assert proven.entry.seq == length - 1
    assert HISTORY_OF_NONE["rows"] == []
    assert check_proof(HISTORY_OF_NONE, VERIFIER).entry is not None
    with pytest.raises(CheckpointError, match="not a list of 0 rows"):
        check_proof(HISTORY_OF_NONE | {"rows": HISTORY_PROOF["rows"][:1]}, VERIFIER)


@pytest.mark.parametrize("name", HISTORY_TAMPERINGS)
def test_a_tampered_history_does_not_hold(name: str) -> None:
    """Nothing can be left out, put in, moved or changed."""
    tamper, words = HISTORY_TAMPERINGS[name]
    proof = copy.deepcopy(HISTORY_PROOF)
    tamper(proof)
    with pytest.raises(CheckpointError, match=words):
        check_proof(proof, VERIFIER)


def test_absence_is_not_proven_by_the_neighbours_of_another_chunk() -> None:
    """The steps are right in themselves, and under another roster than the one that the id falls into."""
    other = CHECKPOINT.proof(ids(CARRIED)[50], ABSENCE)
    for put in (("before", "after"), ("before", "after", "chunk")):
        with pytest.raises(CheckpointError, match=r"not under|falls into|no leaf|too short|too long"):
            check_proof(ABSENT | {name: other[name] for name in put}, VERIFIER)


def test_a_roster_cannot_be_cut_to_make_somebody_absent() -> None:
    """The number of subjects is signed: a last neighbour that is not the last proves nothing, nor does a first."""
    strangers = [one for one in ids(CHUNK)[9:] if one != AFTER_ALL]
    for one in strangers[:20]:
        proof = CHECKPOINT.proof(one, ABSENCE)
        for end in ("before", "after"):
            if proof[end] is not None:
                with pytest.raises(CheckpointError, match="not neighbours"):
                    check_proof(proof | {end: None}, VERIFIER)


@pytest.mark.parametrize("proof", [None, [], "text", 1, {}, {"kind": "head"}, {"kind": "absence", "schema": 1}])
def test_what_is_no_proof_is_refused(proof: object) -> None:
    """Any JSON value that is no proof is our error."""
    with pytest.raises(CheckpointError, match=r"kind is none|must be a JSON object"):
        check_proof(proof, VERIFIER)


def test_a_proof_of_another_key_does_not_hold_under_ours() -> None:
    """A proof that somebody else signed, complete in itself, does not hold under the key that is trusted."""
    theirs, _ = CHECKPOINT.signed(CHUNK, CHECKPOINT.note(bytes(32))).proof(SUBJECT, HEAD, verifier_of(bytes(32)))
    assert check_proof(theirs, verifier_of(bytes(32))).entry == CHECKPOINT.subjects[SUBJECT]
    with pytest.raises(CheckpointError, match="is not signed by the key"):
        check_proof(theirs, VERIFIER)
    with pytest.raises(CheckpointError, match="not a verifier line"):
        check_proof(theirs, "no line")


def test_a_key_vouches_only_for_the_log_that_it_is_named_after() -> None:
    """One key may serve two logs; a note of one does not pass as the other's by a changed name on its signature."""
    with pytest.raises(CheckpointError, match=f"the note is of subject-pipeline/{LOG_ID}"):
        CHECKPOINT.signed(CHUNK, CHECKPOINT.note(name=RENAMED)).proof(SUBJECT, HEAD, verifier_of(SEED, RENAMED))


def test_a_proof_that_would_not_hold_is_not_built() -> None:
    """Another chunk's roster, or a note of something else, is an error at once."""
    with pytest.raises(CheckpointError, match=r"not under the chunk's roster root|too short|no leaf"):
        CHECKPOINT.signed(CARRIED).proof(AFTER_ALL, ABSENCE, VERIFIER)
    with pytest.raises(CheckpointError, match="not under the note's root"):
        CHECKPOINT.signed(CHUNK, checkpoint_of(1).note()).proof(SUBJECT, HEAD, VERIFIER)
    assert chunk_of(NOBODY) == EMPTY


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
)


@pytest.mark.parametrize("sound", [PROOF, ABSENT, HISTORY_PROOF], ids=["head", "absence", "history"])
@given(data=st.data())
def test_any_value_put_anywhere_proves_nothing_else(sound: dict[str, Any], data: st.DataObject) -> None:
    """A proof with any one value replaced is refused with our error, or is the same proof."""
    place = data.draw(st.sampled_from(places(sound)))
    value = data.draw(json_values | st.integers(0, 20))
    proof = copy.deepcopy(sound)
    target = proof
    for key in place[:-1]:
        target = target[key]
    target[place[-1]] = value
    try:
        proven = check_proof(proof, VERIFIER)
    except CheckpointError:
        return
    assert proof == sound or (sound is ABSENT and place == ("candidate_id",))
    assert proven.entry == check_proof(sound, VERIFIER).entry
