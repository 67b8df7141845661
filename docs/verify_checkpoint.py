"""Verify a copy of a whole store with nothing but its signer's public key.

    python verify_checkpoint.py STORE LINE [--export MANIFESTS.jsonl]

STORE is a folder with the store's `audit/` and `checkpoints/`. LINE is the signer's verifier line, as `subject-pipeline
keys public` prints it: get it from somebody you trust, not from anyone who gave you the copy. It may be one that was
replaced since. Verified are the tree of checkpoints, all notes, the last state's leaves and rosters, and every log
against them. Manifests are compared only with `--export`, the file that `subjects export` writes. Every problem is
printed, then a summary. Needs `cryptography`, and verify_log.py and verify_proof.py beside this file.

Exit status: 0 everything holds; 1 problems were found; 2 the call was wrong, nothing here is signed by this key, or
something cannot be read.
"""

import argparse
import base64
import hashlib
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from verify_log import problems as log_problems
from verify_proof import CHUNK, MALFORMED, chunk_of, entry_of, must, once, public_key, signed_text, stated, xxh64

HEADER, ROW = (len('{"mac":"","":' + kind) + 64 for kind in ("segment", "row"))  # where they begin in a line
LINE = re.compile(r'\{"entry":(\{.*\}),"id_sha256":"([0-9a-f]{64})"\}')


class Checkpoint(NamedTuple):
    """What one checkpoint.json states."""

    number: int
    time: str
    chunks: int
    state_root: str
    carried: dict
    width: int
    signers: list
    retired: dict


class Chain(NamedTuple):
    """Where a subject's chain stands, and its manifest: by a roster, or by a log (no state: no registry row says)."""

    seq: int
    sha256: str
    manifest: str
    state: str


FOUND = (FileNotFoundError, NotADirectoryError, InvalidSignature, *MALFORMED)  # what is gone, or does not hold
NOWHERE = Chain(-1, "0" * 64, "", "")


class StrangeKeyError(Exception):
    """No note is signed by the key that was given."""


def home(candidate_id: str, at: Checkpoint) -> str:
    """The chunk that a subject belongs to."""
    return f"chunk-{xxh64(re.sub('[^A-Za-z0-9_-]', '_', candidate_id).encode()) % at.chunks:0{at.width}x}"


def id_hash_of(log_id: str, candidate_id: str) -> str:
    """The name of a subject in a roster."""
    return hashlib.sha256(b"\0".join((b"subject-roster/v2", log_id.encode(), candidate_id.encode()))).hexdigest()


def leaf(data: bytes) -> bytes:
    """The hash of a leaf (RFC 6962)."""
    return hashlib.sha256(b"\x00" + data).digest()


def root(level: list) -> str:
    """The root over hashes of leaves (RFC 6962)."""
    if not level:
        return hashlib.sha256().hexdigest()
    while len(level) > 1:
        pairs = [level[at : at + 2] for at in range(0, len(level), 2)]
        level = [hashlib.sha256(b"\x01" + pair[0] + pair[1]).digest() if pair[1:] else pair[0] for pair in pairs]
    return level[0].hex()


def tree(store: Path, line: str, log_id: str) -> list[Checkpoint]:
    """Every checkpoint, each following from the one before and signed by whom that one names; an error: none does."""
    folder = store / "checkpoints"
    numbers = sorted(
        int(one.parent.name) for one in folder.glob("*/note") if re.fullmatch("[0-9]{12}", one.parent.name)
    )
    if not any(_names((folder / f"{number:012}" / "note").read_bytes(), line) for number in numbers):
        raise StrangeKeyError("nothing here is signed by this key")
    must(numbers == list(range(len(numbers))), "the notes are not numbered from 0 without a gap")
    hashes, made, trusted = [], [], False
    for number in numbers:
        here = folder / f"{number:012}"
        note = (here / "note").read_bytes().decode()
        there = [(path.parent.name, path.read_bytes()) for path in here.glob("*/checkpoint.json")]
        found = [data for name, data in there if leaf(data).hex() == name]
        roots = [base64.b64encode(bytes.fromhex(root([*hashes, leaf(data)]))).decode() for data in found]
        texts = [f"subject-pipeline/{log_id}\n{number + 1}\n{one}\n" for one in roots]
        match = [data for data, text in zip(found, texts, strict=True) if note.rpartition("\n\n")[0] + "\n" == text]
        must(match, f"the note of checkpoint {number} is not over the checkpoints that are there")
        now = Checkpoint(*stated(match[0].decode(), log_id))
        must(now.number == number, f"checkpoint {number} says that it is number {now.number}")
        before = made[-1] if made else now
        if made:
            must(now.chunks == before.chunks and now.time > before.time, f"checkpoint {number} follows from no other")
            kept = {key: at for key, at in now.retired.items() if at < number}
            must(kept == before.retired, f"checkpoint {number} brings a retired key back, or retires one in the past")
        signers = [one for one in before.signers if _signed(note, one)]
        must(signers, f"the note of checkpoint {number} is signed by nobody whom the one before it names")
        # A bad signature by this key is an error; where a key is handed over, the new one has signed too.
        trusted = (_signed(note, line) and line in {*signers, *now.signers}) or trusted
        hashes.append(leaf(match[0]))
        made.append(now)
    must(trusted, "no note is signed by this key where a checkpoint names it")
    return made


def _names(note: bytes, line: str) -> bool:
    """Whether a note has a signature line of a key, a good one or not."""
    name, key_id, _ = public_key(line)
    signatures = re.findall(f"^\u2014 {name} ([A-Za-z0-9+/=]+)$", note.decode(errors="replace"), re.MULTILINE)
    return any(base64.b64decode(one + "==")[:4] == key_id for one in signatures)


def _signed(note: str, line: str) -> bool:
    """Whether a key has signed a note; an error: it has, and badly."""
    name, key_id, key = public_key(line)
    try:
        signed_text(note, name, key_id, key)
    except ValueError as error:
        if "is not signed by the key" in str(error):
            return False
        raise
    return True


def leaves(store: Path, at: Checkpoint) -> list[dict]:
    """The leaf of every chunk at a checkpoint, in order."""
    *lines, rest = (store / "checkpoints/leaves" / at.state_root).read_bytes().split(b"\n")
    must([root([leaf(one) for one in lines]), rest] == [at.state_root, b""], "the leaves do not make the state root")
    found = [dict(zip(CHUNK, chunk_of(one.decode()), strict=True)) for one in lines]
    names = [f"chunk-{index:0{at.width}x}" for index in range(at.chunks)]
    must([one["chunk"] for one in found] == names, "the leaves are not those of the chunks in their order")
    return found


def roster(store: Path, at: dict) -> dict[str, Chain]:
    """The entries of a chunk, by the hashes of the ids; an empty roster is no object."""
    if at["subjects"] == 0:
        return {}
    *lines, rest = (store / "checkpoints/rosters" / at["chunk"] / at["roster_root"]).read_bytes().split(b"\n")
    entries, hashes, last = {}, [], ""
    for line in lines:
        match = LINE.fullmatch(line.decode())
        must(match, "a line of the roster is none")
        text, id_hash = match[1], match[2]
        must(last < id_hash, "the roster is not sorted, or names somebody twice")
        entry_hash = hashlib.sha256(text.encode()).hexdigest()
        hashes.append(leaf(f'{{"entry_sha256":"{entry_hash}","id_sha256":"{id_hash}"}}'.encode()))
        entries[id_hash], last = Chain(*entry_of(text)), id_hash
    signed = (len(lines), root(hashes)) == (at["subjects"], at["roster_root"])
    must(signed and not rest, "the roster is not the one that is signed")
    return entries


def follow(
    folder: Path, first: int, last: float, found: dict[str, Chain], retired: dict, at: Checkpoint
) -> Iterator[str]:
    """Follow the segments from one to another, which are sound; problems are retired keys, and rows of other chunks."""
    for path in sorted(folder.glob("*.jsonl")):
        if not first <= int(path.stem) <= last:
            continue
        for line in path.read_bytes().split(b"\n")[:-1]:
            kind = "segment" if line.startswith(b'"segment"', HEADER - 10) else "row"
            inner = line[HEADER if kind == "segment" else ROW : -1]
            value = json.loads(inner)
            if int(path.stem) > retired.get(value["key_id"], int(path.stem)):
                yield f"{path.name}: retired_key: a {kind} of {value['key_id']}"
            if kind == "row":
                one = value["candidate_id"]
                if one not in found and home(one, at) != folder.name:
                    yield f"{path.name}: wrong_chunk: {one!a} belongs to {home(one, at)}"
                was = found.get(one, NOWHERE)
                state, manifest = was.state, was.manifest
                if value["action"] == "manifest_updated":
                    state, manifest = "present", value["manifest_sha256"]
                elif value["action"] == "manifest_deleted":
                    state, manifest = "erased" if value["decision"]["kind"] == "erased" else "deleted", ""
                found[one] = Chain(value["seq"], leaf(inner).hex(), manifest, state)


def chunk_problems(
    store: Path, last: Checkpoint, at: dict, retired: dict, known: dict, counts: Counter
) -> Iterator[str]:
    """Every problem of one chunk; `known` gets its roster, and each subject's chain as it is now."""
    log_id = last.signers[0].partition("+")[0][-32:]
    name, folder = at["chunk"], store / "audit" / at["chunk"]
    entries = roster(store, at)
    now: dict[str, Chain] = {}
    if folder.is_dir():
        found = list(log_problems(folder, None, log_id, counts))
        yield from (f"{name}: {words}" for words in found)
        if found:
            return
        yield from follow(folder, 0, at["segment"], now, retired, last)
    if at["segment"] >= 0:
        path = folder / f"{at['segment']:012}.jsonl"
        header = path.read_bytes().partition(b"\n")[0][HEADER:-1] if path.is_file() else b""
        if leaf(header).hex() != at["segment_sha256"]:
            yield f"{name}: the log does not have the segment {at['segment']} that is signed"
            return
    names = {id_hash_of(log_id, one): one for one in now}
    for id_hash, entry in entries.items():
        chain = now.get(names.get(id_hash, ""), NOWHERE)
        if entry[:2] != chain[:2]:
            yield f"{name}: {names.get(id_hash, id_hash)!a}: its chain does not end as signed, at row {entry.seq}"
        elif chain.state and entry[2:] != chain[2:]:
            yield f"{name}: {names[id_hash]!a}: signed as {entry.state}, its last registry row says {chain.state}"
        elif not chain.state and entry.state not in {"absent", "present"}:
            yield f"{name}: {names.get(id_hash, id_hash)!a}: signed as {entry.state} without a row that says so"
    for id_hash in names.keys() - entries.keys():
        yield f"{name}: {names[id_hash]!a}: it has rows, and the roster does not know it"
    counts["anchored"] += len(entries)
    yield from follow(folder, at["segment"] + 1, float("inf"), now, retired, last)
    known[name] = (entries, now)


def manifest_problems(path: Path, log_id: str, last: Checkpoint, known: dict) -> Iterator[str]:
    """Exported manifests that are not those that rosters, or later rows, name; and signed ones that are not there."""
    seen = set()
    for line in path.read_bytes().splitlines():
        manifest = json.loads(line, object_pairs_hook=once)
        one = manifest["candidate_id"]
        text = json.dumps(manifest, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        entries, now = known.get(home(one, last), ({}, {}))
        entry, chain = entries.get(id_hash_of(log_id, one)), now.get(one, NOWHERE)
        wanted = chain.manifest if chain.state else entry.manifest if entry else ""
        digest = hashlib.sha256(text.encode()).hexdigest()
        if one in seen:
            yield f"{one!a}: duplicate: it is exported twice"
        elif chain.state in {"deleted", "erased"}:
            yield f"{one!a}: resurrected: its log says that it is {chain.state}"
        elif wanted and digest != wanted:
            yield f"{one!a}: changed: its manifest is not the one that is recorded"
        seen.add(one)
    there = {id_hash_of(log_id, one) for one in seen}
    for name, (entries, now) in known.items():
        gone = {id_hash_of(log_id, one) for one, chain in now.items() if chain.state in {"deleted", "erased"}}
        signed = {id_hash for id_hash, entry in entries.items() if entry.state == "present"} - gone
        recorded = {id_hash_of(log_id, one) for one, chain in now.items() if chain.state == "present"}
        for id_hash in sorted((signed | recorded) - there):
            yield f"{name}: {id_hash}: missing: its manifest is recorded, and is not exported"


def store_problems(store: Path, line: str, export: Path | None, counts: Counter) -> Iterator[str]:
    """Every problem of a store; prints what its newest checkpoint is."""
    log_id, known, names = public_key(line)[0][-32:], {}, set()
    made = tree(store, line, log_id)
    last = made[-1]
    then = {key: leaves(store, made[at]) for key, at in last.retired.items()}
    retired = {key: {one["chunk"]: one["segment"] for one in found} for key, found in then.items()}
    carried = f", {len(last.carried)} chunks as of earlier ones" if last.carried else ""
    print(f"checkpoint {last.number} of {last.time}{carried}")
    for at in leaves(store, last):
        names.add(at["chunk"])
        limits = {key: segments[at["chunk"]] for key, segments in retired.items()}
        try:
            yield from chunk_problems(store, last, at, limits, known, counts)
        except FOUND as error:
            yield f"{at['chunk']}: bad_checkpoint: {type(error).__name__}: {str(error)!a}"
    for path in (store / "audit").glob("*"):
        if path.name not in names:
            yield f"audit/{path.name!a}: foreign_object: not a chunk"
    if export is not None:
        yield from manifest_problems(export, log_id, last, known)


def main() -> int:
    """Verify the store that the call names; the exit status."""
    parser = argparse.ArgumentParser(description="Verify a copy of a store by its signer's public key.")
    parser.add_argument("store", type=Path, metavar="STORE")
    parser.add_argument("line", metavar="LINE", help="the verifier line, as `subject-pipeline keys public` prints it")
    parser.add_argument("--export", type=Path, metavar="MANIFESTS.jsonl", help="manifests, to be compared too")
    call = parser.parse_args()
    counts, intact = Counter(), True
    try:
        public_key(call.line)
        must(call.store.is_dir() and (call.export is None or call.export.is_file()), "there is no such folder or file")
    except MALFORMED as error:
        parser.error(f"{str(error)!a}")
    try:
        for words in store_problems(call.store, call.line, call.export, counts):
            print(words)
            intact = False
    except StrangeKeyError as error:
        parser.error(str(error))
    except FOUND as error:
        print(f"bad_checkpoint: {type(error).__name__}: {str(error)!a}")
        intact = False
    except OSError as error:
        print(f"unreadable: {type(error).__name__}: {str(error)!a}")
        return 2
    read = f"{counts['segments']} segments, {counts['rows']} rows, {counts['anchored']} subjects anchored"
    print(f"{str(call.store)!a}: {read}: {'everything holds' if intact else 'NOT intact'}")
    return 0 if intact else 1


if __name__ == "__main__":
    sys.exit(main())
