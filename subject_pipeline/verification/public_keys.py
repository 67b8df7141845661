"""What anybody may verify a store with: verifier lines, and what checkpoints under them say of the store."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from subject_pipeline.checkpoints.signed_notes import MAX_NOTE_BYTES, is_named_in, parse_verifier_line
from subject_pipeline.checkpoints.tree.head import log_id_of
from subject_pipeline.checkpoints.tree.stored import NOTE, CheckpointTree
from subject_pipeline.checkpoints.trusted_keys import TrustedKeys
from subject_pipeline.errors import CheckpointError, ConfigurationError, KeyRingError
from subject_pipeline.objects.protocol import ObjectStore
from subject_pipeline.store.layout import CHECKPOINTS

_SIGNED_BY_NOBODY = (
    "nothing here is signed by this key: no note below checkpoints/ names it; check the verifier line and the store"
)


@dataclass(frozen=True, slots=True)
class PublicKeys:
    """Verifier lines of one log, from somebody who is trusted.

    Attributes:
        lines: at least one.
        log_id: of the log that all of them are named after.
    """

    lines: tuple[str, ...]
    log_id: str

    @classmethod
    def of(cls, lines: Sequence[str]) -> Self:
        """The keys of these lines.

        Raises:
            ConfigurationError: none is given, one is no verifier line of a subject pipeline, or they are of two logs.
        """
        try:
            logs = {log_id_of(parse_verifier_line(line)[0]) for line in lines}
        except CheckpointError as error:
            raise ConfigurationError(f"cannot verify with this key: {error}") from error
        if len(logs) != 1:
            raise ConfigurationError("cannot verify with these keys: give verifier lines of one log, at least one")
        return cls(tuple(lines), logs.pop())

    def chunk_count(self, objects: ObjectStore) -> int:
        """How many chunks the newest checkpoint says that there are, which holds and is signed.

        Raises:
            KeyRingError: no note of the store names any of these keys.
            CheckpointError: the newest checkpoint is gone or does not hold, or its place is.
            StoreError: the store failed.
        """
        notes = (item.key for item in objects.list(CHECKPOINTS) if NOTE.fullmatch(item.key))
        if not any(
            self._named_in(objects.get(key, limit=MAX_NOTE_BYTES) or b"") for key in sorted(notes, reverse=True)
        ):
            raise KeyRingError(_SIGNED_BY_NOBODY)
        tree = CheckpointTree.listed(objects, self.log_id, None)
        return tree.statement(tree.believed(TrustedKeys(self.lines), whole=False).number).chunks

    def _named_in(self, note: bytes) -> bool:
        return any(is_named_in(note, line) for line in self.lines)
