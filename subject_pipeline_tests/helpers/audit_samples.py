"""A small audit log to tamper with, and what anybody, or a holder of its keys, can do to it.

Bytes are made with the standard library alone, so that no test holds the code to itself.
"""

import hashlib
import hmac
import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from subject_pipeline.audit.events import MANIFEST_DELETED, MANIFEST_UPDATED, AccessEvent
from subject_pipeline.audit.segment import ChainHead, LogHead, Written, write_segment
from subject_pipeline.store.chunks import ChunkLayout
from subject_pipeline.store.ids import storage_key
from subject_pipeline.verification.log_verdicts import LogJudge, LogVerdict

ROW = "subject-audit-row/v2"
SEGMENT = "subject-audit-segment/v2"
NONE = "0" * 64

LOG_ID = "0123456789abcdef" * 2
LAYOUT = ChunkLayout(4)
CHUNK, OTHER_CHUNK = LAYOUT.names[:2]
START = LogHead(LOG_ID, CHUNK)

OLD_KEY, NEW_KEY, STRANGE_KEY = (bytes(range(at, at + 32)) for at in (0, 32, 64))


def key_id(key: bytes) -> str:
    """The id that names a key."""
    return hashlib.sha256(key).hexdigest()[:16]


RING = {key_id(key): key for key in (OLD_KEY, NEW_KEY)}


def _subjects(chunk: str) -> list[str]:
    return [name for at in range(100) if LAYOUT.chunk_of(storage_key(name := f"WORKER/{at}")) == chunk]


A, B, C, D, NOBODY = _subjects(CHUNK)[:5]
STRANGER = _subjects(OTHER_CHUNK)[0]

Segments = list[bytes | str | None]
"""A log as a reader gets it: None where a segment is gone, a text where the store failed to give it."""


def event(candidate_id: str, event_id: str, **changes: Any) -> AccessEvent:
    """An event with nothing optional."""
    parts = {"ts": "2026-06-30T12:00:00.000000Z", "actor": "ada", "action": "read", "result": "success", **changes}
    return AccessEvent(candidate_id, event_id, **parts)


def registry_event(candidate_id: str, event_id: str, sha256: str | None, **changes: Any) -> AccessEvent:
    """A registry row's event: the manifest's hash after a change, or None where it was deleted."""
    action = MANIFEST_DELETED if sha256 is None else MANIFEST_UPDATED
    decision = {"kind": "deleted" if sha256 is None else "replaced", "recorded_at": "2026-06-30T12:00:00.000000Z"}
    parts = {"action": action, "manifest_sha256": sha256, "decision": decision, **changes}
    return event(candidate_id, event_id, **parts)


def full_event(candidate_id: str, event_id: str) -> AccessEvent:
    """An event with every optional field of an access, in letters that ASCII does not have."""
    return event(
        candidate_id,
        event_id,
        actor="Žofie \U0001f600",
        dataset="löhne",
        fields=("straße", "name"),
        purpose='payroll "Q3"\n\u2028\x7f',
        trace_id="00-4bf9",
        payload_sha256="ab" * 32,
        reason="a ticket: \U0001f4dd",
        gate={"policy_sha256": "ab" * 32, "table_version": 7, "max_age_s": 0},
    )


def numbered() -> Callable[[int], bytes]:
    """What stands for randomness: the hashes of 0, 1, 2 and so on, so that the same plan makes the same log."""
    count = itertools.count()
    return lambda length: hashlib.sha256(f"nonce {next(count)}".encode()).digest()[:length]


def write_log(plan: Iterable[tuple[bytes, Sequence[AccessEvent]]], head: LogHead = START) -> list[Written]:
    """The segments of a log: of each its key, and its events."""
    chains: dict[str, ChainHead] = {}
    log, random = [], numbered()
    for key, events in plan:
        written_at = f"2026-07-01T00:00:{head.number + 1:02}.000000Z"
        written = write_segment(head, chains, events, key_id=key_id(key), key=key, written_at=written_at, random=random)
        head = written.head
        chains.update(written.chains)
        log.append(written)
    return log


def sample_log(head: LogHead = START, event_of: Callable[..., AccessEvent] = event) -> list[bytes]:
    """Four segments, four subjects, two keys: A0 B0 A1 | C0 A2 | B1 A3 C1 | A4 D0 B2."""
    plan = [
        (OLD_KEY, [event_of(A, "a0"), event_of(B, "b0"), event_of(A, "a1")]),
        (OLD_KEY, [event_of(C, "c0"), full_event(A, "a2")]),
        (NEW_KEY, [event_of(B, "b1"), event_of(A, "a3"), event_of(C, "c1")]),
        (NEW_KEY, [event_of(A, "a4"), event_of(D, "d0"), event_of(B, "b2")]),
    ]
    return [written.data for written in write_log(plan, head)]


class AnchoredByName:
    """What a checkpoint anchored, by ids in clear: a test's roster has no hashes to look up."""

    def __init__(self, chains: Mapping[str, tuple[int, str]]) -> None:
        self._chains = chains

    def chain(self, candidate_id: str) -> tuple[int, str] | None:
        """See `AnchoredChains.chain`."""
        return self._chains.get(candidate_id)

    def unmet(self, met: Iterable[str]) -> list[tuple[str, int]]:
        """See `AnchoredChains.unmet`; the id takes the place of its hash."""
        known = set(met)
        return [(one, seq) for one, (seq, _) in self._chains.items() if one not in known]


def judge(
    segments: Iterable[bytes | str | None],
    chains: Mapping[str, tuple[int, str]] | None = None,
    *,
    start: LogHead = START,
    keys: Mapping[str, bytes] | None = RING,
    resumed: bool = False,
    retired: Mapping[str, int] | None = None,
) -> LogVerdict:
    """The verdict over a log; `chains` are what a checkpoint anchored; without `keys` it is what anybody can judge."""
    judging = LogJudge(
        start=start,
        layout=LAYOUT,
        keys=None if keys is None else keys.get,
        anchored=AnchoredByName(chains or {}),
        resumed=resumed,
        retired=retired or {},
    )
    for data in segments:
        if data is None:
            judging.gone()
        elif isinstance(data, str):
            judging.unreadable(data)
        else:
            judging.segment(data)
    return judging.finish()


def chains_found(verdict: LogVerdict) -> dict[str, tuple[str, int]]:
    """Kind and seq of every broken chain; of one that the checkpoint alone knows, by what it is known as."""
    found = {candidate_id: (broken.kind, broken.seq) for candidate_id, broken in verdict.broken.items()}
    return found | {str(one.id_sha256): (one.kind, one.seq) for one in verdict.broken_unnamed}


def logs_found(verdict: LogVerdict) -> list[tuple[int | None, str]]:
    """Segment and kind of every problem of the log."""
    return [(broken.segment, broken.kind) for broken in verdict.logs]


def canonical(value: object) -> bytes:
    """Canonical JSON of what rows hold (RFC 8785): names are sorted by their UTF-16 code units."""
    return json.dumps(_sorted(value), ensure_ascii=False, separators=(",", ":")).encode()


def _sorted(value: object) -> object:
    if isinstance(value, Mapping):
        return {name: _sorted(value[name]) for name in sorted(value, key=lambda name: name.encode("utf-16-be"))}
    return [_sorted(item) for item in value] if isinstance(value, list | tuple) else value


def leaf_of(inner: bytes) -> str:
    """The leaf hash of the bytes of a row or a header (RFC 6962)."""
    return hashlib.sha256(b"\0" + inner).hexdigest()


def inner_of(line: bytes) -> bytes:
    """The bytes that the hash of a row is over: those in a row's place, whatever they are."""
    return line[len(b'{"mac":"","row":') + 64 : -1]


def header_hash(segment: bytes) -> str:
    """The leaf hash of a segment's header."""
    return leaf_of(canonical(json.loads(lines_of(segment)[0])["segment"]))


def rows_hash(lines: Iterable[bytes]) -> str:
    """The hash of the leaf hashes of rows' lines, in order."""
    return hashlib.sha256(b"".join(bytes.fromhex(leaf_of(inner_of(line))) for line in lines)).hexdigest()


def mac_of(inner: bytes, key: bytes, domain: str) -> str:
    """HMAC-SHA256 over domain, a zero byte and the inner bytes."""
    return hmac.new(key, domain.encode() + b"\0" + inner, hashlib.sha256).hexdigest()


def line_of(kind: str, inner: Mapping[str, Any], mac: str) -> bytes:
    """A line of a segment, without its LF; `kind` is `row` or `segment`."""
    return b'{"mac":"%b","%b":%b}' % (mac.encode(), kind.encode(), canonical(inner))


def signed(kind: str, inner: Mapping[str, Any], key: bytes | None = None) -> bytes:
    """A line with the MAC of the key that it names, or of another."""
    key = key if key is not None else RING.get(str(inner.get("key_id")), STRANGE_KEY)
    return line_of(kind, inner, mac_of(canonical(inner), key, ROW if kind == "row" else SEGMENT))


def lines_of(segment: bytes) -> list[bytes]:
    """The header's line, then the rows', each without its LF."""
    return segment.split(b"\n")[:-1]


def joined(lines: Iterable[bytes]) -> bytes:
    """A segment of these lines."""
    return b"".join(line + b"\n" for line in lines)


def rows_of(segments: Iterable[bytes]) -> list[dict[str, Any]]:
    """The rows of a log, in order, each with its own MAC under `mac` and its leaf hash under `sha256`."""
    parsed = [json.loads(line) for segment in segments for line in lines_of(segment)[1:]]
    return [{"mac": line["mac"], "sha256": leaf_of(canonical(line["row"])), **line["row"]} for line in parsed]


def heads_of(segments: Iterable[bytes]) -> dict[str, tuple[int, str]]:
    """Seq and leaf hash of the last row of every chain."""
    return {row["candidate_id"]: (row["seq"], row["sha256"]) for row in rows_of(segments)}


def reseal(segments: Sequence[bytes]) -> list[bytes]:
    """Headers made again, as a holder of the keys makes them for whatever rows stand there."""
    log, prev = [], NONE
    for number, segment in enumerate(segments):
        header = json.loads(lines_of(segment)[0])["segment"]
        rows = lines_of(segment)[1:]
        header |= {"number": number, "prev": prev, "rows": len(rows), "rows_sha256": rows_hash(rows)}
        prev = leaf_of(canonical(header))
        log.append(joined([signed("segment", header), *rows]))
    return log


def rechain(segments: Sequence[bytes]) -> list[bytes]:
    """Rows and headers made again, as a holder of the keys links up whatever rows are left."""
    log = []
    heads: dict[str, tuple[int, str]] = {}
    for segment in segments:
        first, *lines = lines_of(segment)
        rows = [json.loads(line)["row"] for line in lines]
        for at, row in enumerate(rows):
            seq, prev = heads.get(row["candidate_id"], (-1, NONE))
            row |= {"seq": seq + 1, "prev": prev}
            lines[at] = signed("row", row)
            heads[row["candidate_id"]] = (seq + 1, leaf_of(canonical(row)))
        log.append(joined([first, *lines]))
    return reseal(log)
