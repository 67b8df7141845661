"""Checkpoints: a roster entry per subject, a leaf per chunk, and the note that is signed over all of them.

Subjects' leaves make a chunk's `roster_root`, chunks' leaves make the note's `root`, both by `merkle`. Every format
here has only one form: `parse` refuses what `leaf` or `text` would not have written.
"""

import datetime as dt
import re
from dataclasses import dataclass
from typing import Any, Self

import orjson

from subject_pipeline.errors import CanonicalJsonError, CheckpointError
from subject_pipeline.formats.canonical_json import canonical_row

NO_HASH = "0" * 64
"""Used where there is no chain, no segment or no earlier note."""

_is_hash = re.compile(r"[0-9a-f]{64}").fullmatch
_is_chunk = re.compile(r"chunk-[0-9a-f]+").fullmatch
_NOTE = re.compile(
    r"subject-pipeline/([0-9a-f]{32})\n"
    r"(0|[1-9][0-9]{0,11})\n"
    r"([0-9a-f]{64})\n"
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z)\n"
    r"([0-9a-f]{64})\n"
)


def origin(log_id: str) -> str:
    """The first line of a log's notes, and the name of the key that signs them."""
    return f"subject-pipeline/{log_id}"


@dataclass(frozen=True, slots=True)
class RosterEntry:
    """One subject as a checkpoint knew it: where its chain ended, and which manifest it had.

    Attributes:
        candidate_id: whose.
        storage_key: of that id.
        seq: the last row's; -1 where there is no chain.
        mac: the last row's, 64 hex digits; 64 zeros where there is no chain.
        manifest_sha256: of the manifest's canonical JSON, 64 hex digits; empty where there is no manifest.
    """

    candidate_id: str
    storage_key: str
    seq: int
    mac: str
    manifest_sha256: str

    def leaf(self) -> bytes:
        """The entry as the tree holds it: canonical JSON (RFC 8785) of these five."""
        return canonical_row(
            {
                "candidate_id": self.candidate_id,
                "mac": self.mac,
                "manifest_sha256": self.manifest_sha256,
                "seq": self.seq,
                "storage_key": self.storage_key,
            }
        )

    @classmethod
    def parse(cls, line: bytes) -> Self:
        """The entry that has exactly this leaf.

        Raises:
            CheckpointError: not a leaf that `leaf` would write.
        """
        entry = cls(**_fields(line, "a roster's entry", cls.__slots__))
        for name in ("candidate_id", "storage_key"):
            value = getattr(entry, name)
            _hold("a roster's entry", name, type(value) is str and value != "")
        _hold_end("a roster's entry", ("seq", entry.seq), ("mac", entry.mac))
        _hold("a roster's entry", "manifest_sha256", entry.manifest_sha256 == "" or _is_hex(entry.manifest_sha256))
        return entry


@dataclass(frozen=True, slots=True)
class ChunkLeaf:
    """One chunk as a checkpoint knew it: all its subjects under one hash, and the state of its log and its files.

    Attributes:
        chunk: its name.
        roster_root: of its entries' leaves, sorted by (storage_key, candidate_id), 64 hex digits.
        segment: the log's last segment; -1 where there is none.
        segment_mac: that segment's header MAC, 64 hex digits; 64 zeros where there is none.
        segments_sha256: of the list of segments that is kept with the roster, 64 hex digits.
        table_files_sha256: of the list of the table's files, likewise.
    """

    chunk: str
    roster_root: str
    segment: int
    segment_mac: str
    segments_sha256: str
    table_files_sha256: str

    def leaf(self) -> bytes:
        """The chunk as the tree holds it: canonical JSON (RFC 8785) of these six."""
        return canonical_row(
            {
                "chunk": self.chunk,
                "roster_root": self.roster_root,
                "segment": self.segment,
                "segment_mac": self.segment_mac,
                "segments_sha256": self.segments_sha256,
                "table_files_sha256": self.table_files_sha256,
            }
        )

    @classmethod
    def parse(cls, line: bytes) -> Self:
        """The chunk that has exactly this leaf.

        Raises:
            CheckpointError: not a leaf that `leaf` would write.
        """
        leaf = cls(**_fields(line, "a chunk's leaf", cls.__slots__))
        _hold("a chunk's leaf", "chunk", type(leaf.chunk) is str and _is_chunk(leaf.chunk) is not None)
        for name in ("roster_root", "segments_sha256", "table_files_sha256"):
            _hold("a chunk's leaf", name, _is_hex(getattr(leaf, name)))
        _hold_end("a chunk's leaf", ("segment", leaf.segment), ("segment_mac", leaf.segment_mac))
        return leaf


@dataclass(frozen=True, slots=True)
class CheckpointNote:
    """What is signed: one root over all chunks of a log, at one time, linked to the note before.

    Attributes:
        log_id: the log's, 32 hex digits.
        number: of the checkpoint, from 0.
        root: of the chunks' leaves in the layout's order, 64 hex digits.
        time: RFC 3339, UTC, six decimals, `Z`.
        previous: SHA-256 of all bytes of the previous signed note, 64 hex digits; 64 zeros at number 0.
    """

    log_id: str
    number: int
    root: str
    time: str
    previous: str

    def text(self) -> str:
        """Five lines: origin, number, root, time, previous."""
        return f"{origin(self.log_id)}\n{self.number}\n{self.root}\n{self.time}\n{self.previous}\n"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The note that has exactly this text.

        Raises:
            CheckpointError: not a text that `text` would write.
        """
        found = _NOTE.fullmatch(text)
        if found is None:
            raise CheckpointError("not a checkpoint's note: origin, number, root, time and previous, one a line")
        log_id, number, root, time, previous = found.groups()
        try:
            dt.datetime.fromisoformat(time)
        except ValueError as error:
            raise CheckpointError("not a checkpoint's note: no calendar has its time") from error
        if (number == "0") != (previous == NO_HASH):
            raise CheckpointError("not a checkpoint's note: only number 0 has no previous one")
        return cls(log_id, int(number), root, time, previous)


def _fields(line: bytes, what: str, names: tuple[str, ...]) -> dict[str, Any]:
    """What a leaf holds, if it is canonical JSON of exactly these names; values are not looked at."""
    try:
        values = orjson.loads(line)
        if isinstance(values, dict) and values.keys() == set(names) and canonical_row(values) == line:
            return values
    except (orjson.JSONDecodeError, CanonicalJsonError) as error:
        raise CheckpointError(f"not {what}: no JSON that can be read") from error
    raise CheckpointError(f"not {what}: no canonical JSON of {', '.join(sorted(names))}")


def _hold_end(what: str, number: tuple[str, object], mac: tuple[str, object]) -> None:
    """A chain or log without rows has neither number nor MAC; one with rows has both."""
    (number_name, last), (mac_name, hashed) = number, mac
    _hold(what, number_name, type(last) is int and last >= -1)
    _hold(what, mac_name, _is_hex(hashed) and (last == -1) == (hashed == NO_HASH))


def _is_hex(value: object) -> bool:
    return type(value) is str and _is_hash(value) is not None


def _hold(what: str, name: str, holds: bool) -> None:  # noqa: FBT001 - the claim itself
    if not holds:
        raise CheckpointError(f"not {what}: its {name} is not what one can hold")
