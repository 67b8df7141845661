"""A chunk's log made by hand with the standard library, from the words of the design and no code of this project."""

import base64
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

KEY, OLD_KEY = bytes(range(32)), bytes(range(1, 33))
LOG_ID, CHUNK, NONE = "0123456789abcdef" * 2, "chunk-0a", "0" * 64


def key_id(key: bytes) -> str:
    """The id of a key: the first 16 hex digits of its SHA-256."""
    return hashlib.sha256(key).hexdigest()[:16]


def canonical(value: Any) -> bytes:
    """RFC 8785, for what rows and headers hold: names in the order of their UTF-16 code units."""
    return json.dumps(_sorted(value), ensure_ascii=False, separators=(",", ":")).encode()


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _sorted(value[name]) for name in sorted(value, key=lambda name: name.encode("utf-16-be"))}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


def leaf(inner: bytes) -> bytes:
    """The leaf hash of a row's or a header's bytes (RFC 6962), 32 bytes."""
    return hashlib.sha256(b"\x00" + inner).digest()


def signed(kind: str, inner: bytes, key: bytes = KEY) -> bytes:
    """A line without its newline."""
    domain = {"row": b"subject-audit-row/v2", "segment": b"subject-audit-segment/v2"}[kind]
    mac = hmac.new(key, domain + b"\x00" + inner, "sha256").hexdigest()
    return b'{"mac":"' + mac.encode() + b'","' + kind.encode() + b'":' + inner + b"}"


class HandMadeLog:
    """Rows and segments of one chunk, each linked to the one before, whatever is put into them."""

    def __init__(self) -> None:
        self.segments: list[bytes] = []
        self.prev = NONE
        self.heads: dict[str, tuple[int, str]] = {}

    def row(self, candidate: str, key: bytes = KEY, **changes: Any) -> bytes:
        """The line of a subject's next row."""
        seq, prev = self.heads.get(candidate, (0, NONE))
        row = {
            "schema": "subject_audit.v2",
            "candidate_id": candidate,
            "seq": seq,
            "prev": prev,
            "ts": "2026-06-30T12:00:00.000000Z",
            "actor": "agent-7",
            "action": "view_profile",
            "result": "success",
            "event_id": f"event-{seq}",
            "key_id": key_id(key),
            "nonce": base64.urlsafe_b64encode(seq.to_bytes(16, "big")).decode().rstrip("="),
            **changes,
        }
        inner = canonical({name: value for name, value in row.items() if value is not None})
        self.heads[candidate] = (seq + 1, leaf(inner).hex())
        return signed("row", inner, key)

    def add(self, *lines: bytes, key: bytes = KEY, **changes: Any) -> None:
        """Commit lines as the next segment; a row is what stands between 80 bytes and the last one."""
        header = {
            "schema": "subject_audit_segment.v2",
            "log_id": LOG_ID,
            "chunk": CHUNK,
            "number": len(self.segments),
            "prev": self.prev,
            "rows": len(lines),
            "rows_sha256": hashlib.sha256(b"".join(leaf(line[80:-1]) for line in lines)).hexdigest(),
            "written_at": "2026-06-30T12:00:00.000000Z",
            "key_id": key_id(key),
            **changes,
        }
        inner = canonical({name: value for name, value in header.items() if value is not None})
        self.prev = leaf(inner).hex()
        self.segments.append(b"".join(line + b"\n" for line in (signed("segment", inner, key), *lines)))

    def write(self, folder: Path) -> Path:
        """Write the log as files of a chunk's folder."""
        chunk = folder / CHUNK
        chunk.mkdir()
        for number, data in enumerate(self.segments):
            (chunk / f"{number:012}.jsonl").write_bytes(data)
        return chunk


def write_ring(folder: Path, *keys: bytes) -> Path:
    """A key ring file of these keys."""
    ring = {"schema": "subject_key_ring.v1", "active": key_id(keys[0]), "keys": {key_id(k): k.hex() for k in keys}}
    path = folder / "ring.json"
    path.write_text(json.dumps(ring), encoding="utf-8")
    return path
