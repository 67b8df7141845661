"""`checkpoint.json`: what a checkpoint states; leaf n of the one tree that all notes of a log sign."""

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from subject_pipeline.checkpoints.fields import hold, hold_text, is_count, is_hash, object_of
from subject_pipeline.checkpoints.signed_notes import parse_verifier_line
from subject_pipeline.checkpoints.tree.head import is_log_id, origin
from subject_pipeline.errors import CanonicalJsonError, CheckpointError
from subject_pipeline.formats.canonical_json import canonical_json
from subject_pipeline.store.chunks import MAX_CHUNK_COUNT

SCHEMA = "subject_checkpoint.v2"
MAX_NUMBER = 10**12 - 1
"""Twelve digits."""
MAX_SIGNERS = 16
NEVER = -1
"""Where a chunk is carried of which nothing was ever anchored."""

_WHAT = "a checkpoint"
_BYTES_A_CARRIED_CHUNK = 40
_BYTES_OF_THE_REST = 1 << 16
_is_time = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z").fullmatch
_is_key_id = re.compile(r"[0-9a-f]{16}").fullmatch
_is_chunk = re.compile(r"chunk-([0-9a-f]{1,5})").fullmatch


def max_bytes(chunks: int) -> int:
    """No `checkpoint.json` of a store with this many chunks is larger."""
    return _BYTES_OF_THE_REST + _BYTES_A_CARRIED_CHUNK * chunks


@dataclass(frozen=True, slots=True)
class Statement:
    """What one checkpoint states.

    Attributes:
        log_id: the log's, 32 hex digits.
        number: of the checkpoint, from 0.
        time: RFC 3339, UTC, six decimals, `Z`; grows from one checkpoint to the next.
        chunks: how many the store has.
        state_root: over the chunks' leaves, 64 hex digits.
        carried: chunks that are not anchored as they were found: the checkpoint whose state still stands for each; -1
            where nothing of it was ever anchored.
        signers: the verifier lines in force: the next note is signed by one of them.
        retired_keys: the number of the checkpoint at which each retired key of rows and segments went out of use.
    """

    log_id: str
    number: int
    time: str
    chunks: int
    state_root: str
    signers: Sequence[str]
    carried: Mapping[str, int] = field(default_factory=dict)
    retired_keys: Mapping[str, int] = field(default_factory=dict)

    def text(self) -> bytes:
        """Canonical JSON (RFC 8785) of these and the schema.

        Raises:
            CheckpointError: a value that canonical JSON cannot hold.
        """
        try:
            return canonical_json(
                {
                    "carried": dict(self.carried),
                    "chunks": self.chunks,
                    "log_id": self.log_id,
                    "number": self.number,
                    "retired_keys": dict(self.retired_keys),
                    "schema": SCHEMA,
                    "signers": list(self.signers),
                    "state_root": self.state_root,
                    "time": self.time,
                }
            )
        except CanonicalJsonError as error:
            raise CheckpointError(f"not {_WHAT}: {error}") from error

    @classmethod
    def parse(cls, text: bytes) -> Self:
        """The checkpoint that has exactly this text.

        Raises:
            CheckpointError: not a text that `text` would write.
        """
        found = object_of(text, _WHAT, {"schema", *cls.__slots__})
        hold(_WHAT, "schema", found.pop("schema") == SCHEMA)
        made = cls(**found)
        hold(_WHAT, "log_id", is_log_id(made.log_id))
        hold(_WHAT, "number", is_count(made.number) and made.number <= MAX_NUMBER)
        hold(_WHAT, "time", _exists(made.time))
        hold(_WHAT, "chunks", type(made.chunks) is int and 1 <= made.chunks <= MAX_CHUNK_COUNT)
        hold(_WHAT, "state_root", is_hash(made.state_root))
        hold(_WHAT, "signers", made._signers_are_sound())
        hold(_WHAT, "carried", made._carried_are_sound())
        hold(_WHAT, "retired_keys", made._retired_are_sound())
        hold_text(_WHAT, text, made.text())
        return made

    def hold_after(self, before: "Statement") -> None:
        """Refuse a checkpoint that does not follow from the one before it.

        Raises:
            CheckpointError: of another log, another number of chunks, not later, or with keys brought back into use.
        """
        kept = {name: at for name, at in self.retired_keys.items() if at < self.number}
        for name, follows in (
            ("log_id", self.log_id == before.log_id),
            ("number", self.number == before.number + 1),
            ("time", self.time > before.time),
            ("chunks", self.chunks == before.chunks),
            ("retired_keys", kept == dict(before.retired_keys)),
        ):
            if not follows:
                raise CheckpointError(f"checkpoint {self.number} does not follow from the one before it: its {name}")

    def _signers_are_sound(self) -> bool:
        lines = self.signers
        if type(lines) is not list or not 1 <= len(lines) <= MAX_SIGNERS:
            return False
        if any(type(line) is not str for line in lines) or len(set(lines)) != len(lines):
            return False
        return all(parse_verifier_line(line)[0] == origin(self.log_id) for line in lines)

    def _carried_are_sound(self) -> bool:
        return type(self.carried) is dict and all(
            is_chunk_of(name, self.chunks) and type(at) is int and NEVER <= at < self.number
            for name, at in self.carried.items()
        )

    def _retired_are_sound(self) -> bool:
        return type(self.retired_keys) is dict and all(
            _is_key_id(name) is not None and is_count(at) and at <= self.number
            for name, at in self.retired_keys.items()
        )


def is_chunk_of(name: str, chunks: int) -> bool:
    """Whether a store with this many chunks has one of this name."""
    match = _is_chunk(name)
    return match is not None and len(match[1]) == len(f"{chunks - 1:x}") and int(match[1], 16) < chunks


def _exists(time: object) -> bool:
    if type(time) is not str or _is_time(time) is None:
        return False
    try:
        dt.datetime.fromisoformat(time)
    except ValueError:
        return False
    return True
