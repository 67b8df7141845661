"""Which keys a reader believes: lines that it was given, and the signers that one checkpoint names for the next.

Note n is signed by a signer that `checkpoint.json` n-1 names, and note 0 by one that its own names. So a reader who
holds a line of any signer follows the chain from the first note under that line on, and needs no newer line.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from subject_pipeline.checkpoints.signed_notes import opened_by, parse_verifier_line, verifier_line
from subject_pipeline.checkpoints.statement import Statement
from subject_pipeline.checkpoints.tree.head import TreeHead, origin
from subject_pipeline.errors import CheckpointError
from subject_pipeline.keys.ring import KeyRing


@dataclass(frozen=True, slots=True)
class TrustedKeys:
    """What a reader knows of a log's signers from elsewhere than the store.

    Attributes:
        lines: verifier lines, the current one first; a note under any of them begins the chain.
        in_force: the newest checkpoint must name one of these; empty: the reader does not know which is current.
    """

    lines: tuple[str, ...]
    in_force: frozenset[str] = frozenset()

    @classmethod
    def of_ring(cls, ring: KeyRing, log_id: str) -> Self:
        """The public halves that a key ring has; none where it has no signing key."""
        if ring.signing is None:
            return cls(())
        pairs = (ring.signing, *ring.former)
        lines = tuple(verifier_line(origin(log_id), pair.public) for pair in pairs)
        # A writer's copy does not know whether a checkpoint names the current key yet.
        completed = ring.signing.private is not None and ring.outgoing is None
        return cls(lines, frozenset(lines[: 1 if completed else 2]))

    def head_of(self, note: str) -> TreeHead:
        """What a note says that one of these keys has signed.

        Raises:
            CheckpointError: it does not hold, or no such key has signed it.
        """
        return TreeHead.parse(opened_by(note, map(parse_verifier_line, self.lines))[0])

    def signer_of(self, note: str) -> str:
        """The first of these lines under which a note is signed.

        Raises:
            CheckpointError: it does not hold, or no such key has signed it.
        """
        _, signed = opened_by(note, map(parse_verifier_line, self.lines))
        return next(line for line in self.lines if parse_verifier_line(line) in signed)

    def opened(self, note: str, expected: Iterable[str], named: Iterable[str] = ()) -> tuple[TreeHead, bool]:
        """What a note says that one of the expected signers has signed, and whether a signer of it is trusted.

        Args:
            note: the signed note.
            expected: the lines that the checkpoint before names; one of them must have signed it.
            named: the lines that the checkpoint itself names: where a key is handed over, the new one has signed too.

        Raises:
            CheckpointError: it does not hold, or no expected signer has signed it.
        """
        wanted = dict.fromkeys(expected)
        text, signed = opened_by(note, map(parse_verifier_line, [*wanted, *self.lines]))
        by = {verifier_line(name, public) for name, public in signed}
        if by.isdisjoint(wanted):
            raise CheckpointError("it is signed by a key that the checkpoint before it does not name")
        return TreeHead.parse(text), not (by & {*wanted, *named}).isdisjoint(self.lines)

    def hold_in_force(self, newest: Statement) -> None:
        """Refuse a newest checkpoint that names other signers than the reader's own.

        A key that went out of use signs nothing that is believed, not even a whole history from before it did.

        Raises:
            CheckpointError: it names none of those in force.
        """
        if self.in_force and self.in_force.isdisjoint(newest.signers):
            raise CheckpointError(f"checkpoint {newest.number} names no signing key of this ring as its signer")
