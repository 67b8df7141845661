"""Rosters: one entry per subject of a chunk, sorted by hashes of their ids, so that a roster names nobody.

A roster's tree has one leaf per subject: the hash of the id and that of the entry. What hides an entry is `blind`:
without it, anyone could try out which state makes a leaf that a proof for somebody else shows.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from operator import lt
from typing import TypeVar

import msgspec

from subject_pipeline.checkpoints.fields import MAX_INTEGER, hold, hold_text, is_hash, object_of
from subject_pipeline.checkpoints.tree import merkle
from subject_pipeline.errors import CheckpointError
from subject_pipeline.formats.canonical_json import canonical_row
from subject_pipeline.formats.leaves import NO_HASH

STATES = ("absent", "present", "deleted", "erased")
"""What a manifest can be: never there, there, deleted by the registry, erased."""

GONE = frozenset({"deleted", "erased"})
"""The states from which nobody comes back without a row that announces it."""

MAX_LINE_BYTES = 400
"""No line of a roster is longer, so its size is bounded by the number of subjects that its leaf names."""

BLIND_BYTES = 16

_T = TypeVar("_T")
_ENTRY, _LEAF = "a roster's entry", "a roster's leaf"
_BLINDS = re.compile(rb"(?:[A-Za-z0-9_-]{21}[AQgw])*").fullmatch
_HEX = b"0123456789abcdef"
_ROOT_OF_NOBODY = merkle.root(()).hex()


def id_sha256(log_id: str, candidate_id: str) -> str:
    """The name under which a log's rosters know a subject: SHA-256 under a domain and the log's id, 64 hex digits."""
    return sha256(f"subject-roster/v2\0{log_id}\0{candidate_id}".encode()).hexdigest()


class RosterEntry(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """One subject as a checkpoint knew it: where its chain ended, and which manifest it had.

    Half a million are made in one verification; a frozen dataclass takes five times as long to make.

    Attributes:
        blind: 16 random bytes, base64url without padding; another whenever anything else of the entry changes.
        seq: the last row's; -1 where there is no chain.
        row_sha256: the last row's leaf hash, 64 hex digits; 64 zeros where there is no chain.
        manifest_sha256: of the manifest's canonical JSON, 64 hex digits; empty where there is no manifest.
        state: the manifest's, one of `STATES`.
    """

    blind: str
    seq: int
    row_sha256: str
    manifest_sha256: str
    state: str

    def text(self) -> bytes:
        """Canonical JSON (RFC 8785) of these five."""
        return _encode(self)

    @property
    def known(self) -> tuple[int, str, str, str]:
        """All but the blind: what changes when the subject does."""
        return self.seq, self.row_sha256, self.manifest_sha256, self.state

    @classmethod
    def parse(cls, text: bytes) -> "RosterEntry":
        """The entry that has exactly this text.

        Raises:
            CheckpointError: not a text that `text` would write, or a state that nobody can be in.
        """
        entry = _decoded(_decode_entry, text, _ENTRY)
        hold_text(_ENTRY, text, entry.text())
        _hold_entries([entry])
        return entry


class _Line(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """A line of a stored roster."""

    entry: RosterEntry
    id_sha256: str


def roster_leaf(id_hash: str, entry_text: bytes) -> bytes:
    """What the tree holds of a subject: canonical JSON of the hashes of id and entry."""
    return b'{"entry_sha256":"%b","id_sha256":"%b"}' % (sha256(entry_text).hexdigest().encode(), id_hash.encode())


def parse_roster_leaf(text: bytes) -> tuple[str, str]:
    """The hashes of id and entry in a leaf.

    Raises:
        CheckpointError: not a leaf that `roster_leaf` would make.
    """
    found = object_of(text, _LEAF, ("entry_sha256", "id_sha256"))
    for name, value in found.items():
        hold(_LEAF, name, is_hash(value))
    hold_text(_LEAF, text, canonical_row(found))
    return found["id_sha256"], found["entry_sha256"]


@dataclass(frozen=True, slots=True)
class Roster:
    """One chunk's entries; made by `of` or `parse`.

    Attributes:
        entries: by `id_sha256`, sorted.
        text: one line a subject, as it is stored.
        root: of the leaves, 64 hex digits.
    """

    entries: Mapping[str, RosterEntry] = field(default_factory=dict)
    text: bytes = field(default=b"", repr=False)
    root: str = _ROOT_OF_NOBODY

    @classmethod
    def of(cls, entries: Mapping[str, RosterEntry]) -> "Roster":
        """The roster of these entries, given by `id_sha256` in any order; parsed again, so that any reader takes it.

        Raises:
            CheckpointError: one states what nobody can be in.
        """
        ordered = [_Line(entry, id_hash) for id_hash, entry in sorted(entries.items())]
        return cls._parsed(_encode_lines(ordered))

    @classmethod
    def parse(cls, data: bytes, *, subjects: int, root: str) -> "Roster":
        """The roster that has exactly these bytes, this many subjects and this root.

        Raises:
            CheckpointError: not the text of a roster, or that of another.
        """
        found = cls._parsed(data)
        if len(found.entries) != subjects:
            raise CheckpointError(f"not a roster of {subjects:,} subjects, one a line")
        if found.root != root:
            raise CheckpointError("another roster than the one that its leaf names")
        return found

    @classmethod
    def _parsed(cls, data: bytes) -> "Roster":
        lines = _decoded(_decode_lines, data, "a roster")
        hold_text("a roster", data, _encode_lines(lines))
        ids, entries = [line.id_sha256 for line in lines], [line.entry for line in lines]
        hold("a roster's line", "id_sha256", _all_hashes(ids))
        if not all(map(lt, ids, ids[1:])):
            raise CheckpointError("not a roster: its subjects are not sorted by id_sha256, or one is there twice")
        _hold_entries(entries)
        return cls(dict(zip(ids, entries, strict=True)), data, merkle.root(_leaves(data)).hex())

    @property
    def leaves(self) -> list[bytes]:
        """What the tree holds of each subject, in order."""
        return _leaves(self.text)

    def chain(self, id_hash: str) -> tuple[int, str] | None:
        """Where the chain of a subject ended: seq and leaf hash; None where it had none, or is not in the roster."""
        entry = self.entries.get(id_hash)
        return None if entry is None or entry.row_sha256 == NO_HASH else (entry.seq, entry.row_sha256)


def _leaves(text: bytes) -> list[bytes]:
    # `roster_leaf` written out, and the entries' texts cut out of the lines: hashing them is nearly all that is left.
    return [
        b'{"entry_sha256":"%b","id_sha256":"%b"}' % (sha256(line[9:-80]).hexdigest().encode(), line[-66:-2])
        for line in text.splitlines()
    ]


def _decoded(decode: Callable[[bytes], _T], text: bytes, what: str) -> _T:
    try:
        return decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"not {what}: {error}") from error


def _hold_entries(entries: Sequence[RosterEntry]) -> None:
    """Refuse entries of which one states what nobody can be in; asked of all at once, which is quicker by far.

    Raises:
        CheckpointError: one does.
    """
    present = [entry.manifest_sha256 for entry in entries if entry.state == "present"]
    recorded = [entry.row_sha256 for entry in entries if entry.seq >= 0]
    blinds = [entry.blind for entry in entries]
    hold(_ENTRY, "blind", set(map(len, blinds)) <= {22} and _BLINDS("".join(blinds).encode()) is not None)
    hold(_ENTRY, "state", {entry.state for entry in entries} <= set(STATES))
    hold(_ENTRY, "seq", all(-1 <= entry.seq <= MAX_INTEGER for entry in entries))
    hold(_ENTRY, "row_sha256", _all_hashes(recorded) and NO_HASH not in recorded)
    hold(_ENTRY, "row_sha256", all(entry.row_sha256 == NO_HASH for entry in entries if entry.seq < 0))
    hold(_ENTRY, "manifest_sha256", _all_hashes(present))
    hold(_ENTRY, "manifest_sha256", not any(entry.manifest_sha256 for entry in entries if entry.state != "present"))
    hold(_ENTRY, "state", all(entry.seq >= 0 or entry.state == "present" for entry in entries))


def _all_hashes(texts: Sequence[str]) -> bool:
    """Whether each is 64 lower-case hex digits."""
    return set(map(len, texts)) <= {64} and not "".join(texts).encode().translate(None, _HEX)


_encoder = msgspec.json.Encoder(order="sorted")
_encode, _encode_lines = _encoder.encode, _encoder.encode_lines
_decode_entry = msgspec.json.Decoder(RosterEntry).decode
_decode_lines = msgspec.json.Decoder(_Line).decode_lines
