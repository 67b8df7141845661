"""Check signed certificates of erasures. Needs only Python and `cryptography`.

    python verify_certificate.py FILE LINE [ROW]

FILE holds one certificate a line, as `subject-pipeline subjects certificate` or an object below `erasures/` has them.
LINE is the signer's public key, as `subject-pipeline keys public` prints it: get it from somebody you trust, not from
anyone who gave you the certificate. ROW is a file with the text of the audit row that recorded the erasure: who can
show it proves whose certificate it is. Exit status: 0 all hold; 1 one does not; 2 the call or a file is wrong.
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
HASH, KEY_ID, CHUNK = "[0-9a-f]{64}", "[0-9a-f]{16}", "chunk-[0-9a-f]{1,5}"
NAMES = (
    *("schema", "log_id", "id_mac", "erasure_mac", "row", "ordered", "erased", "holds", "table", "looked"),
    *("staged_parts_rewritten", "checkpoint", "remaining", "remaining_objects", "unreachable"),
)
MOST_NAMED = 2_000


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


def canonical(value: object) -> str:
    """The canonical JSON (RFC 8785) of texts, whole numbers, lists, and objects with names in ASCII."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def counts(*values: object) -> bool:
    """Whether values are whole numbers that JSON holds exactly."""
    return all(type(value) is int and 0 <= value < 2**53 for value in values)


def like(form: str, *values: object) -> bool:
    """Whether values are texts of a form."""
    return all(isinstance(value, str) and re.fullmatch(form, value) for value in values)


def is_time(text: str) -> bool:
    """Whether a text is a time as the store writes it: RFC 3339, UTC, six decimals."""
    return dt.datetime.fromisoformat(text).isoformat(timespec="microseconds").replace("+00:00", "Z") == text


def texts(values: object) -> bool:
    """Whether a value is a list of texts."""
    return type(values) is list and all(isinstance(value, str) for value in values)


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


def order(ordered: object) -> str:
    """Who ordered it and when, in words."""
    if ordered is None:
        return "an order that was imported"
    at, by, approved_by = fields(ordered, "at", "by", "approved_by")
    must(
        is_time(at) and texts([by]) and (approved_by is None or (approved_by and texts([approved_by]))),
        "the order is none",
    )
    return f"an order of {by!a} at {at}" + (f", approved by {approved_by!a}" if approved_by else "")


def check(text: str, line: str, row: bytes | None) -> str:
    """What a certificate certifies, in plain words; an error names what does not hold."""
    name, key_id, key = public_key(line)
    found = json.loads(text, object_pairs_hook=once)
    must(canonical(found) == text, "not canonical JSON")
    certificate, signature = fields(found, "certificate", "signature")
    schema, log_id, who, erasure_mac, of, ordered, erased, holds, table, looked, parts, checkpoint, *rest = fields(
        certificate, *NAMES
    )
    must(schema == "subject_erasure.v1", "a certificate of a kind that is not known here")
    must(name == f"subject-pipeline/{log_id}", "a certificate of another log than the key's")
    mac_key, mac = fields(who, "key_id", "mac")
    chunk, seq, sha256 = fields(of, "chunk", "seq", "sha256")
    at, by = fields(erased, "at", "by")
    looked_for_at, released, standing = fields(holds, "looked_for_at", "released", "standing")
    before, after, removed = fields(table, "version_before", "version_after", "files_removed")
    looked_at, objects = fields(looked, "at", "objects")
    number, root = fields(checkpoint, "number", "root")
    remaining, remaining_objects, unreachable = rest
    must(like(KEY_ID, mac_key) and like(CHUNK, chunk), "a key's id or a chunk is none")
    must(like(HASH, mac, erasure_mac, sha256, root), "a hash is none")
    numbers = (seq, released, standing, before, after, removed, objects, number, parts, remaining_objects)
    must(counts(*numbers) and standing == 0, "a number is none, or a hold stood")
    must(
        is_time(at) and is_time(looked_for_at) and is_time(looked_at) and isinstance(by, str), "a time or name is none"
    )
    must(texts(remaining) and remaining == sorted(set(remaining)) and texts(unreachable), "a list is none")
    must(len(remaining) == min(remaining_objects, MOST_NAMED), "not as many objects are named as remain")
    signed = unbase64(signature)
    must(signed[:4] == key_id and len(signed) == 68, f"not signed by the key {name}+{key_id.hex()}")
    key.verify(signed[4:], f"{name}/erasure\n{canonical(certificate)}\n".encode())
    if row is not None:
        must(hashlib.sha256(b"\x00" + row).hexdigest() == sha256, "the row is not the one that the certificate names")
    said = (
        f"a person was erased at {at} by {by!a}, by {order(ordered)}; the record is row {seq} of a chain in {chunk}, "
    )
    said += (
        f"with the hash {sha256}, and checkpoint {number} anchors it.\n  No legal hold stood. At {looked_at}, none of "
    )
    said += f"{objects} objects of the store but {remaining_objects} held the id in clear"
    said += (
        "".join(f"\n    {one!a}" for one in remaining) + f"\n  Not looked into: {', '.join(map(ascii, unreachable))}"
    )
    return said + (f"\n  The row is that of {json.loads(row)['candidate_id']!a}." if row is not None else "")


def main(arguments: list[str]) -> int:
    """Check a file and say what came of it; the exit status."""
    try:
        path, line, *more = arguments
        must(len(more) <= 1, "too many arguments")
        lines = Path(path).read_bytes().decode().split("\n")
        row = Path(more[0]).read_bytes().rstrip(b"\n") if more else None
        public_key(line)
    except (OSError, *MALFORMED) as error:
        print(f"{str(error)!a}\nusage: python verify_certificate.py FILE LINE [ROW]", file=sys.stderr)
        return 2
    try:
        must(len(lines) > 1 and not lines[-1], "not one certificate a line, each with its newline")
        for text in lines[:-1]:
            print("HOLDS:", check(text, line, row))
    except (InvalidSignature, *MALFORMED) as error:
        named = {InvalidSignature: "the signature is not the certificate's", ValueError: str(error)}
        print("DOES NOT HOLD:", ascii(named.get(type(error), f"malformed: {type(error).__name__}: {error}"))[1:-1])
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
