"""The audit index: what a writer must know of a log without reading it. Derived, and never believed without its MAC.

Records are of fixed width and sorted, so that one is found by bisection in the bytes as they were read.

It is longer than other files because the form of every record stands beside what finds it.
"""

import hashlib
import struct
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from sys import byteorder
from typing import Any, get_args

import orjson

from subject_pipeline.audit.events import CONTENT, IDENTITY
from subject_pipeline.audit.segment import ChainHead, Evidence, ManifestState
from subject_pipeline.errors import CanonicalJsonError
from subject_pipeline.formats.canonical_json import canonical_row
from subject_pipeline.keys.macs import INDEX_DOMAIN, Mac, Macs
from subject_pipeline.store.chunks import key_hash
from subject_pipeline.store.ids import storage_key

INDEX_SCHEMA = "subject_audit_index.v4"
DIGEST = 16
"""Bytes of the digest that a record begins with: a subject's, or an event's identity."""

_STATES: tuple[ManifestState, ...] = get_args(ManifestState)
_NONE = len(_STATES)
_HEAD = struct.Struct(">16sQ32s32sBQ32sQ")
_KIND_AT = struct.calcsize(">16sQ32s32s")
_HASH_AT = struct.calcsize(">16sQ32s32sBQ32s")
_HASH = struct.Struct(">Q")
_POSTING = struct.Struct(">16sI")


@dataclass(frozen=True, slots=True)
class SegmentDelta:
    """What one segment adds to the index.

    Attributes:
        number: the segment's.
        sha256: its header's leaf hash.
        size: its bytes.
        chains: the heads of the chains that it extends, after it.
        events: records of its events, identity and content, by the month of their time.
    """

    number: int
    sha256: str
    size: int
    chains: Mapping[str, ChainHead]
    events: Mapping[str, list[bytes]]


def subject_digest(candidate_id: str) -> bytes:
    """16 bytes that name a subject in the index."""
    return hashlib.blake2b(candidate_id.encode(), digest_size=DIGEST).digest()


class Records:
    """Sorted records of one width; finds those that begin with a digest by bisection."""

    def __init__(self, data: bytes, width: int) -> None:
        self._data = data
        self._width = width

    def __len__(self) -> int:
        return len(self._data) // self._width

    def __getitem__(self, at: int) -> bytes:
        return self._data[at * self._width : at * self._width + DIGEST]

    def starting(self, digest: bytes) -> Iterator[bytes]:
        """The records that begin with a digest, in order."""
        at = bisect_left(self, digest)
        while at < len(self) and self[at] == digest:
            yield self._data[at * self._width : (at + 1) * self._width]
            at += 1

    def every(self) -> Iterator[bytes]:
        """All records, in order."""
        return (self._data[at : at + self._width] for at in range(0, len(self._data), self._width))


def head_in(heads: bytes, candidate_id: str) -> ChainHead | None:
    """A chain's head among the records of all chains; None if the subject has no chain."""
    found = Records(heads, _HEAD.size).starting(subject_digest(candidate_id))
    return next((_head_of(record) for record in found), None)


def heads_with_evidence(heads: bytes, state: ManifestState | None = None) -> dict[bytes, ChainHead]:
    """The heads of the chains that have a registry row, by the digests of their subjects.

    Args:
        heads: records.
        state: only those whose last registry row leaves the manifest so; None: all.
    """
    return {heads[at : at + DIGEST]: _head_of(heads[at : at + _HEAD.size]) for at in _with_evidence(heads, state)}


def key_hashes(heads: bytes, state: ManifestState | None = None) -> list[int]:
    """XXH64 of the storage keys of the same: by it a column of ids is looked through, which no digest allows."""
    return [_HASH.unpack_from(heads, at + _HASH_AT)[0] for at in _with_evidence(heads, state)]


def _with_evidence(heads: bytes, state: ManifestState | None) -> Iterator[int]:
    """Where the records begin whose subjects have a registry row, in this state."""
    kinds = heads[_KIND_AT :: _HEAD.size]
    wanted = None if state is None else _STATES.index(state)
    return (at * _HEAD.size for at, kind in enumerate(kinds) if (kind != _NONE if wanted is None else kind == wanted))


def _head_of(record: bytes) -> ChainHead:
    _, seq, last, root, kind, changed, sha256, _ = _HEAD.unpack(record)
    if kind == _NONE:
        return ChainHead(seq, last.hex(), root.hex())
    state = _STATES[kind]
    return ChainHead(seq, last.hex(), root.hex(), Evidence(changed, sha256.hex() if state == "present" else "", state))


def merge_heads(heads: bytes, deltas: Iterable[SegmentDelta]) -> bytes:
    """The records of all chains' heads after some more segments, in their order."""
    merged = {record[:DIGEST]: record for record in Records(heads, _HEAD.size).every()}
    for delta in deltas:
        for candidate_id, head in delta.chains.items():
            digest = subject_digest(candidate_id)
            merged[digest] = _head_record(digest, head, candidate_id)
    return b"".join(merged[digest] for digest in sorted(merged))


def _head_record(digest: bytes, head: ChainHead, candidate_id: str) -> bytes:
    evidence = head.evidence
    kind, changed, sha256, hashed = _NONE, 0, "", 0
    if evidence is not None:
        kind, changed, sha256 = _STATES.index(evidence.state), evidence.seq, evidence.sha256
        hashed = key_hash(storage_key(candidate_id))
    last, root = bytes.fromhex(head.sha256), bytes.fromhex(head.root)
    return _HEAD.pack(digest, head.seq, last, root, kind, changed, bytes.fromhex(sha256) or bytes(32), hashed)


def postings(deltas: Iterable[SegmentDelta]) -> bytes:
    """Records of which segments hold rows of which subject."""
    return b"".join(
        sorted(
            _POSTING.pack(subject_digest(candidate_id), delta.number)
            for delta in deltas
            for candidate_id in delta.chains
        )
    )


def merge_records(parts: Iterable[bytes], width: int) -> bytes:
    """Several sorted parts as one, each record once."""
    return b"".join(sorted({record for part in parts for record in Records(part, width).every()}))


def segments_in(records: bytes, subjects: Iterable[bytes]) -> set[int]:
    """The numbers of the segments that hold rows of any of these subjects, given by their digests."""
    postings = Records(records, _POSTING.size)
    return {_POSTING.unpack(record)[1] for digest in subjects for record in postings.starting(digest)}


def seal(header: Mapping[str, Any], payload: bytes, *, key_id: str, key: bytes) -> bytes:
    """An object of the index: a line with header and MAC, then the payload."""
    inner = canonical_row({**header, "schema": INDEX_SCHEMA, "key_id": key_id})
    mac = Mac(key, INDEX_DOMAIN).hex(inner + b"\n" + payload)
    return b'{"index":%b,"mac":"%b"}\n%b' % (inner, mac.encode(), payload)


def unseal(data: bytes | None, macs: Macs) -> tuple[dict[str, Any], bytes] | None:
    """The header and payload of an object of the index, or None if it is not as it was sealed.

    Args:
        data: the object's bytes.
        macs: the ring's keys under `INDEX_DOMAIN`.
    """
    first, end, payload = (data or b"").partition(b"\n")
    try:
        line = orjson.loads(first)
        header, claimed = line["index"], line["mac"]
        mac = macs.get(header["key_id"])
        sound = bool(end) and mac is not None and mac.matches(claimed, canonical_row(header) + b"\n" + payload)
        if not sound or header["schema"] != INDEX_SCHEMA:
            return None
    except (orjson.JSONDecodeError, CanonicalJsonError, KeyError, TypeError, AttributeError):
        return None
    return header, payload


POSTING_WIDTH = _POSTING.size


EVENT_WIDTH = IDENTITY + CONTENT
"""Bytes of an event's record: its identity, then the digest of its content."""

_HIGH = 8
"""Bytes of an identity that a part is searched by."""
_FRESH = 32_768
_FRESH_BYTES = 160
"""Bytes that an event takes which is not in a part yet."""


class KnownEvents:
    """Sorted parts as the index has them, and what came since; not thread-safe.

    Args:
        parts: records of `EVENT_WIDTH` bytes, sorted within each part.
    """

    def __init__(self, parts: Iterable[bytes] = ()) -> None:
        self._parts = [_Part(part) for part in parts if part]
        self._fresh: dict[bytes, bytes] = {}

    def contents(self, identity: bytes) -> Iterator[bytes]:
        """The contents that are recorded under an identity: none or one; more only if another program wrote the log."""
        fresh = self._fresh.get(identity)
        if fresh is not None:
            yield fresh
        for part in self._parts:
            yield from part.contents(identity)

    def add(self, records: Iterable[bytes]) -> None:
        """Add records; of several with one identity the first counts."""
        for record in records:
            self._fresh.setdefault(record[:IDENTITY], record[IDENTITY:])
        if len(self._fresh) < _FRESH:
            return
        records = sorted(identity + content for identity, content in self._fresh.items())
        self._fresh = {}
        # Like the index: a part swallows the one before it that is not twice its size.
        while self._parts and len(self._parts[-1].data) < 2 * len(records) * EVENT_WIDTH:
            records = sorted([*self._parts.pop().records(), *records])
        self._parts.append(_Part(b"".join(records)))

    @property
    def weight(self) -> int:
        """About how many bytes this keeps in memory."""
        return sum(part.weight for part in self._parts) + len(self._fresh) * _FRESH_BYTES


class _Part:
    """Sorted records, and the beginnings of their identities as numbers, which are bisected without a copy."""

    __slots__ = ("_high", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        words = array("Q", data)
        if byteorder == "little":
            words.byteswap()
        self._high = words[:: EVENT_WIDTH // _HIGH]

    def contents(self, identity: bytes) -> Iterator[bytes]:
        high = int.from_bytes(identity[:_HIGH])
        at = bisect_left(self._high, high)
        if at == len(self._high) or self._high[at] != high:
            return
        for place in range(at, bisect_right(self._high, high, lo=at)):
            record = self.data[place * EVENT_WIDTH : (place + 1) * EVENT_WIDTH]
            if record.startswith(identity):
                yield record[IDENTITY:]

    def records(self) -> Iterator[bytes]:
        return (self.data[at : at + EVENT_WIDTH] for at in range(0, len(self.data), EVENT_WIDTH))

    @property
    def weight(self) -> int:
        return len(self.data) + len(self._high) * _HIGH
