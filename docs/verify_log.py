"""Verify one chunk's audit log. Needs only Python's standard library and the log's files; and, for MACs, a key ring.

    python verify_log.py FOLDER_OF_A_CHUNK [KEY_RING_FILE] [--log-id ID]

The folder is `audit/<chunk>` of a store, or a copy under the same name. Every problem is printed, then a summary.
Without a key ring hashes, links and counts are verified, and MACs for their form alone: anyone who can write to the
folder can make such a log again, or change the last header's time and key, and only signed checkpoints show that. Rows
and segments cut off the end leave no trace here, with a key ring or without: only signed checkpoints show that too.
Whether the subjects belong to this chunk is not checked either.

Exit status: 0 the log holds; 1 problems were found; 2 the call was wrong, or the log cannot be read.
"""

import argparse
import hashlib
import hmac
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

NONE = "0" * 64  # what a first row and a first segment link to
LEVELS = 100  # of objects and lists in a decision


def like(pattern: str) -> Callable[[object], bool]:
    """Whether a value is text of a form."""
    return lambda value: type(value) is str and re.fullmatch(pattern, value) is not None


def text(value: object) -> bool:
    """Whether a value is text, and not empty."""
    return type(value) is str and value != ""


def whole(value: object) -> bool:
    """Whether a value is an integer; what is read here has none beyond 2^53 - 1."""
    return type(value) is int


def names(value: object) -> bool:
    """Whether a value is a list of texts, and not empty."""
    return type(value) is list and value != [] and all(map(text, value))


def shallow(value: object, levels: int = LEVELS) -> bool:
    """Whether a value has no more than so many levels."""
    parts = value.values() if type(value) is dict else value if type(value) is list else None
    return parts is None or (levels > 0 and all(shallow(part, levels - 1) for part in parts))


def decision(value: object) -> bool:
    """Whether a value is what the registry decided."""
    return type(value) is dict and text(value.get("kind")) and shallow(value)


def gate(value: object) -> bool:
    """Whether a value says by which policy an access was judged."""
    return type(value) is dict and not odd(value, {"policy_sha256": HASH, "table_version": whole, "max_age_s": whole})


HASH, KEY_ID, NONCE = like("[0-9a-f]{64}"), like("[0-9a-f]{16}"), like("[A-Za-z0-9_-]{21}[AQgw]")
DAY = "[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
TIME = like(DAY + r"T(?:[01][0-9]|2[0-3])(?::[0-5][0-9]){2}\.[0-9]{6}Z")
SEGMENT = {"schema": like(r"subject_audit_segment\.v2"), "log_id": text, "chunk": text, "number": whole, "prev": HASH}
SEGMENT |= {"rows": whole, "rows_sha256": HASH, "written_at": TIME, "key_id": KEY_ID}
ROW = {"schema": like(r"subject_audit\.v2"), "candidate_id": text, "seq": whole, "prev": HASH, "ts": TIME}
ROW |= {"actor": text, "action": text, "result": like("success|error|denied|not_found"), "event_id": text}
ROW |= {"key_id": KEY_ID, "nonce": NONCE}
OPTIONAL = {"dataset": text, "fields": names, "purpose": text, "trace_id": text, "payload_sha256": HASH, "reason": text}
OPTIONAL |= {"decision": decision, "manifest_sha256": HASH, "gate": gate}


def odd(value: dict, required: dict, optional: dict | None = None) -> str:
    """The first field that is missing, unknown or not of its form ("" if none)."""
    forms = required | (optional or {})
    wrong = [name for name in value if name not in forms or not forms[name](value[name])]
    return next(iter([*(name for name in required if name not in value), *wrong]), "")


def odd_row(row: dict) -> str:
    """The first field of a row that is not as it must be ("" if none)."""
    found, action = odd(row, ROW, OPTIONAL), str(row.get("action"))
    if found or (action.startswith("manifest_") and action not in {"manifest_updated", "manifest_deleted"}):
        return found or "action"
    if ("decision" in row) != action.startswith("manifest_"):
        return "decision"
    return "manifest_sha256" if ("manifest_sha256" in row) != (action == "manifest_updated") else ""


def ordered(pairs: list[tuple[str, object]]) -> dict:
    """An object whose names are in the order of RFC 8785, each once."""
    if any(one >= other for one, other in pairwise(name.encode("utf-16-be") for name, _ in pairs)):
        raise ValueError("names are out of order")
    return dict(pairs)


def small(digits: str) -> int:
    """An integer that every reader of JSON can hold."""
    if abs(int(digits)) >= 2**53:
        raise ValueError("an integer is too large")
    return int(digits)


def none(number: str) -> None:
    """What stands for a number that is no integer: there is none."""
    raise ValueError(f"{number} is no integer")


def form_problem(inner: bytes, kind: str) -> str:
    """Why these bytes are not a row, or a segment's header ("" if they are)."""
    hooks = {"object_pairs_hook": ordered, "parse_int": small, "parse_float": none, "parse_constant": none}
    value = json.loads(inner.decode(), **hooks)
    if json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() != inner:
        return "malformed: not canonical JSON"
    found = odd_row(value) if kind == "row" else odd(value, SEGMENT)
    return f"malformed: {found!a} is {value.get(found)!a}" if found else ""


def read_line(line: bytes, kind: str, keys: dict[str, bytes] | None) -> tuple[dict, bytes, str]:
    """What a line holds, the hash of that, and what is wrong with the line itself ("" if nothing)."""
    parts = re.fullmatch(rb'\{"mac":"([0-9a-f]{64})","%b":(.*)\}' % kind.encode(), line)
    leaf = hashlib.sha256(b"\0" + (parts[2] if parts else line)).digest()
    try:
        value = json.loads(line.decode())[kind]  # in whatever form, to name whose it is
        if type(value) is not dict:
            return {}, leaf, f"malformed: not JSON of a {kind}"
    except (ValueError, LookupError, TypeError, RecursionError):
        return {}, leaf, f"malformed: not JSON of a {kind}"
    if not parts:
        return value, leaf, f"malformed: not the one form of a {kind}'s line"
    try:
        problem = form_problem(parts[2], kind)
    except (ValueError, RecursionError) as error:
        problem = f"malformed: not canonical JSON: {error!a}"
    if problem or keys is None:
        return value, leaf, problem
    key = keys.get(value["key_id"])
    if key is None:
        return value, leaf, f"unknown_key: the key ring has no {value['key_id']!a}"
    mac = hmac.new(key, f"subject-audit-{kind}/v2\0".encode() + parts[2], hashlib.sha256).hexdigest()
    return value, leaf, "" if hmac.compare_digest(mac.encode(), parts[1]) else "bad_mac: not what the key's owner wrote"


def header_problems(header: dict, facts: dict[str, object]) -> list[str]:
    """Where a segment's header differs from what is found."""
    problems = [f"{name} is {header[name]!a}, not {fact!a}" for name, fact in facts.items() if header[name] != fact]
    return problems if header["rows"] else [*problems, "a segment without rows"]


def row_problem(row: dict, seq: int, prev: str, events: set[tuple[str, str, str]]) -> str:
    """What is wrong with a row as the next of its subject's chain ("" if nothing)."""
    if row["seq"] != seq:
        return f"bad_seq: expected {seq}"
    if prev and row["prev"] != prev:
        return "bad_prev: not the hash of the subject's row before"
    event = (row["candidate_id"], row["event_id"], row["ts"][:7])  # in another month the same id is another event
    if event in events:
        return "duplicate_event: it is in this log already"
    events.add(event)
    return ""


def problems(folder: Path, keys: dict[str, bytes] | None, log_id: str | None, counts: Counter) -> Iterator[str]:
    """Every problem of a chunk's log, in words; counts what it reads."""
    chains, events, number, prev = {}, set(), 0, NONE  # chains: the seq and prev that each subject's next row must have
    for path in sorted(folder.iterdir()):
        if not re.fullmatch(r"[0-9]{12}\.jsonl", path.name) or not path.is_file():
            yield f"{path.name!a}: foreign_object: not a segment"
            continue
        if int(path.stem) != number:
            yield f"missing_segment: {number:012} to {int(path.stem) - 1:012}"
            number, prev = int(path.stem), ""  # a link to what is missing cannot be checked
        first, *lines = path.read_bytes().split(b"\n")
        if not lines or lines.pop():
            yield f"{path.name}: bad_segment: its last line does not end"
        header, leaf, problem = read_line(first, "segment", keys)
        rows = [read_line(line, "row", keys) for line in lines]
        log_id = log_id or (None if problem else header["log_id"])
        facts = {"log_id": log_id, "chunk": folder.name, "number": number, "prev": prev or header.get("prev")}
        facts |= {"rows": len(rows), "rows_sha256": hashlib.sha256(b"".join(row[1] for row in rows)).hexdigest()}
        found = [problem] if problem else header_problems(header, facts)
        for words in found:
            yield f"{path.name}: bad_segment: header: {words}"
        number, prev = number + 1, "" if found else leaf.hex()  # so that one break is reported once
        for row, leaf, problem in rows:
            subject, seq = str(row.get("candidate_id")), row.get("seq")
            words = problem or row_problem(row, *chains.get(subject, (0, NONE)), events)
            if words:
                yield f"{path.name}: subject {subject!a}, seq {seq!a}: {words}"
            if type(seq) is int:  # continue from what is there, for the same reason
                chains[subject] = (seq + 1, "" if words else leaf.hex())
        counts.update(segments=1, rows=len(rows))
        counts["subjects"] = len(chains)
    if not counts["segments"]:
        yield "missing: there is no segment"


def main() -> int:
    """Verify the folder that the call names; the exit status."""
    parser = argparse.ArgumentParser(description="Verify one chunk's audit log.")
    parser.add_argument("folder", type=Path, metavar="FOLDER_OF_A_CHUNK")
    parser.add_argument("ring", type=Path, metavar="KEY_RING_FILE", nargs="?", help="without it MACs are not verified")
    parser.add_argument("--log-id", help="as in the store's catalog/layout.json; else that of the first segment")
    call = parser.parse_args()
    folder, keys, counts, intact = call.folder.resolve(), None, Counter(), True
    try:
        if call.ring is not None:
            ring = json.loads(call.ring.read_bytes())["keys"]
            keys = {key_id: bytes.fromhex(key) for key_id, key in ring.items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        parser.error(f"the key ring cannot be read: {type(error).__name__}")
    ids = {hashlib.sha256(key).hexdigest()[:16]: key for key in (keys or {}).values()}
    if not folder.is_dir() or ids != (keys or {}):
        parser.error("there is no such folder, or a key in the ring is not the one that its id names")
    try:
        for problem in problems(folder, keys, call.log_id, counts):
            print(problem)
            intact = False
    except OSError as error:
        print(f"unreadable: {type(error).__name__}: {str(error)!a}")
        return 2
    unseen = "; MACs were not verified" if keys is None else ""
    read = f"{counts['segments']} segments, {counts['rows']} rows, {counts['subjects']} subjects"
    print(f"{folder.name}: {read}: {'intact' if intact else 'NOT intact'}{unseen}")
    return 0 if intact else 1


if __name__ == "__main__":
    sys.exit(main())
