"""Verify one chunk's audit log. Needs only Python's standard library, the log's files and a key ring.

    python verify_log.py FOLDER_OF_A_CHUNK KEY_RING_FILE [--log-id ID]

The folder is `audit/<chunk>` of a store, or a copy under the same name. Every problem is printed, then a summary.
Rows and segments cut off the end leave no trace here: only signed checkpoints show that. Whether the subjects belong to
this chunk is not checked either.

Exit status: 0 intact; 1 problems were found; 2 the call was wrong.
"""

import argparse
import hashlib
import hmac
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

NONE = "0" * 64  # what a first row and a first segment link to
ROW_TEXTS = ("candidate_id", "prev", "ts", "actor", "action", "result", "event_id")


def read_line(line: bytes, kind: str, keys: dict[str, bytes]) -> tuple[dict, str, str]:
    """What a line holds, its MAC ("" if it has none), and what is wrong with the line itself ("" if nothing)."""
    try:
        inner = json.loads(line.decode())[kind]
        key_id = inner["key_id"]
        canonical = json.dumps(inner, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
    except (ValueError, LookupError, TypeError, RecursionError):
        return {}, "", f"malformed: not JSON of a {kind}"
    found = re.fullmatch(rb'\{"mac":"([0-9a-f]{64})","%b":(.*)\}' % kind.encode(), line)
    if not found or found[2] != canonical:
        return inner, "", f"malformed: not the one form of a {kind}'s line, with canonical JSON"
    mac, key = found[1].decode(), keys.get(str(key_id))
    if key is None:
        return inner, mac, f"unknown_key: the key ring has no {key_id!a}"
    expected = hmac.new(key, f"subject-audit-{kind}/v1\0".encode() + canonical, hashlib.sha256).hexdigest()
    return inner, mac, "" if hmac.compare_digest(expected, mac) else "bad_mac: not what the key's owner wrote"


def header_problems(header: dict, facts: dict[str, object]) -> list[str]:
    """Where a segment's header differs from what is found."""
    facts = {"schema": "subject_audit_segment.v1", **facts}
    return [f"{name} is {header.get(name)!a}, not {fact!a}" for name, fact in facts.items() if header.get(name) != fact]


def row_problem(row: dict, seq: int, prev: str, events: set[tuple[str, str, str]]) -> str:
    """What is wrong with a row as the next of its subject's chain ("" if nothing)."""
    if row.get("schema") != "subject_audit.v1" or not all(isinstance(row.get(name), str) for name in ROW_TEXTS):
        return "malformed: not a row of subject_audit.v1"
    if type(row.get("seq")) is not int or row["seq"] != seq:
        return f"bad_seq: expected {seq}"
    if prev and row["prev"] != prev:
        return "bad_prev: not the MAC of the subject's row before"
    event = (row["candidate_id"], row["event_id"], row["ts"][:7])  # in another month the same id is another event
    if event in events:
        return "duplicate_event: it is in this log already"
    events.add(event)
    return ""


def problems(folder: Path, keys: dict[str, bytes], log_id: str | None, counts: Counter) -> Iterator[str]:
    """Every problem of a chunk's log, in words; counts what it reads."""
    chains, events, number, prev = {}, set(), 0, NONE  # chains: the seq and prev that each subject's next row must have
    for path in sorted(folder.iterdir()):
        if not re.fullmatch(r"[0-9]{12}\.jsonl", path.name) or not path.is_file():
            yield f"{path.name!a}: foreign_object: not a segment"
            continue
        if int(path.stem) != number:
            yield f"missing_segment: {number:012} to {int(path.stem) - 1:012}"
            number, prev = int(path.stem), ""  # a link to what is missing cannot be checked
        first, _, body = path.read_bytes().partition(b"\n")
        *lines, rest = body.split(b"\n")
        header, mac, problem = read_line(first, "segment", keys)
        log_id = log_id or ("" if problem else header.get("log_id"))
        facts = {"log_id": log_id, "chunk": folder.name, "number": number, "prev": prev or header.get("prev")}
        facts |= {"rows": len(lines), "rows_sha256": hashlib.sha256(body).hexdigest()}
        for words in [problem] if problem else header_problems(header, facts):
            yield f"{path.name}: bad_segment: header: {words}"
        for line in [*lines, rest] if rest else lines:
            row, row_mac, problem = read_line(line, "row", keys)
            subject = str(row.get("candidate_id"))
            problem = problem or row_problem(row, *chains.get(subject, (0, NONE)), events)
            if problem:
                yield f"{path.name}: subject {subject!a}, seq {row.get('seq')!a}: {problem}"
            if type(row.get("seq")) is int:  # continue from what is there, so that one break is reported once
                chains[subject] = (row["seq"] + 1, row_mac)
        counts.update(segments=1, rows=len(lines))
        number, prev, counts["subjects"] = number + 1, mac, len(chains)
    if not counts["segments"]:
        yield "missing: there is no segment"


def main() -> int:
    """Verify the folder that the call names; the exit status."""
    parser = argparse.ArgumentParser(description="Verify one chunk's audit log.")
    parser.add_argument("folder", type=Path, metavar="FOLDER_OF_A_CHUNK")
    parser.add_argument("ring", type=Path, metavar="KEY_RING_FILE")
    parser.add_argument("--log-id", help="as in the store's catalog/layout.json; else that of the first segment")
    call = parser.parse_args()
    folder, counts, intact = call.folder.resolve(), Counter(), True
    try:
        keys = {key_id: bytes.fromhex(key) for key_id, key in json.loads(call.ring.read_bytes())["keys"].items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        parser.error(f"the key ring cannot be read: {type(error).__name__}")
    if not folder.is_dir() or any(key_id != hashlib.sha256(key).hexdigest()[:16] for key_id, key in keys.items()):
        parser.error("there is no such folder, or a key in the ring is not the one that its id names")
    try:
        for problem in problems(folder, keys, call.log_id, counts):
            print(problem)
            intact = False
    except OSError as error:
        print(f"unreadable: {error}")
        return 1
    read = f"{counts['segments']} segments, {counts['rows']} rows, {counts['subjects']} subjects"
    print(f"{folder.name}: {read}: {'intact' if intact else 'NOT intact'}")
    return 0 if intact else 1


if __name__ == "__main__":
    sys.exit(main())
