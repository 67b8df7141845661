"""The signer of checkpoints: a key ring's private half, and the line by which others know it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from subject_pipeline.checkpoints.signed_notes import sign_note, verifier_line
from subject_pipeline.checkpoints.tree_head import TreeHead, origin
from subject_pipeline.errors import CheckpointError, KeyRingError
from subject_pipeline.keys.ring_file import KeyRingFile


@dataclass(frozen=True, slots=True)
class Signer:
    """The keys that a ring signs with.

    Attributes:
        line: the verifier line that the next checkpoint names.
        seeds: private keys by verifier line, that of `line` first.
    """

    line: str
    seeds: dict[str, bytes] = field(repr=False)

    @classmethod
    def of(cls, ring: KeyRingFile, log_id: str) -> Self:
        """The signer of a log.

        Raises:
            KeyRingError: the ring has no private signing key.
        """
        signing = ring.ring().signing
        if signing is None or signing.private is None:
            raise KeyRingError(
                "this key ring has no private signing key: it is a writer's copy; sign with the whole ring"
            )
        line = verifier_line(origin(log_id), signing.public)
        return cls(line, {line: signing.private})

    def sign(self, head: TreeHead, expected: Sequence[str]) -> str:
        """The signed note: by the current key, and by one that the checkpoint before names if that is another.

        Raises:
            CheckpointError: the ring has none of the keys that the checkpoint before names.
        """
        known = next((line for line in expected if line in self.seeds), None)
        if known is None:
            raise CheckpointError(
                f"cannot sign checkpoint {head.number}: the one before it names other signers than this key ring has: "
                "use the ring that signs this store's checkpoints"
            )
        seeds = dict.fromkeys((self.seeds[self.line], self.seeds[known]))
        return sign_note(head.text(), origin(head.log_id), *seeds)
