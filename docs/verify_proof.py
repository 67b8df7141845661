"""Check a proof that a subject's audit chain is in a signed checkpoint. Needs only Python and `cryptography`.

    python verify_proof.py PROOF.json [VERIFIER_LINE]

It needs neither the store nor a secret key. VERIFIER_LINE is the signer's public key, as `subject-pipeline keys public`
prints it: get it from somebody you trust, not from the person who gave you the proof. Without it, the proof's own is
used, which only shows that its parts fit together. Exit status: 0 the proof holds; 1 it does not; 2 the call was wrong.
"""

import base64
import hashlib
import json
import re
import sys
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

MALFORMED = (LookupError, TypeError, ValueError, AttributeError, RecursionError)  # what reading foreign JSON can raise
NOTE = re.compile(r"(subject-pipeline/[0-9a-f]{32})\n([0-9]+)\n([0-9a-f]{64})\n([0-9TZ:.-]+)\n[0-9a-f]{64}\n")


def must(holds: object, otherwise: str) -> None:
    """Stop with what does not hold."""
    if not holds:
        raise ValueError(otherwise)


def public_key(line: str) -> tuple[str, bytes, Ed25519PublicKey]:
    """Name, key id and key of a verifier line (c2sp.org/signed-note): NAME+KEYID+BASE64(0x01 || Ed25519 key)."""
    parts = line.split("+", 2)  # base64 may hold a plus, name and id do not
    must(len(parts) == 3, "not a verifier line: NAME+KEYID+BASE64")
    name, key_id, key = parts[0], parts[1], base64.b64decode(parts[2], validate=True)
    must(len(key) == 33 and key[0] == 1, "the verifier line is not that of an Ed25519 key")
    expected = hashlib.sha256(name.encode() + b"\n" + key).digest()[:4]
    must(key_id == expected.hex(), "the verifier line's key id is not that of its name and key")
    return name, expected, Ed25519PublicKey.from_public_bytes(key[1:])


def signed_text(note: str, name: str, key_id: bytes, key: Ed25519PublicKey) -> str:
    """The text of a signed note: what is before its last blank line, if the key signed that."""
    must(note.endswith("\n") and "\n\n" in note, "the note is not a signed note")
    end, signed = note.rindex("\n\n"), False
    for line in note[end + 2 : -1].split("\n"):
        signer, _, encoded = line[2:].partition(" ")
        signature = base64.b64decode(encoded, validate=True)
        must(line[:2] == "\u2014 ", "the note has a line after its blank line that is not a signature")
        if signer == name and signature[:4] == key_id:
            key.verify(signature[4:], note[: end + 1].encode())
            signed = True
    must(signed, f"the note is not signed by the key {name}+{key_id.hex()}")
    return note[: end + 1]


def root_above(step: dict) -> str:
    """The Merkle root that a leaf's path leads to (hashes of RFC 6962; this way of computing RFC 9162, 2.1.3.2)."""
    index, last, path = step["index"], step["size"] - 1, [bytes.fromhex(sibling) for sibling in step["path"]]
    must(0 <= index <= last and all(len(sibling) == 32 for sibling in path), "an index, size or path cannot be")
    found = hashlib.sha256(b"\x00" + step["leaf"].encode()).digest()
    while last:
        if index & 1 or index < last:  # else this node has no sibling on this level
            must(path, "a path is too short for its index and size")
            found = hashlib.sha256(b"\x01" + (path.pop(0) + found if index & 1 else found + path.pop(0))).digest()
        index, last = index >> 1, last >> 1
    must(not path, "a path is too long for its index and size")
    return found.hex()


def check(proof: dict, verifier: str) -> str:
    """What the proof proves, in plain words; an error names what does not hold."""
    must(proof["schema"] == "subject_proof.v1", "not a proof of a kind known here: its schema is not subject_proof.v1")
    must(proof["verifier"] == verifier, "the proof was made for another key than the one given")
    name, key_id, key = public_key(verifier)
    note = NOTE.fullmatch(signed_text(proof["note"], name, key_id, key))
    must(note, "the note's text is not origin, number, root, time and previous note, one a line")
    origin, number, root, time = note.groups()
    must(origin == name, f"the note is of {origin}, but the key is named {name}")
    must(root_above(proof["chunk"]) == root, "the chunk's leaf is not under the root that the note signs")
    chunk = json.loads(proof["chunk"]["leaf"])
    must(root_above(proof["entry"]) == chunk["roster_root"], "the entry is not under its chunk's root")
    entry = json.loads(proof["entry"]["leaf"])
    subject, seq, mac, manifest = (entry[name] for name in ("candidate_id", "seq", "mac", "manifest_sha256"))
    stated = (proof["candidate_id"], proof["seq"], proof["mac"])
    must(stated == (subject, seq, mac), "the candidate_id, seq or mac that the proof states is not its entry's")
    must(type(seq) is int and re.fullmatch("[0-9a-f]{64}/([0-9a-f]{64})?", f"{mac}/{manifest}"), "not a roster entry")
    chain = f"an audit chain of {seq + 1} rows, the last (seq {seq}) with the MAC {mac}"
    return (
        f"HOLDS: checkpoint {number} of {origin}, made at {time} and signed with this key, says that\n"
        f"subject {json.dumps(subject)} in {chunk['chunk']!a} had\n"
        f"  {chain if seq >= 0 else 'no audit chain'}, and\n"
        f"  {f'a manifest with the SHA-256 {manifest}' if manifest else 'no manifest'}.\n"
        "What is shown as its chain later must hold that last row; without it, it was cut or rewritten."
    )


def main(arguments: list[str]) -> int:
    """Check a file and say what came of it; the exit status."""
    try:
        path, given = arguments if len(arguments) == 2 else (*arguments, None)
        data = Path(path).read_bytes()
        _ = given is None or public_key(given)
    except (OSError, *MALFORMED) as error:
        print(f"{str(error)!a}\nusage: python verify_proof.py PROOF.json [VERIFIER_LINE]", file=sys.stderr)
        return 2
    try:
        proof = json.loads(data.decode())
        print(check(proof, given or proof["verifier"]))
    except (InvalidSignature, *MALFORMED) as error:
        named = {InvalidSignature: "the note's signature is not that of its text", ValueError: str(error)}
        print("DOES NOT HOLD:", ascii(named.get(type(error), f"malformed: {error!r}"))[1:-1])
        return 1
    if given is None:
        print(f"NOT CHECKED: whose key this is. Compare it with one obtained elsewhere:\n  {proof['verifier']}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
