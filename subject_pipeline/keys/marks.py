"""High-water marks: what a ring signed last of each log, kept beside the ring, where no attacker of the store reaches.

A signer never signs behind its own mark: a store that was rolled back together with all its checkpoints contradicts it.
One ring may serve several stores, so the file has one mark a log; it only ever rises.
"""

import fcntl
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from subject_pipeline.errors import KeyRingError
from subject_pipeline.keys.ring_file import replace_private_file

SCHEMA = "subject_signing_marks.v1"
_LIMIT = 1 << 22
_is_hash = re.compile(r"[0-9a-f]{64}").fullmatch
_is_log_id = re.compile(r"[0-9a-f]{32}").fullmatch


@dataclass(frozen=True, slots=True)
class Mark:
    """The head of a log's tree that was signed last.

    Attributes:
        size: how many checkpoints it has.
        root: over all of them, 64 hex digits.
        time: of the last one, RFC 3339.
        signer: the public signing key that the last one names, 64 hex digits.
    """

    size: int
    root: str
    time: str
    signer: str


def marks_path(ring: Path) -> Path:
    """Where the marks of a ring's file are; a link to the ring has none of its own."""
    target = Path(os.path.realpath(ring))
    return target.with_name(f"{target.name}.mark")


def read_marks(ring: Path) -> dict[str, Mark]:
    """The marks of a ring by log id; none where it has signed nothing yet.

    Raises:
        KeyRingError: the file cannot be read, or is not what was written.
    """
    path = marks_path(ring)
    try:
        with path.open("rb") as file:
            data = file.read(_LIMIT)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise KeyRingError(f"cannot read the high-water mark {path}: {error.strerror}") from error
    try:
        found = orjson.loads(data)
        marks = {log_id: Mark(**mark) for log_id, mark in found["logs"].items()}
        sound = found.keys() == {"schema", "logs"} and found["schema"] == SCHEMA
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise KeyRingError(_damaged(path)) from error
    if not sound or not all(_is_log_id(log_id) and _is_sound(mark) for log_id, mark in marks.items()):
        raise KeyRingError(_damaged(path))
    return marks


def raise_mark(ring: Path, log_id: str, mark: Mark) -> Mapping[str, Mark]:
    """Raise a log's mark, on disk when this returns; one that is as high already stays. Gives all marks of the ring.

    Raises:
        KeyRingError: the file cannot be read or written, or is not what was written.
    """
    path = marks_path(ring)
    try:
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            marks = read_marks(ring)
            if log_id not in marks or marks[log_id].size < mark.size:
                marks[log_id] = mark
                replace_private_file(path, _text(marks))
        finally:
            os.close(folder)
    except OSError as error:
        raise KeyRingError(f"cannot write the high-water mark {path}: {error.strerror}") from error
    return marks


def check_writable(ring: Path) -> None:
    """Make sure that a mark can be written beside a ring, before anything is signed.

    Raises:
        KeyRingError: it cannot.
    """
    path = marks_path(ring)
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise KeyRingError(
            f"cannot sign with {ring}: the high-water mark {path} could not be written; the ring that signs must be in "
            "a folder that its owner can write to"
        )


def _text(marks: Mapping[str, Mark]) -> bytes:
    logs: dict[str, Any] = {log_id: asdict(mark) for log_id, mark in marks.items()}
    return orjson.dumps({"schema": SCHEMA, "logs": logs}, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n"


def _is_sound(mark: Mark) -> bool:
    texts = (mark.root, mark.signer)
    hashes = all(type(text) is str and _is_hash(text) is not None for text in texts)
    return hashes and type(mark.size) is int and mark.size > 0 and type(mark.time) is str


def _damaged(path: Path) -> str:
    return (
        f"the high-water mark {path} is damaged, so it is not known what was signed last: restore it from a backup; "
        "docs/deployment.md says what to do if there is none"
    )
