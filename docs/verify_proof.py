"""Check what a signed checkpoint says of one subject. Needs only Python and `cryptography`.

    python verify_proof.py PROOF.json LINE

LINE is the signer's public key, as `subject-pipeline keys public` prints it: get it from somebody you trust, not from
the person who gave you the proof. A proof of the kind `head` shows a subject's entry, `history` also all rows of its
chain, `absence` that there is no entry. Exit status: 0 it holds; 1 it does not; 2 the call or the file is wrong.
"""

import base64
import datetime as dt
import hashlib
import json
import re
import sys
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

MALFORMED = (LookupError, TypeError, ValueError, AttributeError, RecursionError)  # what reading foreign JSON can raise
ORIGIN = "subject-pipeline/([0-9a-f]{32})"
HASH, KEY_ID, BLIND = "[0-9a-f]{64}", "[0-9a-f]{16}", "[A-Za-z0-9_-]{21}[AQgw]"
NO_HASH, NOTHING = "0" * 64, hashlib.sha256().hexdigest()
COMMON = ("schema", "kind", "candidate_id", "note", "checkpoint", "checkpoint_path", "chunk")
STATED = ("schema", "log_id", "number", "time", "chunks", "state_root", "carried", "signers", "retired_keys")
CHUNK = ("chunk", "subjects", "roster_root", "segment", "segment_sha256", "objects_sha256", "table_files_sha256")
P1, P2, P3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9  # of XXH64
P4, P5, MASK = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5, (1 << 64) - 1


def must(holds: object, otherwise: str) -> None:
    """Stop with what does not hold."""
    if not holds:
        raise ValueError(otherwise)


def once(pairs: list) -> dict:
    """An object of JSON, in which no name may be twice."""
    must(len(dict(pairs)) == len(pairs), "a name is there twice in one JSON object")
    return dict(pairs)


def fields(value: object, *names: str) -> list:
    """The values of an object that has exactly these names."""
    must(isinstance(value, dict) and set(value) == {*names}, f"not a JSON object with exactly {', '.join(names)}")
    return [value[name] for name in names]


def canonical(text: object, *names: str) -> list:
    """The values of an object, given as its canonical JSON (RFC 8785) with exactly these names."""
    again = json.dumps(json.loads(text), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    must(again == text, f"{', '.join(names)}: not canonical JSON")
    return fields(json.loads(text), *names)


def whole(value: object, least: int, most: int = 2**53 - 1) -> bool:
    """Whether a value is a whole number between two others."""
    return type(value) is int and least <= value <= most


def like(form: str, *values: object) -> bool:
    """Whether values are texts of a form."""
    return all(isinstance(value, str) and re.fullmatch(form, value) for value in values)


def unbase64(text: str) -> bytes:
    """The bytes of base64 in its one canonical form."""
    data = base64.b64decode(text, validate=True)
    must(base64.b64encode(data).decode() == text, "base64 is not in its canonical form")
    return data


def public_key(line: str) -> tuple:
    """Name, key id and key of a verifier line (c2sp.org/signed-note): NAME+KEYID+BASE64(0x01 || Ed25519 key)."""
    name, key_id, key = (*line.split("+", 2), "", "")[:3]  # base64 may hold a plus, name and id do not
    public = unbase64(key)
    must(like(ORIGIN, name) and public[:1] == b"\x01" and len(public) == 33, "not a verifier line: NAME+KEYID+BASE64")
    expected = hashlib.sha256(name.encode() + b"\n" + public).digest()[:4]
    must(key_id == expected.hex(), "the verifier line's key id is not that of its name and key")
    return name, expected, Ed25519PublicKey.from_public_bytes(public[1:])


def signed_text(note: str, name: str, key_id: bytes, key: Ed25519PublicKey) -> str:
    """The text of a signed note: what is before its last blank line, if the key signed that."""
    whole_note = isinstance(note, str) and note.endswith("\n") and "\n\n" in note
    must(whole_note and all(char >= " " or char == "\n" for char in note), "the note is not a signed note")
    end, signed = note.rindex("\n\n"), False
    lines = note[end + 2 : -1].split("\n")
    must(len(lines) <= 100 and len(note) <= 1 << 20, "the note is too large, or has too many signatures")
    for line in lines:
        signer, _, encoded = line[2:].partition(" ")
        signature, printed = unbase64(encoded), signer.isprintable() and re.fullmatch(r"[^\s+]+", signer)
        must(line[:2] == "\u2014 " and printed and len(signature) > 4, "the note has a line that is not a signature")
        if (signer, signature[:4]) == (name, key_id):
            key.verify(signature[4:], note[: end + 1].encode())
            signed = True
    must(signed, f"the note is not signed by the key {name}+{key_id.hex()}")
    return note[: end + 1]


def climb(leaf: str, index: int, size: int, path: list) -> str:
    """The Merkle root that a leaf's path leads to (hashes of RFC 6962; this way of computing RFC 9162, 2.1.3.2)."""
    must(isinstance(path, list) and like(HASH, *path) and whole(index, 0, size - 1), "a path or an index is none")
    found, last, left = hashlib.sha256(b"\x00" + leaf.encode()).digest(), size - 1, [bytes.fromhex(one) for one in path]
    while last:
        if index & 1 or index < last:  # else this node has no sibling on this level
            must(left, "a path is too short for its index and size")
            found = hashlib.sha256(b"\x01" + (left.pop(0) + found if index & 1 else found + left.pop(0))).digest()
        index, last = index >> 1, last >> 1
    must(not left, "a path is too long for its index and size")
    return found.hex()


def xxh64(data: bytes) -> int:
    """XXH64 with seed 0, as its specification words it."""

    def mixed(lane: int, word: int) -> int:
        value = (lane + word * P2) & MASK
        return (value << 31 | value >> 33) * P1 & MASK

    at, lanes, found = 0, [(P1 + P2) & MASK, P2, 0, -P1 & MASK], P5
    while len(data) - at >= 32:
        lanes = [mixed(one, int.from_bytes(data[at + 8 * n : at + 8 * n + 8], "little")) for n, one in enumerate(lanes)]
        at += 32
    if at:
        found = sum(one << by | one >> 64 - by for one, by in zip(lanes, (1, 7, 12, 18), strict=True))
        for lane in lanes:
            found = ((found ^ mixed(0, lane)) * P1 + P4) & MASK
    found = (found + len(data)) & MASK
    for width, by, factor, more in ((8, 27, P1, P4), (4, 23, P2, P3), (1, 11, P1, 0)):
        while len(data) - at >= width:
            word, at = int.from_bytes(data[at : at + width], "little"), at + width
            value = found ^ (mixed(0, word) if width == 8 else word * (P1 if width == 4 else P5) & MASK)
            found = ((value << by | value >> 64 - by) * factor + more) & MASK
    for shift, factor in ((33, P2), (29, P3), (32, 1)):
        found = (found ^ found >> shift) * factor & MASK
    return found


def stated(text: str, log_id: str) -> tuple:
    """What a checkpoint.json states: number, time, chunks, root, carried, digits of chunks' names, signers, retired."""
    schema, log, number, time, chunks, root, carried, signers, retired = canonical(text, *STATED)
    must(schema == "subject_checkpoint.v2" and log == log_id and like(HASH, root), "not a checkpoint of this log")
    must(whole(number, 0, 10**12 - 1) and whole(chunks, 1, 1 << 20), "the checkpoint's number or chunks are none")
    again = dt.datetime.fromisoformat(time).isoformat(timespec="microseconds").replace("+00:00", "Z")
    must(again == time and type(signers) is list, "the checkpoint's time or signers are none")
    width = len(f"{chunks - 1:x}")
    for name, at in carried.items():
        index = int(name[6:], 16) if like("chunk-[0-9a-f]{1,5}", name) else chunks
        known = index < chunks and name == f"chunk-{index:0{width}x}" and whole(at, -1, number - 1)
        must(known, "a chunk is carried that the store does not have, or from no earlier checkpoint")
    must(like(KEY_ID, *retired) and all(whole(at, 0, number) for at in retired.values()), "a retired key is none")
    ours = all(public_key(line)[0] == f"subject-pipeline/{log_id}" for line in signers)
    must(ours and 1 <= len(signers) <= 16 and len({*signers}) == len(signers), "the checkpoint's signers are none")
    return number, time, chunks, root, carried, width, signers, retired


def chunk_of(leaf: str) -> list:
    """What a chunk's leaf says: chunk, subjects, roster root, last segment and its hash, and two hashes more."""
    _, subjects, roster_root, segment, *hashes = values = canonical(leaf, *CHUNK)
    known = (subjects == 0, segment == -1) == (roster_root == NOTHING, hashes[0] == NO_HASH)
    counted = whole(subjects, 0) and whole(segment, -1)
    must(known and counted and like(HASH, roster_root, *hashes), "the chunk's leaf is one that no chunk has")
    return values


def member(leaf: str, index: int, path: list, subjects: int, root: str) -> tuple:
    """Hash of the id and hash of the entry of a subject in a roster."""
    hashes = canonical(leaf, "id_sha256", "entry_sha256")
    must(like(HASH, *hashes) and climb(leaf, index, subjects, path) == root, "a subject is not under its roster's root")
    return tuple(hashes)


def entry_of(text: str) -> tuple:
    """What a roster's entry says: seq, hash of the last row, hash of the manifest, state."""
    blind, seq, row, manifest, state = canonical(text, "blind", "seq", "row_sha256", "manifest_sha256", "state")
    must(like(BLIND, blind) and whole(seq, -1) and like(HASH, row), "the entry is none")
    must((seq == -1) == (row == NO_HASH) and (seq >= 0 or state == "present"), "the entry is one that nobody has")
    fits = like("absent|present|deleted|erased", state) and like(HASH if state == "present" else "", manifest)
    must(fits, "the entry's manifest and state do not fit")
    return seq, row, manifest, state


def entry_words(entry: dict, rows: list, subject: str, wanted: str, subjects: int, root: str) -> str:
    """What an entry says, and that the rows of a history are the whole chain that it names, in words."""
    leaf, text, index, path = fields(entry, "leaf", "text", "index", "path")
    found = member(leaf, index, path, subjects, root)
    must(found == (wanted, hashlib.sha256(text.encode()).hexdigest()), "not the entry of this subject")
    seq, row, manifest, state = entry_of(text)
    before = NO_HASH
    for number, inner in enumerate(
        rows[0] if rows else ()
    ):  # their form is the signer's, who signed the last one's hash
        found = json.loads(inner)
        follows = (found["candidate_id"], found["seq"], found["prev"]) == (subject, number, before)
        must(follows, f"row {number} of the history is another subject's, or does not follow")
        before = hashlib.sha256(b"\x00" + inner.encode()).hexdigest()
    must(not rows or (type(rows[0]), len(rows[0]), before) == (list, seq + 1, row), "not the history that is signed")
    chain = f"{seq + 1} rows in its audit chain, the last with the hash {row}" if seq + 1 else "no audit chain"
    kept = f"a manifest with the SHA-256 {manifest}" if manifest else f"no manifest ({state})"
    return f"had\n  {chain}, and\n  {kept}" + (";\n  its whole history is in the proof" if rows else "")


def absence_words(before: object, after: object, wanted: str, subjects: int, root: str) -> str:
    """That there is nobody between two neighbours, in words."""
    first, last = -1, subjects
    if before is not None:
        leaf, first, path = fields(before, "leaf", "index", "path")
        must(member(leaf, first, path, subjects, root)[0] < wanted, "the subject before does not come before the id")
    if after is not None:
        leaf, last, path = fields(after, "leaf", "index", "path")
        must(wanted < member(leaf, last, path, subjects, root)[0], "the subject after does not come after the id")
    must(first + 1 == last, "the subjects before and after are not neighbours, so one may be between them")
    return f"has no entry among its {subjects} subjects."


def check(proof: object, line: str) -> str:
    """What the proof proves, in plain words; an error names what does not hold."""
    name, key_id, key = public_key(line)
    log_id, kind = name[-32:], proof["kind"]
    more = {"head": ("entry",), "history": ("entry", "rows"), "absence": ("before", "after")}[kind]
    schema, _, subject, note, text, checkpoint_path, chunk, *parts = fields(proof, *COMMON, *more)
    must(isinstance(subject, str) and schema == "subject_proof.v2", "a proof of a kind that is not known here")
    lines = signed_text(note, name, key_id, key).split("\n")
    three = len(lines) == 4 and lines[0] == name and not lines[3]
    must(three and like("[1-9][0-9]{0,12}", lines[1]), f"the note is of {lines[0]}, or not origin, size, root")
    size, root = int(lines[1]), unbase64(lines[2])
    number, time, chunks, state_root, carried, width, *_ = stated(text, log_id)
    must((number, climb(text, number, size, checkpoint_path)) == (size - 1, root.hex()), "not the note's checkpoint")
    index = xxh64(re.sub("[^A-Za-z0-9_-]", "_", subject).encode()) % chunks
    leaf, path = fields(chunk, "leaf", "path")
    found, subjects, roster_root, *_ = chunk_of(leaf)
    must(found == f"chunk-{index:0{width}x}", f"the chunk is not chunk-{index:0{width}x}, into which the id falls")
    must(climb(leaf, index, chunks, path) == state_root, "the chunk's leaf is not under the checkpoint's state root")
    standing = carried.get(found, number)
    must(standing >= 0, "no state of this chunk was ever signed, so nothing is proven of it")
    wanted = hashlib.sha256(b"\0".join((b"subject-roster/v2", log_id.encode(), subject.encode()))).hexdigest()
    of = (wanted, subjects, roster_root)
    words = absence_words(*parts, *of) if kind == "absence" else entry_words(parts[0], parts[1:], subject, *of)
    said = f"checkpoint {number} of {name}, made at {time} and signed with this key, says that"
    said += f"\nas of checkpoint {standing}, subject {json.dumps(subject)} in {found} {words}"
    return f"HOLDS: {said}\nThat rosters are sorted and name everybody once is the signer's word."


def main(arguments: list[str]) -> int:
    """Check a file and say what came of it; the exit status."""
    try:
        path, line = arguments
        data = Path(path).read_bytes()
        public_key(line)
    except (OSError, *MALFORMED) as error:
        print(f"{str(error)!a}\nusage: python verify_proof.py PROOF.json LINE", file=sys.stderr)
        return 2
    try:
        print(check(json.loads(data.decode(), object_pairs_hook=once), line))
    except (InvalidSignature, *MALFORMED) as error:
        named = {InvalidSignature: "the note's signature is not that of its text", ValueError: str(error)}
        print("DOES NOT HOLD:", ascii(named.get(type(error), f"malformed: {type(error).__name__}: {error}"))[1:-1])
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
