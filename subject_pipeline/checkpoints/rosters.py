"""Rosters: one entry per subject of a chunk, sorted by hashes of their ids, so that a roster names nobody.

A roster's tree has one leaf per subject: the hash of the id and that of the entry. What hides an entry is `blind`:
without it, anyone could try out which state makes a leaf that a proof for somebody else shows.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Self

import msgspec

from subject_pipeline.checkpoints.fields import MAX_INTEGER, hold, hold_end, hold_text, is_hash, object_of
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

_NO_ROW = NO_HASH.encode()
_ENTRY, _LEAF, _LINE = "a roster's entry", "a roster's leaf", "a roster's line"
_entry = re.compile(
    rb'\{"blind":"([A-Za-z0-9_-]{21}[AQgw])","manifest_sha256":"([0-9a-f]{64}|)","row_sha256":"([0-9a-f]{64})",'
    rb'"seq":(-1|0|[1-9][0-9]{0,15}),"state":"(absent|present|deleted|erased)"\}'
).fullmatch
_line = re.compile(rb'\{"entry":(\{.*\}),"id_sha256":"([0-9a-f]{64})"\}').fullmatch


def id_sha256(log_id: str, candidate_id: str) -> str:
    """The name under which a log's rosters know a subject: SHA-256 under a domain and the log's id, 64 hex digits."""
    return sha256(b"subject-roster/v2\0%b\0%b" % (log_id.encode(), candidate_id.encode())).hexdigest()


class RosterEntry(msgspec.Struct, frozen=True, gc=False):
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
    def parse(cls, text: bytes) -> Self:
        """The entry that has exactly this text.

        Raises:
            CheckpointError: not a text that `text` would write, or a state that nobody can be in.
        """
        match = _entry(text)
        if match is None:
            raise CheckpointError(f"not {_ENTRY}: not the canonical JSON (RFC 8785) of one")
        blind, manifest_sha256, row_sha256, digits, state = match.groups()
        seq, present = int(digits), state == b"present"
        # Asked in short first: a call for each of three claims takes as long as all the rest.
        if (
            seq > MAX_INTEGER
            or (seq == -1) != (row_sha256 == _NO_ROW)
            or present != (manifest_sha256 != b"")
            or (seq == -1 and not present)
        ):
            hold_end(_ENTRY, ("seq", seq), ("row_sha256", row_sha256.decode()))
            hold(_ENTRY, "state", seq >= 0 or present)
            hold(_ENTRY, "manifest_sha256", present == (manifest_sha256 != b""))
        return cls(blind.decode(), seq, row_sha256.decode(), manifest_sha256.decode(), state.decode())


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
        leaves: what the tree holds of each, in order.
    """

    entries: Mapping[str, RosterEntry] = field(default_factory=dict)
    leaves: Sequence[bytes] = field(default=(), repr=False, compare=False)

    @classmethod
    def of(cls, entries: Mapping[str, RosterEntry]) -> "Roster":
        """The roster of these entries, given by `id_sha256` in any order."""
        ordered = dict(sorted(entries.items()))
        return cls(ordered, [roster_leaf(id_hash, entry.text()) for id_hash, entry in ordered.items()])

    @classmethod
    def parse(cls, data: bytes, *, subjects: int, root: str) -> "Roster":
        """The roster that has exactly these bytes, this many subjects and this root.

        Raises:
            CheckpointError: not bytes that `text` would write, or another roster.
        """
        *lines, rest = data.split(b"\n")
        if rest or len(lines) != subjects:
            raise CheckpointError(f"not a roster of {subjects:,} subjects, one a line")
        entries: dict[str, RosterEntry] = {}
        leaves, last = [], ""
        for line in lines:
            match = _line(line)
            if match is None:
                raise CheckpointError(f"not {_LINE}: entry and id_sha256")
            id_hash = match[2].decode()
            if id_hash <= last:
                raise CheckpointError("not a roster: its subjects are not sorted by id_sha256, or one is there twice")
            last = id_hash
            entries[id_hash] = RosterEntry.parse(match[1])
            leaves.append(roster_leaf(id_hash, match[1]))
        if merkle.root(leaves).hex() != root:
            raise CheckpointError("another roster than the one that its leaf names")
        return cls(entries, leaves)

    def text(self) -> bytes:
        """One line a subject, as it is stored."""
        return b"".join(
            b'{"entry":%b,"id_sha256":"%b"}\n' % (entry.text(), id_hash.encode())
            for id_hash, entry in self.entries.items()
        )

    @property
    def root(self) -> str:
        """Of the leaves, 64 hex digits."""
        return merkle.root(self.leaves).hex()

    def chain(self, id_hash: str) -> tuple[int, str] | None:
        """Where the chain of a subject ended: seq and leaf hash; None where it had none, or is not in the roster."""
        entry = self.entries.get(id_hash)
        return None if entry is None or entry.row_sha256 == NO_HASH else (entry.seq, entry.row_sha256)


_encode = msgspec.json.Encoder(order="sorted").encode
