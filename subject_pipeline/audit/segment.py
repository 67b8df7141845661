"""Segments of the audit log: rows, chained by subject, under a header that is chained by chunk.

Line 1 is `{"mac":M,"segment":S}`, every further line `{"mac":M,"row":R}`; S and R are canonical JSON (RFC 8785). Links
are public: the leaf hash of the row, or of the header, before. M is HMAC-SHA256 over exactly the bytes of S or R, under
a domain of its own, and shows a holder of the keys that a writer made them. Both are taken from the bytes as stored.

Writing and parsing stand in one file, longer than others, so that they cannot drift apart.
"""

import base64
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import orjson

from subject_pipeline.audit.events import ERASED, MANIFEST_DELETED, MANIFEST_UPDATED, AccessEvent
from subject_pipeline.errors import AuditLogError, CanonicalJsonError
from subject_pipeline.formats.canonical_json import canonical_json, canonical_row
from subject_pipeline.formats.leaves import NO_HASH, leaf_hash
from subject_pipeline.formats.times import TIME_FORM
from subject_pipeline.keys.macs import MAC_LENGTH, ROW_DOMAIN, SEGMENT_DOMAIN, Mac, Macs

SEGMENT_SCHEMA = "subject_audit_segment.v2"
ROW_SCHEMA = "subject_audit.v2"
MAX_ROWS = 10_000
MAX_BYTES = 8 << 20

_HEADER = {"schema", "log_id", "chunk", "number", "prev", "rows", "rows_sha256", "written_at", "key_id"}
_IS_MAC = re.compile(rb"[0-9a-f]{64}")
_HEADER_FORMS = {
    "key_id": re.compile(r"[0-9a-f]{16}"),
    "prev": re.compile(r"[0-9a-f]{64}"),
    "written_at": re.compile(TIME_FORM),
}
_MAC_FROM = len(b'{"mac":"')
_MAC_TO = _MAC_FROM + MAC_LENGTH
ROW_FORM = (b'{"mac":"', b'","row":')
HEADER_FORM = (b'{"mac":"', b'","segment":')
ROW_INNER = _MAC_TO + len(ROW_FORM[1])
"""Where the row begins in a line of the right form; it ends before the last byte."""
NONCE_BYTES = 16
NONCE_LENGTH = 22


class LogHead(NamedTuple):
    """Where a chunk's log ends.

    Attributes:
        number: the last segment's; -1 where there is none.
        sha256: the leaf hash of the last segment's header.
    """

    log_id: str
    chunk: str
    number: int = -1
    sha256: str = NO_HASH


class ChainHead(NamedTuple):
    """Where a subject's chain ends, and what its last registry row says of its manifest.

    Attributes:
        seq: the last row's.
        sha256: the last row's leaf hash.
        root: row 0's leaf hash.
        evidence: what the last `manifest_*` row says; None where there is none.
    """

    seq: int
    sha256: str
    root: str
    evidence: "Evidence | None" = None


ManifestState = Literal["present", "deleted", "erased"]


class Evidence(NamedTuple):
    """What a registry row says: the manifest's hash after the change, or its deletion.

    Attributes:
        seq: the row's.
        sha256: of the new manifest's canonical JSON; empty where there is none any more.
        state: the manifest's.
    """

    seq: int
    sha256: str
    state: ManifestState

    @property
    def deleted(self) -> bool:
        """Whether the manifest is gone after this row, for whatever reason."""
        return self.state != "present"


@dataclass(frozen=True, slots=True)
class Written:
    """A segment ready to be stored.

    Attributes:
        data: its bytes.
        head: where the log ends after it.
        chains: the heads of the chains that it extends.
        rows: seq, leaf hash and MAC of every row, in the events' order.
    """

    data: bytes
    head: LogHead
    chains: dict[str, ChainHead]
    rows: list[tuple[int, str, str]]


def write_segment(
    head: LogHead,
    chains: Mapping[str, ChainHead],
    events: Iterable[AccessEvent],
    *,
    key_id: str,
    key: bytes,
    written_at: str,
    random: Callable[[int], bytes],
) -> Written:
    """The next segment of a log: the events as rows at the ends of their subjects' chains, in their order.

    Args:
        head: where the log ends.
        chains: where the chains of these subjects end; a subject that is not in it begins one.
        events: at least one, none of them in the log yet.
        key_id: the active key's id.
        key: the active key.
        written_at: RFC 3339, UTC.
        random: gives so many random bytes, which make it impossible to guess a row's hash.
    """
    row_mac = Mac(key, ROW_DOMAIN)
    touched: dict[str, ChainHead] = {}
    lines: list[bytes] = []
    rows: list[tuple[int, str, str]] = []
    leaves: list[bytes] = []
    for event in events:
        last = touched.get(event.candidate_id) or chains.get(event.candidate_id)
        seq, prev = (0, NO_HASH) if last is None else (last.seq + 1, last.sha256)
        row = _row(event, seq, prev, key_id, _nonce(random(NONCE_BYTES)))
        inner = canonical_row(row) if event.decision is None else canonical_json(row)
        mac, leaf = row_mac.hex(inner), leaf_hash(inner)
        sha256 = leaf.hex()
        lines.append(b'{"mac":"%b","row":%b}\n' % (mac.encode(), inner))
        leaves.append(leaf)
        rows.append((seq, sha256, mac))
        touched[event.candidate_id] = ChainHead(
            seq,
            sha256,
            sha256 if last is None else last.root,
            evidence_of(seq, event.action, event.manifest_sha256, event.decision) or (last.evidence if last else None),
        )
    header = canonical_row(
        {
            "chunk": head.chunk,
            "key_id": key_id,
            "log_id": head.log_id,
            "number": head.number + 1,
            "prev": head.sha256,
            "rows": len(lines),
            "rows_sha256": hashlib.sha256(b"".join(leaves)).hexdigest(),
            "schema": SEGMENT_SCHEMA,
            "written_at": written_at,
        }
    )
    first = b'{"mac":"%b","segment":%b}\n' % (Mac(key, SEGMENT_DOMAIN).hex(header).encode(), header)
    head = head._replace(number=head.number + 1, sha256=leaf_hash(header).hex())
    return Written(b"".join((first, *lines)), head, touched, rows)


def _nonce(random: bytes) -> str:
    return base64.urlsafe_b64encode(random)[:NONCE_LENGTH].decode()


def _row(event: AccessEvent, seq: int, prev: str, key_id: str, nonce: str) -> dict[str, Any]:
    row: dict[str, Any] = {
        "action": event.action,
        "actor": event.actor,
        "candidate_id": event.candidate_id,
        "event_id": event.event_id,
        "key_id": key_id,
        "nonce": nonce,
        "prev": prev,
        "result": event.result,
        "schema": ROW_SCHEMA,
        "seq": seq,
        "ts": event.ts,
    }
    if event.dataset is not None:
        row["dataset"] = event.dataset
    if event.decision is not None:
        row["decision"] = event.decision
    if event.fields is not None:
        row["fields"] = list(event.fields)
    if event.gate is not None:
        row["gate"] = dict(event.gate)
    if event.manifest_sha256 is not None:
        row["manifest_sha256"] = event.manifest_sha256
    if event.payload_sha256 is not None:
        row["payload_sha256"] = event.payload_sha256
    if event.purpose is not None:
        row["purpose"] = event.purpose
    if event.reason is not None:
        row["reason"] = event.reason
    if event.trace_id is not None:
        row["trace_id"] = event.trace_id
    return row


def evidence_of(
    seq: int, action: str, manifest_sha256: str | None, decision: Mapping[str, Any] | None
) -> Evidence | None:
    """What a row says of its subject's manifest; None for any action that is not the registry's."""
    if action == MANIFEST_UPDATED:
        return Evidence(seq, manifest_sha256 or "", "present")
    if action == MANIFEST_DELETED:
        return Evidence(seq, "", "erased" if decision is not None and decision.get("kind") == ERASED else "deleted")
    return None


def split_line(line: bytes, form: tuple[bytes, bytes]) -> tuple[str, bytes] | None:
    """The MAC and the inner bytes of a line, or None where it has another form."""
    start, middle = form
    inner = _MAC_TO + len(middle)
    if not line.startswith(start) or line[_MAC_TO:inner] != middle or line[-1:] != b"}":
        return None
    mac = line[_MAC_FROM:_MAC_TO]
    return (mac.decode(), line[inner:-1]) if _IS_MAC.fullmatch(mac) else None


@dataclass(frozen=True)
class Segment:
    """A segment taken apart, nothing believed yet.

    Attributes:
        header: its header; None where line 1 is not one.
        mac: the MAC in line 1; empty where there is none.
        inner: the bytes that it is over.
        lines: everything after line 1, by line.
        ended: whether the last line ends as lines do.
    """

    header: dict[str, Any] | None
    mac: str
    inner: bytes
    lines: list[bytes]
    ended: bool

    @classmethod
    def parse(cls, data: bytes) -> "Segment":
        """Take a stored segment apart; never fails."""
        first, *lines = data.split(b"\n")
        ended = not lines or not lines[-1]
        if lines and ended:
            lines.pop()
        parts = split_line(first, HEADER_FORM)
        if parts is None:
            return cls(None, "", b"", lines, ended)
        try:
            header = orjson.loads(parts[1])
            if not isinstance(header, dict) or header.keys() != _HEADER or canonical_row(header) != parts[1]:
                header = None
        except (orjson.JSONDecodeError, CanonicalJsonError):
            header = None
        return cls(header, *parts, lines, ended)

    @property
    def sha256(self) -> str:
        """The leaf hash of the header as it is there: what the next segment links to."""
        return leaf_hash(self.inner).hex()

    @property
    def inners(self) -> list[bytes]:
        """Each line's row; of a line that is none, the bytes in a row's place."""
        return [line[ROW_INNER:-1] for line in self.lines]

    @cached_property
    def leaves(self) -> list[bytes]:
        """The leaf hash of each of `inners`, 32 bytes."""
        return [leaf_hash(inner) for inner in self.inners]

    def problem(self, head: LogHead, macs: Macs | None, *, prev_known: bool = True) -> str | None:
        """Why this is not the segment that follows `head`, or None where it is; rows are covered by their hashes.

        Args:
            head: where the log ended before it; `prev_known` False: its hash is not known.
            macs: the ring's keys under `SEGMENT_DOMAIN`; None: MACs are looked at for their form alone.
            prev_known: whether the header's link can be checked.
        """
        header = self.header
        if header is None:
            return "line 1 is not a segment's header"
        unauthentic = self._mac_problem(str(header["key_id"]), macs)
        if unauthentic is not None:
            return unauthentic
        expected = {
            "schema": SEGMENT_SCHEMA,
            "log_id": head.log_id,
            "chunk": head.chunk,
            "number": head.number + 1,
        }
        if prev_known:
            expected["prev"] = head.sha256
        for name, value in expected.items():
            if type(header[name]) is not type(value) or header[name] != value:  # true is 1 to Python
                return f"its header's {name} is {header[name]!r}, not {value!r}"
        for name, form in _HEADER_FORMS.items():
            if type(header[name]) is not str or not form.fullmatch(header[name]):
                return f"its header's {name} is {header[name]!r}, which is not of its form"
        if not self.lines or not self.ended or type(header["rows"]) is not int or header["rows"] != len(self.lines):
            return f"it has {len(self.lines):,} rows, its header says {header['rows']!r}"
        same = header["rows_sha256"] == hashlib.sha256(b"".join(self.leaves)).hexdigest()
        return None if same else "its rows are not those of its header: the SHA-256 of their hashes differs"

    def _mac_problem(self, key_id: str, macs: Macs | None) -> str | None:
        mac = macs.get(key_id) if macs is not None else None
        if macs is None or (mac is not None and mac.matches(self.mac, self.inner)):
            return None
        unknown = (
            f"the key ring does not have its header's key {key_id[:16]!r}: it is another store's ring, or it lost a "
            "key, or somebody without a key wrote this"
        )
        return unknown if mac is None else "its header's MAC does not match"

    def rows(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """The rows of a segment without a problem, in order, each after its leaf hash.

        Raises:
            AuditLogError: a line is not a row.
        """
        for line, leaf in zip(self.lines, self.leaves, strict=True):
            # Of a line the header covers only what is hashed, so nothing else in it may be read.
            parts = split_line(line, ROW_FORM)
            try:
                row = orjson.loads(parts[1]) if parts else None
            except orjson.JSONDecodeError:
                row = None
            if not isinstance(row, dict):
                raise AuditLogError(f"a line of a segment of {self.header} is not a row")
            yield leaf.hex(), row
