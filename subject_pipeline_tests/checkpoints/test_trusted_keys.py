"""Which keys a reader believes, of a ring and of lines that were given."""

from dataclasses import replace

import pytest

from subject_pipeline.checkpoints.signed_notes import sign_note, verifier_line
from subject_pipeline.checkpoints.tree.head import TreeHead, origin
from subject_pipeline.checkpoints.trusted_keys import TrustedKeys
from subject_pipeline.errors import CheckpointError
from subject_pipeline.keys.ring import KeyRing, SigningKey

LOG_ID = "0123456789abcdef" * 2
SEEDS = [bytes([number]) * 32 for number in range(3)]
PAIRS = [SigningKey.of_seed(seed) for seed in SEEDS]
LINES = [verifier_line(origin(LOG_ID), pair.public) for pair in PAIRS]
HEAD = TreeHead(LOG_ID, 1, "ab" * 32)


def _note(*seeds: bytes) -> str:
    return sign_note(HEAD.text(), origin(LOG_ID), *seeds)


def test_a_writers_copy_takes_the_current_key_or_the_one_before() -> None:
    """It does not know whether a handover is complete, the owner's ring does; keys from before sign nothing new."""
    former = tuple(replace(pair, private=None) for pair in PAIRS[1:])
    ring = replace(KeyRing.new(bytes(32), SEEDS[0]), former=former)
    for one, in_force in ((ring, LINES[:1]), (ring.writer_copy(), LINES[:2])):
        trusted = TrustedKeys.of_ring(one, LOG_ID)
        assert trusted.lines == tuple(LINES)
        assert trusted.in_force == frozenset(in_force)


@pytest.mark.parametrize("at", range(3))
def test_the_signer_of_a_note_is_the_first_that_signed(at: int) -> None:
    """Of the lines that the reader has, in their order."""
    trusted = TrustedKeys(tuple(LINES))
    assert trusted.signer_of(_note(SEEDS[at])) == LINES[at]
    assert trusted.signer_of(_note(*SEEDS[at:][::-1])) == LINES[at]


def test_a_line_that_is_named_and_did_not_sign_makes_nothing_trusted() -> None:
    """A note is believed for the keys that signed it, however many others the checkpoints name."""
    trusted = TrustedKeys((LINES[1],))
    for expected, named in ((LINES[:2], ()), (LINES[:1], LINES[:2])):
        assert trusted.opened(_note(SEEDS[0]), expected, named) == (HEAD, False)
        assert trusted.opened(_note(*SEEDS[:2]), expected, named) == (HEAD, True)
    with pytest.raises(CheckpointError, match="signed by a key that the checkpoint before it does not name"):
        trusted.opened(_note(SEEDS[1]), LINES[:1])
