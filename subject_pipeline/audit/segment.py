"""Segments of the audit log: bytes of rows, chained by subject, under a header that is chained by chunk.

Line 1 is `{"mac":M,"segment":S}`, every further line `{"mac":M,"row":R}`; S and R are canonical JSON (RFC 8785), M is
HMAC-SHA256 over exactly the bytes of S or R under a domain of its own. A verifier computes MACs of the bytes as stored.

Writing and parsing stand in one file, longer than others, so that they cannot drift apart.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from subject_pipeline.audit.events import MANIFEST_DELETED, MANIFEST_UPDATED, AccessEvent
from subject_pipeline.errors import AuditLogError, CanonicalJsonError
from subject_pipeline.formats.canonical_json import canonical_row
from subject_pipeline.keys.macs import MAC_LENGTH, NO_MAC, ROW_DOMAIN, SEGMENT_DOMAIN, Mac, Macs

SEGMENT_SCHEMA = "subject_audit_segment.v1"
ROW_SCHEMA = "subject_audit.v1"
MAX_ROWS = 10_000
MAX_BYTES = 8 << 20

PRIOR_LENGTH = 32
NO_PRIOR = "0" * PRIOR_LENGTH
"""The prior of a subject that had no manifest."""

_PRIOR = re.compile(r"[0-9a-f]{32}")
_IS_MAC = re.compile(rb"[0-9a-f]{64}")
_MAC_FROM = len(b'{"mac":"')
_MAC_TO = _MAC_FROM + MAC_LENGTH
ROW_FORM = (b'{"mac":"', b'","row":')
HEADER_FORM = (b'{"mac":"', b'","segment":')


class LogHead(NamedTuple):
    """Where a chunk's log ends.

    Attributes:
        number: the last segment's; -1 where there is none.
        mac: the last segment's header MAC.
    """

    log_id: str
    chunk: str
    number: int = -1
    mac: str = NO_MAC


class ChainHead(NamedTuple):
    """Where a subject's chain ends, and what its last evidence row says of its manifest.

    Attributes:
        seq: the last row's.
        mac: the last row's.
        root: row 0's MAC.
        evidence: the last `manifest_*` row's action, payload hash and event id; None where there is none.
    """

    seq: int
    mac: str
    root: str
    evidence: "Evidence | None" = None


class Evidence(NamedTuple):
    """What an evidence row says: the manifest's canonical hash after the change, or its deletion.

    Attributes:
        deleted: the manifest was deleted.
        sha256: of the new manifest's canonical JSON; empty where deleted.
        prior: the first 32 hex digits of the manifest's hash before the change; zeros where it had none.
    """

    deleted: bool
    sha256: str
    prior: str


@dataclass(frozen=True, slots=True)
class Written:
    """A segment ready to be stored.

    Attributes:
        data: its bytes.
        head: where the log ends after it.
        chains: the heads of the chains that it extends.
        rows: seq and MAC of every row, in the events' order.
    """

    data: bytes
    head: LogHead
    chains: dict[str, ChainHead]
    rows: list[tuple[int, str]]


def write_segment(
    head: LogHead,
    chains: Mapping[str, ChainHead],
    events: Iterable[AccessEvent],
    *,
    key_id: str,
    key: bytes,
    written_at: str,
) -> Written:
    """The next segment of a log: the events as rows at the ends of their subjects' chains, in their order.

    Args:
        head: where the log ends.
        chains: where the chains of these subjects end; a subject that is not in it begins one.
        events: at least one, none of them in the log yet.
        key_id: the active key's id.
        key: the active key.
        written_at: RFC 3339, UTC.
    """
    row_mac = Mac(key, ROW_DOMAIN)
    touched: dict[str, ChainHead] = {}
    lines: list[bytes] = []
    rows: list[tuple[int, str]] = []
    for event in events:
        last = touched.get(event.candidate_id) or chains.get(event.candidate_id)
        seq, prev = (0, NO_MAC) if last is None else (last.seq + 1, last.mac)
        inner = canonical_row(_row(event, seq, prev, key_id))
        mac = row_mac.hex(inner)
        lines.append(b'{"mac":"%b","row":%b}\n' % (mac.encode(), inner))
        rows.append((seq, mac))
        touched[event.candidate_id] = ChainHead(
            seq,
            mac,
            mac if last is None else last.root,
            evidence_of(event.action, event.payload_sha256, event.event_id) or (last.evidence if last else None),
        )
    body = b"".join(lines)
    header = canonical_row(
        {
            "chunk": head.chunk,
            "key_id": key_id,
            "log_id": head.log_id,
            "number": head.number + 1,
            "prev": head.mac,
            "rows": len(lines),
            "rows_sha256": hashlib.sha256(body).hexdigest(),
            "schema": SEGMENT_SCHEMA,
            "written_at": written_at,
        }
    )
    mac = Mac(key, SEGMENT_DOMAIN).hex(header)
    data = b'{"mac":"%b","segment":%b}\n%b' % (mac.encode(), header, body)
    return Written(data, head._replace(number=head.number + 1, mac=mac), touched, rows)


def _row(event: AccessEvent, seq: int, prev: str, key_id: str) -> dict[str, Any]:
    row: dict[str, Any] = {
        "action": event.action,
        "actor": event.actor,
        "candidate_id": event.candidate_id,
        "event_id": event.event_id,
        "key_id": key_id,
        "prev": prev,
        "result": event.result,
        "schema": ROW_SCHEMA,
        "seq": seq,
        "ts": event.ts,
    }
    if event.dataset is not None:
        row["dataset"] = event.dataset
    if event.fields is not None:
        row["fields"] = list(event.fields)
    if event.payload_sha256 is not None:
        row["payload_sha256"] = event.payload_sha256
    if event.purpose is not None:
        row["purpose"] = event.purpose
    if event.trace_id is not None:
        row["trace_id"] = event.trace_id
    return row


def evidence_of(action: str, sha256: str | None, event_id: str) -> Evidence | None:
    """What a row says of its subject's manifest; None for any action that is not the registry's."""
    if action not in {MANIFEST_UPDATED, MANIFEST_DELETED}:
        return None
    prior = event_id.partition(".")[0]
    return Evidence(
        deleted=action == MANIFEST_DELETED,
        sha256=sha256 or "" if action == MANIFEST_UPDATED else "",
        prior=prior if _PRIOR.fullmatch(prior) else NO_PRIOR,
    )


def split_line(line: bytes, form: tuple[bytes, bytes]) -> tuple[str, bytes] | None:
    """The MAC and the inner bytes of a line, or None where it has another form."""
    start, middle = form
    inner = _MAC_TO + len(middle)
    if not line.startswith(start) or line[_MAC_TO:inner] != middle or line[-1:] != b"}":
        return None
    mac = line[_MAC_FROM:_MAC_TO]
    return (mac.decode(), line[inner:-1]) if _IS_MAC.fullmatch(mac) else None


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment taken apart, nothing believed yet.

    Attributes:
        header: its header; None where line 1 is not one.
        mac: the MAC in line 1; empty where there is none.
        inner: the bytes that it is over.
        body: everything after line 1.
    """

    header: dict[str, Any] | None
    mac: str
    inner: bytes
    body: bytes

    @classmethod
    def parse(cls, data: bytes) -> "Segment":
        """Take a stored segment apart; never fails."""
        first, _, body = data.partition(b"\n")
        parts = split_line(first, HEADER_FORM)
        if parts is None:
            return cls(None, "", b"", body)
        try:
            header = orjson.loads(parts[1])
            if not isinstance(header, dict) or canonical_row(header) != parts[1]:
                header = None
        except (orjson.JSONDecodeError, CanonicalJsonError):
            header = None
        return cls(header, *parts, body)

    def problem(self, head: LogHead, macs: Macs, *, prev_known: bool = True) -> str | None:
        """Why this is not the segment that follows `head`, or None where it is; rows are covered by their hash.

        Args:
            head: where the log ended before it; `prev_known` False: its MAC is not known.
            macs: the ring's keys under `SEGMENT_DOMAIN`.
            prev_known: whether the header's link can be checked.
        """
        header = self.header
        if header is None:
            return "line 1 is not a segment's header"
        mac = macs.get(str(header.get("key_id")))
        if mac is None or not mac.matches(self.mac, self.inner):
            unknown = f"the key ring does not have its header's key {str(header.get('key_id'))[:16]!r}"
            return unknown if mac is None else "its header's MAC does not match"
        expected = {
            "schema": SEGMENT_SCHEMA,
            "log_id": head.log_id,
            "chunk": head.chunk,
            "number": head.number + 1,
        }
        if prev_known:
            expected["prev"] = head.mac
        for name, value in expected.items():
            if header.get(name) != value:
                return f"its header's {name} is {header.get(name)!r}, not {value!r}"
        rows = self.body.count(b"\n")
        if header.get("rows") != rows:
            return f"it has {rows:,} rows, its header says {header.get('rows')!r}"
        same = header.get("rows_sha256") == hashlib.sha256(self.body).hexdigest()
        return None if same else "its rows are not those of its header: their SHA-256 differs"

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows of a segment without a problem, in order, each with its own MAC under `mac`.

        Raises:
            AuditLogError: a line is not a row.
        """
        for line in self.body.split(b"\n")[:-1]:
            try:
                parsed = orjson.loads(line)
                yield {"mac": parsed["mac"], **parsed["row"]}
            except (orjson.JSONDecodeError, KeyError, TypeError) as error:
                raise AuditLogError(f"a line of a segment of {self.header} is not a row") from error
