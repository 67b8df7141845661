"""The bare loops of ingestion and verification: the same steps, with nothing kept, counted, confirmed or synced."""

import base64
import collections
import hashlib
import hmac
import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import xxhash
from steps import Found
from work import KEY

BATCH = 100_000
SEGMENT_ROWS = 10_000
REQUIRED = ("event_id", "candidate_id", "ts", "actor", "action")
OPTIONAL = ("dataset", "fields", "purpose", "trace_id")
WORDS = {"error": "error", "failed": "error", "denied": "denied", "forbidden": "denied", "not_found": "not_found"}
STATUSES = {401: "denied", 403: "denied", 404: "not_found", 410: "not_found"}


def _result(payload: dict[str, Any]) -> str:
    """What came of an access, for the payloads of the sample."""
    for flag in ("denied", "not_found", "error"):
        if payload.get(flag):
            return flag
    status = payload.get("status")
    if isinstance(status, str) and status.isdigit():
        status = int(status)
    if isinstance(status, int):
        return STATUSES.get(status, "error" if status >= 400 else "success")
    return WORDS.get(status.lower().replace("-", "_"), "success") if status else "success"


def bare_ingest_step(folder: Path, files: list[str], chunks: int) -> Callable[[], Found]:
    """Ingestion: a first event that is none ends it."""
    return lambda: _ingest([Path(path) for path in files], folder / "bare", chunks)


def bare_verify_step(folder: Path) -> Callable[[], Found]:
    """Verification of one process: a first problem ends it."""
    chunks = sorted((folder / "store" / "audit").iterdir())
    return lambda: {"rows": sum(map(_verify, chunks))}


def _ingest(files: list[Path], folder: Path, chunks: int) -> Found:
    """Read, parse, check, hash, chain, MAC, join and write, a file a segment."""
    loads, dumps, sort = orjson.loads, orjson.dumps, orjson.OPT_SORT_KEYS
    base = hmac.new(KEY, b"subject-audit-row/v2\0", hashlib.sha256)
    heads: dict[str, tuple[int, str]] = {}
    seen: set[str] = set()
    numbers: collections.Counter[int] = collections.Counter()
    results: collections.Counter[str] = collections.Counter()
    for chunk in range(chunks):
        (folder / f"{chunk:02x}").mkdir(parents=True)
    for path in files:
        with path.open("rb") as lines:
            while batch := list(itertools.islice(lines, BATCH)):
                by_chunk: dict[int, list[dict[str, Any]]] = collections.defaultdict(list)
                for line in batch:
                    event = loads(line)
                    for name in REQUIRED:
                        if not isinstance(event[name], str) or not event[name]:
                            raise SystemExit(f"{name} is no text")
                    payload = event["payload"]
                    row = {name: event[name] for name in REQUIRED}
                    row.update({name: event[name] for name in OPTIONAL if name in event})
                    row["payload_sha256"] = hashlib.sha256(dumps(payload, option=sort)).hexdigest()
                    row["result"] = result = _result(payload)
                    results[result] += 1
                    by_chunk[xxhash.xxh64_intdigest(row["candidate_id"].encode()) % chunks].append(row)
                for chunk, rows in by_chunk.items():
                    for first in range(0, len(rows), SEGMENT_ROWS):
                        written = []
                        for row in rows[first : first + SEGMENT_ROWS]:
                            candidate_id = row["candidate_id"]
                            event_key = f"{row['ts'][:7]}{candidate_id}:{row['event_id']}"
                            if event_key in seen:
                                continue
                            seen.add(event_key)
                            seq, prev = heads.get(candidate_id, (0, "0" * 64))
                            nonce = base64.urlsafe_b64encode(os.urandom(16))[:22].decode()
                            row.update(seq=seq, prev=prev, schema="subject_audit.v2", key_id="0" * 16, nonce=nonce)
                            inner = dumps(row, option=sort)
                            mac = base.copy()
                            mac.update(inner)
                            heads[candidate_id] = seq + 1, hashlib.sha256(b"\0" + inner).hexdigest()
                            written.append(b'{"mac":"%b","row":%b}\n' % (mac.hexdigest().encode(), inner))
                        (folder / f"{chunk:02x}" / f"{numbers[chunk]:012d}.jsonl").write_bytes(b"".join(written))
                        numbers[chunk] += 1
    return {"rows": len(seen), "results": dict(results)}


def _verify(chunk: Path) -> int:
    """Read, split, hash, MAC, parse, compare with the canonical form, follow every chain; returns rows."""
    loads, dumps, sort = orjson.loads, orjson.dumps, orjson.OPT_SORT_KEYS
    base = hmac.new(KEY, b"subject-audit-row/v2\0", hashlib.sha256)
    heads: dict[str, tuple[int, str]] = {}
    seen: set[str] = set()
    for path in sorted(chunk.iterdir()):
        for line in path.read_bytes().split(b"\n")[1:-1]:
            claimed, inner = line[8:72], line[80:-1]
            mac = base.copy()
            mac.update(inner)
            row = loads(inner)
            candidate_id = row["candidate_id"]
            event_key = f"{row['ts'][:7]}{candidate_id}:{row['event_id']}"
            if (
                not hmac.compare_digest(mac.hexdigest().encode(), claimed)
                or dumps(row, option=sort) != inner
                or (row["seq"], row["prev"]) != heads.get(candidate_id, (0, "0" * 64))
                or event_key in seen
            ):
                raise SystemExit(f"a row of {path} is damaged")
            heads[candidate_id] = row["seq"] + 1, hashlib.sha256(b"\0" + inner).hexdigest()
            seen.add(event_key)
    return len(seen)
