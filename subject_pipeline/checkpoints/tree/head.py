"""The text of a checkpoint's note: the head of the log's tree, as https://c2sp.org/tlog-checkpoint words it."""

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Self

from subject_pipeline.errors import CheckpointError

_HASH_BYTES = 32
_MAX_SIZE = 10**12
"""A checkpoint's number has at most twelve digits."""

_is_log_id = re.compile(r"[0-9a-f]{32}").fullmatch
_text = re.compile(r"subject-pipeline/([0-9a-f]{32})\n([1-9][0-9]{0,12})\n([A-Za-z0-9+/]{43}=)\n").fullmatch


def origin(log_id: str) -> str:
    """The first line of a log's notes, and the name of the keys that sign them."""
    return f"subject-pipeline/{log_id}"


def log_id_of(name: str) -> str:
    """The log that a key's name, or a note's origin, says.

    Raises:
        CheckpointError: it is none of a subject pipeline's.
    """
    kind, _, log_id = name.partition("/")
    if kind != "subject-pipeline" or not is_log_id(log_id):
        raise CheckpointError(f"{name!r} is not the name of a subject pipeline's log")
    return log_id


def is_log_id(value: object) -> bool:
    """Whether it can be a log's id: 32 lower-case hex digits."""
    return type(value) is str and _is_log_id(value) is not None


@dataclass(frozen=True, slots=True)
class TreeHead:
    """What is signed: a log, how many checkpoints it has, and the root over them.

    Attributes:
        log_id: the log's, 32 hex digits.
        size: the number of the last checkpoint, and one.
        root: RFC 6962 hash over all `checkpoint.json`, 64 hex digits.
    """

    log_id: str
    size: int
    root: str

    @property
    def number(self) -> int:
        """Of the last checkpoint."""
        return self.size - 1

    def text(self) -> str:
        """Three lines: origin, tree size, base64 of the root."""
        return f"{origin(self.log_id)}\n{self.size}\n{base64.b64encode(bytes.fromhex(self.root)).decode()}\n"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The head that has exactly this text.

        Raises:
            CheckpointError: not a text that `text` would write, extension lines among it.
        """
        found = _text(text)
        if found is None:
            raise CheckpointError("not a checkpoint's note: origin, tree size and root, one a line")
        try:
            root = base64.b64decode(found[3], validate=True)
        except binascii.Error as error:
            raise CheckpointError("not a checkpoint's note: its root is not base64") from error
        head = cls(found[1], int(found[2]), root.hex())
        if head.size > _MAX_SIZE:
            raise CheckpointError("not a checkpoint's note: its tree is larger than any log's")
        if len(root) != _HASH_BYTES or head.text() != text:
            raise CheckpointError("not a checkpoint's note: its root is not the canonical base64 of 32 bytes")
        return head
