"""The signer of checkpoints: a key ring's private half, and the line by which others know it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from subject_pipeline.checkpoints.signed_notes import sign_note, verifier_line
from subject_pipeline.checkpoints.tree.head import TreeHead, origin
from subject_pipeline.errors import CheckpointError, KeyRingError
from subject_pipeline.keys.marks import Mark, check_writable, raise_mark
from subject_pipeline.keys.ring_file import KeyRingFile
from subject_pipeline.keys.rotation import settle_signing_key


@dataclass(frozen=True, slots=True)
class Signer:
    """The keys that a ring signs with.

    Attributes:
        line: the verifier line that the next checkpoint names.
        seeds: private keys by verifier line, that of `line` first.
        ring: where they are from, and its marks.
        public: the public key of `line`.
    """

    line: str
    seeds: dict[str, bytes] = field(repr=False)
    ring: KeyRingFile = field(repr=False)
    public: bytes

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
        pairs = [signing, *filter(None, [ring.ring().outgoing])]
        seeds = {verifier_line(origin(log_id), pair.public): pair.private for pair in pairs if pair.private is not None}
        check_writable(ring.path)
        return cls(next(iter(seeds)), seeds, ring, signing.public)

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

    def signed(self, head: TreeHead, time: str) -> None:
        """Raise the mark, once a note is there; once every log of the ring names the current key, drop the former one.

        Raises:
            KeyRingError: the mark or the ring cannot be written.
        """
        mark = Mark(head.size, head.root, time, self.public.hex())
        try:
            marks = raise_mark(self.ring.path, head.log_id, mark)
            if len(self.seeds) > 1 and all(one.signer == mark.signer for one in marks.values()):
                settle_signing_key(self.ring.path, self.public)
                self.ring.reload()
        except KeyRingError as error:
            raise KeyRingError(f"checkpoint {head.number} is written and signed, but {error}") from error
