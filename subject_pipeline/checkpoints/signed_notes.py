"""Signed notes: text that anyone with the public key can check (https://c2sp.org/signed-note), with Ed25519 (RFC 8032).

A note is the text, a blank line, and signature lines: an em dash, a key's name, and base64 of its id and signature.
The signature covers the text alone, not the key's name: anyone who relies on the name must look for it in the text too.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from subject_pipeline.errors import CheckpointError

_ED25519 = b"\x01"
_KEY_BYTES = 32
_ID_BYTES = 4
_DASH = "\u2014 "
_MAX_SIGNATURES = 100
_control = re.compile(r"[\x00-\x09\x0b-\x1f]").search  # any but the newline
MAX_NOTE_BYTES = 1 << 20
"""A larger note is not read; sixteen signatures of any kind known today take a tenth of it."""


def verifier_line(name: str, public: bytes) -> str:
    """What a verifier needs to know of a key, in one line: `<name>+<key id, 8 hex>+<base64 of 0x01 and the key>`.

    Args:
        name: the key's name: not empty, no spaces, no `+`.
        public: the Ed25519 public key, 32 bytes.

    Raises:
        CheckpointError: a name or key that cannot be one.
    """
    return f"{name}+{_key_id(name, public).hex()}+{base64.b64encode(_ED25519 + public).decode()}"


def parse_verifier_line(line: str) -> tuple[str, bytes]:
    """The name and the public key (32 bytes) of a verifier line, whose key id fits both.

    Raises:
        CheckpointError: not such a line, or of another kind of key.
    """
    # Base64 may hold a plus; names and hex do not.
    name, _, rest = line.partition("+")
    _, _, encoded = rest.partition("+")
    key = _decoded(encoded)
    if key is None or len(key) != 1 + _KEY_BYTES or key[:1] != _ED25519:
        raise CheckpointError("not a verifier line of an Ed25519 key: <name>+<8 hex digits>+<base64>")
    if line != verifier_line(name, key[1:]):
        raise CheckpointError(f"the verifier line of {name!r} is damaged: its key id is not that of its name and key")
    return name, key[1:]


def sign_note(text: str, name: str, *seeds: bytes) -> str:
    """The text under one signature of each key; the same note for the same text, name and keys.

    Args:
        text: ends in a newline; no other control characters.
        name: the keys' name.
        seeds: the Ed25519 private keys, 32 bytes each.

    Raises:
        CheckpointError: a text, name or key that cannot be one, or no key.
    """
    data = _note_bytes(text)
    lines = []
    for seed in seeds:
        if len(seed) != _KEY_BYTES:
            raise CheckpointError(f"cannot sign a note: the private key has {len(seed)} bytes, not {_KEY_BYTES}")
        private = Ed25519PrivateKey.from_private_bytes(seed)
        key_id = _key_id(name, private.public_key().public_bytes_raw())
        lines.append(f"{_DASH}{name} {base64.b64encode(key_id + private.sign(data)).decode()}\n")
    if not lines:
        raise CheckpointError("cannot sign a note: no private key is given")
    return f"{text}\n{''.join(lines)}"


def open_note(note: str, name: str, public: bytes) -> str:
    """The text of a note that this key has signed, with its last newline; otherwise as `opened_by`."""
    return opened_by(note, [(name, public)])[0]


def opened_by(note: str, keys: Iterable[tuple[str, bytes]]) -> tuple[str, set[tuple[str, bytes]]]:
    """The text of a note that one of these keys has signed, and which of them have.

    Signatures of other keys are neither needed nor looked at, even if they share a name or an id, but not both.

    Args:
        note: the whole note.
        keys: names, and Ed25519 public keys of 32 bytes.

    Raises:
        CheckpointError: malformed, too large, signed by none of these keys, or with a signature of one of them that is
            not the text's.
    """
    wanted = {(name, _key_id(name, public)): (name, public) for name, public in keys}
    if len(note) > MAX_NOTE_BYTES:
        raise CheckpointError(f"not a signed note that is read here: more than {MAX_NOTE_BYTES:,} characters")
    _note_bytes(note)
    split = note.rfind("\n\n")
    if split < 0:
        raise CheckpointError("not a signed note: no blank line parts text and signatures")
    text, lines = note[: split + 1], note[split + 2 : -1].split("\n")
    if len(lines) > _MAX_SIGNATURES:
        raise CheckpointError(f"not a signed note that is read here: more than {_MAX_SIGNATURES} signatures")
    signed = set()
    for signer, key_id, signature in [_signature(line) for line in lines]:
        key = wanted.get((signer, key_id))
        if key is None:
            continue
        try:
            Ed25519PublicKey.from_public_bytes(key[1]).verify(signature, text.encode())
        except (InvalidSignature, ValueError) as error:
            told = f"the note's signature by the key {signer}+{key_id.hex()} is not its text's"
            raise CheckpointError(told) from error
        signed.add(key)
    if not signed:
        known = ", ".join(f"{name}+{key_id.hex()}" for name, key_id in wanted)
        raise CheckpointError(f"the note is not signed by the key {known or '(none is given)'}")
    return text, signed


def is_named_in(note: bytes, line: str) -> bool:
    """Whether a note has a signature line of this key, whether or not that signature holds; never fails.

    Args:
        note: any bytes.
        line: a verifier line that can be parsed.
    """
    name, public = parse_verifier_line(line)
    for text in note.decode(errors="replace").split("\n"):
        signer, _, encoded = text.removeprefix(_DASH).partition(" ")
        signature = _decoded(encoded)
        if text.startswith(_DASH) and signer == name and signature and signature[:_ID_BYTES] == _key_id(name, public):
            return True
    return False


def _key_id(name: str, public: bytes) -> bytes:
    if not _is_name(name):
        raise CheckpointError(f"{name!r} cannot name a key: a name is not empty and has no spaces and no plus")
    if len(public) != _KEY_BYTES:
        raise CheckpointError(f"the public key of {name!r} has {len(public)} bytes, not {_KEY_BYTES}")
    return hashlib.sha256(name.encode() + b"\n" + _ED25519 + public).digest()[:_ID_BYTES]


def _is_name(name: str) -> bool:
    return name.isprintable() and name != "" and "+" not in name and not any(map(str.isspace, name))


def _note_bytes(text: str) -> bytes:
    if not text.endswith("\n"):
        raise CheckpointError("not a signed note's text: it does not end in a newline")
    if _control(text) is not None:
        raise CheckpointError("not a signed note's text: it holds a control character")
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise CheckpointError("not a signed note's text: it holds a lone surrogate") from error


def _signature(line: str) -> tuple[str, bytes, bytes]:
    """Name, key id and signature of a line."""
    name, _, encoded = line.removeprefix(_DASH).partition(" ")
    signature = _decoded(encoded)
    if not line.startswith(_DASH) or not _is_name(name) or signature is None or len(signature) <= _ID_BYTES:
        raise CheckpointError("not a signed note: a line after the blank one is not a signature")
    return name, signature[:_ID_BYTES], signature[_ID_BYTES:]


def _decoded(encoded: str) -> bytes | None:
    """The bytes of base64 in its one canonical form (RFC 4648, section 3.5), or None."""
    try:
        data = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if base64.b64encode(data).decode() == encoded else None
